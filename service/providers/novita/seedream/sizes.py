"""The `size` of Seedream's images: a word, or width and height in pixels."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pydantic_core import PydanticCustomError

# Six digits are more than any allowed side has, so that only what is no size at all is called that.
WIDTH_X_HEIGHT = re.compile(r"([1-9][0-9]{0,5})x([1-9][0-9]{0,5})")
MAX_RATIO = 16


@dataclass(frozen=True, slots=True)
class SizeLimits:
    """The words that one version understands, and the pixels in all (both ends included) of what it draws."""

    words: tuple[str, ...]
    min_pixels: int
    max_pixels: int

    @property
    def pattern(self) -> str:
        """Return the regular expression of both ways, for the JSON Schema."""
        return f"^({'|'.join(self.words)}|{WIDTH_X_HEIGHT.pattern})$"

    def check(self, text: str) -> str:
        """Return the text unchanged when it keeps the limits."""
        if text in self.words:
            return text
        match = WIDTH_X_HEIGHT.fullmatch(text)
        if match is None:
            raise _broken(f"must be {', '.join(self.words)}, or WIDTHxHEIGHT in pixels, such as 2048x2048")
        if rules := self._broken_rules(int(match[1]), int(match[2])):
            raise _broken(" and ".join(rules))
        return text

    def _broken_rules(self, width: int, height: int) -> list[str]:
        rules = []
        if not self.min_pixels <= width * height <= self.max_pixels:
            bounds = f"must have {self.min_pixels} to {self.max_pixels} pixels in all"
            rules.append(f"{bounds}, but has {width * height}")
        if width > MAX_RATIO * height or height > MAX_RATIO * width:
            rules.append(f"must have an aspect ratio between 1/{MAX_RATIO} and {MAX_RATIO}")
        return rules


def _broken(rule: str) -> PydanticCustomError:
    # The rule goes in as a value: pydantic would take braces in the template for placeholders.
    return PydanticCustomError("seedream_size", "{rule}", {"rule": rule})
