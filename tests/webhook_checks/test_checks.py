"""What the report says when things go wrong behind the public URL, with real jobs in a real database."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from service.demo.s3server import S3Server
from service.engine.submit import submit
from service.providers.contract import Operation
from service.webhook_checks import CheckBusyError, CheckRequest, Report, Step, WebhookChecks
from service.webhook_checks.report import weigh
from service.webhook_checks.request import choose_operation
from service.webhook_checks.trial import example_of
from tests.engine.driven import Driven, driven_world, event
from tests.world import World, free_port, running_world, until

ASKED = CheckRequest("novita", "txt2img", ("TASK_STATUS_SUCCEED",))


@pytest.fixture
async def driven(database_url: str, s3_server: S3Server, bucket: str) -> AsyncIterator[Driven]:
    """A world without workers."""
    async with driven_world(database_url, s3_server, bucket) as running:
        yield running


async def account(world: World) -> UUID:
    """Return the id of the account `default`."""
    found: UUID = await world.service.pool.fetchval("SELECT id FROM accounts WHERE name = 'default'")
    return found


def found(report: Report) -> dict[str, tuple[bool | None, str | None]]:
    """Return what the steps of the job came to."""
    return {step.step: (step.ok, step.code) for step in report.steps[5:]}


async def job_of(world: Driven) -> dict[str, Any]:
    """Return the check's job as soon as it is there."""

    async def look() -> Any:
        return (await world.client.get("/v1/jobs")).json()["data"]

    return dict((await until(look))[0])


async def test_a_job_that_no_worker_takes_up_is_told_as_that(driven: Driven) -> None:
    checks = WebhookChecks(driven.context, patience=0.1)
    report = await checks.check(await account(driven), ASKED)
    assert all(step.ok for step in report.steps[:5])
    assert found(report)["job_submitted"] == (False, "not_taken_up")
    assert found(report)["callback_arrived"] == (None, "skipped")
    assert report.ok is False


async def test_a_provider_that_says_later_is_told_as_that(driven: Driven) -> None:
    checking = asyncio.create_task(WebhookChecks(driven.context, patience=1).check(await account(driven), ASKED))
    job = await job_of(driven)
    await driven.sql(
        "INSERT INTO attempts (job_id, number, run, worker_id, outcome, note, ended_at)"
        " SELECT id, 1, 1, id, 'not_run', 'HTTP 429', now() FROM jobs"
    )
    report = await checking
    assert job["test"] is True
    assert found(report)["job_submitted"] == (False, "not_sent")
    assert "HTTP 429" in str(report.steps[5].message)


async def test_the_seconds_of_a_submit_are_those_of_its_last_attempt(driven: Driven) -> None:
    checking = asyncio.create_task(WebhookChecks(driven.context, patience=1).check(await account(driven), ASKED))
    await job_of(driven)
    await driven.sql(
        "INSERT INTO attempts (job_id, number, run, worker_id, outcome, note, started_at, ended_at)"
        " SELECT id, n, 1, id, 'not_run', 'HTTP 429', now() + n * interval '20 s', now() + n * interval '20 s' + interval '2 s'"
        " FROM jobs, generate_series(1, 2) n"
    )
    report = await checking
    assert report.steps[5].seconds == pytest.approx(2)


async def test_a_provider_that_cannot_be_connected_to_is_not_waited_for_and_its_url_is_named(
    database_url: str, s3_server: S3Server, bucket: str
) -> None:
    nowhere = {"GENRELAY_PROVIDERS__NOVITA__BASE_URL": f"http://127.0.0.1:{free_port()}"}
    async with running_world(database_url, s3_server, bucket, **nowhere) as world:
        report = await WebhookChecks(world.service.context).check(await account(world), ASKED)
    submitted = report.steps[5]
    assert (submitted.step, submitted.ok, submitted.code) == ("job_submitted", False, "not_sent")
    assert "ConnectError" in str(submitted.message)
    assert "GENRELAY_PROVIDERS__NOVITA__BASE_URL" in str(submitted.hint)
    assert "proxy" in str(submitted.hint)
    assert report.seconds < 15


async def test_a_mock_of_our_own_that_gets_lost_is_not_laid_to_the_provider(driven: Driven) -> None:
    asked = CheckRequest("modelslab", "text2img", ("TASK_STATUS_SUCCEED",))
    checking = asyncio.create_task(WebhookChecks(driven.context, patience=1).check(await account(driven), asked))
    await job_of(driven)
    await driven.sql("UPDATE jobs SET provider_task_id = 'mock-1'")
    report = await checking
    arrived = report.steps[6]
    assert (arrived.step, arrived.code) == ("callback_arrived", "no_callback")
    assert "firewall" not in str(arrived.hint)
    assert "the worker posted" in str(arrived.hint).lower()
    assert "GENRELAY_PUBLIC_URL" in str(arrived.hint)


@pytest.mark.parametrize(
    ("body", "parsed"),
    [
        (b"\xff garbage", (False, "unreadable")),
        (b'{"event_type": "SOMETHING_ELSE", "payload": {"task": {"task_id": "t"}}}', (False, "unknown_event")),
        (event("t", "TASK_STATUS_PROCESSING"), (False, "no_end")),
    ],
)
async def test_a_callback_that_says_nothing_arrived_all_the_same(
    driven: Driven, body: bytes, parsed: tuple[bool, str]
) -> None:
    checks = WebhookChecks(driven.context, patience=1)
    checking = asyncio.create_task(checks.check(await account(driven), ASKED))
    await driven.post(await job_of(driven), body)
    report = await checking
    assert found(report)["job_submitted"] == (True, None)
    assert found(report)["callback_arrived"] == (True, None)
    assert found(report)["callback_parsed"] == parsed
    assert found(report)["status_as_asked"] == (None, "skipped")


