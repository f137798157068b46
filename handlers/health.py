"""`/livez`, `/readyz`, `/metrics`: every role serves them."""

from __future__ import annotations

import asyncio
from contextvars import Context
from functools import cache

import asyncpg
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from service.app import Service
from service.db.migrate import names
from service.db.pool import DATABASE_AWAY
from service.db.sql import queries

_PATIENCE = 2.0  # seconds, for the database; whoever probes has little more
_needed = cache(lambda: frozenset(names()))

# What is wrong, by check: None where nothing is.
Checks = dict[str, str | None]


class Health:
    """The routes for whoever watches over us."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._asking: asyncio.Task[Checks] | None = None

    async def live(self, _request: Request) -> Response:
        """Say that the process runs; unhealthy once its workers have failed again and again."""
        engine = self._service.engine
        ok = engine is None or engine.healthy
        return JSONResponse({"ok": ok}, 200 if ok else 503)

    async def ready(self, _request: Request) -> Response:
        """Say whether requests should be sent here, and if not, why."""
        checks = await self._check()
        reasons = {name: wrong for name, wrong in checks.items() if wrong is not None}
        shown = {"ok": not reasons, "checks": {name: wrong is None for name, wrong in checks.items()}}
        return JSONResponse(shown | ({"reasons": reasons} if reasons else {}), 503 if reasons else 200)

    async def metrics(self, _request: Request) -> Response:
        """Show the metrics."""
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    async def _check(self) -> Checks:
        service = self._service
        checks = await self._check_database()
        checks["listener"] = None if service.listener.listening else "it does not hear what the database tells"
        if service.engine is not None:
            checks["workers"] = _find_trouble(stopping=service.engine.stopping, healthy=service.engine.healthy)
        if service.leaving.begun:
            checks["leaving"] = "the process was told to stop"
        return checks

    async def _check_database(self) -> Checks:
        """Return what the database says, within the patience of those who probe.

        One question at a time is under way, whoever probes: a database that hangs would have all connections soon.
        """
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._ask_database(), context=Context())
        await asyncio.wait({self._asking}, timeout=_PATIENCE)
        return self._asking.result() if self._asking.done() else _is_away("no answer in time")

    async def _ask_database(self) -> Checks:
        """Ask once for both: whether it answers, and whether it has the schema that this version works with."""
        try:
            applied = {row["migration_id"] async for row in queries().list_migrations(self._service.pool)}
        except asyncpg.UndefinedTableError:
            applied = set()
        except DATABASE_AWAY as error:
            return _is_away(type(error).__name__)
        missing = sorted(_needed() - applied)
        lacks = f"the database lacks {', '.join(missing)}: run `genrelay migrate`" if missing else None
        return {"database": None, "migrations": lacks}


def _is_away(why: str) -> Checks:
    return {"database": f"it does not answer ({why})", "migrations": "nobody can tell"}


def _find_trouble(*, stopping: bool, healthy: bool) -> str | None:
    if stopping:
        return "they take no more work"
    return None if healthy else "one of them fails again and again"
