"""Takes a file from where it comes from into a bucket: looked at and digested as it passes, fixed before it appears.

A file up to `whole_bytes` is held whole and written with one request, a larger one goes through in parts. Either way memory
is reserved once, after its first few KiB and before the rest is read.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol, TypeVar

from service.outputs.bucket import S3, put_once
from service.outputs.files import File
from service.outputs.formats import Body, Family
from service.outputs.inspecting import Content, Inspector, Limits, wants_whole
from service.outputs.memory import Reservation
from service.outputs.multipart import Ledger, NotWanted, Proof, Upload, fit_part_bytes, open_upload
from service.outputs.spec import BucketSpec
from service.points import reach

HEAD_BYTES = 4096  # what is read before any memory is reserved: an HTML page is refused at once
_STEP = 2**18  # bytes that are asked for at a time, so that a file's own buffers stay small
_PROMPT = 3.0  # seconds within which nobody is taken for dead
_IN_THREAD = 2**20  # bytes from which digests are made in a thread; fewer take less than a millisecond

T = TypeVar("T")
Reserve = Callable[[int], AbstractAsyncContextManager[Reservation]]


@dataclass(frozen=True, slots=True)
class Sizes:
    """How a file of one kind is taken. limits: what it may have."""

    limits: Limits
    whole_bytes: int
    part_bytes: int
    parts_in_flight: int

    @property
    def fitting_part_bytes(self) -> int:
        """Return the size of a part, such that the largest file has no more parts than S3 takes."""
        return fit_part_bytes(self.part_bytes, self.limits.max_bytes)

    @property
    def passing_bytes(self) -> int:
        """Return how much of a file is in memory while it goes through in parts: those on their way, and one that is read."""
        return self.fitting_part_bytes * (self.parts_in_flight + 1)


@dataclass(frozen=True, slots=True)
class Written:
    """What is about to be written, or was.

    size: bytes. sha256: 32 raw bytes. mark, part_bytes, checksum: None for what is in one piece.
    """

    key: str
    size: int
    sha256: bytes
    content: Content
    mark: str | None = None
    part_bytes: int | None = None
    checksum: str | None = None


class Order(Ledger, Protocol):
    """One output that is to be written: its names, and what has to be committed on the way."""

    @property
    def metadata(self) -> Mapping[str, str]:
        """Return what the object's metadata says of where it comes from; ASCII."""
        ...

    def key_for(self, extension: str) -> str:
        """Return the object's key."""
        ...

    async def fix(self, written: Written) -> Written | None:
        """Commit what will be written, before it can be seen; None when it must not be written any more.

        The answer carries the mark that the object may have by another worker, too.
        """
        ...

    async def is_fixed(self, written: Written) -> bool:
        """Tell whether what was fixed is still to be written."""
        ...


async def transfer(
    s3: S3, spec: BucketSpec, file: File, kind: Family, *, sizes: Sizes, reserve: Reserve, order: Order
) -> Written | None:
    """Write a file into the bucket, once; returns what was written, None when it is not wanted any more.

    Raises OutputRefused, TruncatedOutput and what reading the file raises; DestinationConflict, DestinationDenied or
    DestinationUnavailable. After an error nothing is there but what was there before, and no upload is left open that the
    order does not know of.
    """
    head = await file.read(HEAD_BYTES)
    held_whole = wants_whole(head)
    most = sizes.limits.max_bytes if file.size is None else file.size
    one = _Transfer(s3, spec, file, kind, sizes, order, head)
    try:
        if held_whole or (file.size is not None and most <= sizes.whole_bytes):
            async with reserve(most) as reservation:
                return await one.whole(reservation, in_one_piece=held_whole)
        async with reserve(min(most, sizes.passing_bytes)) as reservation:
            return await one.in_parts(reservation)
    except NotWanted:
        return None


