"""The one reader of the feed in a process: reads each new row once, and hands it to those here who follow.

It costs nothing while nobody follows. Rows are read without their bodies; bodies are fetched of those events alone that
somebody here may want, and encoded once for all of them.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar
from uuid import UUID

import structlog

from service import metrics
from service.db.pool import DATABASE_AWAY, Pool
from service.db.sql import queries
from service.events.body import encode, event_json
from service.events.fitting import Wanted
from service.jobs.lifecycle import TERMINAL_EVENTS

log = structlog.get_logger()

T = TypeVar("T")

_ROWS = 1000  # rows of one read, a hundred bytes each
_BODIES = 100  # of one read: they may be long
_POLL_SECONDS = 2.0
_PAUSE = 0.5  # seconds until the next try while the database is away
_BREATH = 50  # followers that are told without a pause


class TooSlowError(Exception):
    """More events waited for a follower than may; it goes on by the id of the last one it has."""


class StoppingError(Exception):
    """The process is about to stop; a follower goes on elsewhere."""


@dataclass(frozen=True, slots=True)
class Told:
    """An event as a follower is told of it.

    body: the CloudEvent's bytes, shared by all followers. ends_run: it is the last one of a run. position: its place in the
    feed, shown to nobody.
    """

    event_id: UUID
    job_id: UUID | None
    sequence: int | None
    type: str
    body: bytes = field(repr=False)
    ends_run: bool
    position: int = 0


def read_told(row: Any, position: int = 0) -> Told:
    """Read an event's row, of `events` or `account_events`."""
    kind = row["type"]
    body = encode(event_json(row))
    return Told(row["id"], row["job_id"], row["sequence"], kind, body, kind in TERMINAL_EVENTS, position)


class Mailbox:
    """What waits for one follower, up to a limit. Small, for there may be thousands: most of them wait for nothing.

    topic: the account or the job that it is about. wanted: which events of it.
    """

    __slots__ = ("_failure", "_told", "_waiter", "account_id", "limit", "topic", "wanted")

    def __init__(self, account_id: UUID, topic: UUID, wanted: Wanted, limit: int) -> None:
        self.account_id, self.topic, self.wanted, self.limit = account_id, topic, wanted, limit
        self._told: list[Told] | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._failure: type[Exception] | None = None

    def put(self, told: Told) -> bool:
        """Add an event; False when there was no room, and its follower is cut off."""
        if self._told is None:
            self._told = []
        if len(self._told) >= self.limit:
            self.fail(TooSlowError)
            return False
        self._told.append(told)
        self._wake()
        return True

    def fail(self, failure: type[Exception]) -> None:
        """Forget what waits, and let the follower know why."""
        self._told, self._failure = None, failure
        self._wake()

    async def take(self, seconds: float) -> Sequence[Told]:
        """Return what waits; waits itself for up to so many seconds. Raises TooSlowError and StoppingError."""
        if not self._told and self._failure is None and seconds > 0:
            loop = asyncio.get_running_loop()
            self._waiter = loop.create_future()
            timer = loop.call_later(seconds, self._wake)
            try:
                await self._waiter
            finally:
                timer.cancel()
                self._waiter = None
        if self._failure is not None:
            raise self._failure
        told, self._told = self._told, None
        return told or ()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class _Audience:
    """Mailboxes on one topic that want the same."""

    __slots__ = ("members", "wanted")

    def __init__(self, wanted: Wanted) -> None:
        self.wanted = wanted
        self.members: set[Mailbox] = set()


