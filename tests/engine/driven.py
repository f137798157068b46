"""A world without workers: the test itself runs the tasks, one by one or at once, and moves the clock.

PostgreSQL, the S3 server, the sandbox, the service's HTTP edge and its inbox are as real as in `tests.world`; only the
queue is left alone, so that every order of things can be made to happen.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import httpx

from config.loading import load_settings
from handlers.app import make_app
from service.app import running_service
from service.callbacks import tokens
from service.db.sql import queries
from service.demo.s3server import S3Server
from service.engine.context import Context
from service.engine.copying import copy
from service.engine.judge import look_up, settle
from service.engine.ledger import TASK_OF
from service.engine.submit import submit
from service.engine.worker import TASKS, run_task
from service.ids import read
from service.jobs.model import Job, read_job
from service.sandbox import SandboxSettings
from service.sandbox.modelslab.results import as_id
from tests.serving import serving, serving_sandbox
from tests.world import API_KEY, STRANGERS_KEY, World, destination, environment, free_port, until

_MOST_STEPS = 100
_PAST = """
WITH inbox AS (UPDATE callbacks SET received_at = received_at - $2::interval WHERE job_id = $1)
UPDATE jobs SET due_at = due_at - $2::interval, read_back_at = read_back_at - $2::interval,
    deadline_at = deadline_at - $2::interval, nudged_at = nudged_at - $2::interval WHERE id = $1
"""


_MODELSLABS = {"TASK_STATUS_SUCCEED": "success", "TASK_STATUS_FAILED": "failed", "TASK_STATUS_PROCESSING": "processing"}


def event(task_id: str | None, status: str = "TASK_STATUS_SUCCEED", *, provider: str = "novita", **more: Any) -> bytes:
    """Return a callback's body that claims `status` for a task; `more` goes beside it, so that bodies differ.

    provider: whose shape it has; the status is given in Novita's words for either.
    """
    if provider == "modelslab":
        named = None if task_id is None else as_id(task_id)
        return json.dumps({"status": _MODELSLABS[status], "id": named, "output": [], "extra": more}).encode()
    payload = {"task": {"task_id": task_id, "status": status}, "extra": more, "images": []}
    return json.dumps({"event_type": "ASYNC_TASK_RESULT", "payload": payload}).encode()


class Driven(World):
    """A world whose tasks the test runs."""

    @property
    def context(self) -> Context:
        """Return what the tasks work with."""
        return self.service.context

    async def sql(self, query: str, *values: Any) -> Any:
        """Run a query and return its rows."""
        return await self.service.pool.fetch(query, *values)

    async def row(self, job: dict[str, Any]) -> Job:
        """Return the job's row."""
        return read_job(await queries().peek_job(self.service.pool, id=uuid(job)))

    async def sent(self, prompt: str = "a lighthouse at dawn", **changes: Any) -> dict[str, Any]:
        """Submit a job and run its task `submit`; returns the job as it is then."""
        job = await self.submit(prompt, **changes)
        await submit(self.context, uuid(job))
        return await self.job(job)

    @contextlib.asynccontextmanager
    async def in_flight(self, prompt: str = "a lighthouse", **changes: Any) -> AsyncIterator[dict[str, Any]]:
        """Lend a job whose submit has reached the provider and is not answered; on leaving it is, and its task ends."""
        job = await self.submit(f"{prompt} [fault:early] [fault:held]", **changes)
        before = len(self.sandbox.submits)
        sending = asyncio.create_task(submit(self.context, uuid(job)))

        async def arrived() -> bool:
            return len(self.sandbox.submits) > before

        await until(arrived)
        try:
            yield job
        finally:
            self.sandbox.release(self.sandbox.submits[before].task_id)
            await asyncio.gather(sending, return_exceptions=True)

    async def called_back(self, prompt: str = "a lighthouse at dawn", **changes: Any) -> dict[str, Any]:
        """Submit and send a job, and wait until its callback was acknowledged; nothing of it is judged yet."""
        job = await self.sent(prompt, **changes)
        await self.wait_for_callbacks(job)
        return job

    async def copying(self, prompt: str = "a lighthouse at dawn", **changes: Any) -> dict[str, Any]:
        """Submit a job and bring it to where its outputs are to be copied."""
        job = await self.called_back(prompt, **changes)
        await settle(self.context, uuid(job))
        job = await self.job(job)
        assert job["status"] == "copying", job
        return job

    async def settle(self, job: dict[str, Any]) -> dict[str, Any]:
        """Run the task `settle` and return the job."""
        await settle(self.context, uuid(job))
        return await self.job(job)

    async def look_up(self, job: dict[str, Any]) -> dict[str, Any]:
        """Run the task `look_up` as if its time had come, and return the job."""
        await self.make_due(job)
        await look_up(self.context, uuid(job))
        return await self.job(job)

    async def copy(self, job: dict[str, Any]) -> dict[str, Any]:
        """Run the task `copy` as if its time had come, and return the job."""
        await self.make_due(job)
        await copy(self.context, uuid(job))
        return await self.job(job)

    async def make_due(self, job: dict[str, Any]) -> None:
        """Let the job's due time be now."""
        rows = await self.sql(
            "WITH before AS (SELECT id, due_at FROM jobs WHERE id = $1 AND due_at > now())"
            " UPDATE jobs SET due_at = now() FROM before WHERE jobs.id = before.id AND jobs.due_at > now()"
            " RETURNING extract(epoch FROM before.due_at - now())::float8 AS wait",
            uuid(job),
        )
        for row in rows:
            self.pass_time(row["wait"])

    async def later(self, job: dict[str, Any], seconds: float) -> None:
        """Move everything of a job so far into the past."""
        await self.sql(_PAST, uuid(job), timedelta(seconds=seconds))
        self.pass_time(seconds)

    def pass_time(self, seconds: float) -> None:
        """Move the clock of the gates on, which pauses go by: those that providers ask for, and the breakers' own."""
        gates = self.context.gates
        before = gates.clock
        # A little more, because the database's clock was read a moment earlier.
        gates.clock = lambda: before() + seconds + 0.1

    async def wait_for_callbacks(self, job: dict[str, Any], count: int = 1) -> None:
        """Wait until so many callbacks of a job are committed."""

        async def arrived() -> bool:
            [row] = await self.sql("SELECT count(*) FROM callbacks WHERE job_id = $1", uuid(job))
            return bool(row["count"] >= count)

        await until(arrived)

    async def step(self, job: dict[str, Any]) -> bool:
        """Judge what came, wait (on the moved clock) until the job is due, and run its task; False when it has ended."""
        await settle(self.context, uuid(job))
        row = await queries().peek_job(self.service.pool, id=uuid(job))
        if row["completed_at"] is not None:
            return False
        wait = (row["due_at"] - row["clock"]).total_seconds()
        if wait > 0:
            await self.later(job, wait)
        task = TASK_OF[read_job(row).status]
        await run_task(self.context, task, TASKS[task], uuid(job))
        await self.context.calls.wait()
        return True

    async def drive(self, job: dict[str, Any]) -> dict[str, Any]:
        """Take a job to its end, however long it takes on its own clock; returns it."""
        for _ in range(_MOST_STEPS):
            if not await self.step(job):
                return await self.job(job)
            await asyncio.sleep(0)
        raise AssertionError(f"no end after {_MOST_STEPS} steps: {await self.job(job)}")

    def url_for(self, job: dict[str, Any], attempt: int = 1) -> str:
        """Return a job's callback URL; one that says no provider is Novita's."""
        provider = job.get("provider", "novita")
        return f"{self.url}/v1/callbacks/{provider}/{tokens.mint(self.service.keyring, provider, uuid(job), attempt)}"

    async def post(self, job: dict[str, Any], body: bytes, attempt: int = 1) -> None:
        """Post a callback for a job, which must be acknowledged."""
        answer = await self.stranger.post(self.url_for(job, attempt), content=body, headers={"Authorization": ""})
        assert (answer.status_code, answer.content) == (200, b"{}"), answer.text

    async def retry(self, job: dict[str, Any], **body: Any) -> httpx.Response:
        """Ask for the next run."""
        return await self.client.post(f"/v1/jobs/{job['id']}/retry", json=body)

    async def cancel(self, job: dict[str, Any]) -> dict[str, Any]:
        """Cancel a job and return it."""
        answer = await self.client.post(f"/v1/jobs/{job['id']}/cancel")
        assert answer.status_code == 200, answer.text
        return answer.json()  # type: ignore[no-any-return]

    async def types(self, job: dict[str, Any]) -> list[str]:
        """Return the types of a job's events, in order."""
        return [event["type"] for event in await self.events(job)]

    def lookups(self, job: dict[str, Any]) -> int:
        """Return how often the sandbox was asked about a job's task."""
        return self.sandbox.lookups[job["provider_task_id"]]


