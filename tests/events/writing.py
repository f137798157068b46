"""Jobs and events written as the engine does, but with transactions that the test holds open for as long as it likes."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from service.db.pool import Pool, open_pool
from service.events.endings import Endings
from service.events.feed import Feed, Follower, Told
from service.events.fitting import Wanted
from service.events.hub import Hub
from service.events.listening import Listener
from service.events.placing import Placer
from service.ids import new_uuid
from tests.world import until

EVERYTHING = Wanted()
_JOB = """
INSERT INTO jobs (id, account_id, provider, operation, status, test_status, submit_state, deadline_seconds, deadline_at, due_at)
SELECT $1, $2, 'novita', 'txt2img', 'queued', 'TASK_STATUS_SUCCEED', NULL, 60, later, later
FROM (VALUES (now() + interval '1 hour')) AS given (later)
"""
_EVENT = """
WITH changed AS (UPDATE jobs SET last_event = last_event + 1 WHERE id = $1 RETURNING *)
INSERT INTO events (job_id, sequence, id, account_id, run, type, time, data)
SELECT id, last_event, $2, account_id, last_event, $3, now(),
       jsonb_build_object('sequence', last_event, 'job', $4::jsonb || jsonb_build_object('id', id::text))
FROM changed RETURNING sequence
"""


def shown(**changes: Any) -> dict[str, Any]:
    """Return a job as an event shows it, as far as filters look at it."""
    job = {"test": True, "provider": "novita", "operation": "txt2img", "destination": None, "metadata": {}}
    return {**job, **changes}


@dataclass
class Process:
    """What one process has of the feed, with nothing else around it."""

    pool: Pool
    placer: Placer
    hub: Hub
    listener: Listener
    feed: Feed
    endings: Endings
    said: list[str] = field(default_factory=list)

    async def account(self) -> UUID:
        """Make an account."""
        account_id = new_uuid()
        await self.pool.execute("INSERT INTO accounts (id, name) VALUES ($1, $2)", account_id, str(account_id))
        return account_id

    async def job(self, account_id: UUID) -> UUID:
        """Make a job without events."""
        job_id = new_uuid()
        await self.pool.execute(_JOB, job_id, account_id)
        return job_id

    async def write(self, job_id: UUID, kind: str = "job.running", *, connection: Any = None, **job: Any) -> UUID:
        """Write a job's next event; commits it, unless a connection is given, and has it placed."""
        event_id = new_uuid()
        await (connection or self.pool).execute(_EVENT, job_id, event_id, kind, shown(**job))
        if connection is None:
            self.placer.kick()
        return event_id

    async def tell(self, account_id: UUID, kind: str = "destination.failing") -> UUID:
        """Write an event of the account's own."""
        event_id = new_uuid()
        await self.pool.execute(
            "INSERT INTO account_events (id, account_id, type, subject, data) VALUES ($1, $2, $3, 'acme', '{}')",
            event_id, account_id, kind,
        )  # fmt: skip
        self.placer.kick()
        return event_id

    async def until_placed(self) -> None:
        """Have everything placed that is committed."""
        await self.placer.place()

    async def until_listening(self) -> None:
        """Return once it hears what the database says."""

        async def listening() -> bool:
            return self.listener.listening

        await until(listening)

    async def order(self, account_id: UUID) -> list[UUID]:
        """Return the ids of an account's feed in its order."""
        rows = await self.pool.fetch("SELECT event_id FROM feed WHERE account_id = $1 ORDER BY position", account_id)
        return [row["event_id"] for row in rows]


@contextlib.asynccontextmanager
async def feed_process(
    database_url: str, most_waiting: int = 256, batch: int = 500, listens_at: str | None = None
) -> AsyncIterator[Process]:
    """Run the feed's parts of a process. listens_at: another way to the same database, for its listener."""
    pool = await open_pool(database_url, size=32)
    placer, hub, listener, endings = Placer(pool, batch), Hub(pool), Listener(listens_at or database_url), Endings()
    process = Process(pool, placer, hub, listener, Feed(pool, hub, placer, most_waiting, kept=86_400), endings)

    def heard(said: str) -> None:
        process.said.append(said)
        newest, _, ended = said.partition(" ")
        hub.heard(int(newest))
        endings.heard(ended)

    listener.channels = {"genrelay_feed": heard}
    listener.on_open = [hub.look, endings.wake_all]
    hub.on_missed = listener.doubt
    placer.start()
    hub.start()
    listener.start()
    try:
        await process.until_listening()
        yield process
    finally:
        await listener.stop()
        await hub.stop()
        await placer.stop()
        await pool.close()


async def take(follower: Follower, count: int, seconds: float = 20.0) -> list[Told]:
    """Return the next events of a follower, at least so many."""
    told: list[Told] = []
    while len(told) < count:
        more = await follower.next(seconds)
        assert more, f"only {len(told)} of {count} came"
        told += more
    return told


def ids(told: list[Told]) -> list[UUID]:
    """Return the ids of what a follower was told."""
    return [each.event_id for each in told]
