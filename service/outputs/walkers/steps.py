"""What a walk through a file can ask for next, and the walker that serves it from whatever pieces come.

A walk is a generator: it yields a step, and gets the step's bytes back once they have come, in however many pieces. So
a format is read like a file that lies there, while no more of it is held than the step asks for.
"""

from __future__ import annotations

import re
from collections.abc import Generator
from typing import Protocol

from service.outputs.errors import OutputRefused
from service.outputs.walkers.picture import Picture


class Step(Protocol):
    """Something to be done with the next bytes. done: it wants no more; result: what the walk gets for it."""

    done: bool
    result: bytes

    def take(self, view: memoryview, at: int) -> int:
        """Use bytes from `at` on, at least one; returns the position after them."""
        ...

    def end(self) -> bool:
        """Say whether the file may end here; `result` is set if it may."""
        ...


Walk = Generator[Step, bytes, None]


class Read:
    """Asks for some bytes, few enough to be held. exact: False when the file may end before or within them."""

    def __init__(self, size: int, *, exact: bool = True) -> None:
        self.done, self.result = size == 0, b""
        self._size, self._exact, self._held = size, exact, bytearray()

    def take(self, view: memoryview, at: int) -> int:
        """Hold bytes until there are enough."""
        piece = view[at : at + self._size - len(self._held)]
        self._held += piece
        if len(self._held) == self._size:
            self.done, self.result = True, bytes(self._held)
        return at + len(piece)

    def end(self) -> bool:
        """Return what came, unless that is too little."""
        self.result = bytes(self._held)
        return not self._exact


class Skip:
    """Asks for bytes to pass."""

    def __init__(self, size: int) -> None:
        self.done, self.result = size == 0, b""
        self._left = size

    def take(self, view: memoryview, at: int) -> int:
        """Pass over bytes."""
        step = min(self._left, len(view) - at)
        self._left -= step
        self.done = self._left == 0
        return at + step

    def end(self) -> bool:
        """Never: what was announced has not come."""
        return False


_NO_MARK = re.compile(rb"[^\xff]*+")


class SkipToMark:
    """Asks for bytes to pass up to the next FF, and for that one too."""

    done, result = False, b""

    def take(self, view: memoryview, at: int) -> int:
        """Pass over bytes."""
        match = _NO_MARK.match(view, at)
        assert match is not None
        self.done = match.end() < len(view)
        return match.end() + self.done

    def end(self) -> bool:
        """Never: there is no mark."""
        return False


# Whole sub-blocks, a byte of length and as many bytes each: 64 MB of the most spiteful ones pass in half a second, of
# common ones (255 bytes each) in 5 ms. A loop in Python would need several seconds, in which nothing else runs.
_SUB_BLOCKS = re.compile(
    b"(?s:%b)*+" % b"|".join(re.escape(bytes([size])) + b".{%d}" % size for size in (255, *range(1, 255)))
)


class SkipSubBlocks:
    """Asks for GIF's sub-blocks to pass, up to and with the empty one that ends them."""

    def __init__(self) -> None:
        self.done, self.result = False, b""
        self._left = 0  # of a sub-block that lies across two pieces

    def take(self, view: memoryview, at: int) -> int:
        """Pass over bytes."""
        if self._left:
            step = min(self._left, len(view) - at)
            self._left -= step
            return at + step
        match = _SUB_BLOCKS.match(view, at)
        assert match is not None
        if (at := match.end()) == len(view):
            return at
        self._left = view[at]
        self.done = self._left == 0
        return at + 1

    def end(self) -> bool:
        """Never: the empty one has not come."""
        return False


class Rest:
    """Asks for everything up to the end; its result are the last bytes, at most `keep`."""

    done, result = False, b""

    def __init__(self, keep: int = 0) -> None:
        self._keep, self._tail = keep, bytearray()

    def take(self, view: memoryview, at: int) -> int:
        """Keep the last bytes."""
        if self._keep:
            self._tail += view[max(at, len(view) - self._keep) :]
            del self._tail[: -self._keep]
        return len(view)

    def end(self) -> bool:
        """Return the last bytes."""
        self.result = bytes(self._tail)
        return True


class Whole:
    """Asks for all of the file at once, in `body`, which has to be released. Pieces are copied, but not a lent file."""

    done, result = False, b""

    def __init__(self) -> None:
        self.body = memoryview(b"")
        self._copy = bytearray()

    def lend(self, body: memoryview) -> None:
        """Take the whole file, which must stay as it is until the end."""
        self.body = body[:]

    def take(self, view: memoryview, at: int) -> int:
        """Copy a piece."""
        self._copy += view[at:]
        return len(view)

    def end(self) -> bool:
        """Put the file together."""
        self.body = self.body or memoryview(self._copy)
        return True


# A walk's steps cost a microsecond or two each. Real files have a few thousand; one made of empty chunks would have
# millions. So many are free, and one more for so many bytes.
_FREE_STEPS = 100_000
_BYTES_PER_STEP = 256


class Walker:
    """Serves one walk from the pieces of a file, whatever their sizes."""

    def __init__(self, walk: Walk, picture: Picture) -> None:
        self._walk, self._picture = walk, picture
        self._step: Step | None = next(walk)
        self._steps = self._position = 0

    def lend(self, view: memoryview) -> None:
        """Take the first piece, which is the whole file, and stays as it is until `finish`."""
        if isinstance(self._step, Whole):
            self._step.lend(view)
        else:
            self.feed(view)

    def feed(self, view: memoryview) -> None:
        """Take the next piece; raises OutputRefused as soon as the walk does."""
        at = 0
        while self._step is not None and at < len(view):
            after = self._step.take(view, at)
            self._position += after - at
            at = after
            while self._step is not None and self._step.done:
                self._proceed(self._step)

    def finish(self) -> None:
        """Tell the walk that this was all; raises OutputRefused or TruncatedOutput."""
        while self._step is not None:
            if not self._step.end():
                raise self._picture.truncated()
            self._proceed(self._step)

    def _proceed(self, step: Step) -> None:
        self._steps += 1
        if self._steps > _FREE_STEPS + self._position // _BYTES_PER_STEP:
            raise self._too_many_steps()
        try:
            self._step = self._walk.send(step.result)
        except StopIteration:
            self._step = None

    def _too_many_steps(self) -> OutputRefused:
        return self._picture.damaged("it consists of too many small pieces")
