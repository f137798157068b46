"""The line: what can't go to its provider now waits for its turn, and loses nothing by it."""

from __future__ import annotations

import asyncio
from uuid import UUID

from service.db.sql import queries
from service.demo.s3server import S3Server
from service.engine.dispatch import Dispatcher
from service.engine.housekeeping import keep_house
from service.engine.starting import bury
from service.engine.submit import submit
from tests.engine.conftest import Limited
from tests.engine.driven import Driven, driven_world, uuid
from tests.engine.lining import (
    TXT2IMG,
    WHOLE,
    a_minute_later,
    granted,
    ids,
    next_round,
    queue,
    upscale,
    waiting,
)
from tests.world import running_world, txt2img, until


async def test_without_limits_nobody_waits_in_line(driven: Driven) -> None:
    await queue(driven, 3)
    assert len(driven.sandbox.submits) == 3
    assert await driven.sql("SELECT FROM line") == await driven.sql("SELECT FROM grants") == []


async def test_a_limited_job_waits_until_it_is_granted_its_turn_and_is_due_at_its_deadline_only(
    two_at_a_time: Driven,
) -> None:
    driven = two_at_a_time
    job = await driven.sent()
    row = await driven.row(job)
    assert (job["status"], row.due_at, row.nudged_at) == ("queued", row.deadline_at, None)
    assert await waiting(driven) == [uuid(job)]
    assert driven.sandbox.submits == []
    assert await next_round(driven) == [uuid(job)]
    assert (await driven.drive(job))["status"] == "succeeded"
    assert await driven.sql("SELECT FROM line") == []


async def test_no_more_jobs_than_allowed_are_at_the_provider_and_each_that_leaves_makes_room_for_one(
    two_at_a_time: Driven,
) -> None:
    driven = two_at_a_time
    jobs = await queue(driven, 5, "a lighthouse [fault:held]")
    assert await next_round(driven) == ids(jobs[:2])
    assert await next_round(driven) == []
    first = await driven.job(jobs[0])
    driven.sandbox.release(first["provider_task_id"])
    await driven.wait_for_callbacks(first)
    assert (await driven.settle(first))["status"] == "copying", "its copy needs no slot"
    assert await next_round(driven) == [uuid(jobs[2])]
    await driven.cancel(jobs[1])
    await driven.cancel(jobs[4])
    assert await next_round(driven) == [uuid(jobs[3])]
    assert await waiting(driven) == []


async def test_a_submit_whose_outcome_is_unclear_keeps_its_slot(two_at_a_time: Driven) -> None:
    driven = two_at_a_time
    await queue(driven, 3, "a lighthouse [fault:500_after] [fault:lost]")
    assert len(await next_round(driven)) == 2
    assert await next_round(driven) == []


async def test_images_are_counted_by_the_minute(limited: Limited) -> None:
    async with limited(**{TXT2IMG + "IMAGES_PER_MINUTE": "10"}) as driven:
        eight = await driven.sent(input=txt2img("a lighthouse [fault:stuck]", image_num=8))
        one, three = await driven.sent(), await driven.sent(input=txt2img("a harbour [fault:stuck]", image_num=3))
        small = await driven.sent()
        # The last one would fit, but those with many images would wait for ever behind those with few.
        assert await next_round(driven) == ids([eight, one])
        assert await next_round(driven) == []
        await a_minute_later(driven)
        assert await next_round(driven) == ids([three, small])


async def test_a_job_with_more_images_than_the_limit_goes_when_nothing_else_has_gone(limited: Limited) -> None:
    async with limited(**{TXT2IMG + "IMAGES_PER_MINUTE": "2"}) as driven:
        small = await driven.sent("a lighthouse [fault:stuck]")
        big = await driven.sent(input=txt2img("a lighthouse [fault:stuck]", image_num=4))
        assert await next_round(driven) == [uuid(small)]
        assert await next_round(driven) == []
        await a_minute_later(driven)
        assert await next_round(driven) == [uuid(big)]
        await driven.sent()
        assert await next_round(driven) == [], "four images count as four"


async def test_the_dispatcher_sleeps_until_the_window_frees(limited: Limited) -> None:
    async with limited(**{TXT2IMG + "IMAGES_PER_MINUTE": "2"}) as driven:
        dispatcher = Dispatcher(driven.context)
        await queue(driven, 3)
        assert len(await next_round(driven, dispatcher)) == 2
        assert await next_round(driven, dispatcher) == []
        gate = driven.context.gates.submits("novita", "txt2img")
        assert gate.is_blocked
        assert 65 < gate.blocked_for <= 70
        driven.context.gates.bell.clear()
        await driven.sent()
        assert not driven.context.gates.bell.is_set(), "whoever joins can't go earlier"


