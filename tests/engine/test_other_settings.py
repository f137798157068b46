"""Processes with other settings on the same database, as in a rolling restart: nobody judges by its own settings alone."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from config.loading import load_settings
from service.app import running_service
from service.engine.context import Context
from service.engine.dispatch import Dispatcher
from service.engine.intent import take_up
from service.engine.judge import look_up
from service.engine.submit import submit
from service.engine.sweep import sweep
from tests.engine.conftest import Limited
from tests.engine.driven import Driven, uuid
from tests.engine.lining import granted, next_round, waiting
from tests.world import until

NOVITA = "GENRELAY_PROVIDERS__NOVITA__"
SEEDREAM_OFF = {NOVITA + "OPERATIONS__SEEDREAM_4_0__ENABLED": "false"}
KLING = {NOVITA + "OPERATIONS__KLING__PATH": "/v3/async/kling"}
NO_KLING = {NOVITA + "OPERATIONS__KLING__PATH": ""}
KLING_OFF = {NOVITA + "OPERATIONS__KLING__ENABLED": "false"}
RT = "GENRELAY_PROVIDERS__MODELSLAB__OPERATIONS__RT__PATH"


@contextlib.asynccontextmanager
async def another_process(driven: Driven, **settings: str) -> AsyncIterator[Context]:
    """Lend what the tasks of a second process work with, which was never away; an empty setting is none."""
    async with running_service(load_settings({**driven.settings, **settings}), "api") as service:
        service.context.pulse.since -= 3600
        yield service.context


def kling(**changes: Any) -> dict[str, Any]:
    """Return what makes a job one for an operation that only some processes know."""
    return {"operation": "kling", "input": {"request": {"prompt": "a lighthouse [fault:stuck]"}}, **changes}


# --- How long an attempt takes ----------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def a_call(driven: Driven, **changes: Any) -> AsyncIterator[dict[str, Any]]:
    """Lend a job whose call has been under way for a hundred seconds, and is answered on leaving."""
    given = {"prompt": "a lighthouse [fault:held]", "size": "1024x1024"}
    job = await driven.submit(operation="seedream-4.0", input=given, **changes)
    await submit(driven.context, uuid(job))

    async def arrived() -> bool:
        return len(driven.sandbox.submits) == 1

    await until(arrived)
    await driven.sql("UPDATE attempts SET started_at = started_at - interval '100 seconds'")
    yield job
    driven.sandbox.release(driven.sandbox.submits[0].task_id)
    await driven.context.calls.wait()


@pytest.mark.parametrize("on_unclear", ["fail", "resubmit"])
@pytest.mark.parametrize(
    "settings", [{NOVITA + "CALL_TIMEOUT_SECONDS": "5"}, SEEDREAM_OFF], ids=["shorter calls", "none"]
)
async def test_a_living_call_is_left_to_its_worker_by_a_process_that_would_take_less_time(
    driven: Driven, settings: dict[str, str], on_unclear: str
) -> None:
    async with a_call(driven, on_unclear=on_unclear) as job, another_process(driven, **settings) as other:
        await driven.make_due(job)
        await submit(other, uuid(job))
        assert (await driven.row(job)).submit_state == "in_flight"
    ended = await driven.drive(job)
    assert (ended["status"], ended["verified_by"], len(driven.sandbox.paid)) == ("succeeded", "sync", 1)


@pytest.mark.parametrize("begun", ["at once", "on a second hint"])
async def test_whose_worker_may_be_silent_for_longer_is_not_taken_for_dead_by_who_may_not(
    driven: Driven, begun: str
) -> None:
    async with another_process(driven, GENRELAY_ENGINE__HEARTBEAT_SECONDS="2") as other:
        job = await driven.submit()
        if begun == "on a second hint":
            await driven.later(job, 11)
        async with a_held_submit(driven, job):
            # Longer than the other's two seconds and its window, and not than our own twelve.
            await driven.sql("UPDATE workers SET seen_at = seen_at - interval '8 seconds'")
            await driven.sql("UPDATE attempts SET started_at = started_at - interval '8 seconds'")
            await driven.make_due(job)
            await submit(other, uuid(job))
            assert (await driven.row(job)).submit_state == "in_flight"


@contextlib.asynccontextmanager
async def a_held_submit(driven: Driven, job: dict[str, Any]) -> AsyncIterator[None]:
    """Commit a job's intent, and send nothing."""
    intent = await take_up(driven.context, uuid(job))
    assert intent is not None
    with intent.visit:
        yield


async def test_a_call_whose_worker_died_ends_at_once_where_its_operation_is_switched_off(driven: Driven) -> None:
    async with a_call(driven) as job, another_process(driven, **SEEDREAM_OFF) as other:
        await driven.sql("UPDATE workers SET seen_at = seen_at - interval '40 seconds'")
        await driven.make_due(job)
        await submit(other, uuid(job))
        ended = await driven.job(job)
        assert (ended["status"], ended["error"]["code"]) == ("failed", "submit_unknown")
        assert "this operation never calls back" in ended["error"]["message"]


async def test_an_attempt_of_a_release_that_noted_nothing_is_judged_by_our_own_settings(driven: Driven) -> None:
    async with a_call(driven) as job, another_process(driven) as other:
        columns = "path = NULL, is_call = NULL, silence_seconds = NULL, window_seconds = NULL, timeout_seconds = NULL"
        await driven.sql(f"UPDATE attempts SET {columns}")
        await driven.make_due(job)
        await submit(other, uuid(job))
        assert (await driven.row(job)).submit_state == "in_flight"
        await driven.sql("UPDATE workers SET seen_at = seen_at - interval '40 seconds'")
        await driven.make_due(job)
        await submit(other, uuid(job))
        assert (await driven.job(job))["error"]["code"] == "submit_unknown"


