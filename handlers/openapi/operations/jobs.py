"""Jobs: submit, read, wait, list, cancel, retry, copy, and what belongs to a job."""

from __future__ import annotations

from typing import Any

from handlers.openapi.operation import Answer, Body, Operation, Parameter, answer
from handlers.openapi.outcomes import CODES_OF_NEW_RUNS
from handlers.openapi.parameters import (
    DESTINATION,
    IDEMPOTENCY_KEY,
    LIMIT,
    METADATA,
    OPERATION,
    PREFER,
    PROVIDER,
    STATUS,
    TEST,
    cursor,
    moment,
)
from handlers.openapi.schema import ref
from handlers.query import MAX_WAIT
from service.providers.registry import PROVIDERS

_TAG = "Jobs"
_OF_KEYS = ("idempotency_key_reused", "idempotency_key_busy", "job_deleted")
_WAIT = Parameter(
    "wait",
    f"Seconds to wait for the job's end; more than {MAX_WAIT} are taken for {MAX_WAIT}.",
    {"type": "integer", "minimum": 0, "maximum": 10**9},
    example=30,
)
_EXPIRES_IN = Parameter(
    "expires_in",
    "Seconds that the URL is good for.",
    {"type": "integer", "minimum": 60, "maximum": 604_800, "default": 300},
)


def _links(*names: str) -> dict[str, Any]:
    """Return which operations take the id of the job that was answered."""
    return {name: {"operationId": name, "parameters": {"id": "$response.body#/id"}} for name in names}


_NEXT = _links("get_job", "cancel_job", "list_job_events", "list_job_callbacks")


def _examples() -> dict[str, Any]:
    """Return one request per operation of each provider, the first one with everything around it."""
    found = {
        f"{provider.name} {operation.name}": {
            "provider": provider.name,
            "operation": operation.name,
            "input": operation.example,
            "destination": "acme",
        }
        for provider in PROVIDERS.values()
        for operation in provider.operations.values()
    }
    first = next(iter(found))
    found[first] |= {
        "webhook": "https://consumer.example/hooks",
        "webhook_events_filter": ["job.succeeded", "job.failed"],
        "metadata": {"order": "42"},
        "deadline_seconds": 900,
        "on_unclear": "fail",
    }
    test = {**found[first], "test_mode": {"enabled": True, "return_task_status": "TASK_STATUS_FAILED"}}
    return {**found, "test job": {name: part for name, part in test.items() if name != "destination"}}


OPERATIONS = {
    ("POST", "/v1/jobs"): Operation(
        id="create_job",
        tag=_TAG,
        summary="Submit a job",
        description=(
            "Takes a job in. It is answered once the job is committed; what becomes of it is told by the job itself, by its "
            "events, and by webhooks. `input` is the provider's own request body. `destination` is required unless it is a "
            "test job, or `input` names a bucket itself. What `input` says about webhooks, test mode and storage is obeyed by "
            "this service."
        ),
        parameters=[IDEMPOTENCY_KEY],
        body=Body(ref("JobRequest"), _examples()),
        answers={202: answer("Job", "The job was taken in.", "Location", "Idempotency-Replayed", links=_NEXT)},
        problems=[*_OF_KEYS, *CODES_OF_NEW_RUNS],
    ),
    ("GET", "/v1/jobs"): Operation(
        id="list_jobs",
        tag=_TAG,
        summary="List jobs",
        description="Lists the account's jobs, newest first.",
        parameters=[
            LIMIT,
            cursor("job"),
            STATUS,
            PROVIDER,
            OPERATION,
            DESTINATION,
            TEST,
            moment("created_after", "Only jobs that were made after this time."),
            moment("created_before", "Only jobs that were made before this time."),
            METADATA,
        ],
        answers={200: answer("JobPage", "A page of jobs.")},
    ),
    ("GET", "/v1/jobs/{id}"): Operation(
        id="get_job",
        tag=_TAG,
        summary="Show a job, or wait for its end",
        description=(
            "Shows a job. With `?wait=30`, or `Prefer: wait=30`, the answer comes when the job has ended, and with the job as "
            "it is when the time is up."
        ),
        parameters=[_WAIT, PREFER],
        answers={200: answer("Job", "The job.", "Preference-Applied")},
        problems=["not_found"],
    ),
    ("DELETE", "/v1/jobs/{id}"): Operation(
        id="delete_job",
        tag=_TAG,
        summary="Delete a job",
        description=(
            "Deletes a job that has ended, and everything that is kept about it: its input, events, deliveries and callbacks. "
            "Objects in your bucket stay."
        ),
        answers={204: Answer("It is deleted.")},
        problems=["not_found", "not_ended", "being_copied"],
    ),
    ("POST", "/v1/jobs/{id}/cancel"): Operation(
        id="cancel_job",
        tag=_TAG,
        summary="Cancel a job",
        description="Ends a job now. What the provider still makes of it is not fetched, and may be charged.",
        answers={200: answer("Job", "The job, canceled.", links=_links("retry_job"))},
        problems=["not_found", "already_ended"],
    ),
    ("POST", "/v1/jobs/{id}/retry"): Operation(
        id="retry_job",
        tag=_TAG,
        summary="Retry a job",
        description=(
            "Begins the next run of a job that has failed or was canceled. What is stored is kept, and what the provider has "
            "made is fetched again instead of being made again where that is possible."
        ),
        body=Body(ref("RetryRequest"), {"plain": {}, "again": {"accept_second_charge": True}}, required=False),
        answers={202: answer("Job", "The job, in its next run.", "Location")},
        problems=[
            "not_found",
            "not_retryable",
            "second_charge",
            "input_gone",
            "destination_deleted",
            *CODES_OF_NEW_RUNS,
        ],
    ),
    ("POST", "/v1/jobs/{id}/copy"): Operation(
        id="copy_job",
        tag=_TAG,
        summary="Store a job's outputs in another destination",
        description="Makes a new job that begins with the outputs of one that has ended. The provider is not paid again.",
        parameters=[IDEMPOTENCY_KEY],
        body=Body(ref("CopyRequest"), {"to another bucket": {"destination": "archive"}}),
        answers={202: answer("Job", "The new job.", "Location", "Idempotency-Replayed", links=_NEXT)},
        problems=["not_found", "not_copyable", *_OF_KEYS, *CODES_OF_NEW_RUNS],
    ),
    ("GET", "/v1/jobs/{id}/callbacks"): Operation(
        id="list_job_callbacks",
        tag=_TAG,
        summary="List what the provider has posted for a job",
        description="Lists callbacks, oldest first, each with its verdict and without its body.",
        parameters=[LIMIT, cursor("cb")],
        answers={200: answer("CallbackPage", "A page of callbacks.")},
        problems=["not_found"],
    ),
    ("GET", "/v1/jobs/{id}/outputs/{index}"): Operation(
        id="get_job_output",
        tag=_TAG,
        summary="Fetch a stored output",
        description=(
            "Redirects to a signed URL of the object in the bucket. With `Accept: application/json` the URL is told instead. "
            "Do not send your API key along to where it leads."
        ),
        parameters=[_EXPIRES_IN],
        answers={
            200: answer("OutputLink", "The signed URL, for those who ask for JSON.", "Cache-Control", "Vary"),
            307: Answer("A redirect to the signed URL.", {}, ("SignedLocation", "Cache-Control", "Vary")),
        },
        problems=["not_found", "not_stored", "destination_deleted", "destination_trouble"],
    ),
}
