"""Sending callbacks: a POST, five seconds, up to five tries until a 2xx; every try is written down."""

from __future__ import annotations

import asyncio

import httpx

from service.sandbox.state import CallbackTry, Sandbox, Task

_HEADERS = {"content-type": "application/json", "user-agent": "novita-sandbox"}


async def send_callback(sandbox: Sandbox, task: Task, body: bytes, kind: str = "final") -> None:
    """Send one callback with Novita's retries; `task.called_back` is set after the first try."""
    for attempt, wait in enumerate((*sandbox.settings.callback_retry_seconds, None), start=1):
        sent = await try_callback(sandbox, task, body, kind, attempt)
        task.called_back.set()
        if sent or wait is None:
            return
        await asyncio.sleep(wait)


async def try_callback(sandbox: Sandbox, task: Task, body: bytes, kind: str, attempt: int = 1) -> bool:
    """Post a body to the task's webhook once; True for a 2xx. Never raises for what the receiver does."""
    url, transport = task.submission.webhook_url, sandbox.transport
    if url is None or transport is None:
        return False
    status, error = None, None
    try:
        async with asyncio.timeout(sandbox.settings.callback_timeout_seconds):
            status = await _post(transport, url, body)
    except (TimeoutError, httpx.TimeoutException):
        error = "timeout"
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as problem:
        error = type(problem).__name__
    sandbox.callbacks_sent.append(CallbackTry(task.task_id, sandbox.now(), kind, attempt, status, error, body))
    return status is not None and 200 <= status < 300


async def _post(transport: httpx.AsyncHTTPTransport, url: str, body: bytes) -> int:
    # The transport without a client around it: httpx's client logs every URL, and these hold their receiver's token.
    response = await transport.handle_async_request(httpx.Request("POST", url, headers=_HEADERS, content=body))
    await response.aread()
    await response.aclose()
    return response.status_code
