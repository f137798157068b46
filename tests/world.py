"""A whole small world: PostgreSQL, an S3 server, the sandbox, and the service over real HTTP, in one event loop."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import httpx

from config.loading import load_settings
from handlers.app import make_app
from service.app import Service, running_service
from service.demo.ports import is_free
from service.demo.s3server import S3Server
from service.sandbox import Sandbox, SandboxSettings
from tests.contract import check_answer
from tests.serving import serving, serving_sandbox

API_KEY = "test-key-of-the-default-account"
STRANGERS_KEY = "test-key-of-somebody-else-altogether"
SECRET_KEY = "a secret key for tests - 32 characters or more"
T = TypeVar("T")


_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:])
_PORTS = itertools.cycle(range(10_000 + _WORKER % 5 * 2_000, 12_000 + _WORKER % 5 * 2_000))


def free_port() -> int:
    """Return a port of this test's own: the kernel lends it to no connection, and no other test gets it for long."""
    return next(port for port in _PORTS if is_free(port))


def txt2img(
    prompt: str = "a lighthouse at dawn", *, extra: dict[str, Any] | None = None, **request: Any
) -> dict[str, Any]:
    """Return a small valid txt2img input; `prompt` may hold the sandbox's fault markers."""
    body: dict[str, Any] = {
        "model_name": "sd_xl_base_1.0.safetensors",
        "prompt": prompt,
        "width": 128,
        "height": 128,
        "image_num": 1,
        "steps": 20,
        "guidance_scale": 7.5,
        "sampler_name": "Euler a",
        "seed": 7,
        **request,
    }
    return {"request": body, "extra": {"response_image_type": "jpeg", **(extra or {})}}


def job_body(prompt: str = "a lighthouse at dawn", **changes: Any) -> dict[str, Any]:
    """Return the body of `POST /v1/jobs` for a small txt2img into the destination `acme`."""
    return {"provider": "novita", "operation": "txt2img", "destination": "acme", "input": txt2img(prompt), **changes}


def environment(*, port: int, sandbox_url: str, database_url: str, **more: str) -> dict[str, str]:
    """Return the settings of a service in a test, as environment variables."""
    return {
        "GENRELAY_DATABASE_URL": database_url,
        "GENRELAY_PORT": str(port),
        "GENRELAY_PUBLIC_URL": f"http://127.0.0.1:{port}",
        "GENRELAY_SECRET_KEY": SECRET_KEY,
        "GENRELAY_BOOTSTRAP_API_KEY": API_KEY,
        "GENRELAY_PROVIDERS__NOVITA__API_KEY": "sandbox-key",
        "GENRELAY_PROVIDERS__NOVITA__BASE_URL": sandbox_url,
        "GENRELAY_PROVIDERS__NOVITA__OUTPUT_HOSTS": "127.0.0.1",
        "GENRELAY_PROVIDERS__MODELSLAB__API_KEY": "sandbox-key",
        "GENRELAY_PROVIDERS__MODELSLAB__BASE_URL": sandbox_url,
        "GENRELAY_ALLOWED_PRIVATE_SUBNETS": "127.0.0.0/8",
        "GENRELAY_LOG_FORMAT": "json",
        **more,
    }


def destination(s3: S3Server, bucket: str, **changes: Any) -> dict[str, Any]:
    """Return the body of `PUT /v1/destinations/{name}` for a bucket of the test server."""
    return {
        "bucket": bucket,
        "region": s3.region,
        "path": "renders",
        "endpoint_url": s3.endpoint_url,
        "auth": {
            "type": "access_key",
            "access_key_id": s3.access_key_id,
            "secret_access_key": s3.secret_access_key,
        },
        **changes,
    }


def client_for(url: str, key: str = API_KEY) -> httpx.AsyncClient:
    """Return a client of an account, which holds every answer against the contract."""
    headers = {"Authorization": f"Bearer {key}"}
    hooks = {"response": [check_answer]}
    return httpx.AsyncClient(base_url=url, headers=headers, timeout=70, trust_env=False, event_hooks=hooks)


