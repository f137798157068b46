"""Housekeeping: what has had its time is deleted, once a minute, oldest first, in batches that wait for nobody.

One worker at a time does it. What is to be deleted, and when, is one table, `_kinds`; how, the statements `purge_…` of
queries/housekeeping.sql. A kind that grows with the jobs is walked through along its ids, which tell how old a thing is; how
far a walk has come is kept in the database, so that a round costs what has become old since the last one, and not what has
to stay.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

import asyncpg
import structlog

from config.settings import Settings
from service import metrics
from service.db.pool import Connection
from service.db.sql import queries
from service.engine.context import Context
from service.engine.erasing import erase_accounts
from service.engine.spooling import clean_spool
from service.engine.uploads import sweep_uploads
from service.events.schedule import longest_seconds
from service.ids import first_id

log = structlog.get_logger()

Purge = Callable[..., Awaitable[Any]]

_LOCK = "genrelay housekeeping"
_BATCHES = 50  # of each kind in one round, so that no kind keeps the others waiting for long
_BYTES = 64 * 2**20  # of bodies in one batch
_DAY = 86_400.0
_ORPHANS = _DAY  # seconds for which a callback of a job that is not there is kept
_AGAIN, _SELDOM = 3600.0, _DAY  # seconds until a walk begins at the beginning again, for what was passed over
_START = UUID(int=0)


@dataclass(frozen=True, slots=True)
class _Kind:
    """Something that is deleted. purge: one batch of it, on a connection."""

    name: str
    purge: Purge


@dataclass(frozen=True, slots=True)
class _Walk(_Kind):
    """Something that is walked through along its ids. age: of the youngest that may go, in seconds."""

    age: float
    again: float = _AGAIN


@dataclass(frozen=True, slots=True)
class _Progress:
    """How far a walk has come, and how many seconds ago it began at the beginning."""

    after: UUID
    seconds: float


async def keep_house(context: Context) -> None:
    """Do one round: delete at most 50 batches of each kind; the next round goes on."""
    async with _turn(context) as connection:
        if connection is not None:
            for name, count in await _purge_all(connection, context.settings):
                metrics.PURGED.labels(name).inc(count)
                log.info("housekeeping.purged", kind=name, count=count)
    # Several may do these at once: each takes what no other has taken.
    await clean_spool(context)
    await sweep_uploads(context)
    await queries().forget_secrets(context.pool)
    await queries().forget_dead_workers(context.pool)
    await erase_accounts(context)
    metrics.HOUSEKEEPING_SUCCESS.set(time.time())


def _kinds(settings: Settings) -> Iterator[_Kind]:
    """Yield what is deleted, in an order in which what names something else goes before it."""
    keep, sql = settings.retention, queries()
    yield _Kind(
        "inputs", partial(sql.purge_inputs, limit=500, bytes=_BYTES, delivery=longest_seconds(settings.delivery))
    )
    yield _Kind("inline_outputs", partial(sql.purge_inline, seconds=keep.retry_inputs_seconds, limit=500, bytes=_BYTES))
    yield _Kind("idempotency_keys", partial(sql.purge_idempotency_keys, limit=1000))
    yield _Kind("engine_log", partial(sql.purge_engine_log, seconds=keep.engine_log_seconds, limit=5000))
    yield _Kind("grants", partial(sql.purge_grants, limit=5000))
    yield _Kind("places", partial(sql.purge_line, limit=1000))
    yield _Kind("orphaned_callbacks", partial(sql.purge_orphans, seconds=_ORPHANS, limit=500))
    yield from _walks(settings)


def _walks(settings: Settings) -> Iterator[_Walk]:
    keep, sql = settings.retention, queries()
    with_event = keep.deliveries_seconds is None
    if (age := keep.callbacks_seconds) is not None:
        yield _Walk("callbacks", partial(sql.purge_callbacks, seconds=age, limit=500, bytes=_BYTES), age)
    if (age := keep.deliveries_seconds) is not None:
        yield _Walk("deliveries", partial(sql.purge_deliveries, seconds=age, limit=1000), age)
    if (age := keep.events_seconds) is not None:
        events = partial(sql.purge_events, seconds=age, limit=1000, with_deliveries=with_event)
        yield _Walk("events", events, age)
        yield _Walk("account_events", partial(sql.purge_account_events, limit=500, with_deliveries=with_event), age)
        yield _Walk("destination_events", partial(sql.purge_destination_events, limit=500), age)
    if (age := keep.jobs_seconds) is not None:
        retry = keep.retry_inputs_seconds
        yield _Walk("jobs", partial(sql.purge_jobs, seconds=age, retry=retry, limit=200, bytes=_BYTES), age)
    # Places that have lost their event; all others are passed over, which are many where events are kept for ever.
    yield _Walk("feed", partial(sql.purge_feed, limit=1000), keep.places_seconds, _SELDOM)
    if (age := keep.dead_letters_seconds) is not None:
        yield _Walk("dead_letters", partial(sql.purge_dead_letters, limit=500), age)
    yield _Walk("subscriptions", partial(sql.purge_subscriptions, limit=500), _DAY, _SELDOM)
    yield _Walk("destinations", partial(sql.purge_destinations, limit=500), _DAY, _SELDOM)


@asynccontextmanager
async def _turn(context: Context) -> AsyncIterator[Connection | None]:
    """Lend a connection that alone deletes for as long; None when another one does."""
    async with context.pool.acquire() as connection:
        if not await queries().begin_housekeeping(connection, lock=_LOCK):
            yield None
            return
        try:
            yield connection
        finally:
            try:
                await queries().end_housekeeping(connection, lock=_LOCK)
            except BaseException:
                # The lock is the connection's, and would stay for as long as that is used.
                connection.terminate()
                raise


async def _purge_all(connection: Connection, settings: Settings) -> list[tuple[str, int]]:
    """Delete what there is of each kind; returns how much, where there was any."""
    progress = {
        row["kind"]: _Progress(row["after"], row["seconds"]) async for row in queries().read_progress(connection)
    }
    counts = []
    for kind in _kinds(settings):
        if isinstance(kind, _Walk):
            count = await _walk(connection, kind, progress.get(kind.name))
        else:
            count = await _purge(connection, kind)
        if count:
            counts.append((kind.name, count))
    return counts


async def _purge(connection: Connection, kind: _Kind) -> int:
    count = 0
    for _ in range(_BATCHES):
        row = await kind.purge(connection)
        count += row["deleted"]
        if not row["more"]:
            break
    return count


async def _walk(connection: Connection, kind: _Walk, before: _Progress | None) -> int:
    """Go on with a walk from where it stands, or from the beginning if that was long ago."""
    anew = before is None or before.seconds >= kind.again
    start = _START if before is None or anew else before.after
    until = first_id(datetime.now(UTC) - timedelta(seconds=kind.age))
    count, after = 0, start
    for _ in range(_BATCHES):
        row = await _batch(connection, kind, after, until)
        if row is None or row["last"] is None:
            break
        count, after = count + row["deleted"], row["last"]
    if anew or after != start:
        await queries().note_progress(connection, kind=kind.name, after=after, anew=anew)
    return count


async def _batch(connection: Connection, kind: _Walk, after: UUID, until: UUID) -> Any:
    """Delete one batch; None if something in it has just been named by something new."""
    try:
        return await kind.purge(connection, after=after, before=until)
    except asyncpg.ForeignKeyViolationError:
        log.info("housekeeping.put_off", kind=kind.name)
        return None
