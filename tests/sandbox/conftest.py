from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from service.sandbox import Sandbox, SandboxSettings
from tests.sandbox.receiver import Receiver
from tests.serving import serving, serving_sandbox

REQUEST = {
    "model_name": "sd_xl_base_1.0.safetensors",
    "prompt": "a lighthouse at dawn",
    "negative_prompt": "",
    "width": 256,
    "height": 128,
    "image_num": 1,
    "steps": 20,
    "seed": 123,
    "clip_skip": 1,
    "guidance_scale": 7.5,
    "sampler_name": "Euler a",
}


@dataclass
class World:
    """A sandbox that listens, a receiver that listens, and a client with a key."""

    sandbox: Sandbox
    url: str
    http: httpx.AsyncClient
    receiver: Receiver

    def body(self, faults: str = "", extra: dict[str, Any] | None = None, **request: Any) -> dict[str, Any]:
        prompt = request.pop("prompt", REQUEST["prompt"])
        defaults = {"response_image_type": "jpeg", "webhook": {"url": f"{self.receiver.url}/hooks/t0ken"}}
        return {
            "extra": defaults | (extra or {}),
            "request": {**REQUEST, "prompt": f"{prompt} {faults}".strip(), **request},
        }

    async def submit(self, faults: str = "", extra: dict[str, Any] | None = None, **request: Any) -> httpx.Response:
        return await self.http.post("/v3/async/txt2img", json=self.body(faults, extra, **request))

    async def accepted(self, faults: str = "", extra: dict[str, Any] | None = None, **request: Any) -> str:
        """Submit and return the task id."""
        answer = await self.submit(faults, extra, **request)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["task_id"])

    async def finished(self, faults: str = "", extra: dict[str, Any] | None = None, **request: Any) -> str:
        """Submit, wait until the task has ended and the first try of its callback is over; return the task id."""
        task_id = await self.accepted(faults, extra, **request)
        async with asyncio.timeout(10):
            await self.sandbox.tasks[task_id].called_back.wait()
        return task_id

    async def look_up(self, task_id: str) -> httpx.Response:
        return await self.http.get("/v3/async/task-result", params={"task_id": task_id})

    async def image_url(self, faults: str = "", **request: Any) -> str:
        """Run a task and return the URL of its first image."""
        result = (await self.look_up(await self.finished(faults, **request))).json()
        return str(result["images"][0]["image_url"])


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    async with serving(receiver.app) as url:
        receiver.url = url
        yield receiver


class Clock:
    """Unix seconds that stand still until they are told to move."""

    def __init__(self) -> None:
        self.seconds = 1_700_000_000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def settings() -> SandboxSettings:
    return SandboxSettings(
        latency_seconds=0.01, callback_retry_seconds=(0.01, 0.01, 0.01, 0.01), callback_timeout_seconds=0.5
    )


@pytest.fixture
async def world(receiver: Receiver, settings: SandboxSettings, clock: Callable[[], float]) -> AsyncIterator[World]:
    async with (
        serving_sandbox(settings, clock) as served,
        httpx.AsyncClient(
            base_url=served.url, headers={"authorization": "Bearer key"}, timeout=10, trust_env=False
        ) as http,
    ):
        yield World(served.sandbox, served.url, http, receiver)
