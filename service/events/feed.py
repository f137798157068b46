"""The feed: what happened to anything of an account, in the one order that everybody sees, as pages or as it happens.

A follower reads what it has missed from the database, and then takes what the hub of its process hands out. Places only
grow and become visible in their order, so that it needs to know no more than how far it has come.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any
from uuid import UUID

from service.db.pool import Pool
from service.db.sql import queries
from service.events.body import event_json
from service.events.fitting import Wanted
from service.events.hub import Hub, Mailbox, StoppingError, Told, TooSlowError, read_told
from service.events.placing import Placer
from service.events.turns import Turns
from service.ids import first_id

__all__ = ["EventGoneError", "Feed", "Follower", "Page", "StoppingError", "Told", "TooSlowError", "UnknownEventError"]

_READERS, _READERS_OF_ONE = 4, 2  # of all who read what they have missed, and of one account's, so many at a time
_FIRST, _MOST = 32, 512  # places that one read looks at: bodies may be long, but most of them may not be wanted
_PAGE_SECONDS = 5.0
_LOOK_SECONDS = 2.0  # after which a page is what has been found so far
_END = 2**63 - 1
_SHORTEST = timedelta(hours=1)  # any retention: nothing younger is gone


class UnknownEventError(LookupError):
    """There is no such event in this feed."""


class EventGoneError(LookupError):
    """The event is not kept any more: older ones than the first that is kept have been deleted."""

    def __init__(self, message: str = "the event is older than the first one that is kept") -> None:
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a feed. cursor: the id of the event behind which the next one begins; None: the feed ends here."""

    events: list[dict[str, Any]]
    cursor: UUID | None


class Feed:
    """The feeds of all accounts as one process reads them.

    most_waiting: events that wait for a slow follower. kept: seconds after which an event may be gone.
    """

    def __init__(self, pool: Pool, hub: Hub, placer: Placer, most_waiting: int, kept: float) -> None:
        self._pool = pool
        self._placer = placer
        self._turns = Turns(_READERS, _READERS_OF_ONE)
        self.hub = hub
        self.most_waiting = most_waiting
        self._kept = timedelta(seconds=kept)

    def release(self) -> None:
        """Let every follower go: the process is about to stop."""
        self.hub.release()

    async def page(self, account_id: UUID, wanted: Wanted, after: UUID | None, limit: int) -> Page:
        """Return up to `limit` events of an account behind the event `after`, or from the first one on.

        When little is wanted of a long feed it has fewer, even none, and a cursor: the last event that was looked at. Raises
        UnknownEventError when `after` is not in the account's feed, EventGoneError when it is not any more, TimeoutError when
        the database takes too long.
        """
        async with asyncio.timeout(_PAGE_SECONDS):
            return await self._page(account_id, wanted, await self.place_of(account_id, after), limit)

    async def _page(self, account_id: UUID, wanted: Wanted, place: int, limit: int) -> Page:
        loop, found, size = asyncio.get_running_loop(), list[Any](), limit + 1
        end = loop.time() + _LOOK_SECONDS
        while True:
            rows = await self.read(account_id, wanted, place, _END, size)
            found += [row for row in rows if row["id"] is not None]
            if len(found) > limit:
                return _page_of(found[:limit], found[limit - 1]["id"])
            if len(rows) < size:
                return _page_of(found, None)
            if loop.time() >= end:
                return _page_of(found, rows[-1]["event_id"])
            place, size = rows[-1]["position"], min(size * 4, max(limit, _MOST))

    def follow(
        self,
        account_id: UUID,
        wanted: Wanted,
        *,
        after: UUID | None = None,
        from_start: bool = False,
        job_id: UUID | None = None,
    ) -> Follower:
        """Return a follower, to be entered: behind the event `after`, from the first one on, or else from now on.

        job_id: it follows this job's events alone, by their numbers. Entering it raises UnknownEventError, EventGoneError and
        StoppingError.
        """
        return Follower(self, account_id, wanted, after, from_start, job_id)

    async def place_of(self, account_id: UUID, event_id: UUID | None) -> int:
        """Return an event's place, 0 for None; raises UnknownEventError and EventGoneError."""
        if event_id is None:
            return 0
        row = await queries().find_in_feed(self._pool, account_id=account_id, event_id=event_id)
        if row is not None and row["position"] is None:
            # Whoever names it has heard of it otherwise, faster than it got its place.
            await self._placer.place()
            row = await queries().find_in_feed(self._pool, account_id=account_id, event_id=event_id)
        if row is None or row["position"] is None:
            oldest = await queries().oldest_in_feed(self._pool, account_id=account_id)
            raise EventGoneError if self._is_gone(event_id, oldest) else UnknownEventError
        return int(row["position"])

    async def number_of(self, account_id: UUID, job_id: UUID, event_id: UUID | None) -> int:
        """Return the number of a job's event, 0 for None; raises UnknownEventError and EventGoneError."""
        if event_id is None:
            return 0
        number = await queries().find_in_job(self._pool, account_id=account_id, job_id=job_id, event_id=event_id)
        if number is None:
            oldest = await queries().oldest_in_job(self._pool, job_id=job_id)
            # One that has its first event still has lost none.
            lost = oldest is None or oldest["sequence"] > 1
            raise EventGoneError if lost and self._is_gone(event_id, oldest and oldest["id"]) else UnknownEventError
        return int(number)

    async def read(self, account_id: UUID, wanted: Wanted, after: int, until: int, limit: int) -> list[Any]:
        """Return the next places of an account's feed, with null instead of events that are not wanted."""
        async with self._turns.turn(account_id):
            rows = queries().read_feed(
                self._pool,
                account_id=account_id,
                after=after,
                until=until,
                limit=limit,
                types=list(wanted.types),
                filter=dict(wanted.filter),
                test=wanted.test,
            )
            return [row async for row in rows]

    async def read_job(self, account_id: UUID, job_id: UUID, after: int, limit: int) -> list[Any]:
        """Return the next events of a job."""
        async with self._turns.turn(account_id):
            rows = queries().list_events(self._pool, job_id=job_id, after=after, limit=limit)
            return [row async for row in rows if row["account_id"] == account_id]

    def _is_gone(self, event_id: UUID, oldest: UUID | None) -> bool:
        """Whether an event that is not there may have been, as far as ids tell. oldest: the first one that is."""
        now = datetime.now(UTC)
        young = first_id(now - _SHORTEST)
        # Where none is left there may have been any. Events go by the ends of their jobs: an older one may still be there.
        first = young if oldest is None else max(oldest, first_id(now - self._kept))
        return event_id < min(first, young)


