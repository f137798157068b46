"""Looking into a sandbox that runs in another process: what was submitted, looked up and called back."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from service.sandbox.answers import json_response
from service.sandbox.faults import ALWAYS, FAULTS, Fault
from service.sandbox.state import Sandbox

_SHOWN_CHARACTERS = 10_000


async def list_submits(request: Request) -> Response:
    """Answer with the ledger; `?test=false` leaves the test-mode submits out, `?test=true` all others."""
    submits = _sandbox(request).submits
    wanted = request.query_params.get("test")
    return json_response([asdict(submit) for submit in submits if wanted is None or submit.test is (wanted == "true")])


async def list_callbacks(request: Request) -> Response:
    """Answer with every try of every callback; bodies are text here, and cut when they are long."""
    return json_response(
        [
            {**asdict(sent), "body": sent.body.decode("utf-8", "replace")[:_SHOWN_CHARACTERS]}
            for sent in _sandbox(request).callbacks_sent
        ]
    )


async def list_lookups(request: Request) -> Response:
    """Answer with the number of look-ups by task id."""
    return json_response(_sandbox(request).lookups)


async def list_faults(request: Request) -> Response:
    """Answer with the menu: what each fault does, the value of one without a number, and who obeys it."""
    return json_response({name: _menu_line(fault) for name, fault in FAULTS.items()})


def _menu_line(fault: Fault) -> dict[str, Any]:
    default = "always" if fault.default == ALWAYS else fault.default
    return {"does": fault.sentence, "default": default, "providers": fault.obeyed_by}


async def reset(request: Request) -> Response:
    """Forget everything and stop what runs."""
    await _sandbox(request).reset()
    return json_response({})


async def release(request: Request) -> Response:
    """Let a held task end."""
    known = _sandbox(request).release(request.path_params["task_id"])
    return json_response({"released": known}, 200 if known else 404)


def _sandbox(request: Request) -> Sandbox:
    sandbox: Sandbox = request.app.state.sandbox
    return sandbox


ROUTES = [
    Route("/_sandbox/submits", list_submits, methods=["GET"]),
    Route("/_sandbox/callbacks", list_callbacks, methods=["GET"]),
    Route("/_sandbox/lookups", list_lookups, methods=["GET"]),
    Route("/_sandbox/faults", list_faults, methods=["GET"]),
    Route("/_sandbox/reset", reset, methods=["POST"]),
    Route("/_sandbox/release/{task_id}", release, methods=["POST"]),
]
