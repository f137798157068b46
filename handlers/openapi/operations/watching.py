"""What is for whoever watches over the service, and for whoever reads about it."""

from __future__ import annotations

from handlers.openapi.operation import JSON, Answer, Operation, answer
from handlers.openapi.schema import anything

_TAG = "Service"

OPERATIONS = {
    ("GET", "/livez"): Operation(
        id="get_liveness",
        tag=_TAG,
        summary="Tell whether the process runs",
        description="Says that the process runs. It is unhealthy once its workers have failed again and again.",
        answers={200: answer("Liveness", "All is well."), 503: answer("Liveness", "It should be restarted.")},
        open=True,
        plain=True,
    ),
    ("GET", "/readyz"): Operation(
        id="get_readiness",
        tag=_TAG,
        summary="Tell whether requests can be served",
        description="Says whether requests can be served, and which check is not well.",
        answers={200: answer("Readiness", "All is well."), 503: answer("Readiness", "No requests should come now.")},
        open=True,
        plain=True,
    ),
    ("GET", "/metrics"): Operation(
        id="get_metrics",
        tag=_TAG,
        summary="Show the metrics",
        description="Shows the metrics of this process for Prometheus.",
        answers={200: Answer("The metrics.", {"text/plain": {"type": "string"}})},
        open=True,
        plain=True,
    ),
    ("GET", "/problems/{code}"): Operation(
        id="explain_problem",
        tag=_TAG,
        summary="Explain a problem",
        description="Explains a code of problems; the `type` of every problem leads here.",
        answers={200: Answer("What it means, and what to do.", {"text/markdown": {"type": "string"}})},
        problems=["not_found"],
        open=True,
        plain=True,
    ),
    ("GET", "/openapi.json"): Operation(
        id="get_openapi",
        tag=_TAG,
        summary="Show this document",
        description="Shows this document.",
        answers={
            200: Answer("The document.", {JSON: anything("An OpenAPI 3.1 document.")}, ("ETag", "Cache-Control")),
            304: Answer("It is as the `ETag` in `If-None-Match` says.", {}, ("ETag", "Cache-Control")),
        },
        open=True,
        plain=True,
    ),
    ("GET", "/docs"): Operation(
        id="get_docs",
        tag=_TAG,
        summary="Show this document for people",
        description="Shows this document as a page that loads nothing from elsewhere.",
        answers={
            200: Answer("The page.", {"text/html": {"type": "string"}}, ("ETag", "Cache-Control")),
            304: Answer("It is as the `ETag` in `If-None-Match` says.", {}, ("ETag", "Cache-Control")),
        },
        open=True,
        plain=True,
    ),
}