async def test_a_providers_own_limit_holds_over_all_its_operations_beside_theirs(limited: Limited) -> None:
    async with limited(**{WHOLE + "CONCURRENCY": "3", TXT2IMG + "CONCURRENCY": "1"}) as driven:
        drawn = ids(await queue(driven, 3))
        enlarged = ids([await driven.sent(operation="upscale", input=upscale()) for _ in range(4)])
        gone = await next_round(driven)
        assert (len(set(gone) & set(drawn)), len(set(gone) & set(enlarged))) == (1, 2)
        assert await next_round(driven) == []


async def test_operations_take_turns_under_their_providers_limit(limited: Limited) -> None:
    async with limited(**{WHOLE + "IMAGES_PER_MINUTE": "1"}) as driven:
        drawn = ids(await queue(driven, 3))
        enlarged = uuid(await driven.sent(operation="upscale", input=upscale()))
        gone = []
        for _ in range(2):
            gone += await next_round(driven)
            await a_minute_later(driven)
        assert set(gone) == {drawn[0], enlarged}


async def test_a_canceled_job_leaves_the_line_and_its_retry_joins_it_anew(two_at_a_time: Driven) -> None:
    driven = two_at_a_time
    jobs = await queue(driven, 2)
    await driven.cancel(jobs[0])
    assert await waiting(driven) == [uuid(jobs[1])]
    assert (await driven.retry(jobs[0])).status_code == 202
    await submit(driven.context, uuid(jobs[0]))
    assert await waiting(driven) == ids([jobs[1], jobs[0]])
    assert await next_round(driven) == ids([jobs[1], jobs[0]])


async def test_a_job_that_waits_in_line_ends_at_its_deadline(two_at_a_time: Driven) -> None:
    driven = two_at_a_time
    jobs = await queue(driven, 3)
    await next_round(driven)
    await driven.later(jobs[2], 3600)
    await driven.sql("UPDATE line SET until = now() WHERE granted_at IS NULL")
    assert await next_round(driven) == []
    assert await driven.step(jobs[2])
    job = await driven.job(jobs[2])
    assert (job["status"], job["error"]["code"]) == ("failed", "deadline_exceeded")
    assert await driven.types(job) == ["job.queued", "job.failed"]
    assert await waiting(driven) == []


async def test_those_whose_deadline_has_passed_do_not_hold_the_others_up(two_at_a_time: Driven) -> None:
    driven = two_at_a_time
    late, job = await driven.sent(), await driven.sent()
    await driven.sql("UPDATE line SET until = now() WHERE job_id = $1", uuid(late))
    assert await next_round(driven) == [uuid(job)]
    assert await waiting(driven) == []


async def test_those_whose_deadline_has_passed_are_hinted_at_and_the_next_are_looked_at_at_once(
    two_at_a_time: Driven,
) -> None:
    driven, dispatcher = two_at_a_time, Dispatcher(two_at_a_time.context)
    late = await driven.sent()
    await driven.sql("UPDATE line SET until = now() WHERE job_id = $1", uuid(late))
    await driven.sql("DELETE FROM pgqueuer")
    assert await next_round(driven, dispatcher) == []
    [task] = await driven.sql("SELECT entrypoint, payload FROM pgqueuer")
    assert (task["entrypoint"], task["payload"]) == ("submit", uuid(late).bytes)
    assert not driven.context.gates.submits("novita", "txt2img").is_blocked


async def test_a_place_of_a_job_that_has_gone_without_it_is_dropped_and_holds_nobody_up(two_at_a_time: Driven) -> None:
    driven = two_at_a_time
    gone, job = await queue(driven, 2)
    await driven.sql(
        "UPDATE jobs SET status = 'canceled', completed_at = now(), due_at = NULL WHERE id = $1", uuid(gone)
    )
    assert await next_round(driven) == [uuid(job)]
    assert await waiting(driven) == []


async def test_a_job_that_somebody_has_locked_is_not_tried_again_and_again(two_at_a_time: Driven) -> None:
    driven = two_at_a_time
    [job] = await queue(driven, 1)
    async with driven.service.pool.acquire() as other, other.transaction():
        await queries().lock_job(other, id=uuid(job))
        assert await next_round(driven) == []
        gate = driven.context.gates.submits("novita", "txt2img")
        assert 0 < gate.blocked_for <= 0.5
        assert await driven.sql("SELECT FROM lanes WHERE turn <> ''") == [], "nobody was served"
    assert gate.free() == gate.room.size, "no place is kept for it"
    assert await next_round(driven) == [uuid(job)]


