"""Files on their way through us into a bucket, whole or in parts, with the memory that was reserved for them."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import httpx
import pytest

from service.net import guarded_client
from service.outputs.download import download
from service.outputs.errors import OutputError, OutputRefused, SourceUnavailable, TruncatedOutput
from service.outputs.files import File, InMemory
from service.outputs.inspecting import Limits
from service.outputs.memory import MemoryBudget, Reservation
from service.outputs.multipart import fit_part_bytes
from service.outputs.s3_clients import Buckets
from service.outputs.spec import BucketSpec
from service.outputs.transfer import Sizes, Written, transfer
from tests.outputs.conftest import LOCAL
from tests.outputs.flowing import Source, flowing, picture
from tests.outputs.orders import NotedOrder, composite, find_uploads, head, list_keys, read_object
from tests.world import until

MIB = 2**20
WHOLE, PART = 2**16, 5 * MIB
SIZES = Sizes(Limits(max_bytes=64 * MIB, max_pixels=10**8, max_frames=10), WHOLE, PART, parts_in_flight=2)
IN_PARTS = ["begin", "name", "fix", "end"]
# The sweep aborts once more what was aborted while a part was on its way.
ABORTED = [["begin", "name", "end"], ["begin", "name", "leave"]]


class Ground:
    """A bucket to write into, and what is held in memory meanwhile."""

    def __init__(self, buckets: Buckets, spec: BucketSpec, client: httpx.AsyncClient) -> None:
        self.buckets, self.spec, self.client = buckets, spec, client
        self.budget = MemoryBudget(64 * MIB)
        self.reserved: list[int] = []

    @asynccontextmanager
    async def reserve(self, size: int) -> AsyncIterator[Reservation]:
        self.reserved.append(size)
        async with self.budget.reserve(size) as reservation:
            yield reservation

    async def take(self, file: File, order: NotedOrder, sizes: Sizes = SIZES) -> Written | None:
        async with self.buckets.client(self.spec) as s3:
            return await transfer(s3, self.spec, file, "image", sizes=sizes, reserve=self.reserve, order=order)

    async def fetch(self, source: Source, order: NotedOrder, sizes: Sizes = SIZES) -> Written | None:
        async with (
            flowing(source),
            download(self.client, source.url, policy=LOCAL, hosts=["*"], max_bytes=sizes.limits.max_bytes) as file,
        ):
            return await self.take(file, order, sizes)

    async def refuse(self, source: Source, order: NotedOrder, sizes: Sizes = SIZES) -> OutputError:
        with pytest.raises(OutputError) as refused:
            await self.fetch(source, order, sizes)
        await self.check_nothing_is_there()
        return refused.value

    async def check_nothing_is_there(self) -> None:
        async with self.buckets.client(self.spec) as s3:
            assert await list_keys(s3, self.spec) == []
            assert await find_uploads(s3, self.spec) == []
        assert (self.budget.held, self.budget.waiting) == (0, 0)


@pytest.fixture
async def ground(buckets: Buckets, spec: BucketSpec) -> AsyncIterator[Ground]:
    async with guarded_client(LOCAL) as client:
        yield Ground(buckets, spec, client)


@pytest.mark.parametrize("size", [WHOLE, PART + 1])
async def test_who_was_stopped_while_it_fixed_a_file_asks_once_more_before_it_writes(
    ground: Ground, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr("service.outputs.transfer._PROMPT", -1.0)
    lost = NotedOrder(loses=True)
    assert await ground.fetch(Source(picture(size)), lost) is None
    await ground.check_nothing_is_there()
    kept = NotedOrder()
    assert await ground.fetch(Source(picture(size)), kept) is not None
    assert lost.noted == kept.noted


async def test_who_was_not_stopped_does_not_ask(ground: Ground) -> None:
    order = NotedOrder(loses=True)
    assert await ground.fetch(Source(picture(WHOLE)), order) is not None
    assert order.noted == ["fix"]


_BOUNDARIES = [WHOLE - 1, WHOLE, WHOLE + 1, PART - 1, PART, PART + 1, 2 * PART - 1, 2 * PART, 2 * PART + 1]


@pytest.mark.parametrize("announced", [True, False])
@pytest.mark.parametrize("size", [100, *_BOUNDARIES])
async def test_file_of_any_size_arrives_as_it_is(ground: Ground, size: int, announced: bool) -> None:
    body, order = picture(size), NotedOrder()
    written = await ground.fetch(Source(body, announced), order)
    assert written is not None
    assert (written.size, written.sha256) == (size, hashlib.sha256(body).digest())
    assert order.noted == (["fix"] if size <= WHOLE else IN_PARTS)
    async with ground.buckets.client(ground.spec) as s3:
        assert await read_object(s3, ground.spec, order.key) == body
        assert await find_uploads(s3, ground.spec) == []
        found = await head(s3, ground.spec, order.key)
    if size <= WHOLE:
        assert found["Metadata"] == {**order.metadata, "sha256": hashlib.sha256(body).hexdigest()}
    else:
        assert found["Metadata"] == {**order.metadata, "genrelay-mark": order.mark}
        assert found["ChecksumSHA256"] == written.checksum == composite(body, PART)
        assert (written.part_bytes, written.mark) == (PART, order.mark)
    assert ground.budget.held == 0


@pytest.mark.parametrize(
    ("size", "announced", "reserved"),
    [
        (WHOLE, True, WHOLE),
        (WHOLE + 1, True, WHOLE + 1),
        (3 * PART, True, 3 * PART),
        (3 * PART + 1, True, 3 * PART),
        (100, False, 3 * PART),
        (3 * PART + 1, False, 3 * PART),
    ],
)
async def test_memory_is_reserved_once_and_by_the_formula(
    ground: Ground, size: int, announced: bool, reserved: int
) -> None:
    await ground.fetch(Source(picture(size), announced), NotedOrder())
    assert ground.reserved == [reserved]


async def test_what_is_no_picture_is_refused_before_memory_is_reserved(ground: Ground) -> None:
    page = b"<!doctype html><html>" + b" " * 3 * PART
    error = await ground.refuse(Source(page), NotedOrder())
    assert isinstance(error, OutputRefused)
    assert ground.reserved == []


async def test_what_ends_too_early_becomes_no_object_and_leaves_no_upload(ground: Ground) -> None:
    body = picture(2 * PART + 1000)
    for announced, kind in ((True, SourceUnavailable), (False, SourceUnavailable)):
        for cut_at in (2000, PART - 1, PART + 7, 2 * PART):
            order = NotedOrder()
            error = await ground.refuse(Source(body, announced, cut_at=cut_at), order)
            assert isinstance(error, kind)
            assert not error.final
            assert order.noted in (ABORTED if cut_at > PART else [[]])


@pytest.mark.parametrize("announced", [True, False])
@pytest.mark.parametrize("missing", [1, PART])
async def test_file_whose_content_ends_before_its_own_end_becomes_no_object(
    ground: Ground, announced: bool, missing: int
) -> None:
    order = NotedOrder()
    error = await ground.refuse(Source(picture(2 * PART + 1000)[:-missing], announced), order)
    assert isinstance(error, TruncatedOutput)
    assert order.noted == ["begin", "name", "end"]  # never fixed


async def test_file_that_grows_too_large_becomes_no_object(ground: Ground) -> None:
    sizes = replace(SIZES, limits=replace(SIZES.limits, max_bytes=2 * PART))
    error = await ground.refuse(Source(picture(3 * PART), announced=False), NotedOrder(), sizes)
    assert isinstance(error, OutputRefused)
    assert str(2 * PART) in error.message


@pytest.mark.parametrize("size", [WHOLE, 2 * PART])
async def test_file_that_is_not_wanted_any_more_is_not_written(ground: Ground, size: int) -> None:
    order = NotedOrder(refuses=True)
    assert await ground.fetch(Source(picture(size)), order) is None
    assert order.noted[-1] == ("fix" if size == WHOLE else "end")
    await ground.check_nothing_is_there()


@asynccontextmanager
async def taking_until(
    ground: Ground, source: Source, order: NotedOrder
) -> AsyncIterator[asyncio.Task[Written | None]]:
    """Begin to take a file, and go on once its source has stopped."""
    async with (
        flowing(source),
        download(ground.client, source.url, policy=LOCAL, hosts=["*"], max_bytes=64 * MIB) as file,
    ):
        taking = asyncio.create_task(ground.take(file, order))
        await source.stopped.wait()
        yield taking


async def test_parts_are_sent_while_the_file_still_comes(ground: Ground) -> None:
    source, order = Source(picture(3 * PART), stop_at=2 * PART + 100), NotedOrder()
    async with taking_until(ground, source, order) as taking, ground.buckets.client(ground.spec) as s3:

        async def two_parts_are_there() -> bool:
            for key, upload in await find_uploads(s3, ground.spec):
                found = await s3.list_parts(Bucket=ground.spec.bucket, Key=key, UploadId=upload)
                return len(found.get("Parts", ())) == 2
            return False

        await until(two_parts_are_there)
        assert ground.budget.held == 3 * PART
        source.go_on.set()
        assert await taking is not None


async def test_cancelled_in_the_middle_it_aborts_what_it_began(ground: Ground) -> None:
    source, order = Source(picture(3 * PART), stop_at=2 * PART + 100), NotedOrder()

    async def is_begun() -> bool:
        return "name" in order.noted

    async with taking_until(ground, source, order) as taking:
        await until(is_begun)
        taking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await taking
    assert order.noted in ABORTED
    await ground.check_nothing_is_there()


async def test_file_in_memory_goes_the_same_way(ground: Ground) -> None:
    for size in (1000, 2 * PART + 1):
        body, order = picture(size), NotedOrder()
        await ground.take(InMemory(body), order)
        async with ground.buckets.client(ground.spec) as s3:
            assert await read_object(s3, ground.spec, order.key) == body


@pytest.mark.parametrize(
    ("asked", "largest", "part_bytes"),
    [
        (5 * MIB, 50_000 * MIB, 5 * MIB),
        (5 * MIB, 50_000 * MIB + 1, 6 * MIB),
        (8 * MIB, 2 * 1024 * MIB, 8 * MIB),
        (5 * MIB, 5 * 2**40, 525 * MIB),
    ],
)
def test_parts_grow_where_the_largest_file_would_have_more_than_ten_thousand(
    asked: int, largest: int, part_bytes: int
) -> None:
    assert fit_part_bytes(asked, largest) == part_bytes
    assert -(-largest // part_bytes) <= 10_000
