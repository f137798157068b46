"""Problems as the document has them: which status each code comes with, and which routes may answer with it."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from handlers.openapi.schema import ref
from handlers.problems import EXPLANATIONS, TITLES, Problem, invalid
from service.providers.contract import Mistake

KIND = "application/problem+json"
CODES_OF_EVERYBODY = ("unavailable", "internal")
CODES_OF_BODIES = ("invalid_json", "body_too_large", "too_slow", "invalid_request")
# Of every route that needs an API key; unknown parameters are mistakes.
CODES_OF_ACCOUNTS = ("unauthorized", "invalid_request", "too_many_requests", "too_many_requests_at_once")
CODES_OF_NEW_RUNS = ("too_many_jobs", "too_many_open_jobs")
_REQUEST_ID = "4f1f9c0c5a0b4f0e8a6b6c1f4f7f2f10"
_RETRY = frozenset({409, 429, 503})

STATUSES = {
    "invalid_json": 400,
    "invalid_request": 422,
    "unauthorized": 401,
    "not_found": 404,
    "method_not_allowed": 405,
    "body_too_large": 413,
    "too_slow": 408,
    "idempotency_key_reused": 422,
    "idempotency_key_busy": 409,
    "already_ended": 409,
    "not_retryable": 409,
    "second_charge": 409,
    "input_gone": 409,
    "not_copyable": 409,
    "not_stored": 409,
    "destination_deleted": 409,
    "destination_trouble": 409,
    "too_many_checks": 429,
    "subscription_of_jobs": 409,
    "not_signed": 409,
    "no_sink": 409,
    "too_many_subscriptions": 409,
    "subscription_stopped": 409,
    "too_many_streams": 429,
    "too_many_tests": 429,
    "unavailable": 503,
    "internal": 500,
    "head_too_large": 431,
    "job_deleted": 410,
    "event_gone": 410,
    "not_ended": 409,
    "being_copied": 409,
    "too_many_requests": 429,
    "too_many_requests_at_once": 429,
    "too_many_jobs": 429,
    "too_many_open_jobs": 429,
}


def problem_response(status: int, codes: Sequence[str]) -> dict[str, Any]:
    """Return the answer with one of some problems, which have one status; one alone stands among the components."""
    return {"$ref": f"#/components/responses/{codes[0]}"} if len(codes) == 1 else _response(status, codes)


def problem_responses() -> dict[str, Any]:
    """Return the answer with each problem."""
    return {code: _response(status, [code]) for code, status in STATUSES.items()}


def _response(status: int, codes: Sequence[str]) -> dict[str, Any]:
    headers = {"X-Request-Id": {"$ref": "#/components/headers/X-Request-Id"}}
    if status == 429:
        headers |= {name: {"$ref": f"#/components/headers/{name}"} for name in ("RateLimit", "RateLimit-Policy")}
    if status in _RETRY:
        headers["Retry-After"] = {"$ref": "#/components/headers/Retry-After"}
    if status == 401:
        headers["WWW-Authenticate"] = {"$ref": "#/components/headers/WWW-Authenticate"}
    return {
        "description": "\n".join(f"- `{code}`: {TITLES[code]}. {EXPLANATIONS[code]}" for code in codes),
        "headers": headers,
        "content": {
            KIND: {
                "schema": {**ref("Problem"), "properties": {"code": {"enum": list(codes)}}},
                "examples": {code: {"$ref": f"#/components/examples/{code}"} for code in codes},
            }
        },
    }


def problem_examples() -> dict[str, Any]:
    """Return one problem of each code, made as real ones are."""
    return {code: {"summary": TITLES[code], "value": _example(code, status)} for code, status in STATUSES.items()}


def _example(code: str, status: int) -> dict[str, Any]:
    detail = HTTPStatus(status).phrase.lower()
    problem = Problem(status, code, detail)
    if code == "invalid_request":
        problem = invalid(Mistake("input.request.steps", "must be at most 100", "101"))
    return problem.document(_REQUEST_ID)
