"""A webhook receiver: a real server that keeps what it got and answers what it is told to."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route


class Receiver:
    """Keeps bodies in order of arrival; `statuses` are used up one by one, then it is 200."""

    def __init__(self) -> None:
        self.url = ""
        self.bodies: list[bytes] = []
        self.statuses: list[int] = []
        self.in_flight = 0
        self.most_in_flight = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self._arrived = asyncio.Condition()
        self.app = Starlette(routes=[Route("/hooks/{token}", self._take, methods=["POST"])])

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(body) for body in self.bodies]

    @property
    def statuses_told(self) -> list[str]:
        return [event["payload"]["task"]["status"] for event in self.events]

    async def wait_for(self, count: int) -> list[bytes]:
        """Return the bodies once there are `count` of them."""
        async with asyncio.timeout(10), self._arrived:
            await self._arrived.wait_for(lambda: len(self.bodies) >= count)
        return self.bodies

    async def _take(self, request: Request) -> Response:
        body = await request.body()
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        async with self._arrived:
            self.bodies.append(body)
            self._arrived.notify_all()
        try:
            await self.gate.wait()
        finally:
            self.in_flight -= 1
        return Response(status_code=self.statuses.pop(0) if self.statuses else 200)
