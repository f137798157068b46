"""One test job of a check: taken in like any other, waited for, and what is known of it afterwards."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from service.db.sql import queries
from service.engine.context import Context
from service.engine.intake import InvalidRequestError, take_in
from service.ids import show
from service.jobs.model import Job, read_job
from service.jobs.request import read_request
from service.providers.contract import CallbackHint, CallbackUnreadable, Mistake, Operation, Provider, TaskStatus
from service.webhook_checks.request import CheckRequest

METADATA = {"genrelay": "webhook-check"}
# Long enough for a provider's second and third try: whoever looks at the job later sees a callback that came too late.
DEADLINE_SECONDS = 600
_FIRST = UUID(int=0)
_CALLBACKS = 32
_IN_VAIN = 2  # attempts in a row that did not reach the provider, after which waiting shows nothing more
_SECOND_CHANCE = 3.0  # seconds that a callback which judges nothing leaves for a better one


@dataclass(frozen=True, slots=True)
class Came:
    """A callback: when it came, and what it claims, None with `unreadable` when it can't be read. verdict: None yet."""

    attempt: int
    received_at: datetime
    judged_at: datetime | None
    verdict: str | None
    hint: CallbackHint | None
    unreadable: str | None


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of a trial's job once it was waited for. attempts: rows, oldest first. seconds: how long that was."""

    wanted: TaskStatus
    job: Job
    native: bool
    attempts: list[Any]
    callbacks: list[Came]
    seconds: float

    @property
    def job_id(self) -> str:
        """Return the job's id as it is shown."""
        return show("job", self.job.id)

    @property
    def unreachable(self) -> bool:
        """Return whether the last attempts did not even connect to the provider."""
        last = [attempt for attempt in self.attempts if attempt["outcome"]][-_IN_VAIN:]
        return len(last) == _IN_VAIN and all(no_connection(attempt) for attempt in last)


def no_connection(attempt: Any) -> bool:
    """Tell whether an attempt's row says that there was no connection to the provider: DNS, connect or TLS failed."""
    return attempt["outcome"] == "not_run" and str(attempt["note"]).startswith("not sent: Connect")


def example_of(operation: Operation) -> Any:
    """Return an input to try an operation with; one that only the settings know takes any request."""
    return {"request": {}} if operation.example is None else operation.example


async def begin(context: Context, account_id: UUID, asked: CheckRequest, wanted: TaskStatus) -> Job | list[Mistake]:
    """Take a test job in; returns the mistakes of one that is refused."""
    operation = context.provider(asked.provider).operations[asked.operation]
    request = read_request(
        {
            "provider": asked.provider,
            "operation": asked.operation,
            "input": example_of(operation),
            "test_mode": {"enabled": True, "return_task_status": wanted},
            "metadata": METADATA,
            "deadline_seconds": DEADLINE_SECONDS,
        },
        context.providers,
    )
    if isinstance(request, list):
        return request
    try:
        return (await take_in(context, account_id, request)).job
    except InvalidRequestError as error:
        return error.mistakes


async def watch(context: Context, job: Job, wanted: TaskStatus, patience: float) -> Evidence:
    """Return what is known of a job once it has ended, or after `patience` seconds, or when the service stops.

    A provider that can't be connected to is not waited for either.
    """
    loop = asyncio.get_running_loop()
    began = loop.time()
    until = began + patience
    hopeless_at: float | None = None
    async with context.endings.subscribe(job.id) as event:
        while True:
            found = await _look(context, job, wanted, loop.time() - began)
            if hopeless_at is None and found.callbacks and all(came.verdict for came in found.callbacks):
                hopeless_at = loop.time() + _SECOND_CHANCE
            left = min(until, hopeless_at or until) - loop.time()
            hopeless = found.unreachable and not found.callbacks
            if found.job.ended or left <= 0 or hopeless or context.endings.released:
                return found
            await context.endings.pause(event, left)


async def _look(context: Context, job: Job, wanted: TaskStatus, seconds: float) -> Evidence:
    provider = context.provider(job.provider)
    row = await queries().peek_job(context.pool, id=job.id)
    attempts = [row async for row in queries().list_attempts(context.pool, job_id=job.id)]
    callbacks = queries().list_callbacks(context.pool, job_id=job.id, after=_FIRST, limit=_CALLBACKS)
    return Evidence(
        wanted=wanted,
        job=job if row is None else read_job(row),
        native=provider.operations[job.operation].native_test_mode,
        attempts=attempts,
        callbacks=[_read(provider, row) async for row in callbacks],
        seconds=seconds,
    )


def _read(provider: Provider, row: Any) -> Came:
    hint: CallbackHint | None = None
    unreadable: str | None = None
    try:
        hint = provider.read_callback(row["body"])
    except CallbackUnreadable as error:
        unreadable = str(error)
    return Came(row["attempt"], row["received_at"], row["judged_at"], row["verdict"], hint, unreadable)
