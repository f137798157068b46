"""What must be impossible, the database refuses, whatever the code does."""

from __future__ import annotations

import itertools
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

ACCOUNT, DESTINATION = UUID(int=1), UUID(int=2)
OPEN = {"completed_at": None, "due_at": "now()"}
OVER = {"completed_at": "now()", "due_at": None}
# A good row for each state; every test spoils one of them.
GOOD: dict[str, dict[str, Any]] = {
    "queued": OPEN,
    "submitting": {**OPEN, "submit_state": "in_flight"},
    "running": {**OPEN, "provider_task_id": "task"},
    "copying": {**OPEN, "provider_task_id": "task", "verified_by": "readback"},
    "succeeded": {**OVER, "verified_by": "readback"},
    "failed": {**OVER, "error": {}},
    "canceled": OVER,
}
TEST = {"test_status": "TASK_STATUS_SUCCEED", "destination_id": None}


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    """A connection to a database with one account and one destination."""
    connection = await asyncpg.connect(database_url)
    await connection.execute("INSERT INTO accounts (id, name) VALUES ($1, 'one')", ACCOUNT)
    await connection.execute(
        "INSERT INTO destinations (id, account_id, name, spec) VALUES ($1, $2, 'acme', '{}')", DESTINATION, ACCOUNT
    )
    yield connection
    await connection.close()


async def _insert(db: Any, table: str, **values: Any) -> None:
    """Insert a row; `"now()"` is the time."""
    columns = {name: value for name, value in values.items() if value != "now()"}
    times = [name for name, value in values.items() if value == "now()"]
    marks = [f"${number}" for number in range(1, len(columns) + 1)] + ["now()"] * len(times)
    sql = f"INSERT INTO {table} ({', '.join([*columns, *times])}) VALUES ({', '.join(marks)})"
    await db.execute(sql, *(json.dumps(v) if isinstance(v, dict) else v for v in columns.values()))


async def _job(db: Any, status: str, **changes: Any) -> UUID:
    values = {
        "id": uuid4(), "account_id": ACCOUNT, "provider": "novita", "operation": "txt2img", "status": status,
        "destination_id": DESTINATION, "deadline_seconds": 60, "deadline_at": "now()", **GOOD.get(status, OPEN), **changes,
    }  # fmt: skip
    await _insert(db, "jobs", **values)
    job_id: UUID = values["id"]
    return job_id


async def test_a_good_job_is_taken_in_every_state(db: Any) -> None:
    for number, status in enumerate(GOOD):
        task = {"provider_task_id": f"task {number}"} if "provider_task_id" in GOOD[status] else {}
        await _job(db, status, **task)
        if status != "copying":
            await _job(db, status, **TEST, **({"provider_task_id": f"test {number}"} if task else {}))


REFUSED: list[tuple[str, str, dict[str, Any]]] = [
    ("jobs_status_check", "lost", {}),
    *(("ended_when_completed", status, {"completed_at": "now()"}) for status in ("queued", "running", "copying")),
    *(("ended_when_completed", status, {"completed_at": None}) for status in ("succeeded", "failed", "canceled")),
    *(("open_when_due", status, {"due_at": None}) for status in ("queued", "submitting", "running", "copying")),
    *(("open_when_due", status, {"due_at": "now()"}) for status in ("succeeded", "failed", "canceled")),
    ("error_when_failed", "failed", {"error": None}),
    *(("error_when_failed", status, {"error": {}}) for status in ("succeeded", "canceled", "running")),
    ("submit_state_when_submitting", "submitting", {"submit_state": None}),
    ("submit_state_when_submitting", "running", {"submit_state": "unclear"}),
    ("jobs_submit_state_check", "submitting", {"submit_state": "sent"}),
    ("running_knows_its_task", "running", {"provider_task_id": None}),
    ("believed_when_verified", "copying", {"verified_by": None}),
    ("believed_when_verified", "succeeded", {"verified_by": None}),
    ("jobs_verified_by_check", "succeeded", {"verified_by": "callback"}),
    ("only_tests_believe_a_token", "succeeded", {"verified_by": "token"}),
    ("test_jobs_never_copy", "copying", TEST),
    ("real_jobs_have_a_destination", "queued", {"destination_id": None}),
    ("jobs_progress_check", "running", {"progress": 101}),
    ("jobs_progress_check", "running", {"progress": -1}),
    ("jobs_run_check", "queued", {"run": 0}),
    ("jobs_attempt_check", "queued", {"attempt": -1}),
    ("jobs_test_status_check", "queued", {"test_status": "TASK_STATUS_CANCELED"}),
    ("jobs_on_unclear_check", "queued", {"on_unclear": "pay twice"}),
]


