"""What must never be read in a log, cut out of whatever is logged: by what it looks like, by its name, and by its value."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from functools import lru_cache
from pathlib import PurePath
from typing import Any
from uuid import UUID

from pydantic import BaseModel, SecretBytes, SecretStr

CUT = "…"

_NAME = (
    r"authorization|cookie|password|passwd|passphrase|credentials?|signature|secret|token|(?:api|private|access|secret|signing)[_-]?key"
    r"|whsec|x-amz-(?:signature|credential|security-token)"
)
_SECRET_NAME = re.compile(_NAME, re.IGNORECASE)
# Names that hold one of those words and no secret.
_HARMLESS = frozenset({"x-amz-signedheaders"})

# Strangers choose what is logged: each takes time in proportion to the text. None begins again within what it has read
# in vain: it begins where a word does, reads on without going back (`*+`, `++`, `(?>…)`), or takes what it has read.
_SECRETS: tuple[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]], ...] = (
    # A URL's query is what signs it; userinfo is a password.
    (re.compile(r"(?<![^\s\"'])((?>[^\s\"']*?://)[^\s\"'?]*+\?)[^\s\"']*"), rf"\1{CUT}"),
    (re.compile(r"(?<![^\s\"'])([^\s\"'/]*+/[^\s\"'?]*+\?)[^\s\"'=]*+=[^\s\"']*"), rf"\1{CUT}"),
    (re.compile(r"(/v1/callbacks/[a-z0-9_-]+/)[A-Za-z0-9_=-]+"), rf"\1{CUT}"),
    (
        re.compile(r"(postgres(?:ql)?://[^:/@\s]*+:)[^@\s]*+(@?)"),
        lambda found: f"{found[1]}{CUT}@" if found[2] else found[0],
    ),
    (re.compile(r"(://[^:/@\s]*+:)[^@/\s]*+@"), rf"\1{CUT}@"),
    (re.compile(r"\b((?:bearer|basic|negotiate)\s+)(?=[^\s\"']*[^a-z\s\"'])[^\s\"',]+", re.IGNORECASE), rf"\1{CUT}"),
    (re.compile(r"\b(bearer\s+)[^\s\"']+", re.IGNORECASE), rf"\1{CUT}"),
    (re.compile(r"\b(whsec_|whsk_)[A-Za-z0-9+/=_-]+"), rf"\1{CUT}"),
    (re.compile(r"\b(gr_|sk[-_])[A-Za-z0-9_-]{16,}"), rf"\1{CUT}"),
    (re.compile(r"\b(eyJ)[\w.-]{10,}"), rf"\1{CUT}"),
    (re.compile(r"\b(A(?:KIA|SIA|ROA|IDA))[A-Z0-9]{12,}"), rf"\1{CUT}"),
    # An AWS secret key: forty of base64, of all sorts.
    (
        re.compile(
            r"(?<![\w/+=.-])(?=[a-z0-9/+]*[A-Z])(?=[A-Z0-9/+]*[a-z])(?=[A-Za-z/+]*[0-9])[A-Za-z0-9/+]{40}(?![\w/+=.-])"
        ),
        CUT,
    ),
    # name: value, name=value, "name": "value", as headers, dicts and JSON are written; a scheme is no value.
    (
        re.compile(
            rf"(?<![\w-])((?=[\w-]*?(?:{_NAME}))[\w-]++[\"']?\s*+[:=]\s*+)"
            rf"(?!{CUT})(?!(?:bearer|basic|negotiate)\s+{CUT})"
            r"(?:b?\"[^\"]*+\"?|b?'[^']*+'?|(?:aws4[\w-]*\s+|bearer\s+|basic\s+)?[^\s\"',&;})\]]+)",
            re.IGNORECASE,
        ),
        rf"\1{CUT}",
    ),
    # A provider's key in a JSON body.
    (re.compile(r"([\"']key[\"']\s*:\s*)(?:\"[^\"]*+\"?|'[^']*+'?)"), rf"\1{CUT}"),
    # An exception's own words within somebody's repr.
    (re.compile(r"(\bexception=\w+)\(.*", re.DOTALL), rf"\1({CUT})"),
)
# Most of what is logged is an id, a word, or an event's name: short, and nothing in it that a secret begins with.
_PLAIN = re.compile(r"[A-Za-z0-9_]{0,39}|[a-z]{1,20}\.[a-z_]{1,30}")
_BEGINNINGS = ("whs", "sk", "eyJ", "AKIA", "ASIA", "AROA", "AIDA")
_SHORTEST = 8  # characters of a secret whose value is looked for
_DEEPEST, _MOST = 6, 200
_LONGEST = 8 * 1024  # characters of a text that are logged

_known: set[str] = set()


def hide(secrets: Iterable[str]) -> None:
    """Cut these very values out of everything that is logged from now on; those shorter than 8 characters are left alone."""
    _known.update(secret for secret in secrets if len(secret) >= _SHORTEST)


def secrets_of(settings: BaseModel) -> Iterator[str]:
    """Return every secret in settings, however deep."""
    for value in settings.__dict__.values():
        yield from _secrets_in(value)


def _secrets_in(value: Any) -> Iterator[str]:
    match value:
        case SecretStr():
            yield value.get_secret_value()
        case SecretBytes():
            yield value.get_secret_value().decode("latin-1")
        case BaseModel():
            yield from secrets_of(value)
        case Mapping():
            for each in value.values():
                yield from _secrets_in(each)
        case list() | tuple() | set() | frozenset():
            for each in value:
                yield from _secrets_in(each)


def scrub(text: str) -> str:
    """Return the text without what looks like a secret, or is one that is known; of a long one only the beginning."""
    for secret in _known:
        if secret in text:
            text = text.replace(secret, CUT)
    if _PLAIN.fullmatch(text) and "gr_" not in text and not text.startswith(_BEGINNINGS):
        return text
    if len(text) > _LONGEST:
        return f"{_cut_out(_beginning_of(text))} {CUT} ({len(text)} characters)"
    return _cut_out(text)


def _beginning_of(text: str) -> str:
    """Return whole words: the first half of a secret may not look like one."""
    *words, _ = re.split(r"(\s)", text[: _LONGEST + 1])
    return "".join(words[:-1])


def _cut_out(text: str) -> str:
    for pattern, replacement in _SECRETS:
        text = pattern.sub(replacement, text)
    return text


@lru_cache(1024)
def is_secret_name(name: str) -> bool:
    """Whether what goes by this name is a secret, whatever it looks like."""
    return name not in _HARMLESS and _SECRET_NAME.search(name) is not None


def clean(value: Any, depth: int = 0) -> Any:
    """Return what may be logged of a value: plain JSON, with every secret cut out of it.

    Only kinds of values that are known here are shown; of all others, of bytes and of exceptions too, only what they are.
    """
    match value:
        case None | bool():
            return value
        case Enum():
            return clean(value.value, depth)
        case str() | UUID() | date() | time() | timedelta() | Decimal() | PurePath():
            return scrub(str(value))
        case int():
            return int(value)
        case float():
            return float(value)
        case Mapping() | list() | tuple() | set() | frozenset():
            return CUT if depth >= _DEEPEST else _clean_inside(value, depth + 1)
        case _:
            return _say_what_it_is(value)


def _clean_inside(value: Any, depth: int) -> Any:
    if isinstance(value, Mapping):
        pairs = list(value.items())[:_MOST]
        return {scrub(str(clean(name, depth))): _clean_named(name, each, depth) for name, each in pairs}
    return [_clean_pair(each, depth) if _is_pair(each) else clean(each, depth) for each in list(value)[:_MOST]]


def _clean_named(name: object, value: Any, depth: int) -> Any:
    # `key` is what a provider calls its own; a log line's, at the top, is an object's in a bucket.
    hidden = (name == "key" or _names_a_secret(name)) and value is not None and not isinstance(value, bool)
    return CUT if hidden else clean(value, depth)


def _is_pair(value: Any) -> bool:
    """Whether it looks like a header: a name and a value."""
    return isinstance(value, list | tuple) and len(value) == len(("name", "value"))


def _clean_pair(pair: Any, depth: int) -> list[Any]:
    name, value = pair
    return [
        clean(name, depth),
        _clean_named(name, value, depth) if isinstance(name, str | bytes) else clean(value, depth),
    ]


def _names_a_secret(name: object) -> bool:
    text = name.decode("latin-1") if isinstance(name, bytes) else name
    return isinstance(text, str) and is_secret_name(text)


def _say_what_it_is(value: Any) -> str:
    if isinstance(value, bytes | bytearray | memoryview):
        return f"<{len(value)} bytes>"
    kind = type(value)
    # httpx's and yarl's, whose text is a URL.
    return scrub(str(value)) if kind.__name__ == "URL" else f"<{kind.__module__}.{kind.__qualname__}>"
