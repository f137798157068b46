"""Novita's asynchronous routes: every submit below /v3/async/, and task-result."""

from __future__ import annotations

import secrets

from starlette.requests import Request
from starlette.responses import Response

from service.sandbox.answers import encode, json_response
from service.sandbox.bodies import BadBody, read_body
from service.sandbox.callbacks import try_callback
from service.sandbox.connections import Reset
from service.sandbox.novita.dialect import NOVITA
from service.sandbox.novita.envelopes import Refusal, check_access, refusal_response, refuse_if_asked
from service.sandbox.novita.results import claim_result, event_bytes, mock_result, result_bytes
from service.sandbox.novita.submissions import NovitaSubmission, read_submission
from service.sandbox.state import Sandbox, Task
from service.sandbox.submitting import answer_of_a_gateway, begin, spoilt_by, turn_of_look_up

_REASONS_OF_LOOK_UPS = {
    "not_found": "TASK_NOT_FOUND",
    "lookup_500": "GET_RESULT_FAILED",
    "lookup_429": "RATE_LIMIT_EXCEEDED",
}


async def submit(request: Request) -> Response:
    """Answer `POST /v3/async/{endpoint}`."""
    sandbox: Sandbox = request.app.state.sandbox
    try:
        check_access(sandbox, request)
        submission = await _read(request)
        refused = answer_of_a_gateway(refuse_if_asked(sandbox, submission) or "")
        if refused is not None:
            return refused
        return await _answer(await _run(sandbox, submission))
    except Refusal as refusal:
        return refusal_response(refusal)


async def look_up(request: Request) -> Response:
    """Answer `GET /v3/async/task-result?task_id=…`."""
    sandbox: Sandbox = request.app.state.sandbox
    try:
        check_access(sandbox, request)
        return Response(_look_up(sandbox, request.query_params.get("task_id", "")), media_type="application/json")
    except Refusal as refusal:
        return refusal_response(refusal)


async def _read(request: Request) -> NovitaSubmission:
    endpoint = request.path_params["endpoint"]
    try:
        return await read_body(request, lambda whole: read_submission(endpoint, whole))
    except BadBody as bad:
        raise Refusal("INVALID_REQUEST_BODY", str(bad)) from bad


async def _run(sandbox: Sandbox, submission: NovitaSubmission) -> Task:
    task = sandbox.accept(submission, NOVITA)
    if submission.test_status is None:
        await begin(sandbox, task)
    # The mock event is sent from inside of the submit: its receiver hears of the task before the sender does.
    elif not await try_callback(sandbox, task, event_bytes(mock_result(sandbox, task)), "test"):
        raise Refusal("CREATE_TASK_FAILED", "fail to send async task result to webhook")
    return task


async def _answer(task: Task) -> Response:
    spoilt = await spoilt_by(task)
    if spoilt == "reset_after":
        return Reset()
    if spoilt == "500_after":
        raise Refusal("CREATE_TASK_FAILED", "failed to create the task")
    if "v2_envelope" in task.submission.faults:
        return json_response({"code": 0, "msg": "", "data": {"task_id": task.task_id}})
    return json_response({"task_id": task.task_id})


def _look_up(sandbox: Sandbox, task_id: str) -> bytes:
    sandbox.lookups[task_id] += 1
    task = sandbox.tasks.get(task_id)
    if task is None or task.dialect is not NOVITA:
        raise Refusal("TASK_NOT_FOUND", "task not found")
    fault = turn_of_look_up(task)
    if fault in _REASONS_OF_LOOK_UPS:
        seconds = task.submission.faults.value("retry_after")
        raise Refusal(_REASONS_OF_LOOK_UPS[fault], f"the fault {fault} of the sandbox", seconds)
    if fault == "lookup_foreign":
        return encode(claim_result(task, "TASK_STATUS_FAILED", task_id=secrets.token_hex(16)))
    return result_bytes(sandbox, task)