@asynccontextmanager
async def _refusal(db: Any, constraint: str | None = None) -> AsyncIterator[None]:
    """Expect a CHECK to refuse what the block does, this one if it is named."""
    with pytest.raises(asyncpg.CheckViolationError) as refused:
        async with db.transaction():
            yield
    assert constraint in {None, refused.value.constraint_name}, refused.value


async def test_an_impossible_job_is_refused(db: Any) -> None:
    for constraint, status, changes in REFUSED:
        async with _refusal(db, constraint):
            await _job(db, status, **changes)


async def test_a_token_is_believed_for_test_jobs_only(db: Any) -> None:
    await _job(db, "succeeded", **TEST, verified_by="token")


async def test_a_task_id_belongs_to_one_job_for_ever_and_to_one_provider(db: Any) -> None:
    await _job(db, "running", provider_task_id="the task")
    await _job(db, "running", provider_task_id="the task", provider="another")
    for status in ("running", "succeeded"):
        with pytest.raises(asyncpg.UniqueViolationError):
            await _job(db, status, provider_task_id="the task")


async def _event(db: Any, job_id: UUID, sequence: int, kind: str = "job.progress", run: int = 1) -> None:
    values = {"job_id": job_id, "sequence": sequence, "id": uuid4(), "account_id": ACCOUNT, "run": run, "type": kind}
    await _insert(db, "events", **values, time="now()", data={})


async def test_an_event_has_a_number_of_its_own_from_one_on(db: Any) -> None:
    job_id = await _job(db, "running")
    await _event(db, job_id, 1)
    with pytest.raises(asyncpg.UniqueViolationError):
        await _event(db, job_id, 1)
    with pytest.raises(asyncpg.CheckViolationError):
        await _event(db, job_id, 0)


async def test_a_run_has_one_terminal_event(db: Any) -> None:
    ends = ("job.succeeded", "job.failed", "job.canceled")
    for first, second in itertools.product(ends, ends):
        job_id = await _job(db, "canceled")
        await _event(db, job_id, 1, first)
        with pytest.raises(asyncpg.UniqueViolationError):
            await _event(db, job_id, 2, second)
        await _event(db, job_id, 2, second, run=2)


OUTPUT = {"index": 0, "kind": "image", "status": "pending"}
FIXED = {
    "media_type": "image/png", "extension": "png", "bytes": 3, "sha256": bytes(32), "bucket": "b", "key": "k",
}  # fmt: skip


async def test_an_output_is_fixed_before_it_is_written(db: Any) -> None:
    job_id = await _job(db, "copying")
    for index, status in enumerate(("writing", "stored")):
        for missing in FIXED:
            async with _refusal(db, "fixed_before_written"):
                values = {**OUTPUT, "index": index, "status": status, **FIXED, missing: None}
                await _insert(db, "outputs", job_id=job_id, **values)
        await _insert(db, "outputs", job_id=job_id, **{**OUTPUT, "index": index, "status": status, **FIXED})


async def test_an_impossible_output_is_refused(db: Any) -> None:
    job_id = await _job(db, "copying")
    for changes in ({"index": -1}, {"kind": "text"}, {"status": "lost"}, {"bytes": 0}, {"sha256": b"short"}):
        async with _refusal(db):
            await _insert(db, "outputs", job_id=job_id, **{**OUTPUT, **changes})


async def test_an_index_stands_for_one_output(db: Any) -> None:
    job_id = await _job(db, "copying")
    await _insert(db, "outputs", job_id=job_id, **OUTPUT)
    with pytest.raises(asyncpg.UniqueViolationError):
        await _insert(db, "outputs", job_id=job_id, **OUTPUT)


