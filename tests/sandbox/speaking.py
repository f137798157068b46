"""Asking the sandbox in each provider's own way: one small object per provider, with the same verbs."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import httpx

from tests.sandbox.conftest import World

PROMPT = "a lighthouse at dawn"


@dataclass
class Seedream:
    """Seedream: the answer is the result."""

    world: World
    version: str = "4.0"

    async def submit(self, faults: str = "", **fields: Any) -> httpx.Response:
        body = {"prompt": f"{PROMPT} {faults}".strip(), "size": "1024x1024", **fields}
        return await self.world.http.post(f"/v3/seedream-{self.version}", json=body)

    async def urls(self, faults: str = "", **fields: Any) -> list[str]:
        """Return the URLs of the outputs."""
        answer = await self.submit(faults, **fields)
        assert answer.status_code == 200, answer.text
        return list(answer.json()["images"])

    def says(self, answer: httpx.Response) -> str:
        """Return the name or the words that a refusal has."""
        return str(answer.json()["reason"])


@dataclass
class ModelsLab:
    """ModelsLab: a task that is fetched, the key in every body."""

    world: World
    path: str = "/api/v1/enterprise"

    def body(self, faults: str = "", **fields: Any) -> dict[str, Any]:
        defaults = {"key": "key", "model_id": "midjourney", "width": "256", "height": "128", "samples": "1", "seed": 7}
        hook = f"{self.world.receiver.url}/hooks/t0ken"
        return {**defaults, "prompt": f"{PROMPT} {faults}".strip(), "webhook": hook, "track_id": "trk_1", **fields}

    async def submit(self, faults: str = "", name: str = "text2img", **fields: Any) -> httpx.Response:
        return await self.world.http.post(f"{self.path}/{name}", json=self.body(faults, **fields))

    async def finished(self, faults: str = "", name: str = "text2img", **fields: Any) -> str:
        """Submit, wait for the end and the first try of the callback; return the task's id."""
        answer = await self.submit(faults, name, **fields)
        assert answer.status_code == 200, answer.text
        task_id = self.world.sandbox.submits[-1].task_id
        async with asyncio.timeout(10):
            await self.world.sandbox.tasks[task_id].called_back.wait()
        return task_id

    async def fetch(self, task_id: str | int, **fields: Any) -> httpx.Response:
        """Look a task up by the id in the body."""
        body = {"key": "key", "request_id": task_id, **fields}
        return await self.world.http.post("/api/v1/enterprise/fetch", json=body)

    async def urls(self, faults: str = "", **fields: Any) -> list[str]:
        """Return the URLs of the outputs of a task that has run."""
        return list((await self.fetch(await self.finished(faults, **fields))).json()["output"])

    def says(self, answer: httpx.Response) -> str:
        """Return the name or the words that a refusal has."""
        return str(answer.json()["message"])


Speaker = Seedream | ModelsLab
SPEAKERS: dict[str, type[Seedream] | type[ModelsLab]] = {"seedream": Seedream, "modelslab": ModelsLab}
