"""What all sections of the settings share."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A section of the settings; immutable, and names that it does not know are told of elsewhere."""

    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)


def comparable_name(name: str) -> str:
    """Return an operation's name without its case and its signs: SEEDREAM_4_0, all a variable can say, is seedream-4.0."""
    return re.sub(r"[^a-z0-9]", "-", name.lower())


def split_list(value: object) -> object:
    """Return the parts of comma-separated text; anything else as it is."""
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return value


def check_origin(value: str) -> str:
    """Return an http(s) URL without its last slash; raises ValueError for one that carries more than a place."""
    parts = urlsplit(value)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("must be an http or https URL")
    if parts.port == 0:  # reading it raises ValueError for one that is no number up to 65535
        raise ValueError("must not have port 0")
    if parts.query or parts.fragment or parts.username:
        raise ValueError("must not carry a query, a fragment or user information")
    return value.rstrip("/")


def check_prefix(value: str) -> str:
    """Return a prefix of S3 keys without slashes around it and without empty segments; raises ValueError for a risky one."""
    segments = [segment for segment in value.split("/") if segment]
    prefix = "/".join(segments)
    if len(prefix) > 512 or not re.fullmatch(r"[A-Za-z0-9!_.*'()/-]*", prefix):
        raise ValueError("must be up to 512 letters, digits and any of ! _ . * ' ( ) - /")
    if any(segment in {".", ".."} for segment in segments):
        raise ValueError("must not contain the segments . and ..")
    return prefix
