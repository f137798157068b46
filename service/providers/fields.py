"""Kinds of field that several providers' bodies have: base64 images and URLs.

Each is a check for pydantic's `AfterValidator`: it returns its text unchanged, or raises PydanticCustomError with the
rule.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass

from pydantic_core import PydanticCustomError

from service.providers.image_header import read_image_size
from service.providers.replies import read_url

MIB = 2**20
ALPHABET = "must be base64: A-Z a-z 0-9 + /, padded with =, without line breaks"


@dataclass(frozen=True, slots=True)
class Base64Image:
    """An image in plain base64.

    max_bytes: of the decoded image. max_pixels: width times height of a PNG, JPEG or WEBP; None: the content is not
    looked at.
    """

    max_bytes: int
    max_pixels: int | None = None

    def check(self, text: str) -> str:
        """Return the text unchanged when it keeps the limits."""
        data = self.decode(text)
        if self.max_pixels is not None:
            _check_pixels(data, self.max_pixels)
        return text

    def decode(self, text: str) -> bytes:
        """Return the image's bytes when they are not too many; raises PydanticCustomError otherwise."""
        if text[:5].lower() == "data:":
            raise _broken("must be plain base64, without `data:image/…;base64,` in front")
        if not text:
            raise _broken("must not be empty")
        if len(text) > 4 * (self.max_bytes // 3 + 1):  # too large whatever it decodes to: don't decode it
            raise self._too_large()
        if len(text) % 4 or text.endswith("==="):  # Python forgives too much padding
            raise _broken(ALPHABET)
        try:
            data = base64.b64decode(text, validate=True)
        except (ValueError, binascii.Error):
            raise _broken(ALPHABET) from None
        if len(data) > self.max_bytes:
            raise self._too_large()
        return data

    def _too_large(self) -> PydanticCustomError:
        return _broken(f"must decode to at most {self.max_bytes // MIB} MiB")


def check_http_url(text: str) -> str:
    """Return the text unchanged when it is an absolute http(s) URL."""
    if read_url(text) is None:
        raise PydanticCustomError("http_url", "must be an http or https URL")
    return text


def _check_pixels(data: bytes, max_pixels: int) -> None:
    size = read_image_size(data)
    if size is None:
        raise _broken("must be a PNG, JPEG or WEBP image")
    if size[0] * size[1] > max_pixels:
        megapixels = max_pixels // 1_000_000
        raise _broken(f"must have at most {megapixels} megapixels, but has {size[0]} x {size[1]} pixels")


def _broken(rule: str) -> PydanticCustomError:
    # The rule goes in as a value: pydantic would take braces in the template for placeholders.
    return PydanticCustomError("base64_image", "{rule}", {"rule": rule})