def _client(url: str, key: str) -> httpx.AsyncClient:
    # Without TLS there is nothing to verify, and loading the authorities would cost every test 50 ms.
    headers = {"Authorization": f"Bearer {key}"}
    return httpx.AsyncClient(base_url=url, headers=headers, timeout=70, trust_env=False, verify=False)


def uuid(job: dict[str, Any]) -> UUID:
    """Return a job's id as the database has it."""
    return read("job", job["id"])


@contextlib.asynccontextmanager
async def driven_world(
    database_url: str, s3: S3Server, bucket: str, *, sandbox: SandboxSettings | None = None, **more: str
) -> AsyncIterator[Driven]:
    """Run a world without workers; `more` are further settings (`GENRELAY_…`)."""
    port = free_port()
    async with serving_sandbox(sandbox) as fake:
        given = environment(port=port, sandbox_url=fake.url, database_url=database_url, **more)
        async with (
            running_service(load_settings(given), "api") as service,
            serving(make_app(service), port=port) as url,
        ):
            await service.accounts.add_key("somebody else", STRANGERS_KEY)
            # The test is the worker, and it lives.
            await queries().beat(service.pool, id=service.context.worker_id, alert_seconds=600.0)
            async with _client(url, API_KEY) as client, _client(url, STRANGERS_KEY) as stranger:
                answer = await client.put("/v1/destinations/acme?check=false", json=destination(s3, bucket))
                assert answer.status_code == 201, answer.text
                yield Driven(url, service, client, stranger, fake.sandbox, fake.url, s3, bucket, given)