async def test_an_attempt_is_made_once_and_ends_as_one_of_the_known(db: Any) -> None:
    job_id = await _job(db, "submitting")
    attempt = {"job_id": job_id, "number": 1, "run": 1, "worker_id": uuid4()}
    await _insert(db, "attempts", **attempt)
    with pytest.raises(asyncpg.UniqueViolationError):
        await _insert(db, "attempts", **attempt)
    for changes in ({"number": 0}, {"number": 2, "outcome": "who knows"}):
        with pytest.raises(asyncpg.CheckViolationError):
            await _insert(db, "attempts", **{**attempt, **changes})


async def test_a_callback_is_judged_if_and_only_if_it_has_a_verdict(db: Any) -> None:
    row = {"id": uuid4(), "job_id": uuid4(), "attempt": 1, "headers": b"", "body": b"", "digest": b""}
    await _insert(db, "callbacks", **row)
    for changes in ({"verdict": "late"}, {"judged_at": "now()"}):
        with pytest.raises(asyncpg.CheckViolationError):
            await _insert(db, "callbacks", **{**row, "id": uuid4(), **changes})


async def test_the_inbox_refers_to_nothing_so_that_it_waits_for_nothing(db: Any) -> None:
    keys = await db.fetch("SELECT conname FROM pg_constraint WHERE contype = 'f' AND conrelid = 'callbacks'::regclass")
    triggers = await db.fetch("SELECT FROM pg_trigger WHERE tgrelid = 'callbacks'::regclass AND NOT tgisinternal")
    assert (keys, triggers) == ([], [])


async def test_names_and_keys_stand_for_one_thing(db: Any) -> None:
    with pytest.raises(asyncpg.UniqueViolationError):
        await _insert(db, "accounts", id=uuid4(), name="one")
    with pytest.raises(asyncpg.CheckViolationError):
        await _insert(db, "accounts", id=uuid4(), name="")
    with pytest.raises(asyncpg.UniqueViolationError):
        await _insert(db, "destinations", id=uuid4(), account_id=ACCOUNT, name="acme", spec={})
    await _insert(db, "destinations", id=uuid4(), account_id=ACCOUNT, name="acme", spec={}, deleted_at="now()")
    key = {"account_id": ACCOUNT, "digest": bytes(32), "hint": ""}
    await _insert(db, "api_keys", id=uuid4(), **key)
    with pytest.raises(asyncpg.UniqueViolationError):
        await _insert(db, "api_keys", id=uuid4(), **key)
    with pytest.raises(asyncpg.CheckViolationError):
        await _insert(db, "api_keys", id=uuid4(), **{**key, "digest": b"short"})


PLACE = {"provider": "novita", "operation": "txt2img", "account_id": ACCOUNT, "images": 1, "until": "now()"}


async def test_a_job_stands_in_line_once_and_asks_for_something(db: Any) -> None:
    job_id = await _job(db, "queued")
    for changes in ({"images": 0}, {"granted_at": "now()", "not_before": "now()"}):
        with pytest.raises(asyncpg.CheckViolationError):
            await _insert(db, "line", job_id=job_id, **{**PLACE, **changes})
    await _insert(db, "line", job_id=job_id, **PLACE)
    with pytest.raises(asyncpg.UniqueViolationError):
        await _insert(db, "line", job_id=job_id, **PLACE)
    with pytest.raises(asyncpg.ForeignKeyViolationError):
        await _insert(db, "line", job_id=uuid4(), **PLACE)


async def test_a_job_that_goes_takes_all_that_belongs_to_it_along(db: Any) -> None:
    job_id = await _job(db, "copying")
    await _event(db, job_id, 1)
    await _insert(db, "outputs", job_id=job_id, **OUTPUT)
    await _insert(db, "attempts", job_id=job_id, number=1, run=1, worker_id=uuid4())
    await _insert(db, "job_inputs", job_id=job_id, body=b"{}")
    await _insert(db, "line", job_id=job_id, **PLACE)
    await db.execute("DELETE FROM jobs")
    for table in ("events", "outputs", "attempts", "job_inputs", "line"):
        assert await db.fetchval(f"SELECT count(*) FROM {table}") == 0, table
