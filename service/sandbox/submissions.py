"""What a submit asks for, in words that all providers share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from service.sandbox.faults import Faults

Kind = Literal["image", "video", "audio"]
ImageType = Literal["png", "jpeg", "webp"]

_VIDEOS = ("video", "t2v", "i2v", "v2v", "r2v")
_AUDIOS = ("audio", "speech", "voice", "music", "tts")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """The files that shall be made.

    seed: -1 means a random one. source: the image to start from, of which `1 - strength` shows through; with a mask only
    its white part is drawn anew (`invert_mask`: its black part). resized: the source itself in another size, nothing drawn.
    encoded: the files hold base64 text of what they would be.
    """

    kind: Kind = "image"
    count: int = 1
    width: int = 512
    height: int = 512
    seed: int = -1
    image_type: ImageType = "png"
    source: bytes | None = field(default=None, repr=False)
    strength: float = 0.5
    mask: bytes | None = field(default=None, repr=False)
    invert_mask: bool = False
    resized: bool = False
    watermark: bool = False
    encoded: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """A submit that its provider would accept.

    caption: the prompt without fault markers. webhook_url: a secret as a rule. test_status: what a test-mode event shall
    claim; None when it is no test.
    """

    provider: str
    endpoint: str
    prompt: str
    caption: str
    faults: Faults
    wanted: Wanted
    webhook_url: str | None = field(default=None, repr=False)
    test_status: str | None = None


def kind_of(path: str) -> Kind:
    """Return what an endpoint makes, going by its name."""
    if any(word in path for word in _VIDEOS):
        return "video"
    return "audio" if any(word in path for word in _AUDIOS) else "image"


def find_prompt(request: dict[str, Any]) -> str:
    """Return the text that a request is about, in whichever of the usual fields; "" when there is none."""
    for name in ("prompt", "text", "prompts", "texts"):
        value = request.get(name)
        if isinstance(value, str):
            return value
        if isinstance(value, list):
            return " ".join(_text(item) for item in value)
    return ""


def _text(item: Any) -> str:
    if isinstance(item, dict):
        item = item.get("prompt", item.get("text"))
    return item if isinstance(item, str) else ""