class Hub:
    """Reads the feed for one process. on_missed: called when a look without a notice has found something."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self.on_missed: Callable[[], None] = lambda: None
        self._audiences: dict[UUID, dict[str, _Audience]] = {}
        self._count = 0
        # Read up to here; None while nobody follows.
        self._position: int | None = None
        self._beginning = asyncio.Lock()
        self._bell = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.released = False

    def start(self) -> None:
        """Begin to wait for followers."""
        self._task = asyncio.create_task(self._run(), name="hub")

    def release(self) -> None:
        """Let every follower go: the process is about to stop."""
        self.released = True
        for audiences in self._audiences.values():
            for audience in audiences.values():
                for mailbox in audience.members:
                    mailbox.fail(StoppingError)

    def drop(self, account_id: UUID) -> None:
        """Let the followers of an account go: it is being erased, or a key of it was revoked and may be theirs."""
        for audiences in self._audiences.values():
            for audience in audiences.values():
                for mailbox in audience.members:
                    if mailbox.account_id == account_id:
                        mailbox.fail(StoppingError)

    async def stop(self) -> None:
        """Stop reading."""
        self.release()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def heard(self, newest: int) -> None:
        """Take note that the feed goes up to a position."""
        if self._position is not None and newest > self._position:
            self._bell.set()

    def look(self) -> None:
        """Look anew: notices may have been lost."""
        if self._position is not None:
            self._bell.set()

    async def join(self, mailbox: Mailbox) -> int:
        """Put into a mailbox what gets a place from now on; returns a position, up to which the feed was read before.

        What stands up to there may still come, or come twice to one who reads it in the database: places only grow, so a
        reader knows. Raises StoppingError, and what asyncpg raises without a database.
        """
        if self._position is None:
            async with self._beginning:
                if self._position is None:
                    self._position = await queries().newest_position(self._pool)
                    self._bell.set()
        if self.released:
            raise StoppingError
        audiences = self._audiences.setdefault(mailbox.topic, {})
        name = _name(mailbox.wanted)
        if name not in audiences:
            audiences[name] = _Audience(mailbox.wanted)
        audiences[name].members.add(mailbox)
        self._count += 1
        metrics.FOLLOWERS.set(self._count)
        position: int = self._position
        return position

    def leave(self, mailbox: Mailbox) -> None:
        """Put nothing more into a mailbox; one that is not there is no mistake."""
        audiences, name = self._audiences.get(mailbox.topic, {}), _name(mailbox.wanted)
        audience = audiences.get(name)
        if audience is None or mailbox not in audience.members:
            return
        audience.members.remove(mailbox)
        if not audience.members:
            del audiences[name]
        if not audiences:
            del self._audiences[mailbox.topic]
        self._count -= 1
        metrics.FOLLOWERS.set(self._count)

    async def _run(self) -> None:
        while True:
            if not self._audiences:
                # Whoever joins next begins where the feed ends then.
                self._position = None
            missed = not await self._rung(None if self._position is None else _POLL_SECONDS)
            if self._position is not None and await self._surely(self._look) and missed:
                self.on_missed()

    async def _rung(self, seconds: float | None) -> bool:
        rung = False
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                rung = await self._bell.wait()
        self._bell.clear()
        return rung

    async def _look(self) -> bool:
        """Read what is new; returns whether there was anything."""
        found = False
        while self._audiences:
            rows = [row async for row in queries().scan_feed(self._pool, after=self._position, limit=_ROWS)]
            if not rows:
                break
            found = True
            # Those who join from here on read up to this place themselves, so it must not be said any earlier or later than
            # it is decided whom the rows concern.
            self._position = rows[-1]["position"]
            known = self._audiences
            await self._pass_on([row for row in rows if row["account_id"] in known or row["job_id"] in known])
            if len(rows) < _ROWS:
                break
        return found

    async def _pass_on(self, rows: list[Any]) -> None:
        for first in range(0, len(rows), _BODIES):
            some = rows[first : first + _BODIES]
            bodies = await self._surely(lambda some=some: self._bodies([row["event_id"] for row in some]))  # type: ignore[misc]
            for row in some:
                body = bodies.get(row["event_id"])
                if body is not None:  # its retention may have ended
                    await self._tell(row, body)

    async def _bodies(self, ids: list[UUID]) -> dict[UUID, Any]:
        return {row["id"]: row async for row in queries().get_events(self._pool, ids=ids)}

    async def _tell(self, row: Any, body: Any) -> None:
        job, told, count = body["data"].get("job"), None, 0
        for topic in (row["account_id"], row["job_id"]):
            for audience in tuple(self._audiences.get(topic, {}).values()):
                if not audience.wanted.fits(body["type"], job if row["job_id"] else None):
                    continue
                told = told or read_told(body, row["position"])
                for mailbox in tuple(audience.members):
                    if mailbox.account_id == row["account_id"] and not mailbox.put(told):
                        self._cut_off(mailbox)
                    count += 1
                    if count % _BREATH == 0:
                        await asyncio.sleep(0)

    def _cut_off(self, mailbox: Mailbox) -> None:
        self.leave(mailbox)
        metrics.FOLLOWERS_CUT.inc()
        log.info("follower.cut_off", waiting=mailbox.limit)

    async def _surely(self, act: Callable[[], Awaitable[T]]) -> T:
        """Do something until it succeeds: what was read of the feed and not passed on would be lost to those who follow."""
        while True:
            try:
                return await act()
            except Exception as error:
                say = log.warning if isinstance(error, DATABASE_AWAY) else log.exception
                say("feed.not_read", reason=type(error).__name__)
            await asyncio.sleep(_PAUSE)


def _name(wanted: Wanted) -> str:
    return json.dumps([wanted.types, wanted.test, wanted.filter], sort_keys=True)
