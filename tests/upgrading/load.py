"""Clients that go on while processes are replaced, and what they saw."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import httpx

from tests.chaos.audience import Audience
from tests.chaos.ground import TERMINAL
from tests.world import API_KEY, job_body, until

TEST: dict[str, Any] = {
    "test_mode": {"enabled": True, "return_task_status": "TASK_STATUS_SUCCEED"},
    "destination": None,
}
PROMPTS = (
    "a lighthouse at dawn",
    "a harbour [fault:slow=0.3]",
    "a mountain [fault:slow=1.5]",
    "a river [fault:hang=0.4]",
)


def _client(url: str) -> httpx.AsyncClient:
    """Return a client of the account that takes answers of both versions: each keeps to a contract of its own."""
    return httpx.AsyncClient(base_url=url, headers={"Authorization": f"Bearer {API_KEY}"}, timeout=70, trust_env=False)


class Load:
    """Clients that submit, wait, and submit again. `excused`: somebody was killed, and answers may be missing.

    keep: each has one connection for as long as its server lets it; otherwise one for each request.
    """

    def __init__(self, everybody: Audience, *, keep: bool = False) -> None:
        self.everybody, self._keep = everybody, keep
        self.accepted: list[dict[str, Any]] = []
        self.ended: list[dict[str, Any]] = []
        self.wrong: list[str] = []
        self.excused = False
        self._over = asyncio.Event()
        self._numbers = itertools.count()

    async def run(self) -> None:
        """Submit a job and wait for its end, again and again, until it is told to stop."""
        async with _client(self.everybody.on.url) as client:
            await self._run(client)

    async def _run(self, client: httpx.AsyncClient) -> None:
        while not self._over.is_set():
            number = next(self._numbers)
            more = TEST if number % 4 == 3 else {}
            body = job_body(PROMPTS[number % len(PROMPTS)], **self.everybody.hook(*TERMINAL), **more)
            key = {"Idempotency-Key": uuid4().hex}
            job = (await self._ask(client, "POST", "/v1/jobs", json=body, headers=key)).json()
            self.everybody.note(job, *TERMINAL)
            self.accepted.append(job)
            while job["completed_at"] is None:
                job = (await self._ask(client, "GET", f"/v1/jobs/{job['id']}", params={"wait": 10})).json()
            self.ended.append(job)

    async def _ask(self, client: httpx.AsyncClient, method: str, path: str, **more: Any) -> httpx.Response:
        """Return the answer; a request that got none is made again, and noted unless somebody was killed."""
        while True:
            try:
                own = contextlib.nullcontext(client) if self._keep else _client(self.everybody.on.url)
                async with own as asking:
                    answer = await asking.request(method, path, **more)
            except httpx.TransportError as error:
                if not self.excused:
                    self.wrong.append(f"{method} {path}: {error!r}")
                await asyncio.sleep(0)
                continue
            if answer.is_success:
                return answer
            self.wrong.append(f"{method} {path}: {answer.status_code} {answer.text}")
            self._over.set()
            answer.raise_for_status()

    async def goes_on(self, count: int = 6) -> None:
        """Return once so many more jobs have been accepted and ended."""
        accepted, ended = len(self.accepted) + count, len(self.ended) + count

        async def look() -> bool:
            return len(self.accepted) >= accepted and len(self.ended) >= ended

        await until(look, 30)

    def stop(self) -> None:
        """Let each client end with what it waits for."""
        self._over.set()


@contextlib.asynccontextmanager
async def load(everybody: Audience, clients: int = 3, *, keep: bool = False) -> AsyncIterator[Load]:
    """Run clients as long as the block; all they submitted has ended after it."""
    running = Load(everybody, keep=keep)
    async with asyncio.TaskGroup() as group:
        for _ in range(clients):
            group.create_task(running.run())
        try:
            yield running
        finally:
            running.stop()
