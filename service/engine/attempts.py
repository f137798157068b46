"""Under which settings an attempt goes out: noted with it, because whoever judges it later may have others.

In a rolling restart processes of the old and the new settings work side by side.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from service.db.pool import Connection
from service.db.sql import queries
from service.engine.context import Context
from service.jobs.model import Job

RECORDING = 60.0  # seconds for which an outcome is held while the database is away


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attempt as its own process meant it; times in seconds.

    is_call: its answer is the result itself. seen_at: when its worker was heard of last, None: that is forgotten.
    silence, window, timeout: the longest silence of its worker, how long it may take until it is sent, and until its answer.
    """

    is_call: bool
    started_at: datetime
    seen_at: datetime | None
    silence: float
    window: float
    timeout: float

    def alive_until(self, silence: float) -> datetime | None:
        """Return until when it may be under way: as long as its worker is heard of, and no longer than it can take.

        While it may still be sent (a transaction may be silent for so long before it commits, and the window begins then),
        it is alive in any case: who is stopped and woken within its window sends. None: nobody is at it.
        """
        if self.seen_at is None:
            return None
        longest = self.started_at + timedelta(seconds=self.window + self.timeout + RECORDING)
        heard = min(self.seen_at + timedelta(seconds=silence), longest)
        return max(heard, self.started_at + timedelta(seconds=silence + self.window))


def offers(context: Context) -> dict[str, list[Any]]:
    """Return what this process offers and has a key for, column by column, as the statement that takes jobs up wants it."""
    columns: dict[str, list[Any]] = {"lanes": [], "paths": [], "calls": [], "timeouts": []}
    for name, provider in context.providers.items():
        if context.access(name) is None:
            continue
        for operation in provider.operations.values():
            is_call = operation.answers == "result"
            columns["lanes"].append(f"{name}/{operation.name}")
            columns["paths"].append(operation.path)
            columns["calls"].append(is_call)
            columns["timeouts"].append(context.timeout(name, is_call=is_call))
    return columns


async def begin_attempt(context: Context, connection: Connection, job: Job, number: int) -> bytes | None:
    """Write the intent to send; returns the body to send, None when it is gone."""
    operation = context.remembered(job)
    is_call = operation is not None and operation.answers == "result"
    body: bytes | None = await queries().begin_attempt(
        connection,
        job_id=job.id,
        number=number,
        run=job.run,
        worker_id=context.worker_id,
        path=operation.path if operation else None,
        is_call=is_call and not job.test,
        silence=context.silence,
        window=context.settings.submit.window_seconds,
        timeout=context.timeout(job.provider, is_call=is_call),
        token_key=context.keyring.fingerprints[0],
    )
    return body


async def find_attempt(context: Context, connection: Connection, job: Job) -> Attempt:
    """Return the job's attempt; what a release before this one has not noted is as this process would have it."""
    row = await queries().find_attempt(connection, job_id=job.id, number=job.attempt)
    if row["is_call"] is None:
        return Attempt(
            context.answers_with_the_result(job),
            row["started_at"],
            row["seen_at"],
            context.silence,
            context.settings.submit.window_seconds,
            context.submit_timeout(job),
        )
    noted = [row[f"{name}_seconds"] for name in ("silence", "window", "timeout")]
    return Attempt(row["is_call"], row["started_at"], row["seen_at"], *noted)
