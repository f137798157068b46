"""What is known of a file while it passes, held against the limits."""

from __future__ import annotations

from dataclasses import dataclass

from service.outputs.errors import OutputRefused, TruncatedOutput


@dataclass(frozen=True, slots=True)
class Limits:
    """What a file may be at most. max_pixels: width times height, of an animation's frames each."""

    max_bytes: int
    max_pixels: int
    max_frames: int


class Picture:
    """A file's dimensions in pixels and its number of frames, as far as they have been seen; none of them in a video."""

    def __init__(self, extension: str, limits: Limits) -> None:
        self.width: int | None = None
        self.height: int | None = None
        self.frames = 0
        self._extension, self._limits = extension, limits

    def measure(self, width: int, height: int) -> None:
        """Note the picture's size; raises OutputRefused when it is none, or too large."""
        self.check_size(width, height)
        self.width, self.height = width, height

    def check_size(self, width: int, height: int) -> None:
        """Raise OutputRefused when a size is none, or too large."""
        if width < 1 or height < 1:
            raise self.damaged("it has no pixels")
        most = self._limits.max_pixels
        if width * height > most:
            raise OutputRefused(f"the provider's image has {width} x {height} pixels, more than {most} altogether")

    def count_frame(self, left: int, top: int, width: int, height: int) -> None:
        """Note one more frame; raises OutputRefused for one too many, or one that is not within the picture."""
        self.frames += 1
        self.check_frames(self.frames)
        self.check_size(width, height)
        if left + width > (self.width or 0) or top + height > (self.height or 0):
            raise self.damaged("a frame lies outside of it")

    def check_frames(self, claimed: int) -> None:
        """Raise OutputRefused when there are too many frames."""
        if claimed > (most := self._limits.max_frames):
            raise OutputRefused(f"the provider's {self._extension} file has more than {most} frames")

    def damaged(self, why: str) -> OutputRefused:
        """Return the error for a file that is not what its format asks for."""
        return OutputRefused(f"the provider's {self._extension} file is damaged: {why}")

    def truncated(self) -> TruncatedOutput:
        """Return the error for a file that is not there to its end."""
        return TruncatedOutput(f"the provider's {self._extension} file ends too early")
