"""Seedream's route: the answer to the request, seconds or minutes later, is the result."""

from __future__ import annotations

import base64
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from service.sandbox.answers import json_response
from service.sandbox.bodies import BadBody, read_body
from service.sandbox.connections import Reset
from service.sandbox.life import work
from service.sandbox.novita.dialect import Novita
from service.sandbox.novita.envelopes import Refusal, check_access, refusal_response, refuse_if_asked
from service.sandbox.novita.results import signed_url
from service.sandbox.novita.seedream_requests import VERSIONS, read_seedream
from service.sandbox.outputs import claimed_type, content, shows_outputs
from service.sandbox.state import Sandbox, Task
from service.sandbox.submissions import Submission
from service.sandbox.submitting import answer_of_a_gateway, spoilt_by

URL_LIFE_SECONDS = 86_400  # Ark's own; what Novita makes of it is not documented
ARK_CODE = "OutputImageSensitiveContentDetected"
ARK_MESSAGE = "output image may contain sensitive information"


class Seedream(Novita):
    """Seedream has no tasks; the sandbox counts its calls, so that the ledger and `release` can name them."""

    def new_task_id(self, sandbox: Sandbox, submission: Submission) -> str:
        """Return `seedream-1`, `seedream-2`, …"""
        return f"seedream-{1 + sum(task.dialect is self for task in sandbox.tasks.values())}"


SEEDREAM = Seedream()


async def generate(request: Request) -> Response:
    """Answer `POST /v3/seedream-4.0` and `/v3/seedream-4.5`."""
    sandbox: Sandbox = request.app.state.sandbox
    try:
        check_access(sandbox, request)
        submission = await _read(request)
        refused = _refuse(sandbox, submission)
        return refused if refused is not None else await _run(sandbox, submission)
    except Refusal as refusal:
        return refusal_response(refusal)


async def _read(request: Request) -> Submission:
    version = request.path_params["version"]
    if version not in VERSIONS:
        raise Refusal("API_NOT_FOUND", "there is no such API")
    try:
        return await read_body(request, lambda body: read_seedream(version, body))
    except BadBody as bad:
        raise Refusal("INVALID_REQUEST_BODY", str(bad)) from bad


def _refuse(sandbox: Sandbox, submission: Submission) -> Response | None:
    name = refuse_if_asked(sandbox, submission, ("ark_400", "ark_error"))
    if name in ("ark_400", "ark_error"):
        error = {"error": {"code": ARK_CODE, "message": ARK_MESSAGE}}
        return json_response(error, 400 if name == "ark_400" else 200)
    return answer_of_a_gateway(name or "")


async def _run(sandbox: Sandbox, submission: Submission) -> Response:
    task = sandbox.accept(submission, SEEDREAM)
    await work(sandbox, task)
    task.finished_at = sandbox.now()
    spoilt = await spoilt_by(task)
    if spoilt == "reset_after":
        return Reset()
    if spoilt == "500_after":
        raise Refusal("TASK_FAILED", "internal error")
    return json_response({"images": await _images(sandbox, task) if shows_outputs(task) else []})


async def _images(sandbox: Sandbox, task: Task) -> list[Any]:
    return [await _image(sandbox, task, index) for index in range(len(task.names))]


async def _image(sandbox: Sandbox, task: Task, index: int) -> Any:
    faults = task.submission.faults
    if "base64" in faults or "data_uri" in faults:
        text = base64.b64encode(await content(sandbox, task, index)).decode()
        return f"data:image/{claimed_type(sandbox, task)};base64,{text}" if "data_uri" in faults else text
    expired = "expired" in faults or "expired_forever" in faults
    at = sandbox.now() - (2 * URL_LIFE_SECONDS if expired else 0)
    url = signed_url(sandbox, task, index, at, URL_LIFE_SECONDS)
    return {"url": url} if "url_objects" in faults else url
