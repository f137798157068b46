"""Reference images: a URL that Novita fetches, or the image itself as a data URI, which is checked here.

What is behind a URL is checked by Novita alone: it may be gone, or another image, by the time it is fetched.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from pydantic_core import PydanticCustomError

from service.providers.fields import MIB, Base64Image
from service.providers.image_formats import Format, read_image_header
from service.providers.image_header import Size
from service.providers.replies import read_url

# The page has it in lower case.
DATA_URI = re.compile(r"data:image/([a-z]{1,8});base64,")
# Names that are not a format's own, but are seen everywhere.
ALIASES = {"jpg": "jpeg", "tif": "tiff"}
# "10 MB" on the page, taken as MiB: what lies between, Novita may judge.
CONTENT = Base64Image(10 * MIB)
MIN_SIDE = 15
MAX_PIXELS = 6000 * 6000
MAX_RATIO = 3


@dataclass(frozen=True, slots=True)
class Reference:
    """The check of one reference image; `formats` are those that the version reads."""

    formats: tuple[Format, ...]

    def check(self, text: str) -> str:
        """Return the text unchanged when it is a URL, or an image that keeps the limits."""
        if text[:5].lower() != "data:":
            if read_url(text) is None:
                raise _broken(f"must be an http or https URL, or {self._data_uri()}")
            return text
        match = DATA_URI.match(text)
        if match is None or ALIASES.get(match[1], match[1]) not in self.formats:
            raise _broken(f"must be {self._data_uri()}")
        self._check_content(CONTENT.decode(text[match.end() :]))
        return text

    def _check_content(self, data: bytes) -> None:
        header = read_image_header(data)
        if header is None:
            raise _broken(f"must be a whole image: {self._names()}")
        if header.format not in self.formats:
            raise _broken(f"must be an image of another format: {self._names()}, but is {header.format}")
        if rules := _broken_rules(header.size):
            raise _broken(f"must have {' and '.join(rules)}, but has {header.size[0]} x {header.size[1]} pixels")

    def _data_uri(self) -> str:
        return f"`data:image/<format>;base64,<base64>` with one of the formats {self._names()}"

    def _names(self) -> str:
        return ", ".join(self.formats)


def _broken_rules(size: Size) -> list[str]:
    short, long = sorted(size)
    rules = []
    if short < MIN_SIDE:
        rules.append(f"sides of more than {MIN_SIDE - 1} pixels")
    if long > MAX_RATIO * short:
        rules.append(f"an aspect ratio between 1/{MAX_RATIO} and {MAX_RATIO}")
    if short * long > MAX_PIXELS:
        rules.append("at most 6000 x 6000 pixels in all")
    return rules


def _broken(rule: str) -> PydanticCustomError:
    # This type's input is never shown, only its length: an image, or a URL with a signature.
    return PydanticCustomError("base64_image", "{rule}", {"rule": rule})
