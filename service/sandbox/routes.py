"""Novita's own routes: txt2img, img2img and task-result."""

from __future__ import annotations

import asyncio
import secrets

from anyio import to_thread
from starlette.requests import Request
from starlette.responses import Response

from service.sandbox.connections import Reset
from service.sandbox.envelopes import Refusal, encode, json_response, refusal_response
from service.sandbox.life import live, send_mock
from service.sandbox.results import claim_result, result_bytes
from service.sandbox.state import Sandbox, Task
from service.sandbox.submissions import Endpoint, Submission, read_submission

MAX_BODY_BYTES = 64 * 1024 * 1024
_SMALL_BODY_BYTES = 64 * 1024  # up to here reading a body costs less than a thread
PROXY_PAGE = (
    "<html><head><title>403 Forbidden</title></head><body><center><h1>403 Forbidden</h1></center></body></html>"
)


async def submit_txt2img(request: Request) -> Response:
    """Answer `POST /v3/async/txt2img`."""
    return await _submit(request, "txt2img")


async def submit_img2img(request: Request) -> Response:
    """Answer `POST /v3/async/img2img`."""
    return await _submit(request, "img2img")


async def look_up(request: Request) -> Response:
    """Answer `GET /v3/async/task-result?task_id=…`."""
    sandbox: Sandbox = request.app.state.sandbox
    try:
        _check_key(sandbox, request)
        return Response(_look_up(sandbox, request.query_params.get("task_id", "")), media_type="application/json")
    except Refusal as refusal:
        return refusal_response(refusal)


def _check_key(sandbox: Sandbox, request: Request) -> None:
    header = request.headers.get("authorization", "")
    # The JavaScript SDK sends its key without `Bearer`.
    key = header.removeprefix("Bearer").strip()
    if not key:
        raise Refusal("MISSING_API_KEY", "missing API key")
    wanted = sandbox.settings.api_key
    if wanted is not None and not secrets.compare_digest(key.encode(), wanted.encode()):
        raise Refusal("INVALID_API_KEY", "the API key is not valid")


def _look_up(sandbox: Sandbox, task_id: str) -> bytes:
    sandbox.lookups[task_id] += 1
    task = sandbox.tasks.get(task_id)
    if task is None:
        raise Refusal("TASK_NOT_FOUND", "task not found")
    task.lookups += 1
    faults, nth = task.submission.faults, task.lookups
    if not faults.values:
        return result_bytes(sandbox, task)
    # Several of these take turns: first all of one kind, then all of the next.
    reasons = {"not_found": "TASK_NOT_FOUND", "lookup_500": "GET_RESULT_FAILED", "lookup_429": "RATE_LIMIT_EXCEEDED"}
    for name, reason in reasons.items():
        if 0 < nth <= faults.value(name):
            raise Refusal(reason, f"the fault {name} of the sandbox", faults.value("retry_after"))
        nth -= int(faults.value(name))
    if nth <= faults.value("lookup_foreign"):
        return encode(claim_result(task, "TASK_STATUS_FAILED", task_id=secrets.token_hex(16)))
    return result_bytes(sandbox, task)


async def _submit(request: Request, endpoint: Endpoint) -> Response:
    sandbox: Sandbox = request.app.state.sandbox
    try:
        _check_key(sandbox, request)
        submission = await _read(request, endpoint)
        _refuse_if_asked(sandbox, submission)
        if "403_html" in submission.faults:
            return Response(PROXY_PAGE, status_code=403, media_type="text/html")
        task = sandbox.accept(submission)
        if submission.test_status is not None:
            await _run_test(sandbox, task)
        else:
            await _run(sandbox, task)
        return await _answer(task)
    except Refusal as refusal:
        return refusal_response(refusal)


async def _read(request: Request, endpoint: Endpoint) -> Submission:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise Refusal("INVALID_REQUEST_BODY", "the request body is too large")
    if len(body) <= _SMALL_BODY_BYTES:
        return read_submission(endpoint, bytes(body))
    return await to_thread.run_sync(read_submission, endpoint, bytes(body))


def _refuse_if_asked(sandbox: Sandbox, submission: Submission) -> None:
    faults = submission.faults
    if not faults.values:
        return
    if "400" in faults:
        raise Refusal("ILLEGAL_PROMPT", "the prompt is not allowed")
    if "500_before" in faults:
        raise Refusal("CREATE_TASK_FAILED", "failed to create the task")
    if "429" in faults:
        sandbox.refused[submission.prompt] += 1
        if sandbox.refused[submission.prompt] <= faults.value("429"):
            raise Refusal("RATE_LIMIT_EXCEEDED", "rate limit exceeded", faults.value("retry_after"))


async def _run(sandbox: Sandbox, task: Task) -> None:
    sandbox.start(live(sandbox, task))
    if "early" in task.submission.faults:
        await task.called_back.wait()


async def _run_test(sandbox: Sandbox, task: Task) -> None:
    # The mock event is sent from inside of the submit: its receiver hears of the task before the sender does.
    if not await send_mock(sandbox, task):
        raise Refusal("CREATE_TASK_FAILED", "fail to send async task result to webhook")


async def _answer(task: Task) -> Response:
    faults = task.submission.faults
    if not faults.values:
        return json_response({"task_id": task.task_id})
    await asyncio.sleep(faults.value("hang") + faults.value("early"))
    if "reset_after" in faults:
        return Reset()
    if "500_after" in faults:
        raise Refusal("CREATE_TASK_FAILED", "failed to create the task")
    if "v2_envelope" in faults:
        return json_response({"code": 0, "msg": "", "data": {"task_id": task.task_id}})
    return json_response({"task_id": task.task_id})