def _page_of(rows: list[Any], cursor: UUID | None) -> Page:
    return Page([event_json(row) for row in rows], cursor)


class Follower:
    """One who hears of events in their order, each once. Small, for there may be thousands."""

    __slots__ = ("_after", "_feed", "_job_id", "_mailbox", "_near", "_size", "_start", "_until")

    def __init__(
        self, feed: Feed, account_id: UUID, wanted: Wanted, after: UUID | None, from_start: bool, job_id: UUID | None
    ) -> None:
        self._feed = feed
        self._job_id = job_id
        self._mailbox = Mailbox(account_id, job_id or account_id, wanted, feed.most_waiting)
        self._start: tuple[UUID | None, bool] | None = (after, from_start)
        # How far it has come: a position in the feed, or a number in the job.
        self._after = 0
        # How far it reads in the database; None: it takes what comes. The feed's end is not known before it is near, for
        # nothing waits in the mailbox of one who has much to catch up with.
        self._until: int | None = None
        self._near = False
        self._size = _FIRST

    async def __aenter__(self) -> Follower:
        """Begin to follow: nothing that gets its place from now on is missed."""
        assert self._start is not None, "a follower is entered once"
        (after, from_start), self._start = self._start, None
        try:
            await self._begin(after, from_start)
        except BaseException:
            self._leave()
            raise
        return self

    async def _begin(self, after: UUID | None, from_start: bool) -> None:
        account_id, catches_up = self._mailbox.account_id, after is not None or from_start
        if self._job_id is not None:
            self._after = await self._feed.number_of(account_id, self._job_id, after)
            await self._feed.hub.join(self._mailbox)
        elif catches_up:
            self._after = await self._feed.place_of(account_id, after)
        else:
            self._after = await self._feed.hub.join(self._mailbox)
        if catches_up:
            self._until = _END

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Follow no more."""
        self._leave()

    def _leave(self) -> None:
        self._feed.hub.leave(self._mailbox)

    async def next(self, seconds: float) -> list[Told]:
        """Return what comes next, nothing when nothing came within so many seconds.

        Raises TooSlowError when too much has waited, StoppingError when the process stops, and what asyncpg raises when what
        was missed can't be read.
        """
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while True:
            if self._until is None:
                told = self._new(await self._mailbox.take(end - loop.time()))
            elif self._near:
                # A call of its own: had something been read before in this one, it would be lost if this failed.
                await self._arrive(self._until)
                continue
            else:
                told = await self._catch_up(self._until)
            if told or loop.time() >= end:
                return told

    def _new(self, told: Any) -> list[Told]:
        """Leave out what it knows from the database."""
        fresh = []
        for each in told:
            place = each.position if self._job_id is None else each.sequence
            if place > self._after:
                self._after = place
                fresh.append(each)
        return fresh

    async def _catch_up(self, until: int) -> list[Told]:
        """Read the next of what it has missed."""
        if self._feed.hub.released:
            raise StoppingError
        size, mailbox = self._size, self._mailbox
        if self._job_id is not None:
            rows = await self._feed.read_job(mailbox.account_id, self._job_id, self._after, size)
            told = [read_told(row) for row in rows if mailbox.wanted.fits(row["type"], row["data"]["job"])]
            place, is_end = (rows[-1]["sequence"] if rows else 0), len(rows) < size
        else:
            rows = await self._feed.read(mailbox.account_id, mailbox.wanted, self._after, until, size)
            told = [read_told(row, row["position"]) for row in rows if row["id"] is not None]
            place, is_end = (rows[-1]["position"] if rows else 0), len(rows) < size
        self._after = max(self._after, place)
        self._size = _FIRST if told else min(size * 2, _MOST)
        self._near = is_end
        return told

    async def _arrive(self, until: int) -> None:
        """Go on to what comes: first to the place from which on the mailbox is filled, then to the mailbox."""
        if self._job_id is not None:
            self._until = None
        elif until == _END:
            self._until = await self._feed.hub.join(self._mailbox)
        else:
            self._after, self._until = max(self._after, until), None
        self._near = False
