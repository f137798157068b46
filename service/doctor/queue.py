"""Is the work being done: are there workers, does anything wait too long, has anything been given up?"""

from __future__ import annotations

import time
from uuid import UUID

from config.settings import Settings
from service.doctor.findings import Notes, count_of, span
from service.doctor.ground import Ground, Session
from service.engine.ledger import COPY, SETTLE, SUBMIT, TASK_OF
from service.jobs.lifecycle import Status

_LATE, _STUCK = 60.0, 900.0  # seconds that work is overdue
_MANY = 100_000  # rows; counting stops there
_BEHIND = 7200.0  # seconds that housekeeping, which comes every minute, may be late


async def check(ground: Ground, notes: Notes) -> None:
    """Look at the workers, then at what waits for them."""
    settings = ground.given()
    async with ground.session() as session:
        await _check_workers(session, settings, notes)
        await _check_overdue(session, notes)
        await _check_dead(session, notes)
        await _check_starts(session, settings, notes)
        await _check_events(session, notes)
        await _check_line(session, settings, notes)
        await _check_outputs(session, settings, notes)
        await _check_tables(session, settings, notes)


async def _check_workers(session: Session, settings: Settings, notes: Notes) -> None:
    silence = settings.engine.heartbeat_seconds
    row = await session.fetchrow(
        """
        SELECT count(*) FILTER (WHERE seen_at > now() - make_interval(secs => $1)) AS alive, count(*) AS known,
            extract(epoch FROM now() - max(seen_at))::float8 AS ago
        FROM workers
        """,
        2 * silence,
    )
    assert row is not None
    gone = row["known"] - row["alive"]
    if row["alive"]:
        dead = f"; {gone} others were killed within a day" if gone else ""
        notes.ok("workers", f"{row['alive']} alive{dead}")
        return
    last = f"; the last one was seen {span(row['ago'])} ago" if row["ago"] is not None else ""
    hint = "Start one: `genrelay serve --role worker` (or `all`); in Kubernetes look at the worker Deployment's pods and logs."
    notes.fail("workers", f"none is alive, so jobs wait{last}", hint)


_OVERDUE = """
    SELECT status, count(*) AS many, extract(epoch FROM now() - min(due_at))::float8 AS seconds
    FROM (SELECT status, due_at FROM jobs WHERE due_at <= now() ORDER BY due_at LIMIT 100000) AS due GROUP BY status
"""


async def _check_overdue(session: Session, notes: Notes) -> None:
    waiting: dict[str, tuple[int, float]] = {}
    for row in await session.fetch(_OVERDUE):
        task = TASK_OF[Status(row["status"])]
        many, seconds = waiting.get(task, (0, 0.0))
        waiting[task] = many + row["many"], max(seconds, row["seconds"])
    unjudged = await session.fetchrow(
        "SELECT count(*) AS many, extract(epoch FROM now() - min(received_at))::float8 AS seconds FROM"
        " (SELECT received_at FROM callbacks WHERE verdict IS NULL ORDER BY received_at LIMIT 100000) AS unjudged"
    )
    if unjudged is not None and unjudged["many"]:
        waiting[SETTLE] = unjudged["many"], unjudged["seconds"]
    late = {task: found for task, found in waiting.items() if found[1] > _LATE}
    for task, (many, seconds) in late.items():
        found = f"{task}: {count_of(many, 'piece')} of work overdue, the oldest for {span(seconds)}"
        (notes.fail if seconds > _STUCK else notes.warn)("overdue", found, _WHY_LATE.get(task, _MORE_WORKERS))
    if not late:
        notes.ok("overdue", f"nothing has been due for more than {span(_LATE)}")


_MORE_WORKERS = "Are there enough workers, and do they reach the provider? Look at their logs, and run more of them."
_WHY_LATE = {
    SUBMIT: f"{_MORE_WORKERS} Without the provider's key, or when it does not know the operation, a worker leaves a job to"
    " others.",
    COPY: "Are there enough workers, and do customers' buckets take what they are sent? Look at `buckets`.",
}


async def _check_dead(session: Session, notes: Notes) -> None:
    rows = await session.fetch(
        "SELECT task, count(*) AS many FROM (SELECT task FROM dead_letters WHERE retried_at IS NULL LIMIT 100000) AS dead"
        " GROUP BY task ORDER BY task"
    )
    told = ", ".join(f"{row['many']} of {row['task']}" for row in rows)
    found = f"work was given up: {told}" if rows else "none"
    notes.judge(
        "dead_letters", found, bad=bool(rows), hint="`genrelay dead list` says why, `genrelay dead retry` tries again."
    )


async def _check_starts(session: Session, settings: Settings, notes: Notes) -> None:
    row = await session.fetchrow(
        """
        SELECT count(*) FILTER (WHERE starts > 1) AS again,
            count(*) FILTER (WHERE deadline_at < now() - interval '5 minutes' AND status <> 'copying') AS past
        FROM (SELECT starts, deadline_at, status FROM jobs WHERE due_at IS NOT NULL ORDER BY due_at LIMIT 100000) AS open
        """
    )
    assert row is not None
    if row["again"]:
        most = settings.engine.max_starts
        found = f"{count_of(row['again'], 'job')} crashed a worker, or raised, to be given up after {most} starts"
        notes.warn(
            "crashing", found, "Look for `task.raised` in the workers' logs, and for workers that run out of memory."
        )
    if row["past"]:
        found = f"{count_of(row['past'], 'job')} should have ended by their deadline"
        notes.fail("stuck", found, "No worker takes them up: restart the workers, and look at their logs.")
    if not row["again"] and not row["past"]:
        notes.ok("stuck", "no job is stuck")


