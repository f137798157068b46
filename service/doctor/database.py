"""Is this a PostgreSQL that jobs can be trusted to: reachable, writable, durable, fast, and with room?"""

from __future__ import annotations

import statistics
import time
from collections.abc import Awaitable, Callable

import asyncpg

from service.doctor.findings import Notes, NotPossibleError, size_of, span
from service.doctor.ground import Ground, Session
from service.doctor.reaching import NotMadeError, UnreachableError

OLDEST, NEWEST = 14, 18  # versions that the tests run on
# A pool of 16, 2 for callbacks and the listener; a worker also has one for each of the queue's two managers.
API_CONNECTIONS, WORKER_CONNECTIONS = 19, 21
_FORMULA = "19 connections per API process, 21 per worker (or `all`), and a few for `genrelay migrate` and the like"
_SLOW_TRIP, _SLOW_COMMIT = 0.010, 0.050  # seconds
_TRIES = 5
_LONG_IDLE, _LONG_BUSY = 300, 3600  # seconds
_WRAPAROUND = 1_200_000_000  # transactions; PostgreSQL stops at 2,000 million
_TABLES = (
    "jobs", "job_inputs", "attempts", "outputs", "events", "callbacks", "line", "grants", "unplaced", "feed", "subscriptions",
    "deliveries", "delivery_attempts", "uploads", "workers", "accounts", "api_keys", "destinations", "dead_letters", "pgqueuer",
    "pgqueuer_log",
)  # fmt: skip


async def check(ground: Ground, notes: Notes) -> None:
    """Look at the server, then at our database on it."""
    try:
        async with ground.session(migrated=False) as session:
            for look in _LOOKS:
                await _look(look, session, notes)
            try:
                async with ground.session():
                    pass
            except NotPossibleError as why:
                notes.skip("tables", f"not looked at: {why}")
                return
            for look in _LOOKS_AT_TABLES:
                await _look(look, session, notes)
    except UnreachableError as error:
        notes.fail("reachable", error.found, error.hint)
    except NotMadeError as error:
        notes.skip("reachable", str(error))


async def _look(look: Callable[[Session, Notes], Awaitable[None]], session: Session, notes: Notes) -> None:
    """Look at one thing; what a managed PostgreSQL does not let us see hides nothing else."""
    try:
        await look(session, notes)
    except (
        asyncpg.InsufficientPrivilegeError,
        asyncpg.UndefinedFunctionError,
        asyncpg.FeatureNotSupportedError,
    ) as error:
        notes.skip(look.__name__.removeprefix("_"), f"PostgreSQL does not tell ({type(error).__name__})")


async def _version(session: Session, notes: Notes) -> None:
    told = session.get_server_version()
    found = f"PostgreSQL {told.major}.{told.minor}"
    if told.major < OLDEST:
        notes.fail("version", f"{found} is too old", f"Upgrade it to {OLDEST} or later.")
    elif told.major > NEWEST:
        notes.warn("version", f"{found} is newer than what genrelay was tested on", f"{OLDEST} to {NEWEST} are tested.")
    else:
        notes.ok("version", f"{found}, no extension needed")
    encoding = await session.fetchval("SHOW server_encoding")
    if encoding != "UTF8":
        notes.fail(
            "encoding", f"the database's encoding is {encoding}", "Make one with ENCODING 'UTF8', and move to it."
        )


async def _primary(session: Session, notes: Notes) -> None:
    if await session.fetchval("SELECT pg_is_in_recovery()"):
        hint = "Let GENRELAY_DATABASE_URL lead to the primary (several hosts: add ?target_session_attrs=read-write)."
        notes.fail("primary", "it is a standby, which takes no writes", hint)
    elif await session.fetchval("SHOW default_transaction_read_only") == "on":
        hint = "ALTER ROLE … or ALTER DATABASE … RESET default_transaction_read_only; perhaps its disk has filled up."
        notes.fail("primary", "it lets this user read only (default_transaction_read_only)", hint)
    else:
        notes.ok("primary", "it takes writes")


async def _direct(session: Session, notes: Notes) -> None:
    # A pooler makes up the process's number that it tells when a connection begins.
    between = await session.fetchval("SELECT pg_backend_pid()") != session.get_server_pid()
    hint = (
        "Connect to PostgreSQL itself, or let the pooler pool sessions: LISTEN and prepared statements need a session."
    )
    found = "a connection pooler stands between" if between else "nothing stands between"
    notes.judge("direct", found, bad=between, hint=hint)


async def _durability(session: Session, notes: Notes) -> None:
    bad = [name for name in ("fsync", "full_page_writes") if await session.fetchval(f"SHOW {name}") == "off"]
    # Ours asks for it itself; a pooler may drop that.
    if await session.fetchval("SHOW synchronous_commit") not in {"on", "remote_apply"}:
        bad.append("synchronous_commit")
    found = (
        f"{', '.join(bad)} off: what was acknowledged may be lost when its machine stops"
        if bad
        else "commits are durable"
    )
    notes.judge("durability", found, bad=bool(bad), hint=f"Set {', '.join(bad)} on in PostgreSQL's configuration.")


async def _connections(session: Session, notes: Notes) -> None:
    row = await session.fetchrow(
        """
        SELECT current_setting('max_connections')::int AS most,
            current_setting('superuser_reserved_connections')::int
                + coalesce(nullif(current_setting('reserved_connections', true), ''), '0')::int AS reserved,
            (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend')::int AS used,
            (SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'genrelay%')::int AS ours
        """
    )
    assert row is not None
    free = row["most"] - row["reserved"] - row["used"]
    found = f"{free} of {row['most']} are free, {row['ours']} are genrelay's"
    hint = f"Raise max_connections; count {_FORMULA}, twice during a rolling upgrade."
    notes.judge("connections", found, bad=free < WORKER_CONNECTIONS, hint=hint)
    limit = await session.fetchval("SELECT rolconnlimit FROM pg_roles WHERE rolname = current_user")
    if limit is not None and 0 <= limit < 2 * WORKER_CONNECTIONS:
        notes.warn(
            "role_limit", f"this user may have {limit} connections", f"ALTER ROLE … CONNECTION LIMIT; count {_FORMULA}."
        )


