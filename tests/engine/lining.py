"""The line in tests: a world with limits, and the dispatcher's rounds one by one."""

from __future__ import annotations

import base64
from typing import Any

from service.engine.dispatch import Dispatcher
from service.engine.submit import submit
from service.sandbox.pictures import Picture, draw_picture
from tests.engine.driven import Driven, uuid

TXT2IMG = "GENRELAY_PROVIDERS__NOVITA__OPERATIONS__TXT2IMG__"
WHOLE = "GENRELAY_PROVIDERS__NOVITA__"


async def queue(driven: Driven, count: int, prompt: str = "a lighthouse [fault:stuck]", **changes: Any) -> list[Any]:
    """Submit jobs and run their tasks once, one after the other."""
    return [await driven.sent(prompt, **changes) for _ in range(count)]


async def waiting(driven: Driven) -> list[Any]:
    """Return the ids of the jobs that wait in line, in the order in which they came."""
    rows = await driven.sql("SELECT job_id FROM line WHERE granted_at IS NULL ORDER BY place")
    return [row["job_id"] for row in rows]


async def granted(driven: Driven) -> list[Any]:
    """Return the ids of the jobs whose turn it is or was, and that have not left their provider."""
    rows = await driven.sql("SELECT job_id FROM line WHERE granted_at IS NOT NULL ORDER BY granted_at, place")
    return [row["job_id"] for row in rows]


async def next_round(driven: Driven, dispatcher: Dispatcher | None = None) -> list[Any]:
    """Run one round of the dispatcher and the task `submit` of every job that it lets go; returns their ids."""
    before = set(await granted(driven))
    for gate in driven.context.gates.lanes():
        gate.unblock()
    await (dispatcher or Dispatcher(driven.context)).round()
    gone = [job_id for job_id in await granted(driven) if job_id not in before]
    for job_id in gone:
        await submit(driven.context, job_id)
    return gone


async def a_minute_later(driven: Driven) -> None:
    """Let what was granted so far be a minute ago."""
    await driven.sql("UPDATE grants SET at = at - interval '71 seconds'")
    await driven.sql("UPDATE line SET granted_at = granted_at - interval '71 seconds'")
    await driven.sql("UPDATE lanes SET paused_until = paused_until - interval '71 seconds'")


def ids(jobs: list[dict[str, Any]]) -> list[Any]:
    """Return jobs' ids as the database has them."""
    return [uuid(job) for job in jobs]


def upscale() -> dict[str, Any]:
    """Return a small valid input of another operation, whose task never ends."""
    picture = draw_picture(Picture("a harbour", 64, 64, 7, 0, "png"))
    body = {"model_name": "RealESRGAN_x4plus_anime_6B", "image_base64": base64.b64encode(picture).decode()}
    return {"request": {**body, "scale_factor": 2}}
