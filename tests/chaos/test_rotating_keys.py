"""GENRELAY_SECRET_KEY rotates while jobs come and go: the new key second everywhere, then first, then alone."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
from standardwebhooks import Webhook

from service.demo.s3server import S3Server
from tests.chaos.audience import DELIVERY
from tests.chaos.ground import Ground, ground
from tests.cli.command import clean_environment, run
from tests.processes import Process
from tests.receiver import serving_receiver
from tests.upgrading.balancer import Balancer, balancing
from tests.world import SECRET_KEY as OLD
from tests.world import free_port, job_body, until

NEW = "another secret key for tests - 32 characters"
PAUSE = 0.15  # seconds between two jobs
SETTINGS = {"GENRELAY_HTTP__LINGER_SECONDS": "1", **DELIVERY}


@dataclass
class Pair:
    """Two services behind a balancer, which are replaced one after another."""

    on: Ground
    balancer: Balancer
    held: AsyncExitStack
    running: list[Process] = field(default_factory=list)

    async def replace(self, keys: str) -> None:
        """Replace both by processes with these keys; each goes when its successor is there."""
        leaving, self.running = self.running, []
        for old in leaving or (None, None):
            new = await self.held.enter_async_context(
                self.on.process("all", port=free_port(), GENRELAY_SECRET_KEY=keys, **SETTINGS)
            )
            self.running.append(new)
            await self.balancer.add(new.url)
            if old is not None:
                ended = asyncio.create_task(old.terminate(60))
                await self.balancer.forgets(old.url)
                assert await ended == 0


@dataclass
class Trickle:
    """A client that submits a job again and again, and writes down what it is answered."""

    on: Ground
    webhook: str
    jobs: list[dict[str, Any]] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    async def submit(self, prompt: str = "a lighthouse at dawn") -> dict[str, Any]:
        """Submit a job; a connection that ends with its process is tried again with the same key."""
        key, body = {"Idempotency-Key": uuid4().hex}, job_body(prompt, webhook=self.webhook)
        while True:
            with contextlib.suppress(httpx.TransportError):
                async with self.on.client() as client:
                    answer = await client.post("/v1/jobs", json=body, headers=key)
                if answer.status_code != 202:
                    self.wrong.append(f"{answer.status_code}: {answer.text}")
                    return {}
                self.jobs.append(answer.json())
                return self.jobs[-1]

    async def _go_on(self) -> None:
        while True:
            await self.submit()
            await asyncio.sleep(PAUSE)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Submit as long as the block, and until the last one is answered."""
        going = asyncio.create_task(self._go_on())
        try:
            yield
        finally:
            going.cancel()
            await asyncio.gather(going, return_exceptions=True)


async def secrets(on: Ground, keys: str, command: str) -> dict[str, Any]:
    """Run `genrelay secrets` as the operator."""
    environment = clean_environment(GENRELAY_DATABASE_URL=on.database_url, GENRELAY_SECRET_KEY=keys)
    ran = await run("secrets", command, "--json", environment=environment)
    assert ran.status == 0, ran.err
    return json.loads(ran.out)  # type: ignore[no-any-return]


async def test_the_secret_key_is_replaced_while_jobs_come_and_go(
    database_url: str, s3_server: S3Server, tmp_path: Path
) -> None:
    async with AsyncExitStack() as held:
        on = await held.enter_async_context(ground(database_url, s3_server, tmp_path))
        balancer = await held.enter_async_context(balancing(on.port))
        receiver = await held.enter_async_context(serving_receiver())
        pair, both = Pair(on, balancer, held), f"{NEW},{OLD}"
        trickle = Trickle(on, receiver.url + "/hooks")
        await pair.replace(OLD)
        await on.put_destination()
        async with on.client() as client:
            signed_with = (await client.get("/v1/account/webhook-secret")).json()["secret"]
        slow = await trickle.submit("a lighthouse [fault:held]")
        await on.until_status(slow, "running")
        async with trickle.running():
            await pair.replace(f"{OLD},{NEW}")
            await pair.replace(both)
            assert (await secrets(on, both, "rewrap"))["rewrapped"] >= 3, "a destination, a secret and a signing key"
            status = await secrets(on, both, "status")
            assert [key["stored_secrets"] > 0 for key in status["keys"]] == [True, False]
            assert status["keys"][1]["open_jobs"] >= 1
            assert status["last_key_is_needed"], "the provider has a URL that was made with it"
            assert on.sandbox.release((await on.row(slow))["provider_task_id"])
            await on.end(slow)

            async def not_needed() -> bool:
                return not (await secrets(on, both, "status"))["last_key_is_needed"]

            await until(not_needed, 40)
            await pair.replace(NEW)
            before = len(trickle.jobs)
            await until(lambda: _is(len(trickle.jobs) > before + 10))
        assert trickle.wrong == []
        ends = [await on.end(job) for job in trickle.jobs]
        assert {job["status"] for job in ends} == {"succeeded"}
        await on.check(*ends, stored=1)
        answers = {sent.status for sent in on.sandbox.callbacks_sent}
        assert not {status for status in answers if status is not None and status != 200}, answers

        async def all_told() -> bool:
            told = {each.event["subject"] for each in receiver.arrivals if each.event["type"] == "job.succeeded"}
            return told == {job["id"] for job in ends}

        await until(all_told, 40)
        for arrival in receiver.arrivals:
            Webhook(signed_with).verify(arrival.body, arrival.headers)
        assert (await secrets(on, NEW, "status"))["unreadable"] == {}


async def _is(so: bool) -> bool:
    return so
