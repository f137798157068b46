"""What a job's input says about how its outputs came to be, whatever provider it is for: model, seed, reference images.

The fields are those of the providers' documentation, which agree in how they are called though not in where they are:
`model_name`, `model_id`, `seed`, and pictures in fields that have `image` or `mask` in their name.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

from service.providers.contract import Json

_MODELS = ("model_name", "model_id", "model")
_PICTURES = ("image", "mask")
_SHORTEST = 64  # characters of base64; what is shorter is a setting, such as `response_image_type`


@dataclass(frozen=True, slots=True)
class Reference:
    """A picture that went in. sha256, bytes: of the file, if it is in the body; url: else, without what may be secret."""

    path: str
    sha256: bytes | None = None
    bytes: int | None = None
    url: str | None = None


@dataclass(frozen=True, slots=True)
class Described:
    """What went in; seed as it was given, which may be the provider's word for a random one."""

    model: str | None
    seed: int | float | str | None
    references: tuple[Reference, ...]


def describe(body: dict[str, Json]) -> Described:
    """Describe a CheckedInput's body. Takes as long as decoding and digesting all pictures in it."""
    inner = body.get("request")
    places = [inner, body] if isinstance(inner, dict) else [body]
    models = [place[name] for place in places for name in _MODELS if isinstance(place.get(name), str)]
    seeds = [place["seed"] for place in places if _is_seed(place.get("seed"))]
    return Described(
        model=models[0] if models else None,
        seed=seeds[0] if seeds else None,
        references=tuple(_find_references(body, "", named=False)),
    )


def _is_seed(value: Json) -> bool:
    return isinstance(value, int | float | str) and not isinstance(value, bool)


def _find_references(value: Json, path: str, *, named: bool) -> Iterator[Reference]:
    """Walk through a body; named: the field's name is one of a picture."""
    match value:
        case dict():
            for name, part in value.items():
                yield from _find_references(
                    part, f"{path}.{name}" if path else name, named=any(word in name.lower() for word in _PICTURES)
                )
        case list():
            for number, part in enumerate(value):
                yield from _find_references(part, f"{path}[{number}]", named=named)
        case str() if named:
            found = _read_reference(value, path)
            if found is not None:
                yield found


def _read_reference(text: str, path: str) -> Reference | None:
    if text[:8].lower().startswith(("http://", "https://")):
        return Reference(path, url=_without_secrets(text))
    encoded = text.partition(",")[2] if text[:5].lower() == "data:" else text
    if len(encoded) < _SHORTEST:
        return None
    try:
        body = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        return None
    return Reference(path, sha256=hashlib.sha256(body).digest(), bytes=len(body))


def _without_secrets(url: str) -> str | None:
    """Return a URL without user, query and fragment; None for what is none."""
    try:
        parts = urlsplit(url)
        return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
    except ValueError:
        return None