async def _idle(session: Session, notes: Notes) -> None:
    rows = await session.fetch(
        """
        SELECT pid, application_name, state, extract(epoch FROM now() - xact_start)::float8 AS seconds FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
          AND (state LIKE 'idle in transaction%' AND xact_start < now() - make_interval(secs => $1)
               OR xact_start < now() - make_interval(secs => $2))
        ORDER BY xact_start LIMIT 5
        """,
        _LONG_IDLE,
        _LONG_BUSY,
    )
    told = [f"{row['application_name'] or 'unnamed'} (pid {row['pid']}) for {span(row['seconds'])}" for row in rows]
    found = f"transactions stay open: {', '.join(told)}" if rows else "no transaction stays open"
    pids = ", ".join(f"pg_terminate_backend({row['pid']})" for row in rows)
    hint = f"They keep dead rows from being cleaned up and upgrades waiting. If nobody needs them: SELECT {pids};"
    notes.judge("open_transactions", found, bad=bool(rows), hint=hint)


async def _speed(session: Session, notes: Notes) -> None:
    trip = await _median(lambda: session.execute("SELECT 1"))
    hint = "Let genrelay and the database run in one region, best in one zone."
    notes.judge("round_trip", f"{span(trip)} (median of {_TRIES})", bad=trip > _SLOW_TRIP, hint=hint)

    async def commit() -> None:
        # It writes to the log, waits for the disk and leaves nothing behind.
        await session.execute("SELECT pg_logical_emit_message(true, 'genrelay', 'doctor')")

    try:
        took = await _median(commit)
    except asyncpg.ReadOnlySQLTransactionError:
        notes.skip("commit", "not tried: the database takes no writes")
        return
    except asyncpg.ObjectNotInPrerequisiteStateError:
        notes.skip("commit", "not tried: the database takes no writes")
        return
    hint = "Every job is several commits: use a faster disk for PostgreSQL's log, or look for what else writes to it."
    notes.judge("commit", f"{span(took)} (median of {_TRIES})", bad=took > _SLOW_COMMIT, hint=hint)


async def _median(act: Callable[[], Awaitable[object]]) -> float:
    seconds = []
    for _ in range(_TRIES):
        began = time.perf_counter()
        await act()
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


async def _privileges(session: Session, notes: Notes) -> None:
    rows = await session.fetch(
        """
        SELECT relname FROM pg_class
        WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND relname = ANY ($1)
          AND NOT (has_table_privilege(oid, 'SELECT') AND has_table_privilege(oid, 'INSERT')
                   AND has_table_privilege(oid, 'UPDATE') AND has_table_privilege(oid, 'DELETE'))
        ORDER BY relname
        """,
        list(_TABLES),
    )
    lacking = [row["relname"] for row in rows]
    if lacking:
        hint = "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public, and USAGE ON ALL SEQUENCES, to its user."
        notes.fail("privileges", f"this user may not read and write {', '.join(lacking)}", hint)
    else:
        notes.ok("privileges", "this user may read and write every table")


async def _size(session: Session, notes: Notes) -> None:
    rows = await session.fetch(
        """
        SELECT relname, pg_total_relation_size(relid) AS bytes FROM pg_stat_user_tables
        WHERE schemaname = 'public' ORDER BY bytes DESC LIMIT 3
        """
    )
    whole = await session.fetchval("SELECT pg_database_size(current_database())")
    largest = ", ".join(f"{row['relname']} {size_of(row['bytes'])}" for row in rows)
    notes.ok("size", f"{size_of(whole)} ({largest})")


async def _vacuum(session: Session, notes: Notes) -> None:
    rows = await session.fetch(
        """
        SELECT relname, n_dead_tup, n_live_tup, greatest(last_autovacuum, last_vacuum) AS cleaned FROM pg_stat_user_tables
        WHERE schemaname = 'public' AND n_dead_tup > 20000 AND n_dead_tup > n_live_tup ORDER BY n_dead_tup DESC LIMIT 5
        """
    )
    dead = ", ".join(f"{row['relname']} ({row['n_dead_tup']:,} dead rows, {row['n_live_tup']:,} live)" for row in rows)
    hint = (
        "Let autovacuum run more often (autovacuum_vacuum_scale_factor), look for open transactions, or run VACUUM now."
    )
    if await session.fetchval("SHOW autovacuum") == "off":
        notes.warn("vacuum", "autovacuum is off", "ALTER SYSTEM SET autovacuum = on; SELECT pg_reload_conf();")
    else:
        found = f"autovacuum lags behind: {dead}" if rows else "autovacuum keeps up"
        notes.judge("vacuum", found, bad=bool(rows), hint=hint)
    old = await session.fetchval("SELECT age(datfrozenxid) FROM pg_database WHERE datname = current_database()")
    if old > _WRAPAROUND:
        found = f"the oldest row is {old:,} transactions old; PostgreSQL stops at 2,000 million"
        notes.fail("wraparound", found, "Run VACUUM FREEZE, and look for what keeps autovacuum from it.")


_LOOKS = (_version, _primary, _direct, _durability, _connections, _idle, _speed)
_LOOKS_AT_TABLES = (_privileges, _size, _vacuum)
