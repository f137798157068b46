"""ModelsLab's routes: everything is a POST, and the key is in its body."""

from __future__ import annotations

import secrets
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from service.sandbox.answers import json_response
from service.sandbox.bodies import BadBody, read_body
from service.sandbox.connections import Reset
from service.sandbox.life import work
from service.sandbox.modelslab.dialect import MODELSLAB
from service.sandbox.modelslab.envelopes import Refused, check_access, refuse_if_asked, refused_response
from service.sandbox.modelslab.results import look_up_answer, submit_answer
from service.sandbox.modelslab.submissions import IMAGES, ModelsLabSubmission, read_submission
from service.sandbox.state import Sandbox
from service.sandbox.submitting import answer_of_a_gateway, begin, spoilt_by, turn_of_look_up

# What generates images; the folders of the other products have names of their own.
GENERATIONS = ("text2img", "img2img", "inpaint", "controlnet", "super_resolution")
# The server's controls, which take the same key; the sandbox has no server to control. `fetch` is no submit either.
CONTROLS = {
    *("fetch", "system_details", "restart_server", "update", "update_server", "clear_cache", "clear_queue"),
    *("update_s3", "reset_s3"),
}
_LOOK_UPS = {
    "not_found": (404, "Request not found"),
    "lookup_500": (500, "Internal server error. Please try again."),
    "lookup_429": (429, "Rate limit exceeded. Maximum 5 queued requests allowed."),
}


async def submit(request: Request) -> Response:
    """Answer a submit: `…/enterprise/{name}`, `…/enterprise/{product}/{name}` and `/api/v6/{product}/{name}`."""
    sandbox: Sandbox = request.app.state.sandbox
    try:
        submission = await _read_submit(sandbox, request)
        refused = answer_of_a_gateway(refuse_if_asked(sandbox, submission) or "")
        return refused if refused is not None else await _run(sandbox, submission)
    except Refused as refused:
        return refused_response(refused)


async def _read_submit(sandbox: Sandbox, request: Request) -> ModelsLabSubmission:
    product, name = request.path_params.get("product", ""), request.path_params["name"]
    if name in CONTROLS or (product in IMAGES and name not in GENERATIONS):
        raise Refused(404, "The requested endpoint does not exist.")

    def read(body: dict[str, Any]) -> ModelsLabSubmission:
        check_access(sandbox, request, body)
        return read_submission(product, name, body)

    try:
        return await read_body(request, read)
    except BadBody as bad:
        raise Refused(400, str(bad)) from bad


async def _run(sandbox: Sandbox, submission: ModelsLabSubmission) -> Response:
    task = sandbox.accept(submission, MODELSLAB)
    if "instant" in submission.faults:
        await work(sandbox, task)
        task.finished_at = sandbox.now()
    answer = submit_answer(sandbox, task)
    await begin(sandbox, task)
    spoilt = await spoilt_by(task)
    if spoilt == "reset_after":
        return Reset()
    if spoilt == "500_after":
        raise Refused(500, "Internal server error. Please try again.")
    return json_response(answer)


async def fetch(request: Request) -> Response:
    """Answer a look-up in either dialect: the id in the path, or as `request_id` in the body."""
    sandbox: Sandbox = request.app.state.sandbox
    try:
        return json_response(_look_up(sandbox, await _read_fetch(sandbox, request)))
    except Refused as refused:
        return refused_response(refused)


async def _read_fetch(sandbox: Sandbox, request: Request) -> str:
    """Return the id: that of the path, else `request_id`, as text or number."""

    def read(body: dict[str, Any]) -> str:
        check_access(sandbox, request, body)
        task_id = request.path_params.get("task_id", body.get("request_id"))
        if isinstance(task_id, bool) or not isinstance(task_id, str | int) or task_id == "":
            raise Refused(400, "request_id is required")
        return str(task_id)

    try:
        return await read_body(request, read)
    except BadBody as bad:
        raise Refused(400, str(bad)) from bad


def _look_up(sandbox: Sandbox, task_id: str) -> dict[str, Any]:
    sandbox.lookups[task_id] += 1
    task = sandbox.tasks.get(task_id)
    if task is None or task.dialect is not MODELSLAB:
        raise Refused(404, "Request not found")
    fault = turn_of_look_up(task)
    if fault in _LOOK_UPS:
        status, message = _LOOK_UPS[fault]
        retry_after = task.submission.faults.value("retry_after") if status == 429 else 0
        raise Refused(status, message, retry_after)
    if fault == "lookup_foreign":
        return {"status": "failed", "id": secrets.randbelow(10**8), "message": "Failed, Try Again", "output": ""}
    return look_up_answer(sandbox, task)