# --- Operations that only some processes know -------------------------------------------------------------------------


async def test_a_job_whose_operation_a_process_does_not_know_waits_for_one_that_does(limited: Limited) -> None:
    async with limited(**KLING) as driven, another_process(driven, **NO_KLING) as other:
        job = await driven.submit(**kling())
        for _ in range(2):
            await submit(other, uuid(job))
        row = await driven.row(job)
        assert (row.status, row.due_at, row.starts) == ("queued", row.deadline_at, 0)
        # It waits where nobody is hinted at it any more: a sweep finds nothing to do.
        await sweep(other)
        assert (await driven.row(job)).nudged_at is None
        await Dispatcher(other).round()
        assert (await waiting(driven), driven.sandbox.submits) == ([uuid(job)], [])
        assert await next_round(driven) == [uuid(job)]
        assert ((await driven.job(job))["status"], len(driven.sandbox.submits)) == ("running", 1)


async def test_the_limit_of_an_operation_holds_although_others_do_not_know_it(limited: Limited) -> None:
    more = {**KLING, NOVITA + "OPERATIONS__KLING__CONCURRENCY": "1"}
    none = {**NO_KLING, NOVITA + "OPERATIONS__KLING__CONCURRENCY": ""}
    async with limited(**more) as driven, another_process(driven, **none) as other:
        jobs = [await driven.submit(**kling()) for _ in range(3)]
        first, *rest = [uuid(job) for job in jobs]
        assert await next_round(driven) == [first]
        await Dispatcher(other).round()
        for job in jobs:
            await submit(other, uuid(job))
        assert (await granted(driven), await waiting(driven)) == ([first], rest)
        assert (await next_round(driven), len(driven.sandbox.submits)) == ([], 1)


async def test_a_turn_that_reaches_a_process_without_the_operation_is_given_back(limited: Limited) -> None:
    more = {**KLING, NOVITA + "OPERATIONS__KLING__IMAGES_PER_MINUTE": "1"}
    none = {**NO_KLING, NOVITA + "OPERATIONS__KLING__IMAGES_PER_MINUTE": ""}
    async with limited(**more) as driven, another_process(driven, **none) as other:
        job = await driven.submit(**kling())
        await Dispatcher(driven.context).round()
        assert await granted(driven) == [uuid(job)]
        await submit(other, uuid(job))
        assert (await granted(driven), await waiting(driven)) == ([], [uuid(job)])
        assert await next_round(driven) == [uuid(job)], "its image was not used up"


@pytest.mark.parametrize("test", [False, True])
async def test_a_job_whose_operation_nobody_knows_ends_at_its_deadline_and_says_so(
    limited: Limited, test: bool
) -> None:
    mode = {"test_mode": {"enabled": True}} if test else {}
    async with limited(**KLING) as driven, another_process(driven, **NO_KLING) as other:
        job = await driven.submit(**kling(deadline_seconds=60, **mode))
        await submit(other, uuid(job))
        assert (await driven.job(job))["status"] == "queued"
        await driven.later(job, 61)
        await submit(other, uuid(job))
        error = (await driven.job(job))["error"]
        assert error["code"] == "deadline_exceeded"
        assert "no worker that offers kling at novita took it up" in error["message"]
        assert (driven.sandbox.submits, await waiting(driven)) == ([], [])


async def test_a_test_job_whose_operation_a_process_does_not_know_is_looked_at_ever_more_rarely(
    limited: Limited,
) -> None:
    async with limited(**KLING) as driven, another_process(driven, **NO_KLING) as other:
        job = await driven.submit(**kling(test_mode={"enabled": True}))
        for _ in range(9):
            await driven.make_due(job)
            await submit(other, uuid(job))
        [row] = await driven.sql("SELECT extract(epoch FROM due_at - now())::float8 AS wait FROM jobs")
        assert 45 < row["wait"] <= 60
        assert (await driven.drive(job))["status"] == "succeeded"


async def test_a_waiting_job_ends_at_once_where_its_added_operation_is_switched_off(limited: Limited) -> None:
    async with limited(**KLING) as driven, another_process(driven, **KLING_OFF) as other:
        job = await driven.submit(**kling())
        await submit(other, uuid(job))
        ended = await driven.job(job)
        assert (ended["status"], ended["error"]["code"]) == ("failed", "provider_unavailable")
        assert driven.sandbox.submits == []


# --- Operations that have moved ---------------------------------------------------------------------------------------


async def test_a_task_is_looked_up_where_it_was_sent_although_its_operation_has_moved(limited: Limited) -> None:
    given = {"prompt": "a lighthouse [fault:lost]", "width": 64, "height": 64}
    places: list[str] = []

    async def note(request: httpx.Request) -> None:
        places.append(request.url.path)

    at, to = "/api/v1/enterprise/realtime/rt", "/api/v1/enterprise/flux/rt"
    async with (
        limited(**{RT: at}) as driven,
        another_process(driven, **{RT: to}) as moved,
    ):
        moved.provider_client.event_hooks = {"request": [note], "response": []}
        first = await driven.sent("", provider="modelslab", operation="rt", input=given)
        await driven.make_due(first)
        await look_up(moved, uuid(first))
        later = await driven.submit("", provider="modelslab", operation="rt", input=given)
        await submit(moved, uuid(later))
        await driven.make_due(later)
        await look_up(moved, uuid(later))
        ids = [(await driven.job(job))["provider_task_id"] for job in (first, later)]
        flux = "/api/v1/enterprise/flux"
        assert places == [f"/api/v1/enterprise/realtime/fetch/{ids[0]}", f"{flux}/rt", f"{flux}/fetch/{ids[1]}"]
