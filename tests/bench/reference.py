"""The same pipeline in memory, promising nothing: what the service's speed is compared with.

A job is submitted with a webhook URL that names it, its callback is awaited, the result read back, the image downloaded
(capped, its type checked, hashed) and put into a bucket. One process, one event loop, shared clients, no database, no
retries, no guard: a crash loses everything. Run as `python -m tests.bench.reference --port-file … --provider … …`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import json
import os
import socket
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aioboto3
import httpx
import uvicorn
from aiobotocore.config import AioConfig
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

MAX_IMAGE_BYTES = 128 * 2**20
CALLBACK_SECONDS = 60.0
# httpcore looks at every connection of a pool for each idle one, at every request, so that small pools are much faster:
# with up to 48 connections in one pool this program takes 12 ms of CPU per job, with two pools of 16 it takes 7.5.
CALLS = 16
COPIES = 16
MAGIC = {
    b"\xff\xd8\xff": ("jpeg", "image/jpeg"),
    b"\x89PNG\r\n\x1a\n": ("png", "image/png"),
    b"RIFF": ("webp", "image/webp"),
}


class JobFailed(Exception):  # noqa: N818 - an outcome, not a defect
    """The job ends badly; the message is its error."""


@dataclass(slots=True)
class Job:
    """One job, for as long as the process lives."""

    id: str
    prompt: str
    status: str = "queued"
    error: str | None = None
    key: str | None = None
    sha256: str | None = None
    called_back: asyncio.Event = field(default_factory=asyncio.Event)
    done: asyncio.Event = field(default_factory=asyncio.Event)

    def shown(self) -> dict[str, Any]:
        """Return the job as the API shows it."""
        return {"id": self.id, "status": self.status, "error": self.error, "key": self.key, "sha256": self.sha256}


def provider_body(prompt: str, callback_url: str) -> bytes:
    """Return the body of a txt2img submit at Novita."""
    request = {
        "model_name": "sd_xl_base_1.0.safetensors",
        "prompt": prompt,
        "width": 512,
        "height": 512,
        "image_num": 1,
        "steps": 20,
        "guidance_scale": 7.5,
        "sampler_name": "Euler a",
        "seed": -1,
    }
    extra = {"response_image_type": "jpeg", "webhook": {"url": callback_url}}
    return json.dumps({"extra": extra, "request": request}).encode()


def image_type(content: bytes) -> tuple[str, str]:
    """Return an image's extension and media type, by its first bytes."""
    for magic, names in MAGIC.items():
        if content.startswith(magic):
            return names
    raise JobFailed("the output is no image")


@dataclass(frozen=True, slots=True)
class Clients:
    """The shared clients: the provider's API, downloads, and the bucket."""

    api: httpx.AsyncClient
    downloads: httpx.AsyncClient
    s3: Any


class Pipeline:
    """Carries jobs from submit to stored object."""

    def __init__(self, clients: Clients, options: argparse.Namespace, public_url: str) -> None:
        self.jobs: dict[str, Job] = {}
        self._clients = clients
        self._options = options
        self._public_url = public_url
        self._headers = {"Authorization": f"Bearer {options.api_key}", "Content-Type": "application/json"}
        self._calls = asyncio.Semaphore(CALLS)
        self._copies = asyncio.Semaphore(COPIES)
        self._tasks: set[asyncio.Task[None]] = set()

    def accept(self, prompt: str) -> Job:
        """Begin a job and return at once."""
        job = Job(uuid.uuid4().hex, prompt)
        self.jobs[job.id] = job
        task = asyncio.create_task(self._run(job))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return job

    async def _run(self, job: Job) -> None:
        try:
            task_id = await self._submit(job)
            job.status = "running"
            await asyncio.wait_for(job.called_back.wait(), CALLBACK_SECONDS)
            url = await self._read_back(task_id)
            job.status = "copying"
            async with self._copies:
                await self._copy(job, url)
            job.status = "succeeded"
        except Exception as error:
            job.status, job.error = "failed", f"{type(error).__name__}: {error}"
        finally:
            job.done.set()

    async def _submit(self, job: Job) -> str:
        body = provider_body(job.prompt, f"{self._public_url}/callback/{job.id}")
        async with self._calls:
            reply = await self._clients.api.post(
                f"{self._options.provider}/v3/async/txt2img", content=body, headers=self._headers
            )
        if reply.status_code != 200:
            raise JobFailed(f"submit answered {reply.status_code}")
        return str(reply.json()["task_id"])

    async def _read_back(self, task_id: str) -> str:
        url = f"{self._options.provider}/v3/async/task-result?task_id={task_id}"
        async with self._calls:
            reply = await self._clients.api.get(url, headers=self._headers)
        result = reply.raise_for_status().json()
        if result["task"]["status"] != "TASK_STATUS_SUCCEED" or not result["images"]:
            raise JobFailed(f"the provider says {result['task']['status']}")
        return str(result["images"][0]["image_url"])

    async def _download(self, url: str) -> tuple[bytes, str]:
        digest, chunks, size = hashlib.sha256(), [], 0
        async with self._clients.downloads.stream("GET", url) as reply:
            reply.raise_for_status()
            async for chunk in reply.aiter_raw():
                size += len(chunk)
                if size > MAX_IMAGE_BYTES:
                    raise JobFailed("the output is too large")
                digest.update(chunk)
                chunks.append(chunk)
        return b"".join(chunks), digest.hexdigest()

    async def _copy(self, job: Job, url: str) -> None:
        content, job.sha256 = await self._download(url)
        extension, media_type = image_type(content)
        job.key = f"{self._options.path}/{job.id}/00.{extension}"
        bucket = self._options.bucket
        await self._clients.s3.put_object(Bucket=bucket, Key=job.key, Body=content, ContentType=media_type)


