"""A TIFF on its way into a bucket is held and looked at whole, however large it is."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count

import pytest

from service.outputs.errors import OutputRefused, TruncatedOutput
from service.outputs.files import InMemory
from service.outputs.formats import Body
from service.outputs.inspecting import Content, Limits
from service.outputs.memory import MemoryBudget
from service.outputs.s3_clients import Buckets
from service.outputs.spec import BucketSpec
from service.outputs.transfer import Sizes, Written, transfer
from tests.outputs.media import animation, picture

SIZES = Sizes(Limits(10 * 2**20, 10**7, 10), whole_bytes=2**16, part_bytes=5 * 2**20, parts_in_flight=1)
_numbers = count()


@dataclass
class Order:
    """One output without a job; no upload in parts belongs to it."""

    number: int = field(default_factory=lambda: next(_numbers))
    metadata: dict[str, str] = field(default_factory=dict)

    def key_for(self, extension: str) -> str:
        return f"tiff/{self.number}.{extension}"

    async def fix(self, written: Written) -> Written:
        return written

    async def begin(self, key: str) -> str:
        raise AssertionError(f"{key} goes in parts")

    async def name(self, upload_id: str) -> None:
        raise AssertionError(upload_id)

    async def doubt(self) -> None:
        raise AssertionError

    end = leave = doubt


class OfUnknownSize(InMemory):
    """A file that nobody announced a size of."""

    def __init__(self, body: Body) -> None:
        super().__init__(body)
        self.size = None  # type: ignore[assignment]


async def write(buckets: Buckets, spec: BucketSpec, body: bytes, *, announced: bool = True) -> tuple[Written, bytes]:
    """Return what was written, and what the bucket has."""
    budget = MemoryBudget(SIZES.limits.max_bytes)
    file = InMemory(body) if announced else OfUnknownSize(body)
    async with buckets.client(spec) as s3:
        written = await transfer(s3, spec, file, "image", sizes=SIZES, reserve=budget.reserve, order=Order())
        assert written is not None
        answer = await s3.get_object(Bucket=spec.bucket, Key=written.key)
        async with answer["Body"] as stream:
            return written, await stream.read()


@pytest.mark.parametrize("announced", [True, False])
async def test_tiff_larger_than_a_whole_file_may_be_is_written_whole(
    buckets: Buckets, spec: BucketSpec, *, announced: bool
) -> None:
    body = picture("TIFF", size=(1500, 1400))
    assert len(body) > SIZES.part_bytes
    written, stored = await write(buckets, spec, body, announced=announced)
    assert written.content == Content("image/tiff", "tiff", 1500, 1400, 1)
    assert written.size == len(body)
    assert stored == body


async def test_pages_of_a_tiff_are_counted_on_its_way(buckets: Buckets, spec: BucketSpec) -> None:
    written, _ = await write(buckets, spec, animation("TIFF", 7))
    assert written.content.frames == 7
    with pytest.raises(OutputRefused, match="more than 10 frames"):
        await write(buckets, spec, animation("TIFF", 11))


async def test_cut_tiff_is_not_written(buckets: Buckets, spec: BucketSpec) -> None:
    with pytest.raises(TruncatedOutput):
        await write(buckets, spec, picture("TIFF", size=(1500, 1400))[:-1000])