async def test_no_more_jobs_are_granted_than_this_process_can_take_up_at_once(limited: Limited) -> None:
    async with limited(**{TXT2IMG + "CONCURRENCY": "9"}) as driven:
        jobs = ids(await queue(driven, 3))
        ran, leave = asyncio.Queue[UUID](), asyncio.Event()

        async def run(_task: str, job_id: UUID) -> None:
            await ran.put(job_id)
            await leave.wait()
            driven.context.gates.ring()

        driven.context.nearby.open(run, {"provider": 1}, {"submit": "provider"})
        dispatcher = Dispatcher(driven.context)
        await dispatcher.round()
        assert await ran.get() == jobs[0]
        await dispatcher.round()
        assert await waiting(driven) == jobs[1:]
        driven.context.gates.bell.clear()
        leave.set()
        await driven.context.gates.bell.wait()
        await dispatcher.round()
        assert await ran.get() == jobs[1]
        await driven.context.nearby.close()


async def test_a_test_job_needs_no_turn_and_takes_nobodys(two_at_a_time: Driven) -> None:
    driven = two_at_a_time
    await queue(driven, 3)
    await next_round(driven)
    mock = await driven.sent(test_mode={"enabled": True})
    assert mock["status"] == "running"
    assert len(await waiting(driven)) == 1


async def test_a_job_that_is_given_up_holds_no_slot(two_at_a_time: Driven) -> None:
    driven = two_at_a_time
    job = await driven.sent()
    await Dispatcher(driven.context).round()
    await bury(driven.context, "submit", uuid(job), "it crashes whoever takes it up")
    assert await driven.sql("SELECT FROM line") == []


async def test_the_housekeeping_forgets_grants_and_places_that_have_had_their_time(two_at_a_time: Driven) -> None:
    driven = two_at_a_time
    done, job = await queue(driven, 2)
    await driven.sql(
        "UPDATE jobs SET status = 'canceled', completed_at = now(), due_at = NULL WHERE id = $1", uuid(done)
    )
    await driven.sql(
        "INSERT INTO grants SELECT gen_random_uuid(), 'novita', 'txt2img', gen_random_uuid(), 1,"
        " now() - make_interval(mins => n) FROM generate_series(0, 9) n"
    )
    await keep_house(driven.context)
    assert await waiting(driven) == [uuid(job)]
    assert len(await driven.sql("SELECT FROM grants")) == 5


async def test_a_freed_slot_is_taken_at_once_and_not_with_the_next_heartbeat(
    database_url: str, s3_server: S3Server, bucket: str
) -> None:
    async with running_world(database_url, s3_server, bucket, **{TXT2IMG + "CONCURRENCY": "1"}) as world:
        jobs = [await world.submit() for _ in range(8)]
        assert {(await world.end(job))["status"] for job in jobs} == {"succeeded"}
        took = await world.service.pool.fetchval("SELECT max(completed_at) - min(created_at) FROM jobs")
        assert took.total_seconds() < 8, "three seconds each, otherwise"


async def test_a_dispatcher_decides_only_after_another_one_has_and_sees_what_that_one_granted(
    two_at_a_time: Driven,
) -> None:
    driven = two_at_a_time
    jobs = await queue(driven, 5)
    await Dispatcher(driven.context).round()
    await driven.sql("UPDATE line SET granted_at = NULL")
    blocked = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    async with driven.service.pool.acquire() as other, other.transaction():
        await queries().lock_lanes(other, provider="novita")
        driven.context.gates.look_anew()
        deciding = asyncio.create_task(Dispatcher(driven.context).round())

        async def waits() -> bool:
            return bool((await driven.sql(blocked))[0]["count"]) or deciding.done()

        await until(waits)
        mine = ids(jobs[3:])
        await other.execute("UPDATE line SET granted_at = now() WHERE job_id = ANY($1)", mine)
    await deciding
    assert sorted(await granted(driven)) == sorted(mine)


async def test_a_limited_job_has_its_place_with_its_own_commit_and_all_processes_are_told(
    database_url: str, s3_server: S3Server, bucket: str
) -> None:
    limited = {"GENRELAY_PROVIDERS__NOVITA__CONCURRENCY": "1"}
    async with driven_world(database_url, s3_server, bucket, **limited) as driven:
        gates = driven.context.gates
        job = await driven.submit()
        [place] = await driven.sql("SELECT job_id, granted_at FROM line")
        assert (place["job_id"], place["granted_at"]) == (uuid(job), None)
        assert await driven.sql("SELECT 1 FROM pgqueuer WHERE entrypoint = 'submit'") == []
        gates.bell.clear()
        gates.submits("novita", "txt2img").waiting = False
        await driven.sql("SELECT pg_notify('genrelay_line', 'novita/txt2img')")  # as another process does
        async with asyncio.timeout(10):
            await gates.bell.wait()
        assert gates.submits("novita", "txt2img").waiting
        test = await driven.submit(test_mode={"enabled": True})
        assert [row["job_id"] for row in await driven.sql("SELECT job_id FROM line")] == [uuid(job)] != [uuid(test)]
