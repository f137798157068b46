"""The connection pool, and how a transaction of ours begins."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import ref

import asyncpg
from prometheus_client import Histogram
from pydantic_core import from_json, to_json

from service import metrics

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record] | asyncpg.pool.PoolConnectionProxy[asyncpg.Record]
    Pool = asyncpg.Pool[asyncpg.Record]
else:
    Connection = asyncpg.Connection
    Pool = asyncpg.Pool

# What a lost, refused or shutting-down server looks like; everything else is a mistake of ours.
DATABASE_AWAY: tuple[type[BaseException], ...] = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.TooManyConnectionsError,
    asyncpg.InternalClientError,
    # A failover has made it a standby, its disk or its memory is full: it can't write now, and it will again.
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.InsufficientResourcesError,
    # A server restarted without its data in sight answers so for a moment.
    asyncpg.CannotConnectNowError,
    # We were stopped in the middle of a transaction, and it was ended for us.
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.TransactionTimeoutError,
    # Two transactions waited for each other, and this one was ended so that the other could go on.
    asyncpg.DeadlockDetectedError,
    # A migration has changed a type or a name under a prepared statement, which asyncpg prepares anew for the next transaction.
    asyncpg.InvalidCachedStatementError,
)


def _dump(value: Any) -> str:
    # PgQueuer hands over JSON that is text already; none of our own columns holds a bare string.
    if isinstance(value, str):
        return value
    return to_json(value).decode()


async def _leave_as_is(_connection: object) -> None:
    """Skip asyncpg's RESET ALL after every use: nothing of ours outlives its transaction (we only ever SET LOCAL)."""


async def _set_up(connection: asyncpg.Connection[asyncpg.Record]) -> None:
    await connection.set_type_codec("jsonb", schema="pg_catalog", encoder=_dump, decoder=from_json)


class _MeasuredPool(Pool):
    """asyncpg's pool, which shows how many connections it has and observes each wait for one."""

    _waits: Histogram | None = None

    def measure(self, label: str) -> None:
        """Show this pool's numbers under a label, in place of an earlier pool's of the same one."""
        self._waits = metrics.POOL_WAIT_SECONDS.labels(label)
        for state, count in _STATES.items():
            metrics.POOL_CONNECTIONS.labels(label, state).set_function(partial(_count, ref(self), count))

    async def _acquire(self, timeout: float | None) -> Any:
        # Whoever asks for a connection, in whatever way, comes through here.
        began = time.perf_counter()
        try:
            return await super()._acquire(timeout)  # type: ignore[misc]
        finally:
            if self._waits is not None:
                self._waits.observe(time.perf_counter() - began)


def _count(pool: ref[_MeasuredPool], count: Callable[[Pool], int]) -> float:
    found = pool()
    return 0.0 if found is None else float(count(found))


_STATES: dict[str, Callable[[Pool], int]] = {
    "idle": lambda pool: pool.get_idle_size(),
    "in_use": lambda pool: pool.get_size() - pool.get_idle_size(),
    "free": lambda pool: pool.get_max_size() - pool.get_size(),
}


async def open_pool(
    dsn: str, *, size: int = 16, name: str = "genrelay", silence: float = 12.0, source: str | None = None
) -> Pool:
    """Open a pool of up to `size` connections; JSON columns are Python values, times are aware and in UTC.

    silence: seconds after which PostgreSQL ends a transaction in which nothing happens. Ours wait for nobody, so its
    process has been stopped, and others want the rows that it has locked. After twice as long it ends any transaction:
    one whose statement is only half sent does not count as idle.
    source: what events that are written here name as theirs (a column's default reads it).
    """

    async def set_up(connection: asyncpg.Connection[asyncpg.Record]) -> None:
        await _set_up(connection)
        if connection.get_server_version() >= (17,):
            await connection.execute(f"SET transaction_timeout = '{round(silence * 2000)}ms'")

    pool = _MeasuredPool(
        dsn,
        connection_class=asyncpg.Connection,
        record_class=asyncpg.Record,
        loop=None,
        min_size=1,
        max_size=size,
        max_queries=50_000,
        max_inactive_connection_lifetime=300.0,
        timeout=5,
        command_timeout=60,
        init=set_up,
        reset=_leave_as_is,
        server_settings={"application_name": name, "timezone": "UTC", "synchronous_commit": "on"}
        | {"idle_in_transaction_session_timeout": f"{round(silence * 1000)}ms"}
        | ({"genrelay.source": source} if source else {}),
    )
    pool.measure(name.removeprefix("genrelay").strip() or "main")
    return await pool


@asynccontextmanager
async def transaction(pool: Pool) -> AsyncIterator[Connection]:
    """Run the block in one transaction on a connection of its own; an exception rolls it back."""
    async with pool.acquire() as connection, connection.transaction():
        yield connection


@asynccontextmanager
async def inside(connection: Connection | Pool) -> AsyncIterator[Connection]:
    """Run the block in a transaction: of its own on a connection of a pool, or within whatever is open on a connection."""
    if isinstance(connection, asyncpg.Pool):
        async with transaction(connection) as own:
            yield own
    else:
        async with connection.transaction():
            yield connection
