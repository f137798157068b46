"""`/livez`, `/readyz`, `/metrics`: every role serves them."""

from __future__ import annotations

import asyncio

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from service.app import Service
from service.db.pool import DATABASE_AWAY


class Health:
    """The routes for whoever watches over us."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def live(self, _request: Request) -> Response:
        """Say that the process runs; unhealthy once its workers have failed again and again."""
        engine = self._service.engine
        ok = engine is None or engine.healthy
        return JSONResponse({"ok": ok}, 200 if ok else 503)

    async def ready(self, _request: Request) -> Response:
        """Say whether requests can be served: the database answers and the listener listens."""
        checks = {"database": await self._database(), "listener": self._service.listener.listening}
        if self._service.engine is not None:
            checks["workers"] = self._service.engine.healthy and not self._service.engine.stopping
        ok = all(checks.values())
        return JSONResponse({"ok": ok, "checks": checks}, 200 if ok else 503)

    async def metrics(self, _request: Request) -> Response:
        """Show the metrics."""
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    async def _database(self) -> bool:
        try:
            async with asyncio.timeout(3):
                return bool(await self._service.pool.fetchval("SELECT true"))
        except DATABASE_AWAY:
            return False
