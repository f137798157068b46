"""Secrets that ModelsLab's callbacks are said to carry: nothing documents them, so they neither open a door nor shut one."""

from __future__ import annotations

import pytest

from tests.engine.driven import Driven, event, uuid
from tests.world import until

TEXT2IMG = {"prompt": "a lighthouse [fault:lost]", "model_id": "flux", "width": 64, "height": 64, "samples": 1}

each_secret = pytest.mark.parametrize(
    ("query", "headers"),
    [
        ("", {}),
        ("", {"X-Modelslab-Secret": ""}),
        ("", {"X-Modelslab-Secret": "wrong"}),
        ("?secret=x", {}),
        ("?secret=", {"X-Modelslab-Secret": "x"}),
    ],
)


async def waiting(driven: Driven) -> dict[str, object]:
    """Return a ModelsLab job whose task is done, and whose callback the test sends."""
    job = await driven.sent(provider="modelslab", operation="text2img", input=TEXT2IMG)

    async def done() -> bool:
        return driven.sandbox.tasks[job["provider_task_id"]].finished_at is not None

    await until(done)
    return job


@each_secret
async def test_a_genuine_callback_is_confirmed_whatever_secret_comes_with_it(
    driven: Driven, query: str, headers: dict[str, str]
) -> None:
    job = await waiting(driven)
    body = event(str(job["provider_task_id"]), provider="modelslab")
    answer = await driven.stranger.post(driven.url_for(job) + query, content=body, headers=headers)
    assert (answer.status_code, answer.content) == (200, b"{}")
    assert (await driven.settle(job))["status"] == "copying"
    assert await driven.verdicts(job) == ["confirmed"]


@each_secret
async def test_no_secret_makes_up_for_a_bad_token(driven: Driven, query: str, headers: dict[str, str]) -> None:
    job = await waiting(driven)
    body = event(str(job["provider_task_id"]), provider="modelslab")
    answer = await driven.stranger.post(driven.url_for(job)[:-1] + query, content=body, headers=headers)
    assert answer.status_code == 404
    assert await driven.sql("SELECT FROM callbacks WHERE job_id = $1", uuid(job)) == []
    assert (await driven.job(job))["status"] == "running"
