"""ModelsLab: enterprise and v6 routes for images, every other product by the same pattern, both dialects of fetch."""

from starlette.responses import Response
from starlette.routing import Route

from service.sandbox.modelslab.envelopes import Refused, refused_response
from service.sandbox.modelslab.routes import fetch, submit

ROUTES = [
    Route("/api/v1/enterprise/fetch", fetch, methods=["POST"]),
    Route("/api/v6/images/fetch", fetch, methods=["POST"]),
    Route("/api/v1/enterprise/{product}/fetch/{task_id}", fetch, methods=["POST"]),
    Route("/api/v6/{product}/fetch/{task_id}", fetch, methods=["POST"]),
    Route("/api/v1/enterprise/{name}", submit, methods=["POST"]),
    Route("/api/v1/enterprise/{product}/{name}", submit, methods=["POST"]),
    Route("/api/v6/{product}/{name}", submit, methods=["POST"]),
]


def answer_unknown() -> Response:
    """Return the answer to a request for an endpoint that ModelsLab does not have."""
    return refused_response(Refused(404, "The requested endpoint does not exist."))
