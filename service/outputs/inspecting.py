"""Looks at what a file is while it passes in pieces, by its content and not by its name, without decoding it."""

from __future__ import annotations

from dataclasses import dataclass

from service.outputs import formats
from service.outputs.errors import OutputRefused
from service.outputs.formats import Body, Family, Format
from service.outputs.walkers import WALKS
from service.outputs.walkers.picture import Limits, Picture
from service.outputs.walkers.steps import Walker

__all__ = ["Content", "Inspector", "Limits", "wants_whole"]

# What each kind of output may be; a short video may well be an animated picture.
_ALLOWED: dict[Family, tuple[Format, ...]] = {
    "image": (formats.JPEG, formats.PNG, formats.WEBP, formats.GIF, formats.BMP, formats.TIFF),
    "video": (formats.MP4, formats.WEBM, formats.GIF, formats.WEBP),
    "audio": (formats.WAV, formats.MP3),
}
_ARTICLES: dict[Family, str] = {"image": "an image", "video": "a video", "audio": "an audio file"}
_HEAD = 1024  # bytes by which a file is told


@dataclass(frozen=True, slots=True)
class Content:
    """What a file is.

    width and height: pixels of an image, frames: how many it has (1 for a still one); None for video and audio.
    """

    media_type: str
    extension: str
    width: int | None = None
    height: int | None = None
    frames: int | None = None


def wants_whole(head: Body) -> bool:
    """Say whether a file should be held and fed in one piece: TIFF, whose index may lie anywhere."""
    return formats.tell_format(head) is formats.TIFF


class Inspector:
    """Judges one file by its bytes, fed in order; the verdict is the same however they are cut.

    What it holds is bounded (64 KiB), except for a TIFF, which it copies unless that is fed whole. After an error it must
    not be used any more.
    """

    def __init__(self, kind: Family, limits: Limits) -> None:
        self._kind, self._limits = kind, limits
        self._head = bytearray()
        self._begun: _Begun | None = None
        self._size = 0

    def feed(self, chunk: Body | memoryview, *, whole: bool = False) -> None:
        """Look at the next bytes; raises OutputRefused as soon as they make clear that the file can't be stored.

        whole: these are all there are, and they stay as they are until `finish`, so that nothing has to be copied.
        """
        with memoryview(chunk) as view:
            most = self._limits.max_bytes
            # Up to the limit they are judged first, so that the reason does not depend on how the file was cut.
            self._walk(view[: most - self._size], whole=whole)
            self._size += len(view)
            if self._size > most:
                self._begin_if_not_begun()
                raise OutputRefused(f"the provider's file is larger than {most} bytes")

    def _walk(self, view: memoryview, *, whole: bool) -> None:
        if self._begun is not None:
            self._begun.walker.feed(view)
        elif len(self._head) + len(view) < _HEAD:
            self._head += view
        elif whole and not self._head:
            self._begun = _Begun(view[:_HEAD].tobytes(), self._kind, self._limits)
            self._begun.walker.lend(view)
        else:
            missing = _HEAD - len(self._head)
            self._head += view[:missing]
            self._begin_if_not_begun().walker.feed(view[missing:])

    def _begin_if_not_begun(self) -> _Begun:
        if self._begun is None:
            self._begun = _Begun(self._head, self._kind, self._limits)
            self._begun.walker.feed(memoryview(self._head))
        return self._begun

    @property
    def content(self) -> Content | None:
        """What the file is as far as it is known: None in its first KiB; no size before it came, no frames before the end."""
        return None if self._begun is None else self._begun.content(None)

    def finish(self) -> Content:
        """Return what the file is, now that it was fed to its end; raises OutputRefused or TruncatedOutput."""
        begun = self._begin_if_not_begun()
        begun.walker.finish()
        return begun.content(begun.picture.frames or None)


class _Begun:
    """A file whose format is known. Raises OutputRefused when it is none that is stored for this kind of output."""

    def __init__(self, head: Body, kind: Family, limits: Limits) -> None:
        told = formats.tell_format(head)
        if told is None:
            raise OutputRefused(f"the provider's file is {formats.describe_stranger(head)}, not {_ARTICLES[kind]}")
        if told not in _ALLOWED[kind]:
            raise OutputRefused(f"the provider's file is {told.media_type}, not {_ARTICLES[kind]}")
        self.told = told
        self.picture = Picture(told.extension, limits)
        self.walker = Walker(WALKS[told.extension](self.picture), self.picture)

    def content(self, frames: int | None) -> Content:
        return Content(self.told.media_type, self.told.extension, self.picture.width, self.picture.height, frames)
