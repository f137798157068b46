"""The inbox: callbacks are committed before they are acknowledged, many in one transaction.

Whatever arrives while one transaction commits goes into the next (group commit), so an idle service acknowledges at once
and a busy one does not pay a commit per callback. Each waits for its own commit and nothing else.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from uuid import UUID

import asyncpg
import structlog

from service import metrics
from service.db.pool import DATABASE_AWAY, Connection
from service.db.sql import queries
from service.ids import new_uuid, show
from service.points import reach

log = structlog.get_logger()

_LARGEST_BATCH = 256
_MOST_BYTES = 16 * 2**20


class InboxUnavailableError(Exception):
    """The callback is not committed: the database is away, or would not take it."""


@dataclass(slots=True, eq=False)
class _Letter:
    job_id: UUID
    attempt: int
    headers: bytes
    body: bytes
    done: asyncio.Future[None]


class Inbox:
    """Takes callbacks in; one background task writes them.

    transaction: begins one. hand_on: asks, within it, that the inboxes of these jobs be judged.
    """

    def __init__(
        self,
        transaction: Callable[[], AbstractAsyncContextManager[Connection]],
        hand_on: Callable[[Connection, Sequence[UUID]], Awaitable[None]],
        *,
        kept_per_run: int,
    ) -> None:
        self._transaction, self._hand_on = transaction, hand_on
        self._kept = kept_per_run
        self._waiting: list[_Letter] = []
        self._writing: list[_Letter] = []
        self._arrived = asyncio.Event()
        self._writer: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start the writer."""
        self._writer = asyncio.create_task(self._write_forever(), name="inbox")

    async def stop(self) -> None:
        """Write what is there and stop."""
        while left := [*self._writing, *self._waiting]:
            await asyncio.wait([letter.done for letter in left])
        if self._writer is not None:
            self._writer.cancel()
            await asyncio.gather(self._writer, return_exceptions=True)

    async def put(self, job_id: UUID, attempt: int, headers: bytes, body: bytes) -> None:
        """Return once the callback is committed; raises InboxUnavailableError when it is not."""
        letter = _Letter(job_id, attempt, headers, body, asyncio.get_running_loop().create_future())
        self._waiting.append(letter)
        self._arrived.set()
        await letter.done

    async def _write_forever(self) -> None:
        while True:
            await self._arrived.wait()
            batch = self._take()
            if not batch:
                self._arrived.clear()
                continue
            self._writing = batch
            await self._write(batch)
            self._writing = []

    def _take(self) -> list[_Letter]:
        batch: list[_Letter] = []
        size = 0
        for letter in self._waiting[:_LARGEST_BATCH]:
            size += len(letter.body)
            if batch and size > _MOST_BYTES:
                break
            batch.append(letter)
        del self._waiting[: len(batch)]
        return batch

    async def _write(self, batch: Sequence[_Letter]) -> None:
        try:
            await self._commit(batch)
        except DATABASE_AWAY as error:
            log.warning("callbacks.not_committed", count=len(batch), reason=type(error).__name__)
            self._refuse(batch)
        except asyncpg.PostgresError as error:
            await self._split(batch, error)
        except Exception as error:  # a mistake of ours must not leave senders waiting for ever
            log.exception("callbacks.not_committed", count=len(batch), reason=type(error).__name__)
            self._refuse(batch)
        else:
            for letter in batch:
                if not letter.done.done():
                    letter.done.set_result(None)

    async def _split(self, batch: Sequence[_Letter], error: asyncpg.PostgresError) -> None:
        """Halve a batch that PostgreSQL refuses until the bad one is alone; its neighbours get through."""
        if len(batch) == 1:
            log.error("callback.refused", job_id=show("job", batch[0].job_id), sqlstate=error.sqlstate)
            self._refuse(batch)
            return
        middle = len(batch) // 2
        await self._write(batch[:middle])
        await self._write(batch[middle:])

    @staticmethod
    def _refuse(batch: Sequence[_Letter]) -> None:
        for letter in batch:
            if not letter.done.done():
                letter.done.set_exception(InboxUnavailableError())

    async def _commit(self, batch: Sequence[_Letter]) -> None:
        async with self._transaction() as connection:
            kept = await self._insert(connection, batch)
            await self._hand_on(connection, kept)
            reach("inbox.before_commit")
        reach("inbox.committed")
        metrics.CALLBACK_BATCH.observe(len(batch))
        log.info("callbacks.committed", count=len(batch), jobs=len(kept))

    async def _insert(self, connection: Connection, batch: Sequence[_Letter]) -> list[UUID]:
        rows = queries().insert_callbacks(
            connection,
            ids=[new_uuid() for _ in batch],
            job_ids=[letter.job_id for letter in batch],
            attempts=[letter.attempt for letter in batch],
            headers=[letter.headers for letter in batch],
            bodies=[letter.body for letter in batch],
            digests=[hashlib.sha256(letter.body).digest() for letter in batch],
            kept=self._kept,
        )
        return list({row["job_id"]: None async for row in rows})
