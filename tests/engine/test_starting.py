"""Work that fails again and again is given up with a dead letter, and what nobody takes up is found."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import pytest

from service.db.sql import queries
from service.engine.starting import begin
from service.engine.sweep import sweep
from service.engine.worker import run_task
from service.jobs.lifecycle import Status
from tests.engine.driven import Driven, event, uuid


class _Poison(Exception):  # noqa: N818
    """What a task that is broken raises."""


async def _raise(_context: Any, _job_id: Any) -> None:
    raise _Poison


@pytest.mark.parametrize("task", ["submit", "look_up", "copy"])
async def test_a_task_that_raises_is_due_again_later_and_a_dead_letter_after_five_times(
    driven: Driven, task: str
) -> None:
    job = {
        "submit": driven.submit,
        "look_up": lambda: driven.sent("a lighthouse [fault:stuck]"),
        "copy": driven.copying,
    }[task]()
    job = await job
    state = (await driven.row(job)).status
    for times in range(1, 6):
        assert await driven.sql("SELECT * FROM dead_letters") == []
        await driven.make_due(job)
        if task != "submit":
            assert await begin(driven.context, task, uuid(job), Status(state), lease=15) is not None
        await run_task(driven.context, task, _raise, uuid(job))
        row = await driven.row(job)
        assert row.due_at is not None
        assert (row.status, row.starts) == (state, times)
    [letter] = await driven.sql("SELECT * FROM dead_letters")
    assert (letter["job_id"], letter["task"], letter["reason"]) == (uuid(job), task, "_Poison")


async def test_a_job_that_crashes_its_worker_again_and_again_is_given_up(driven: Driven) -> None:
    job = await driven.sent("a lighthouse [fault:stuck]")
    for _ in range(5):
        await driven.make_due(job)
        assert await begin(driven.context, "look_up", uuid(job), Status.RUNNING, lease=15) is not None
        # The worker dies here: nothing more is written.
    await driven.make_due(job)
    assert await begin(driven.context, "look_up", uuid(job), Status.RUNNING, lease=15) is None
    [letter] = await driven.sql("SELECT * FROM dead_letters")
    assert letter["task"] == "look_up"
    assert "5 times" in letter["reason"]


async def test_a_dead_letter_that_is_tried_again_is_due_at_once_and_starts_counting_anew(driven: Driven) -> None:
    job = await driven.copying()
    for _ in range(5):
        await driven.make_due(job)
        await begin(driven.context, "copy", uuid(job), Status.COPYING, lease=15)
        await run_task(driven.context, "copy", _raise, uuid(job))
    [letter] = await _dead_letters(driven)
    assert await queries().revive(driven.service.pool, id=letter["id"]) == uuid(job)
    assert await _dead_letters(driven) == []
    assert (await driven.row(job)).starts == 0
    assert (await driven.drive(job))["status"] == "succeeded"


async def test_a_job_that_was_given_up_still_ends_at_its_deadline(driven: Driven) -> None:
    job = await driven.sent("a lighthouse [fault:stuck]", deadline_seconds=60)
    for _ in range(5):
        await driven.make_due(job)
        assert await begin(driven.context, "look_up", uuid(job), Status.RUNNING, lease=15) is not None
        await run_task(driven.context, "look_up", _raise, uuid(job))
    assert len(await _dead_letters(driven)) == 1
    row = await driven.row(job)
    assert row.due_at == row.deadline_at
    await driven.later(job, 61)
    ended = await driven.look_up(job)
    assert (ended["status"], ended["error"]["code"]) == ("failed", "deadline_exceeded")


async def _dead_letters(driven: Driven) -> list[Any]:
    return [row async for row in queries().list_dead(driven.service.pool)]


async def test_callbacks_whose_judging_fails_for_good_are_abandoned_and_nothing_else(driven: Driven) -> None:
    job = await driven.sent("a lighthouse [fault:stuck]")
    await driven.post(job, event(job["provider_task_id"]))
    for _ in range(5):
        await run_task(driven.context, "settle", _raise, uuid(job))
    assert await driven.verdicts(job) == ["abandoned"]
    [letter] = await driven.sql("SELECT task FROM dead_letters")
    assert letter["task"] == "settle"
    assert (await driven.job(job))["status"] == "running"
    # The clock still finds the truth out.
    assert (await driven.row(job)).starts == 0


async def test_a_leased_job_is_left_alone_until_the_lease_is_over(driven: Driven) -> None:
    job = await driven.sent("a lighthouse [fault:stuck]")
    await driven.make_due(job)
    begun = await asyncio.gather(
        *(begin(driven.context, "look_up", uuid(job), Status.RUNNING, lease=15) for _ in range(6))
    )
    assert sum(locked is not None for locked in begun) == 1
    await driven.later(job, 15)
    assert await begin(driven.context, "look_up", uuid(job), Status.RUNNING, lease=15) is not None


async def test_the_sweep_finds_overdue_jobs_and_forgotten_callbacks_and_no_others(driven: Driven) -> None:
    overdue = await driven.sent("a lighthouse [fault:stuck]")
    waiting = await driven.sent("a lighthouse [fault:stuck]")
    forgotten = await driven.sent("a lighthouse [fault:stuck]")
    await driven.post(forgotten, event(forgotten["provider_task_id"]))
    await driven.sql("UPDATE callbacks SET received_at = received_at - interval '1 minute'")
    await driven.make_due(overdue)
    await driven.sql("UPDATE jobs SET nudged_at = NULL")
    await driven.sql("DELETE FROM pgqueuer")
    await sweep(driven.context)
    tasks = await driven.sql("SELECT entrypoint, payload FROM pgqueuer ORDER BY entrypoint")
    assert [(t["entrypoint"], t["payload"]) for t in tasks] == [
        ("look_up", uuid(overdue).bytes),
        ("settle", uuid(forgotten).bytes),
    ]
    await sweep(driven.context)
    again = await driven.sql("SELECT count(*) FROM pgqueuer")
    assert again[0]["count"] == 2, "one hint per task and job is enough"
    assert waiting["status"] == "running"


async def test_a_job_whose_hint_was_lost_is_found_by_the_sweep(driven: Driven) -> None:
    job = await driven.submit()
    await driven.sql("DELETE FROM pgqueuer")
    await driven.later(job, 60)
    await sweep(driven.context)
    [task] = await driven.sql("SELECT entrypoint, payload FROM pgqueuer")
    assert (task["entrypoint"], task["payload"]) == ("submit", uuid(job).bytes)


async def _hints(driven: Driven) -> list[str]:
    """Take all hints out of the queue and return them."""
    rows = await driven.sql("DELETE FROM pgqueuer RETURNING entrypoint")
    return sorted(row["entrypoint"] for row in rows)


async def test_every_transition_hints_at_what_follows_from_it(driven: Driven) -> None:
    job = await driven.submit("a lighthouse [fault:429]")
    assert await _hints(driven) == ["submit"]
    await driven.step(job)
    assert await _hints(driven) == ["submit"], "sent again in a second"
    await driven.step(job)
    await driven.wait_for_callbacks(job)
    assert await _hints(driven) == ["settle"], "the callback's; the first poll is far off and left to the sweep"
    await driven.settle(job)
    assert await _hints(driven) == ["copy"]
    await driven.copy(job)
    assert await _hints(driven) == []


async def test_a_transaction_that_fails_leaves_neither_state_nor_event_nor_hint(driven: Driven) -> None:
    job = await driven.called_back()
    before, events = await driven.row(job), await driven.events(job)
    await _hints(driven)
    await driven.sql("ALTER TABLE events ADD CONSTRAINT bad CHECK (type <> 'job.copying')")
    with pytest.raises(asyncpg.CheckViolationError):
        await driven.settle(job)
    after = await driven.row(job)
    assert (after.status, after.version, await driven.events(job)) == (before.status, before.version, events)
    assert await driven.verdicts(job) == [None]
    assert await driven.sql("SELECT FROM outputs") == []
    assert await _hints(driven) == []


async def test_whoever_was_nudged_longest_ago_is_nudged_next_so_that_nobody_hides_behind_those_who_cannot_go(
    driven: Driven,
) -> None:
    jobs = [uuid(await driven.sent("a lighthouse [fault:stuck]")) for _ in range(3)]
    for number, job in enumerate(jobs):
        past = f"now() - interval '{9 - number} minutes'"
        await driven.sql(f"UPDATE jobs SET due_at = {past}, nudged_at = NULL WHERE id = $1", job)
    nudged = []
    for _ in range(4):
        rows = queries().overdue_jobs(driven.service.pool, grace=0.0, full=[], limit=1)
        nudged += [row["id"] async for row in rows]
    assert nudged == [*jobs, jobs[0]]


async def test_the_sweep_leaves_polls_alone_that_find_no_room_and_nothing_else_of_their_provider(
    driven: Driven,
) -> None:
    polled, late = [await driven.sent("a lighthouse [fault:stuck]") for _ in range(2)]
    await driven.later(polled, 600)
    await driven.later(late, 4000)
    look_ups = driven.context.gates.look_ups("novita")
    visits = [look_ups.enter() for _ in range(look_ups.room.size)]
    await driven.sql("DELETE FROM pgqueuer")
    await sweep(driven.context)
    tasks = await driven.sql("DELETE FROM pgqueuer RETURNING payload")
    assert [task["payload"] for task in tasks] == [uuid(late).bytes], "its deadline has passed"
    visits[0].leave()
    await sweep(driven.context)
    assert await _hints(driven) == ["look_up"]


async def test_one_sweep_finds_more_than_one_batch(driven: Driven) -> None:
    job = await driven.sent("a lighthouse [fault:stuck]")
    await driven.make_due(job)
    await driven.sql(
        "INSERT INTO jobs SELECT (jsonb_populate_record(jobs, jsonb_build_object("
        "'id', gen_random_uuid(), 'provider_task_id', 'task ' || n, 'nudged_at', NULL))).*"
        " FROM jobs, generate_series(1, 1100) n"
    )
    await driven.sql("DELETE FROM pgqueuer")
    await sweep(driven.context)
    assert len(await _hints(driven)) > 1000
