"""What clients read: jobs, lists, events, callbacks, waiting for an end."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from service.db.pool import Connection, Pool, transaction
from service.db.sql import queries
from service.events.body import event_json
from service.events.deliveries import count_deliveries
from service.events.endings import Endings
from service.ids import show
from service.jobs.model import Job, Output, job_json, moment, read_job, read_output
from service.providers.contract import CallbackUnreadable, Provider
from service.providers.registry import PROVIDERS

_FIRST = UUID(int=0)
_LISTS_AT_ONCE = 4
_LIST_SECONDS = 5


@dataclass(frozen=True, slots=True)
class JobFilter:
    """Which jobs a list shows; None: all."""

    status: str | None = None
    provider: str | None = None
    operation: str | None = None
    destination: str | None = None
    test: bool | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None
    metadata: dict[str, str] | None = None


class Reading:
    """Reads for one account at a time; another's things are not there. source: what events name as theirs."""

    def __init__(self, pool: Pool, endings: Endings, source: str) -> None:
        self._pool = pool
        self._endings = endings
        self.source = source
        self._lists = asyncio.Semaphore(_LISTS_AT_ONCE)

    async def find_job(self, account_id: UUID, job_id: UUID) -> Job | None:
        """Return a job of the account."""
        row = await queries().get_job(self._pool, id=job_id, account_id=account_id)
        return None if row is None else read_job(row)

    async def show_job(self, job: Job) -> dict[str, Any]:
        """Return a job as the API shows it; with what has become of its deliveries, if it has any."""
        counts = await count_deliveries(self._pool, [job.id])
        return job_json(job, await self.list_outputs(job.id)) | counts.get(job.id, {})

    async def list_outputs(self, job_id: UUID) -> list[Output]:
        """Return a job's outputs in order."""
        return [read_output(row) async for row in queries().list_outputs(self._pool, job_id=job_id)]

    async def wait(self, account_id: UUID, job_id: UUID, seconds: float) -> Job | None:
        """Return the job once it has ended, or as it is after so many seconds."""
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        async with self._endings.subscribe(job_id) as event:
            while True:
                job = await self.find_job(account_id, job_id)
                left = until - loop.time()
                if job is None or job.ended or left <= 0 or self._endings.released:
                    return job
                await self._endings.pause(event, left)

    async def list_jobs(
        self, account_id: UUID, wanted: JobFilter, before: UUID | None, limit: int
    ) -> list[tuple[UUID, dict[str, Any]]]:
        """Return jobs, newest first, each with its id."""
        # A filter that fits nothing walks through everything the account has: few at once, and not for long.
        async with self._lists, transaction(self._pool) as connection:
            await connection.execute(f"SET LOCAL statement_timeout = '{_LIST_SECONDS}s'")
            return await self._list_jobs(connection, account_id, wanted, before, limit)

    async def _list_jobs(
        self, connection: Connection, account_id: UUID, wanted: JobFilter, before: UUID | None, limit: int
    ) -> list[tuple[UUID, dict[str, Any]]]:
        rows = queries().list_jobs(
            connection,
            account_id=account_id,
            status=wanted.status,
            provider=wanted.provider,
            operation=wanted.operation,
            destination=wanted.destination,
            test=wanted.test,
            created_after=wanted.created_after,
            created_before=wanted.created_before,
            metadata=wanted.metadata or {},
            before=before,
            limit=limit,
        )
        jobs = [read_job(row) async for row in rows]
        outputs: dict[UUID, list[Output]] = {}
        async for row in queries().list_outputs_of(connection, job_ids=[job.id for job in jobs]):
            outputs.setdefault(row["job_id"], []).append(read_output(row))
        counts = await count_deliveries(connection, [job.id for job in jobs])
        return [(job.id, job_json(job, outputs.get(job.id, [])) | counts.get(job.id, {})) for job in jobs]

    async def list_events(self, job_id: UUID, after: int, limit: int) -> list[dict[str, Any]]:
        """Return a job's events after a sequence number, in order."""
        rows = queries().list_events(self._pool, job_id=job_id, after=after, limit=limit)
        return [event_json(row) async for row in rows]

    async def list_callbacks(self, job: Job, after: UUID | None, limit: int) -> list[tuple[UUID, dict[str, Any]]]:
        """Return what came for a job, oldest first; of the bodies only what they claim, for they hold secrets."""
        rows = queries().list_callbacks(self._pool, job_id=job.id, after=after or _FIRST, limit=limit)
        return [(row["id"], _callback_json(row, PROVIDERS[job.provider])) async for row in rows]


def _claimed(provider: Provider, body: bytes) -> dict[str, Any] | None:
    """Return what a callback says of itself, None when it can't be read; nothing of it is authenticated."""
    try:
        hint = provider.read_callback(body)
    except CallbackUnreadable:
        return None
    status = None if hint.state is None else hint.state.provider_status
    return {"known_event": hint.known_event, "provider_task_id": hint.task_id, "provider_status": status}


def _callback_json(row: Any, provider: Provider) -> dict[str, Any]:
    return {
        "id": show("cb", row["id"]),
        "object": "callback",
        "attempt": row["attempt"],
        "received_at": moment(row["received_at"]),
        "bytes": len(row["body"]),
        "sha256": row["digest"].hex(),
        "claimed": _claimed(provider, row["body"]),
        "verdict": row["verdict"],
        "judged_at": moment(row["judged_at"]),
    }
