"""The part of answering a submit that is alike everywhere: which refusal its faults ask for, and how an answer is spoilt."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from service.sandbox.life import live
from service.sandbox.state import Sandbox, Task
from service.sandbox.submissions import Submission

PROXY_PAGE = (
    "<html><head><title>403 Forbidden</title></head><body><center><h1>403 Forbidden</h1></center></body></html>"
)


def is_retired(sandbox: Sandbox, request: Request) -> bool:
    """Tell whether the settings have taken this path away."""
    return request.url.path in sandbox.settings.retired


def chosen_refusal(sandbox: Sandbox, submission: Submission, names: Iterable[str]) -> str | None:
    """Return the first of `names` that the submission's faults ask for now; a 429 is for the first submits only."""
    if not submission.faults.values:
        return None
    return next((name for name in names if name in submission.faults and _is_due(sandbox, submission, name)), None)


def _is_due(sandbox: Sandbox, submission: Submission, name: str) -> bool:
    if name != "429":
        return True
    sandbox.refused[submission.prompt] += 1
    return sandbox.refused[submission.prompt] <= submission.faults.value("429")


def answer_of_a_gateway(name: str) -> Response | None:
    """Return the answer that something in front of the provider gives for this refusal; None when it is not of its kind."""
    if name == "403_html":
        return Response(PROXY_PAGE, status_code=403, media_type="text/html")
    return PlainTextResponse("410 Gone\n", status_code=410) if name == "gone" else None


async def begin(sandbox: Sandbox, task: Task) -> None:
    """Start a task's life, and wait for its callback if the answer shall be late."""
    sandbox.start(live(sandbox, task))
    if "early" in task.submission.faults:
        await task.called_back.wait()


async def spoilt_by(task: Task) -> str | None:
    """Wait as long as the answer shall be late, then return the fault that replaces it: `reset_after` or `500_after`."""
    faults = task.submission.faults
    if not faults.values:
        return None
    await asyncio.sleep(faults.value("hang") + faults.value("early"))
    return next((name for name in ("reset_after", "500_after") if name in faults), None)


def turn_of_look_up(task: Task) -> str | None:
    """Count a look-up and return the fault whose turn it is: first all of one kind, then all of the next."""
    task.lookups += 1
    faults, nth = task.submission.faults, task.lookups
    if not faults.values:
        return None
    for name in ("not_found", "lookup_500", "lookup_429", "lookup_foreign"):
        if 0 < nth <= faults.value(name):
            return name
        nth -= int(faults.value(name))
    return None
