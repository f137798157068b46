"""The ground a crash happens on, and what must be true of it afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import hashlib
from base64 import urlsafe_b64decode
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import httpx

from service.app import Role
from service.demo.s3server import S3Server
from service.ids import read
from service.sandbox import Sandbox, SandboxSettings
from tests.processes import Process, serve
from tests.serving import serving_sandbox
from tests.world import client_for, destination, environment, free_port, job_body, until

TERMINAL = {"job.succeeded", "job.failed", "job.canceled"}

# A heartbeat of two seconds instead of twelve, and everything else to match, so that tests need not wait.
FAST = {
    "GENRELAY_ENGINE__HEARTBEAT_SECONDS": "2",
    "GENRELAY_ENGINE__SWEEP_SECONDS": "0.5",
    "GENRELAY_RECONCILE__FIRST_SECONDS": "1",
    "GENRELAY_RECONCILE__MAX_SECONDS": "2",
    "GENRELAY_SUBMIT__UNKNOWN_SECONDS": "12",
    "GENRELAY_SUBMIT__WINDOW_SECONDS": "1",
}


@dataclass
class Ground:
    """A database, a sandbox and a bucket that outlive the processes that use them."""

    database_url: str
    sandbox: Sandbox
    sandbox_url: str
    s3: S3Server
    bucket: str
    folder: Path
    endpoint_url: str
    path: str = field(default_factory=lambda: uuid4().hex)
    port: int = field(default_factory=free_port)
    settings: dict[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """Return where the API listens."""
        return f"http://127.0.0.1:{self.port}"

    def process(
        self, role: Role = "all", *, port: int | None = None, **more: str
    ) -> AbstractAsyncContextManager[Process]:
        """Run a process on this ground; `more` are settings of its own. Only the API needs the ground's own port."""
        given = environment(port=port or self.port, sandbox_url=self.sandbox_url, database_url=self.database_url)
        given |= {"GENRELAY_PUBLIC_URL": self.url, **FAST, **self.settings, **more}
        return serve(given, self.folder / f"{role}-{uuid4().hex[:8]}.log", role)

    def worker(self, **more: str) -> AbstractAsyncContextManager[Process]:
        """Run a process that only works, on a port of its own."""
        return self.process("worker", port=free_port(), **more)

    def logs(self) -> str:
        """Return the ends of all logs, for a failure's report."""
        return "\n".join(f"--- {log.name}\n{log.read_text()[-6000:]}" for log in sorted(self.folder.glob("*.log")))

    def client(self) -> httpx.AsyncClient:
        """Return a client of the account."""
        return client_for(self.url)

    async def put_destination(self, **changes: Any) -> None:
        """Make the destination `acme`."""
        async with self.client() as client:
            given = destination(self.s3, self.bucket, endpoint_url=self.endpoint_url, path=self.path, **changes)
            answer = await client.put("/v1/destinations/acme?check=false", json=given)
            assert answer.is_success, answer.text

    async def submit(self, prompt: str = "a lighthouse at dawn", **changes: Any) -> dict[str, Any]:
        """Submit a job and return it as accepted."""
        async with self.client() as client:
            answer = await client.post("/v1/jobs", json=job_body(prompt, **changes))
            assert answer.status_code == 202, answer.text
            return answer.json()  # type: ignore[no-any-return]

    async def job(self, job: dict[str, Any]) -> dict[str, Any]:
        """Return the job as it is."""
        async with self.client() as client:
            return (await client.get(f"/v1/jobs/{job['id']}")).json()  # type: ignore[no-any-return]

    async def post(self, job: dict[str, Any], what: str, **body: Any) -> httpx.Response:
        """Cancel or retry a job."""
        async with self.client() as client:
            return await client.post(f"/v1/jobs/{job['id']}/{what}", json=body)

    async def end(self, job: dict[str, Any], seconds: int = 40) -> dict[str, Any]:
        """Return the job once it has ended."""
        async with self.client() as client:
            found = (await client.get(f"/v1/jobs/{job['id']}", params={"wait": seconds})).json()
        assert found["completed_at"] is not None, found
        return found  # type: ignore[no-any-return]

    async def until_status(self, job: dict[str, Any], *statuses: str) -> dict[str, Any]:
        """Return the job once it is in one of these states."""

        async def look() -> dict[str, Any]:
            found = await self.job(job)
            return found if found["status"] in statuses else {}

        return await until(look)

    async def until_submitted(self, count: int = 1) -> None:
        """Return once the sandbox has accepted so many submits."""

        async def look() -> bool:
            return len(self.sandbox.submits) >= count

        await until(look)

    def paid_for(self, job: dict[str, Any]) -> int:
        """Return how often the provider was made to run this job, by the ledger."""
        return sum(job_of(submit.callback_url or "") == read("job", job["id"]) for submit in self.sandbox.paid)

    async def fetch(self, query: str, *values: Any) -> list[asyncpg.Record]:
        """Run a query on the database."""
        connection = await asyncpg.connect(self.database_url)
        try:
            return await connection.fetch(query, *values)
        finally:
            await connection.close()

    async def row(self, job: dict[str, Any]) -> asyncpg.Record:
        """Return the job's row."""
        [row] = await self.fetch("SELECT * FROM jobs WHERE id = $1", read("job", job["id"]))
        return row

    async def until_row(
        self, job: dict[str, Any], is_so: Callable[[asyncpg.Record], bool], seconds: float = 20
    ) -> None:
        """Return once the job's row is as wanted."""

        async def look() -> bool:
            return is_so(await self.row(job))

        await until(look, seconds)

    async def check(self, *jobs: dict[str, Any], stored: int | None = None, paid: int = 1) -> None:
        """Assert the hard guarantees for jobs that have ended. stored: objects of each. paid: submits of each."""
        for job in jobs:
            await self._check_events(job)
            assert self.paid_for(job) == paid, f"{job['id']} was submitted {self.paid_for(job)} times"
        await self._check_callbacks()
        listed = [output["key"] for job in jobs for output in job["outputs"] if output["status"] == "stored"]
        keys = await asyncio.to_thread(self.s3.list_keys, self.bucket)
        found = [key for key in keys if key.startswith(f"{self.path}/") and not key.endswith("/manifest.json")]
        assert sorted(listed) == found, "what is listed is what lies in the bucket, one object per output"
        for job in jobs:
            of_this = [output for output in job["outputs"] if output["status"] == "stored"]
            if stored is not None:
                assert len(of_this) == stored
            for output in of_this:
                content = await asyncio.to_thread(self.s3.read, self.bucket, output["key"])
                assert hashlib.sha256(content).hexdigest() == output["sha256"]

    async def _check_events(self, job: dict[str, Any]) -> None:
        events = await self.fetch(
            "SELECT sequence, run, type FROM events WHERE job_id = $1 ORDER BY sequence", read("job", job["id"])
        )
        assert [event["sequence"] for event in events] == list(range(1, len(events) + 1))
        for run in {event["run"] for event in events}:
            types = [event["type"] for event in events if event["run"] == run]
            assert [kind for kind in types if kind in TERMINAL] == types[-1:], types

    async def _check_callbacks(self) -> None:
        """Everything that was acknowledged is in the inbox, and gets its verdict."""
        sent = Counter(hashlib.sha256(c.body).digest() for c in self.sandbox.callbacks_sent if c.status == 200)

        async def judged() -> bool:
            rows = await self.fetch("SELECT digest, verdict FROM callbacks")
            kept = Counter(row["digest"] for row in rows)
            assert all(kept[digest] >= count for digest, count in sent.items()), "an acknowledged callback is lost"
            return all(row["verdict"] is not None for row in rows)

        await until(judged)


def job_of(callback_url: str) -> UUID | None:
    """Return the job that a callback URL names."""
    token = callback_url.rpartition("/")[2]
    return UUID(bytes=urlsafe_b64decode(token)[:16]) if token else None


@functools.cache
def _bucket(s3: S3Server) -> str:
    s3.create_bucket("chaos")
    return "chaos"


@contextlib.asynccontextmanager
async def ground(
    database_url: str, s3: S3Server, folder: Path, *, endpoint_url: str | None = None, **settings: str
) -> AsyncIterator[Ground]:
    """Lend a ground. Its sandbox tries a callback five times over 15 seconds.

    One bucket serves all grounds, each with a path of its own: a bucket costs the S3 server much.
    """
    bucket = _bucket(s3)  # once, and not in a thread: grounds are laid side by side
    sandbox = SandboxSettings(latency_seconds=0.02, callback_retry_seconds=(1.0, 2.0, 4.0, 8.0))
    async with serving_sandbox(sandbox) as fake:
        yield Ground(
            database_url, fake.sandbox, fake.url, s3, bucket, folder, endpoint_url or s3.endpoint_url, settings=settings
        )