async def accept_job(request: Request) -> Response:
    """Take a job: 202 with its id."""
    asked = json.loads(await request.body())
    job = request.app.state.pipeline.accept(asked["prompt"])
    return JSONResponse(job.shown(), status_code=202)


async def show_job(request: Request) -> Response:
    """Show a job; `?wait=` seconds holds the answer until it has ended."""
    job = request.app.state.pipeline.jobs.get(request.path_params["id"])
    if job is None:
        return JSONResponse({}, status_code=404)
    wait = float(request.query_params.get("wait", 0))
    if wait and not job.done.is_set():
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(job.done.wait(), wait)
    return JSONResponse(job.shown())


async def take_callback(request: Request) -> Response:
    """Wake the job that the URL names."""
    job = request.app.state.pipeline.jobs.get(request.path_params["id"])
    if job is None:
        return JSONResponse({}, status_code=404)
    if json.loads(await request.body()).get("event_type") == "ASYNC_TASK_RESULT":
        job.called_back.set()
    return JSONResponse({})


def _http_client(connections: int) -> httpx.AsyncClient:
    limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections)
    return httpx.AsyncClient(limits=limits, timeout=30, trust_env=False)


@contextlib.asynccontextmanager
async def open_clients(options: argparse.Namespace) -> AsyncIterator[Clients]:
    """Open the clients for as long as the block lasts."""
    session = aioboto3.Session(options.access_key_id, options.secret_access_key, region_name=options.region)
    config = AioConfig(max_pool_connections=COPIES, s3={"addressing_style": "path"}, parameter_validation=False)
    async with (
        _http_client(CALLS) as api,
        _http_client(COPIES) as downloads,
        session.client("s3", endpoint_url=options.s3_endpoint, config=config) as s3,
    ):
        yield Clients(api, downloads, s3)


def make_app(options: argparse.Namespace, port: int) -> Starlette:
    """Return the application; its clients live as long as it does."""

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with open_clients(options) as clients:
            app.state.pipeline = Pipeline(clients, options, f"http://127.0.0.1:{port}")
            options.port_file.with_suffix(".new").write_text(str(port))
            options.port_file.with_suffix(".new").rename(options.port_file)
            yield

    routes = [
        Route("/jobs", accept_job, methods=["POST"]),
        Route("/jobs/{id}", show_job),
        Route("/callback/{id}", take_callback, methods=["POST"]),
    ]
    return Starlette(routes=routes, lifespan=lifespan)


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port-file", type=Path, required=True)
    parser.add_argument("--provider", required=True, help="base URL of the provider")
    parser.add_argument("--s3-endpoint", required=True)
    parser.add_argument("--bucket", required=True)
    parser.add_argument("--region", default="us-east-1")
    parser.add_argument("--path", default="reference", help="prefix of every key")
    options = parser.parse_args()
    options.api_key = os.environ["REFERENCE_API_KEY"]
    options.access_key_id = os.environ["REFERENCE_ACCESS_KEY_ID"]
    options.secret_access_key = os.environ["REFERENCE_SECRET_ACCESS_KEY"]
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    # Connections queue up here from now on, so the port may be told before uvicorn accepts.
    listener.listen(2048)
    app = make_app(options, listener.getsockname()[1])
    config = uvicorn.Config(app, loop="uvloop", http="httptools", access_log=False, log_level="warning", backlog=2048)
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
