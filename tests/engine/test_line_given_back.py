"""Turns in line that are given back: what a provider refused, what was not sent, what came too late."""

from __future__ import annotations

from service.engine.dispatch import Dispatcher
from service.engine.submit import submit
from tests.engine.conftest import Limited
from tests.engine.driven import Driven, uuid
from tests.engine.lining import (
    TXT2IMG,
    WHOLE,
    a_minute_later,
    granted,
    ids,
    next_round,
    queue,
    waiting,
)
from tests.world import free_port


async def test_a_429_gives_the_turn_back_and_nobody_goes_until_the_told_time_is_over(two_at_a_time: Driven) -> None:
    driven = two_at_a_time
    refused, other = await driven.sent("a lighthouse [fault:429, retry_after=9]"), await driven.sent()
    third = await driven.sent()
    assert await next_round(driven) == ids([refused, other])
    row = await driven.row(refused)
    assert (row.status, row.due_at, row.tries) == ("queued", row.deadline_at, 1)
    # The other's turn came at the same time, but nothing was sent any more.
    assert await waiting(driven) == ids([refused, other, third])
    assert driven.sandbox.submits == []
    assert await next_round(driven) == []
    [lane] = await driven.sql("SELECT paused_until - now() AS pause FROM lanes WHERE operation = 'txt2img'")
    assert 7 < lane["pause"].total_seconds() <= 9
    driven.pass_time(9)
    assert await next_round(driven) == [], "the other processes' clock says so too"
    await driven.sql("UPDATE lanes SET paused_until = now()")
    await driven.sql("UPDATE line SET not_before = now() WHERE not_before IS NOT NULL")
    assert await next_round(driven) == ids([refused, other]), "at their old places"


async def test_a_429_without_a_time_pauses_the_lane_for_two_seconds_at_most_and_longer_each_time(
    two_at_a_time: Driven,
) -> None:
    driven = two_at_a_time
    await driven.sent("a lighthouse [fault:429=4]")
    pauses = []
    for _ in range(4):
        assert len(await next_round(driven)) == 1
        [row] = await driven.sql(
            "SELECT extract(epoch FROM paused_until - now())::float8 AS s FROM lanes WHERE operation <> ''"
        )
        pauses.append(row["s"])
        await driven.sql("UPDATE lanes SET paused_until = now()")
        await driven.sql("UPDATE line SET not_before = now()")
        driven.pass_time(60)
    assert pauses[0] <= 2
    assert pauses == sorted(pauses)
    assert pauses[-1] > 4


async def test_what_was_not_even_sent_does_not_count_as_images(limited: Limited) -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    async with limited(**{TXT2IMG + "IMAGES_PER_MINUTE": "1", WHOLE + "BASE_URL": nobody}) as driven:
        job = await driven.sent()
        assert await next_round(driven) == [uuid(job)]
        assert (await waiting(driven), await driven.sql("SELECT FROM grants")) == ([uuid(job)], [])


async def test_a_429_counts_as_images_for_nobody_knows_whether_the_provider_counts_it(limited: Limited) -> None:
    async with limited(**{TXT2IMG + "IMAGES_PER_MINUTE": "1"}) as driven:
        await driven.sent("a lighthouse [fault:429]")
        await next_round(driven)
        assert len(await driven.sql("SELECT FROM grants")) == 1


async def test_a_submit_that_is_sent_again_needs_a_turn_of_its_own(limited: Limited) -> None:
    async with limited(**{TXT2IMG + "IMAGES_PER_MINUTE": "1"}) as driven:
        job = await driven.sent("a lighthouse [fault:500_after] [fault:lost] [fault:no_echo]", on_unclear="resubmit")
        await next_round(driven)
        await driven.step(job)  # the unknown time is over
        await driven.make_due(job)
        assert (await driven.row(job)).status == "queued"
        assert await next_round(driven) == []
        await a_minute_later(driven)
        assert await next_round(driven) == [uuid(job)]
        assert len(driven.sandbox.submits) == 2


async def test_a_grant_that_is_used_late_is_given_back_for_its_images_would_come_with_the_next_minutes(
    limited: Limited,
) -> None:
    async with limited(**{TXT2IMG + "IMAGES_PER_MINUTE": "4"}) as driven:
        jobs = ids(await queue(driven, 8))
        await Dispatcher(driven.context).round()
        assert await granted(driven) == jobs[:4]
        # The hints die with the process, and the sweep finds the jobs a minute later.
        await a_minute_later(driven)
        await driven.sql("UPDATE jobs SET due_at = now(), nudged_at = NULL WHERE id = ANY($1)", jobs[:4])
        driven.pass_time(71)
        for job in jobs[:4]:
            await submit(driven.context, job)
        assert (await waiting(driven), driven.sandbox.submits) == (jobs, []), "at their old places"
        assert await driven.sql("SELECT FROM grants") == []
        assert await next_round(driven) == jobs[:4]


async def test_a_late_start_of_a_granted_job_is_no_different(two_at_a_time: Driven) -> None:
    driven = two_at_a_time
    job = await driven.sent("a lighthouse [fault:stuck]")
    await Dispatcher(driven.context).round()
    await driven.sql("UPDATE jobs SET starts = 1")
    await driven.sql("UPDATE line SET granted_at = granted_at - interval '6 seconds'")
    await submit(driven.context, uuid(job))
    assert (await waiting(driven), driven.sandbox.submits) == ([uuid(job)], [])


async def test_a_granted_job_that_finds_this_process_gate_closed_waits_again_and_its_images_do_not_count(
    limited: Limited,
) -> None:
    async with limited(**{TXT2IMG + "IMAGES_PER_MINUTE": "5"}) as driven:
        job = await driven.sent()
        await Dispatcher(driven.context).round()
        driven.context.gates.submits("novita", "txt2img").pause(30)
        await submit(driven.context, uuid(job))
        assert (await waiting(driven), await driven.sql("SELECT FROM grants")) == ([uuid(job)], [])
        assert driven.sandbox.submits == []
        driven.pass_time(31)
        assert await next_round(driven) == [uuid(job)]
