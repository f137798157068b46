"""Requests to Novita. One POST per operation, one GET for every task's result.

https://novita.ai/docs/api-reference/model-apis-task-result
https://novita.ai/docs/api-reference/model-apis-webhook
checked 2026-09
"""

from __future__ import annotations

from urllib.parse import quote

from pydantic_core import to_json

from service.providers.contract import HttpCall, Json, Operation, Ours, ProviderAccess, TestMode


def submit_call(access: ProviderAccess, operation: Operation, body: dict[str, Json], ours: Ours) -> HttpCall:
    """Build the submit; an operation that takes no webhook gets no callback URL.

    Raises ValueError for a test job at an operation without test mode, or without callback URL: test mode is a setting
    of the webhook, so in either case Novita would run the task and charge for it.
    """
    callback_url = ours.callback_url if operation.takes_webhook else None
    if ours.test_mode is not None and not operation.native_test_mode:
        raise ValueError(f"Novita's {operation.name} has no test mode, so a test job would be a paid one")
    if ours.test_mode is not None and callback_url is None:
        raise ValueError("a test job at Novita needs a callback URL, else it would be a paid one")
    if callback_url is not None:
        body = {**body, "extra": {**(body.get("extra") or {}), "webhook": _webhook(callback_url, ours.test_mode)}}
    headers = {**_headers(access), "Content-Type": "application/json"}
    # Bodies reach 80 MB, nearly all of it base64: pydantic's encoder takes a quarter of the standard library's time.
    return HttpCall("POST", _url(access, operation.path), headers, to_json(body))


def look_up_call(access: ProviderAccess, task_id: str) -> HttpCall:
    """Build the read-back of one task."""
    return HttpCall("GET", _url(access, f"/v3/async/task-result?task_id={quote(task_id, safe='')}"), _headers(access))


def _webhook(callback_url: str, test_mode: TestMode | None) -> dict[str, Json]:
    if test_mode is None:
        return {"url": callback_url}
    return {
        "url": callback_url,
        "test_mode": {"enabled": True, "return_task_status": test_mode.return_task_status},
    }


def _headers(access: ProviderAccess) -> dict[str, str]:
    # One of Novita's own SDKs leaves `Bearer ` out; the documentation demands it.
    return {"Authorization": f"Bearer {access.api_key}", "Accept": "application/json"}


def _url(access: ProviderAccess, path: str) -> str:
    return access.base_url.rstrip("/") + path
