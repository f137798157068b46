"""Looks at what a downloaded file is, by its content and not by its name, without decoding it."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, cast

from PIL import BmpImagePlugin, GifImagePlugin, ImageFile, JpegImagePlugin, PngImagePlugin, TiffImagePlugin

from service.outputs import formats
from service.outputs.errors import OutputRefused, TruncatedOutput
from service.outputs.formats import Body, Family, Format

# What each kind of output may be; a short video may well be an animated picture.
_ALLOWED: dict[Family, tuple[Format, ...]] = {
    "image": (formats.JPEG, formats.PNG, formats.WEBP, formats.GIF, formats.BMP, formats.TIFF),
    "video": (formats.MP4, formats.WEBM, formats.GIF, formats.WEBP),
    "audio": (formats.WAV, formats.MP3),
}


@dataclass(frozen=True, slots=True)
class Content:
    """What a file is. width and height: pixels of an image, None for video and audio."""

    media_type: str
    extension: str
    width: int | None = None
    height: int | None = None


def inspect(body: Body, kind: Family, *, max_pixels: int) -> Content:
    """Return what the file is; raises OutputRefused or TruncatedOutput, and nothing else.

    max_pixels: cap on width times height of an image. Only headers are read, so it costs microseconds.
    """
    told = formats.tell_format(body)
    if told is None:
        raise OutputRefused(f"the provider's file is {formats.describe_stranger(body)}, not {_article(kind)}")
    if told not in _ALLOWED[kind]:
        raise OutputRefused(f"the provider's file is {told.media_type}, not {_article(kind)}")
    if not told.is_whole(body):
        raise TruncatedOutput(f"the provider's {told.extension} file ends too early")
    if told.family != "image":
        return Content(told.media_type, told.extension)
    width, height = _read_size(body, told)
    if width * height > max_pixels:
        raise OutputRefused(f"the provider's image has {width} x {height} pixels, more than {max_pixels} altogether")
    return Content(told.media_type, told.extension, width, height)


def _article(kind: Family) -> str:
    return {"image": "an image", "video": "a video", "audio": "an audio file"}[kind]


def _read_size(body: Body, told: Format) -> tuple[int, int]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of odd metadata, which is not ours to judge
            width, height = _SIZES[told.extension](body)
    except TruncatedOutput:
        raise
    except Exception:
        raise OutputRefused(f"the provider's {told.extension} file is damaged: its header can't be read") from None
    if width < 1 or height < 1:
        raise OutputRefused(f"the provider's {told.extension} file is damaged: it has no pixels")
    return width, height


def _by(plugin: type[ImageFile.ImageFile]) -> Callable[[Body], tuple[int, int]]:
    """Return a reader that uses Pillow's plugin itself: `Image.open` would add its own, global, pixel limit."""

    def read(body: Body) -> tuple[int, int]:
        with plugin(_open(body)) as image:
            return image.size

    return read


def _tiff_size(body: Body) -> tuple[int, int]:
    with TiffImagePlugin.TiffImageFile(_open(body)) as image:
        tags = image.tag_v2
        offsets = tags.get(273) or tags.get(324) or ()
        counts = tags.get(279) or tags.get(325) or ()
        if any(offset + count > len(body) for offset, count in zip(offsets, counts, strict=False)):
            raise TruncatedOutput("the provider's tiff file ends too early")
        return image.size


def _webp_size(body: Body) -> tuple[int, int]:
    """Read the size out of the first chunk, since Pillow hands the whole file to libwebp, which makes room for it."""
    chunk, data = bytes(body[12:16]), bytes(body[20:30])
    if len(data) < 10:
        raise ValueError("no header")
    if chunk == b"VP8X":
        return int.from_bytes(data[4:7], "little") + 1, int.from_bytes(data[7:10], "little") + 1
    if chunk == b"VP8L" and data[0] == 0x2F:
        bits = int.from_bytes(data[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if chunk == b"VP8 " and data[3:6] == b"\x9d\x01\x2a":
        return int.from_bytes(data[6:8], "little") & 0x3FFF, int.from_bytes(data[8:10], "little") & 0x3FFF
    raise ValueError("no header")


_SIZES: dict[str, Callable[[Body], tuple[int, int]]] = {
    "jpeg": _by(JpegImagePlugin.JpegImageFile),
    "png": _by(PngImagePlugin.PngImageFile),
    "gif": _by(GifImagePlugin.GifImageFile),
    "bmp": _by(BmpImagePlugin.BmpImageFile),
    "tiff": _tiff_size,
    "webp": _webp_size,
}


class _View(io.RawIOBase):
    """Reads a body without copying it, as `io.BytesIO` would do with a bytearray."""

    def __init__(self, body: Body) -> None:
        self._view = memoryview(body)
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: len(self._view)}[whence]
        self._position = max(0, start + offset)
        return self._position

    def read(self, size: int = -1) -> bytes:
        end = len(self._view) if size is None or size < 0 else self._position + size
        chunk = bytes(self._view[self._position : end])
        self._position += len(chunk)
        return chunk


def _open(body: Body) -> IO[bytes]:
    return cast("IO[bytes]", _View(body))
