"""Limits and breaker for calls that are carried apart from their tasks, and for ModelsLab's own way to count images."""

from __future__ import annotations

from typing import Any

from tests.engine.conftest import Limited
from tests.engine.driven import Driven, uuid
from tests.engine.lining import a_minute_later, ids, next_round, waiting
from tests.engine.test_calls import reached, seedream
from tests.engine.test_modelslab_jobs import modelslab

SEEDREAM = "GENRELAY_PROVIDERS__NOVITA__OPERATIONS__SEEDREAM_4_0__"
TEXT2IMG = "GENRELAY_PROVIDERS__MODELSLAB__OPERATIONS__TEXT2IMG__"


async def counted(driven: Driven) -> list[int]:
    """Return how many images were counted for each job that was granted its turn, in the order of the jobs."""
    return [row["images"] for row in await driven.sql("SELECT images FROM grants ORDER BY job_id")]


async def test_a_call_holds_its_slot_until_its_end_and_the_next_goes_then(limited: Limited) -> None:
    async with limited(**{SEEDREAM + "CONCURRENCY": "1"}) as driven:
        jobs = [await driven.sent(**seedream("a lighthouse [fault:held]")) for _ in range(3)]
        assert await next_round(driven) == [uuid(jobs[0])]
        first = await reached(driven)
        assert await next_round(driven) == []
        driven.sandbox.release(first)
        await driven.context.calls.wait()
        assert (await driven.job(jobs[0]))["status"] == "copying", "its copy needs no slot"
        assert await next_round(driven) == [uuid(jobs[1])]
        second = await reached(driven, 2)
        assert await next_round(driven) == []
        await driven.cancel(jobs[1])
        await driven.context.calls.wait()
        assert await next_round(driven) == [uuid(jobs[2])]
        for task in (second, await reached(driven, 3)):
            driven.sandbox.release(task)
        await driven.context.calls.wait()
        assert await waiting(driven) == []


async def test_a_call_takes_as_many_images_of_the_rate_as_it_may_make(limited: Limited) -> None:
    whatever: dict[str, Any] = seedream("a lighthouse [fault:no_outputs]")
    whatever["input"]["sequential_image_generation"] = "auto"
    async with limited(**{SEEDREAM + "IMAGES_PER_MINUTE": "18"}) as driven:
        most = await driven.sent(**whatever)
        three = await driven.sent(**seedream("a harbour [fault:no_outputs]", images=3))
        one = await driven.sent(**seedream("a ship [fault:no_outputs]"))
        assert await next_round(driven) == ids([most, three])
        assert await counted(driven) == [15, 3]
        assert await next_round(driven) == []
        await a_minute_later(driven)
        assert await next_round(driven) == [uuid(one)]
        await driven.context.calls.wait()


async def test_samples_given_as_text_count_as_so_many_images_of_the_rate(limited: Limited) -> None:
    async with limited(**{TEXT2IMG + "IMAGES_PER_MINUTE": "8"}) as driven:
        four = [await driven.sent(**modelslab("a lighthouse [fault:stuck]", samples="4")) for _ in range(2)]
        one = await driven.sent(**modelslab("a harbour [fault:stuck]"))
        assert await next_round(driven) == ids(four)
        assert await counted(driven) == [4, 4]
        assert await next_round(driven) == []
        await a_minute_later(driven)
        assert await next_round(driven) == [uuid(one)]
        assert await counted(driven) == [4, 4, 1]


async def test_five_calls_that_fail_keep_the_sixth_job_in_line_and_nobody_else(driven: Driven) -> None:
    for _ in range(5):
        await driven.sent(**seedream("a lighthouse [fault:500_before]"))
        await driven.context.calls.wait()
    gate = driven.context.gates.submits("novita", "seedream-4.0")
    assert gate.trouble
    sixth = await driven.sent(**seedream("a harbour"))
    assert (sixth["status"], await waiting(driven)) == ("queued", [uuid(sixth)])
    assert await driven.sql("SELECT FROM attempts WHERE job_id = $1", uuid(sixth)) == []
    assert await next_round(driven) == []
    assert (await driven.drive(await driven.called_back()))["status"] == "succeeded"
    driven.pass_time(gate.opens_in)
    assert await next_round(driven) == [uuid(sixth)]
    await driven.context.calls.wait()
    assert ((await driven.job(sixth))["status"], gate.trouble) == ("copying", "")