async def test_the_time_a_callback_took_counts_from_the_beginning_of_its_submit(driven: Driven) -> None:
    checking = asyncio.create_task(WebhookChecks(driven.context, patience=2).check(await account(driven), ASKED))
    job, began = await job_of(driven), time.monotonic()
    await driven.sql(
        "INSERT INTO attempts (job_id, number, run, worker_id, started_at)"
        " SELECT id, 1, 1, id, now() - interval '3 s' FROM jobs"
    )
    await driven.post(job, event("t"))
    passed = time.monotonic() - began
    arrived = (await checking).steps[6]
    assert (arrived.step, arrived.ok) == ("callback_arrived", True)
    assert arrived.seconds is not None
    assert 3 <= arrived.seconds <= 3 + passed
    assert arrived.message == f"it came {arrived.seconds:.3f} s after the submit began"


async def test_a_mock_that_claims_something_else_is_not_as_asked(driven: Driven) -> None:
    checks = WebhookChecks(driven.context, patience=20)
    checking = asyncio.create_task(checks.check(await account(driven), ASKED))
    job = await job_of(driven)
    # Sent as a job that is to fail, as by a provider that takes no notice of what it is asked.
    await driven.sql("UPDATE jobs SET test_status = 'TASK_STATUS_FAILED'")
    await submit(driven.context, (await driven.row(job)).id)
    await driven.wait_for_callbacks(job)
    await driven.settle(job)
    report = await checking
    assert found(report)["callback_parsed"] == (True, None)
    assert found(report)["status_as_asked"] == (False, "other_status")
    assert "failed (provider_failed)" in str(report.steps[-1].message)


async def test_a_callback_that_nobody_judges_is_told_as_that(driven: Driven) -> None:
    checking = asyncio.create_task(WebhookChecks(driven.context, patience=1).check(await account(driven), ASKED))
    job = await job_of(driven)
    await submit(driven.context, (await driven.row(job)).id)
    report = await checking
    assert found(report)["callback_parsed"] == (True, None)
    assert found(report)["status_as_asked"] == (False, "not_ended")
    assert "has no verdict" in str(report.steps[-1].message)


async def test_a_machine_that_does_not_reach_itself_fails_nothing_once_callbacks_arrive(world: World) -> None:
    context = world.service.context
    # The worker gives the provider the good URL; only the check looks at one where nobody is.
    elsewhere = context.settings.model_copy(update={"public_url": f"http://127.0.0.1:{free_port()}"})
    report = await WebhookChecks(replace(context, settings=elsewhere)).check(await account(world), ASKED)
    [unreachable] = [step for step in report.steps if step.step == "public_url_reachable"]
    assert (unreachable.ok, unreachable.code) == (None, "connection_refused")
    assert "arrived all the same" in str(unreachable.hint)
    assert report.ok is True


def test_a_bad_certificate_is_not_excused_by_callbacks_that_arrive() -> None:
    bad = [Step("tls_valid", False, "certificate_expired"), Step("token_accepted", False, "http_403")]
    came, lost = Step("callback_arrived", True), Step("callback_arrived", False)
    assert [step.ok for step in weigh(bad, [came, came])] == [False, None, True, True]
    assert [step.ok for step in weigh(bad, [came, lost])] == [False, False, True, False]
    assert [step.ok for step in weigh(bad, [])] == [False, False]


async def test_a_process_has_few_checks_at_a_time_and_gives_their_places_back(driven: Driven) -> None:
    checks = WebhookChecks(driven.context, at_once=1, patience=0.1)
    ours = await account(driven)
    theirs: UUID = await driven.service.pool.fetchval("SELECT id FROM accounts WHERE name = 'somebody else'")
    done, same, other = await asyncio.gather(
        checks.check(ours, ASKED), checks.check(ours, ASKED), checks.check(theirs, ASKED), return_exceptions=True
    )
    assert isinstance(done, Report)
    assert isinstance(same, CheckBusyError)
    assert isinstance(other, CheckBusyError)
    assert "of this account" in str(same)
    assert "too many" in str(other)
    assert other.retry_after == same.retry_after == 5
    assert isinstance(await checks.check(theirs, ASKED), Report)


async def test_a_service_that_stops_answers_at_once(driven: Driven) -> None:
    checking = asyncio.create_task(WebhookChecks(driven.context, patience=30).check(await account(driven), ASKED))
    await job_of(driven)
    driven.service.endings.release()
    async with asyncio.timeout(5):
        report = await checking
    assert report.ok is False


def test_the_operation_with_a_test_mode_of_the_providers_own_comes_first() -> None:
    plain, native = Operation("a", "/a", {}), Operation("b", "/b", {}, native_test_mode=True)
    assert choose_operation({"a": plain, "b": native}) == "b"
    assert choose_operation({"a": plain}) == "a"


def test_an_operation_that_only_the_settings_know_is_tried_with_an_empty_request() -> None:
    assert example_of(Operation("a", "/a", {})) == {"request": {}}
    assert example_of(Operation("a", "/a", {}, example={"prompt": "x"})) == {"prompt": "x"}
