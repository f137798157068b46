"""What Amazon's own S3 refuses always, so that it is told when a destination is put and not when its first job is paid."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from typing import Any

# https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObject.html, x-amz-storage-class (checked 2026-11)
STORAGE_CLASSES = (
    *("STANDARD", "REDUCED_REDUNDANCY", "STANDARD_IA", "ONEZONE_IA", "INTELLIGENT_TIERING", "GLACIER", "DEEP_ARCHIVE"),
    *("OUTPOSTS", "GLACIER_IR", "SNOW", "EXPRESS_ONEZONE", "FSX_OPENZFS"),
)
# https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html (checked 2026-11)
_PREFIXES = ("xn--", "sthree-")
_SUFFIXES = ("-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3")
_IPV4 = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}")
# https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-tagging.html (checked 2026-11): letters, spaces, numbers.
_TAG_CATEGORIES = frozenset("LZN")
_TAG_SIGNS = frozenset("_.:/=+-@")


def _check_bucket(name: str) -> str | None:
    if ".." in name:
        return "must not have two dots in a row"
    if _IPV4.fullmatch(name):
        return "must not look like an IP address"
    if name.startswith(_PREFIXES):
        return f"must not begin with any of {', '.join(_PREFIXES)}, which AWS keeps for itself"
    if name.endswith(_SUFFIXES):
        return f"must be a general purpose bucket: these don't end in any of {', '.join(_SUFFIXES)}"
    return None


def _check_storage_class(name: str | None) -> str | None:
    return None if name is None or name in STORAGE_CLASSES else f"must be one of {', '.join(STORAGE_CLASSES)}"


def _check_tags(tags: Mapping[str, str]) -> str | None:
    if any(key.lower().startswith("aws:") for key in tags):
        return "keys must not begin with aws:, which AWS keeps for itself"
    if not all(map(_is_of_a_tag, (*tags, *tags.values()))):
        return "keys and values may only hold letters, numbers, spaces and any of _ . : / = + - @"
    return None


def _is_of_a_tag(text: str) -> bool:
    return all(c in _TAG_SIGNS or unicodedata.category(c)[0] in _TAG_CATEGORIES for c in text)


AWS_RULES: Mapping[str, Callable[[Any], str | None]] = {
    "bucket": _check_bucket,
    "storage_class": _check_storage_class,
    "tags": _check_tags,
}
"""By the field of a destination: each returns the rule that a value breaks, None if it breaks none."""