class _Transfer:
    """One file under way."""

    def __init__(
        self, s3: S3, spec: BucketSpec, file: File, kind: Family, sizes: Sizes, order: Order, head: bytearray
    ) -> None:
        self._s3, self._spec, self._file, self._order, self._sizes = s3, spec, file, order, sizes
        self._kind = kind
        self._head = head
        self._came = len(head)
        self._begin()
        self._look(head)

    def _begin(self) -> None:
        self._inspector = Inspector(self._kind, self._sizes.limits)
        self._digest = hashlib.sha256()

    async def whole(self, reservation: Reservation, *, in_one_piece: bool) -> Written | None:
        """Hold the file and write it with one request. in_one_piece: it can't be looked at piece by piece."""
        body = self._head
        await self._fill(body, self._sizes.limits.max_bytes + 1 if self._file.size is None else self._file.size)
        reservation.shrink(len(body))
        if in_one_piece:
            self._begin()
        return await self._put(body, 0 if in_one_piece else HEAD_BYTES)

    async def _put(self, body: bytearray, look_from: int) -> Written | None:
        content = await _in_thread_if_long(body, lambda: self._judge(body, look_from))
        reach("copy.downloaded")
        sha256 = self._digest.digest()
        key = self._order.key_for(content.extension)
        fixed = await self._fix(Written(key, len(body), sha256, content))
        if fixed is not None:
            await put_once(
                self._s3, self._spec, key, body, sha256=sha256, media_type=content.media_type,
                metadata=self._order.metadata, mark=fixed.mark,
            )  # fmt: skip
            reach("copy.put")
        return fixed

    async def in_parts(self, reservation: Reservation) -> Written | None:
        """Let the file through part by part; one whose size was not known, and that turns out to be small, is put whole."""
        part, self._head = self._head, bytearray()
        ended = await self._fill(part, self._sizes.fitting_part_bytes)
        if ended and self._file.size is None and len(part) <= self._sizes.whole_bytes:
            reservation.shrink(len(part))
            return await self._put(part, HEAD_BYTES)
        digest = await self._examine(part, HEAD_BYTES)
        content = self._inspector.content or self._inspector.finish()
        key = self._order.key_for(content.extension)
        async with open_upload(
            self._s3, self._spec, key, media_type=content.media_type, metadata=self._order.metadata, ledger=self._order,
            parts_in_flight=self._sizes.parts_in_flight,
        ) as upload:  # fmt: skip
            await upload.send(part, digest)
            del part
            if not ended:
                await self._send_rest(upload)
            await upload.land()
            return await self._complete(upload, key)

    async def _send_rest(self, upload: Upload) -> None:
        ended = False
        while not ended:
            part = bytearray()
            ended = await self._fill(part, self._sizes.fitting_part_bytes)
            if part:
                await upload.send(part, await self._examine(part, 0))

    async def _complete(self, upload: Upload, key: str) -> Written | None:
        reach("copy.downloaded")
        content, sha256 = self._inspector.finish(), self._digest.digest()
        part_bytes, checksum = self._sizes.fitting_part_bytes, upload.checksum
        fixed = await self._fix(Written(key, self._came, sha256, content, upload.mark, part_bytes, checksum))
        if fixed is not None:
            await upload.complete(self._spec, key, Proof(self._came, sha256, fixed.mark, checksum))
            reach("copy.put")
        return fixed

    async def _fix(self, written: Written) -> Written | None:
        began = time.monotonic()
        fixed = await self._order.fix(written)
        # Who was stopped meanwhile may have been taken for dead, and what it fixed may be fixed anew.
        if fixed is not None and time.monotonic() - began > _PROMPT and not await self._order.is_fixed(fixed):
            return None
        return fixed

    async def _fill(self, body: bytearray, size: int) -> bool:
        """Read until the body has a size; returns whether the file has surely ended with it."""
        while len(body) < size:
            asked = min(_STEP, size - len(body))
            piece = await self._file.read(asked)
            body += piece
            self._came += len(piece)
            if len(piece) < asked:
                return True
        return self._came == self._file.size

    async def _examine(self, part: bytearray, look_from: int) -> bytes:
        """Look at a part and return its digest. look_from: what of it was looked at before."""

        def examine() -> bytes:
            self._look_at(part, look_from)
            return hashlib.sha256(part).digest()

        return await _in_thread_if_long(part, examine)

    def _judge(self, body: bytearray, look_from: int) -> Content:
        self._look_at(body, look_from, whole=look_from == 0)
        return self._inspector.finish()

    def _look_at(self, body: bytearray, look_from: int, *, whole: bool = False) -> None:
        with memoryview(body) as view:
            self._look(view[look_from:], whole=whole)

    def _look(self, piece: Body | memoryview, *, whole: bool = False) -> None:
        self._inspector.feed(piece, whole=whole)
        self._digest.update(piece)


async def _in_thread_if_long(body: bytearray, act: Callable[[], T]) -> T:
    return act() if len(body) < _IN_THREAD else await asyncio.to_thread(act)