async def until(look: Callable[[], Awaitable[T]], seconds: float = 20.0) -> T:
    """Return the first truthy answer of `look`; fails after so many seconds. Bounded polling, for what has no event."""
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while True:
        found = await look()
        if found:
            return found
        assert loop.time() < end, "what was waited for did not come"
        await asyncio.sleep(0.02)


@dataclass
class World:
    """What a test of the whole works with."""

    url: str
    service: Service
    client: httpx.AsyncClient
    stranger: httpx.AsyncClient
    sandbox: Sandbox
    sandbox_url: str
    s3: S3Server
    bucket: str
    settings: dict[str, str] = field(default_factory=dict)

    async def submit(self, prompt: str = "a lighthouse at dawn", **changes: Any) -> dict[str, Any]:
        """Submit a job and return it as accepted."""
        answer = await self.client.post("/v1/jobs", json=job_body(prompt, **changes))
        assert answer.status_code == 202, answer.text
        return answer.json()  # type: ignore[no-any-return]

    async def end(self, job: dict[str, Any], seconds: int = 30) -> dict[str, Any]:
        """Return the job once it has ended."""
        answer = await self.client.get(f"/v1/jobs/{job['id']}", params={"wait": seconds})
        found: dict[str, Any] = answer.json()
        assert found["completed_at"] is not None, found
        return found

    async def run(self, prompt: str = "a lighthouse at dawn", **changes: Any) -> dict[str, Any]:
        """Submit a job and return it once it has ended."""
        return await self.end(await self.submit(prompt, **changes))

    async def job(self, job: dict[str, Any]) -> dict[str, Any]:
        """Return the job as it is."""
        answer = await self.client.get(f"/v1/jobs/{job['id']}")
        return answer.json()  # type: ignore[no-any-return]

    async def events(self, job: dict[str, Any]) -> list[dict[str, Any]]:
        """Return a job's events, up to 100."""
        answer = await self.client.get(f"/v1/jobs/{job['id']}/events", params={"limit": 100})
        return answer.json()["data"]  # type: ignore[no-any-return]

    async def verdicts(self, job: dict[str, Any]) -> list[str | None]:
        """Return the verdicts on a job's callbacks, in the order in which they came."""
        answer = await self.client.get(f"/v1/jobs/{job['id']}/callbacks", params={"limit": 100})
        return [callback["verdict"] for callback in answer.json()["data"]]

    def keys(self) -> list[str]:
        """Return the keys of all objects in the bucket."""
        return self.s3.list_keys(self.bucket)

    def callback_url(self, job: dict[str, Any]) -> str:
        """Return the callback URL that the sandbox was given for a job's last submit with this prompt."""
        task = job["provider_task_id"]
        return next(s.callback_url for s in reversed(self.sandbox.submits) if s.task_id == task)


@contextlib.asynccontextmanager
async def running_world(
    database_url: str, s3: S3Server, bucket: str, *, sandbox: SandboxSettings | None = None, **more: str
) -> AsyncIterator[World]:
    """Run a world; `more` are further settings (`GENRELAY_…`)."""
    port = free_port()
    async with serving_sandbox(sandbox) as fake:
        given = environment(port=port, sandbox_url=fake.url, database_url=database_url, **more)
        async with running_service(load_settings(given)) as service, serving(make_app(service), port=port) as url:
            await service.accounts.add_key("somebody else", STRANGERS_KEY)
            async with client_for(url) as client, client_for(url, STRANGERS_KEY) as stranger:
                answer = await client.put("/v1/destinations/acme?check=false", json=destination(s3, bucket))
                assert answer.status_code == 201, answer.text
                yield World(url, service, client, stranger, fake.sandbox, fake.url, s3, bucket, given)
