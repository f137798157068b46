"""Sending callbacks: a POST, within the provider's time, as often as the provider tries; every try is written down."""

from __future__ import annotations

import asyncio

import httpx

from service.sandbox.state import CallbackTry, Sandbox, Task


async def send_callback(sandbox: Sandbox, task: Task, body: bytes, kind: str = "final") -> None:
    """Send one callback with its provider's retries; `task.called_back` is set after the first try."""
    for attempt, wait in enumerate((*task.dialect.retry_seconds(sandbox.settings), None), start=1):
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
        async with asyncio.timeout(task.dialect.timeout_seconds(sandbox.settings)):
            status = await _post(transport, url, body, f"{task.submission.provider}-sandbox")
    except (TimeoutError, httpx.TimeoutException):
        error = "timeout"
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, OSError, OverflowError, ExceptionGroup) as problem:
        error = type(problem).__name__
    sandbox.callbacks_sent.append(CallbackTry(task.task_id, sandbox.now(), kind, attempt, status, error, body))
    return status is not None and 200 <= status < 300


async def _post(transport: httpx.AsyncHTTPTransport, url: str, body: bytes, agent: str) -> int:
    # The transport without a client around it: httpx's client logs every URL, and these hold their receiver's token.
    headers = {"content-type": "application/json", "user-agent": agent}
    response = await transport.handle_async_request(httpx.Request("POST", url, headers=headers, content=body))
    await response.aread()
    await response.aclose()
    return response.status_code