async def _check_events(session: Session, notes: Notes) -> None:
    oldest: UUID | None = await session.fetchval("SELECT event_id FROM unplaced ORDER BY event_id LIMIT 1")
    # A UUIDv7 begins with the milliseconds of its making.
    seconds = 0.0 if oldest is None else max(0.0, time.time() - (oldest.int >> 80) / 1000)
    found = (
        f"the oldest event without a place in the feed waits for {span(seconds)}"
        if seconds > 5
        else "the feed keeps up"
    )
    hint = (
        "Nobody hears of anything meanwhile. Look for a lock (pg_locks) and at the logs of any process of the service."
    )
    (notes.fail if seconds > _LATE else notes.ok)("events", found, *([hint] if seconds > _LATE else []))


async def _check_line(session: Session, settings: Settings, notes: Notes) -> None:
    rows = await session.fetch(
        """
        SELECT provider, count(*) AS many FROM (SELECT provider FROM line WHERE granted_at IS NULL LIMIT 100000) AS waiting
        GROUP BY provider ORDER BY provider
        """
    )
    paused = await session.fetch(
        "SELECT provider, operation, extract(epoch FROM paused_until - now())::float8 AS seconds, refusals FROM lanes"
        " WHERE paused_until > now() ORDER BY provider, operation"
    )
    told = ", ".join(f"{row['many']:,} for {row['provider']}" for row in rows)
    if paused:
        names = ", ".join(f"{r['provider']} {r['operation']} for {span(r['seconds'])}" for r in paused)
        hint = (
            "The provider answered 429. Ask it for a higher limit, or set …__IMAGES_PER_MINUTE to the one that it has."
        )
        notes.warn("line", f"left alone: {names}; waiting in line: {told or 'nobody'}", hint)
    else:
        notes.ok("line", f"waiting in line: {told}" if told else "nobody waits in line")


async def _check_outputs(session: Session, settings: Settings, notes: Notes) -> None:
    row = await session.fetchrow(
        """
        SELECT count(*) FILTER (WHERE status = 'copying' AND source_expires_at > now()) AS soon,
            count(*) FILTER (WHERE status = 'copying' AND source_expires_at <= now()) AS over,
            count(*) FILTER (WHERE status = 'failed' AND error ->> 'code' LIKE 'destination%'
                             AND source_expires_at > now()) AS failed
        FROM jobs WHERE status IN ('copying', 'failed') AND source_expires_at IS NOT NULL
          AND source_expires_at <= now() + make_interval(secs => $1)
          AND (status = 'copying' OR source_expires_at > now())
        """,
        settings.outputs.alert_seconds,
    )
    assert row is not None
    if row["soon"] or row["over"]:
        many = count_of(row["soon"] + row["over"], "job")
        found = f"{many} about to lose outputs whose source expires, {row['over']} of them overdue"
        notes.fail(
            "expiring",
            found,
            "Look at `buckets` and at the workers; a spool (GENRELAY_SPOOL__BUCKET) keeps such outputs.",
        )
    elif row["failed"]:
        found = f"{count_of(row['failed'], 'failed job')} whose outputs can still be had, not for long"
        notes.warn("expiring", found, "Mend the bucket, then `genrelay jobs retry`.")
    else:
        notes.ok("expiring", "no output is about to be lost")


async def _check_tables(session: Session, settings: Settings, notes: Notes) -> None:
    """Look at the queue's own tables, and whether what has had its time goes."""
    if await session.fetchval("SELECT to_regclass('pgqueuer') IS NULL OR to_regclass('pgqueuer_log') IS NULL"):
        hint = "Run `genrelay migrate`; are they in another schema than the user's search_path?"
        notes.fail("tables", "the queue's tables are missing", hint)
        return
    many = await session.fetchval(f"SELECT count(*) FROM (SELECT FROM pgqueuer LIMIT {_MANY}) AS tasks")  # noqa: S608
    found = f"{many:,}{' or more' if many == _MANY else ''} tasks in the queue"
    hint = "It holds hints only, a few per open job. Run more workers; once they idle it empties itself."
    notes.judge("tables", found, bad=many == _MANY, hint=hint)
    kept = settings.retention.engine_log_seconds
    oldest = await session.fetchval(
        "SELECT extract(epoch FROM now() - created)::float8 FROM pgqueuer_log ORDER BY id LIMIT 1"
    )
    behind = max(0.0, (oldest or 0.0) - kept)
    told = f"is {span(behind)} behind" if behind > _BEHIND else "is up to date"
    hint = "It is done by workers, once a minute. Look for `housekeeping` in their logs."
    notes.judge("housekeeping", told, bad=behind > _BEHIND, hint=hint)
