"""Novita AI: asynchronous tasks with callbacks, and Seedream, which answers with its result."""

from starlette.responses import Response
from starlette.routing import Route

from service.sandbox.novita.envelopes import Refusal, refusal_response
from service.sandbox.novita.routes import look_up, submit
from service.sandbox.novita.seedream import generate

ROUTES = [
    Route("/v3/async/task-result", look_up, methods=["GET"]),
    Route("/v3/async/{endpoint}", submit, methods=["POST"]),
    Route("/v3/seedream-{version:str}", generate, methods=["POST"]),
]


def answer_unknown() -> Response:
    """Return the answer to a request for an API that Novita does not have."""
    return refusal_response(Refusal("API_NOT_FOUND", "there is no such API"))
