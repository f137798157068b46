"""Connections to the bucket that break, in any request and in any part of it: one object comes of it, whole, or none."""

from __future__ import annotations

from random import Random

import pytest

from service.demo.s3server import S3Server
from tests.engine.shaky import SIZES, Shaky, Storm, shaky_world
from tests.faulty_s3 import (
    CONFLICT,
    EXPIRED_TOKEN,
    INTERNAL_ERROR,
    PLACES,
    SLOW_DOWN,
    Act,
    Cut,
    Error,
    FaultyS3,
    Request,
    Rule,
    Twice,
    Where,
)

REQUESTS = [
    ("small", "PutObject", None),
    ("large", "CreateMultipartUpload", None),
    ("large", "UploadPart", 1),
    ("large", "UploadPart", 2),
    ("large", "UploadPart", 3),
    ("large", "CompleteMultipartUpload", None),
]


# Once: botocore's own second try follows. Twice: ours does. Three times: after ours, botocore's.
@pytest.mark.parametrize("where", PLACES)
@pytest.mark.parametrize(("size", "operation", "part"), REQUESTS)
async def test_a_cut_in_any_request_and_place_leaves_one_whole_object(
    shaky: Shaky, size: str, operation: str, part: int | None, where: Where
) -> None:
    for times in (1, 2, 3):
        shaky.forget()
        rule = shaky.proxy.inject(Cut(where), operation, part=part, times=times)
        shaky.check_stored(await shaky.run(size), size)
        # What was written although nobody heard of it is not written again.
        assert rule.hits == times or (
            where in {"answer", "answered"} and operation in {"PutObject", "CompleteMultipartUpload"}
        )


@pytest.mark.parametrize("where", PLACES)
@pytest.mark.parametrize("size", SIZES)
async def test_a_cut_of_the_look_at_what_is_there_leaves_one_whole_object(
    shaky: Shaky, size: str, where: Where
) -> None:
    for times in (1, 2, 3):
        shaky.forget()
        write = "PutObject" if size == "small" else "CompleteMultipartUpload"
        shaky.proxy.inject(Cut("answer"), write, times=2)
        look = shaky.proxy.inject(Cut(where), "HeadObject", times=times)
        shaky.check_stored(await shaky.run(size), size)
        assert look.hits == times


@pytest.mark.parametrize("where", PLACES)
async def test_an_abort_that_is_cut_is_made_up_for_by_the_sweep(shaky: Shaky, where: Where) -> None:
    for times in (1, 2, 5):
        shaky.forget()
        shaky.proxy.inject(Error(403, "AccessDenied"), "UploadPart", part=2)
        abort = shaky.proxy.inject(Cut(where), "AbortMultipartUpload", times=times)
        job = await shaky.driven.drive(await shaky.copying("large"))
        assert job["error"]["code"] == "destination_denied"
        while await shaky.driven.sql("SELECT FROM uploads"):
            await shaky.sweep()
        assert abort.hits == times
        assert shaky.driven.keys() == []
        shaky.check_no_upload_is_open()


@pytest.mark.parametrize("size", SIZES)
async def test_a_request_that_arrives_twice_leaves_one_whole_object(shaky: Shaky, size: str) -> None:
    # Of an upload that is created twice without our knowledge only a life-cycle rule of the bucket would know.
    for operation in ("PutObject", "UploadPart", "CompleteMultipartUpload", "AbortMultipartUpload", "HeadObject"):
        shaky.proxy.inject(Twice(), operation, times=None)
    shaky.check_stored(await shaky.run(size), size)


@pytest.mark.parametrize("size", SIZES)
async def test_cuts_of_everything_for_a_while_leave_one_whole_object(shaky: Shaky, size: str) -> None:
    for where in PLACES:
        shaky.forget()
        shaky.proxy.rules.append(Storm(Cut(where), times=2))
        shaky.check_stored(await shaky.run(size), size)


ANYTHING: list[Act] = [
    *map(Cut, PLACES), Twice(), SLOW_DOWN, INTERNAL_ERROR, EXPIRED_TOKEN, CONFLICT,
    Error(500, "InternalError", done=True), Error(200, "InternalError", inside=True),
    Error(200, "InternalError", inside=True, done=True),
]  # fmt: skip


class Dice(Rule):
    """Throws something between every third or so of the first requests."""

    def __init__(self, seed: int, most: int = 40) -> None:
        super().__init__(SLOW_DOWN, times=most)
        self._random = Random(seed)

    def takes(self, request: Request) -> bool:
        """Whether this one is hit; decides by what."""
        if self.hits == self.times or self._random.random() > 0.35:
            return False
        self.hits += 1
        self.act = self._random.choice(ANYTHING)
        if isinstance(self.act, Error) and self.act.inside and request.operation == "HeadObject":
            return False  # a head has no inside: what came of it would be the head of another object
        return not (isinstance(self.act, Twice) and request.operation == "CreateMultipartUpload")


@pytest.mark.parametrize("seed", range(6))
async def test_trouble_of_all_kinds_in_any_order_leaves_whole_objects(
    seed: int, database_url: str, s3_server: S3Server, bucket: str, faulty_s3: FaultyS3, without_pauses: None
) -> None:
    patient = {"GENRELAY_OUTPUTS__MAX_ATTEMPTS": "60"}
    async with shaky_world(database_url, s3_server, bucket, faulty_s3, **patient) as shaky:
        for size in SIZES:
            shaky.forget()
            dice = Dice(seed)
            faulty_s3.rules.append(dice)
            job = await shaky.driven.drive(await shaky.copying(size, count=2))
            dice.times = dice.hits
            await shaky.sweep()
            shaky.check_stored(job, size, count=2)
            # The small ones have so few requests that some luck may spare them all.
            assert dice.hits > 0 or size == "small"
