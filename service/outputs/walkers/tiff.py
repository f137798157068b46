"""TIFF: its pages, each with an index that may lie anywhere in the file.

Not by Pillow: it reads every field of an index, also when 65,535 of them name the same 100 MB.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import iter_unpack, unpack_from

from service.outputs.walkers.picture import Picture
from service.outputs.walkers.steps import Walk, Whole

_WIDTH, _HEIGHT = 256, 257
_OFFSETS, _LENGTHS = (273, 324), (279, 325)  # of strips, of tiles
_WANTED = {_WIDTH, _HEIGHT, *_OFFSETS, *_LENGTHS}
_TYPES = {1: "B", 3: "H", 4: "I"}


def walk_tiff(picture: Picture) -> Walk:
    """Look at the file when it is there, and don't hold it any longer."""
    whole = Whole()
    yield whole
    with whole.body as body:
        _Pages(body, picture).check()


class _Field:
    """Where a field's numbers lie, and their format."""

    def __init__(self, start: int, count: int, code: str) -> None:
        self.start, self.count, self.code = start, count, code
        self.bytes = count * {"B": 1, "H": 2, "I": 4}[code]


class _Pages:
    """Reads a file's pages. What it reads is bounded by the file's length, so that nothing is read a thousand times."""

    def __init__(self, body: memoryview, picture: Picture) -> None:
        self._body, self._picture = body, picture
        self._order = "<" if bytes(body[:2]) == b"II" else ">"
        self._left = 2 * len(body)  # small fields are read twice: as part of the index, and for their numbers

    def check(self) -> None:
        """Go from page to page; raises OutputRefused or TruncatedOutput."""
        at, seen = self._number(4, "I"), set[int]()
        while at and at not in seen:
            seen.add(at)
            self._picture.check_frames(len(seen))
            fields, at = self._read_page(at)
            self._check_page(fields)
        if at or not seen:
            raise self._picture.damaged("its pages go round in circles" if at else "it holds no picture")
        self._picture.frames = len(seen)

    def _read_page(self, at: int) -> tuple[dict[int, _Field], int]:
        """Return the fields that matter, and where the next page's index is."""
        count = self._number(at, "H")
        entries = self._part(at + 2, count * 12)
        fields: dict[int, _Field] = {}
        for index, (tag, kind, number) in enumerate(iter_unpack(f"{self._order}HHI4x", entries)):
            if tag not in _WANTED:
                continue
            if tag in fields or kind not in _TYPES or not number:
                raise self._picture.damaged("its header can't be read")
            fields[tag] = self._field(at + 2 + index * 12 + 8, number, _TYPES[kind])
        return fields, self._number(at + 2 + count * 12, "I")

    def _field(self, at: int, count: int, code: str) -> _Field:
        field = _Field(at, count, code)
        if field.bytes > 4:  # then there is an offset instead
            field.start = self._number(at, "I")
        return field

    def _check_page(self, fields: dict[int, _Field]) -> None:
        if _WIDTH not in fields or _HEIGHT not in fields:
            raise self._picture.damaged("its header can't be read")
        width, height = (self._number(fields[tag].start, fields[tag].code) for tag in (_WIDTH, _HEIGHT))
        if self._picture.width is None:
            self._picture.measure(width, height)
        else:
            self._picture.check_size(width, height)
        for offsets, lengths in zip(_OFFSETS, _LENGTHS, strict=True):
            if offsets in fields and lengths in fields:
                self._check_pieces(fields[offsets], fields[lengths])

    def _check_pieces(self, offsets: _Field, lengths: _Field) -> None:
        end = len(self._body)
        pieces = zip(self._numbers(offsets), self._numbers(lengths), strict=False)
        if any(offset + length > end for (offset,), (length,) in pieces):
            raise self._picture.truncated()

    def _numbers(self, field: _Field) -> Iterator[tuple[int]]:
        return iter_unpack(self._order + field.code, self._part(field.start, field.bytes))

    def _number(self, at: int, code: str) -> int:
        self._part(at, 4 if code == "I" else 2)
        number: int = unpack_from(self._order + code, self._body, at)[0]
        return number

    def _part(self, at: int, length: int) -> memoryview:
        if at + length > len(self._body):
            raise self._picture.truncated()
        self._left -= length
        if self._left < 0:
            raise self._picture.damaged("parts of its index lie upon each other")
        return self._body[at : at + length]
