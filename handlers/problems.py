"""Errors as RFC 9457 problem documents; one table says which of our exceptions becomes which."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import asyncpg
import structlog
from starlette.requests import Request
from starlette.responses import Response

from service.callbacks.inbox import InboxUnavailableError
from service.crypto import UndecryptableError
from service.db.pool import DATABASE_AWAY
from service.engine.commands import NoSuchJobError, NotPossibleError
from service.engine.idempotency import JobDeletedError, KeyBusyError, KeyReusedError
from service.engine.intake import InvalidRequestError
from service.events.feed import EventGoneError
from service.events.recovery import NoSuchDeliveryError, NotDeliverableError
from service.events.subscriptions import SubscriptionRefusedError
from service.limits import TooManyError
from service.outputs.errors import OutputError
from service.providers.contract import Mistake

log = structlog.get_logger()

TITLES = {
    "invalid_json": "The body is not JSON",
    "invalid_request": "The request is understood but wrong",
    "unauthorized": "An API key is needed",
    "not_found": "There is no such thing",
    "method_not_allowed": "This is not done here",
    "body_too_large": "The body is too large",
    "head_too_large": "The request line and the headers are too large",
    "too_slow": "The body did not arrive in time",
    "idempotency_key_reused": "The idempotency key stands for another request",
    "idempotency_key_busy": "A request with this idempotency key is still being worked on",
    "job_deleted": "The job of this idempotency key is deleted",
    "already_ended": "The job has ended",
    "not_ended": "The job has not ended",
    "being_copied": "A copy of the job is under way",
    "event_gone": "The event is not kept any more",
    "not_retryable": "The job can't be retried",
    "second_charge": "The job may be charged twice",
    "input_gone": "The job's input is gone",
    "not_copyable": "The job can't be copied",
    "not_stored": "The output is not stored",
    "destination_deleted": "The destination has been deleted",
    "destination_trouble": "The destination can't be used",
    "too_many_checks": "Checks are under way",
    "subscription_of_jobs": "The subscription stands for the webhook of jobs",
    "not_signed": "Its deliveries are not signed",
    "no_sink": "The subscription has no sink",
    "too_many_subscriptions": "The account has as many subscriptions as it may have",
    "subscription_stopped": "The subscription takes nothing",
    "too_many_streams": "Streams are open already",
    "too_many_tests": "Tests are under way",
    "too_many_requests": "The account makes requests faster than it may",
    "too_many_requests_at_once": "The account has as many requests under way as it may",
    "too_many_jobs": "The account submits jobs faster than it may",
    "too_many_open_jobs": "The account has as many open jobs as it may",
    "unavailable": "The service can't do this right now",
    "internal": "Something went wrong on our side",
}
EXPLANATIONS = {
    "invalid_json": "Send one JSON document in UTF-8 as the body.",
    "invalid_request": "`errors` has one entry per mistake: the path of the field, the rule it breaks, and what came.",
    "unauthorized": "Send `Authorization: Bearer <api key>` with a key that was not revoked.",
    "not_found": "It does not exist, or it belongs to another account.",
    "method_not_allowed": "`Allow` names the methods of this route.",
    "body_too_large": "Send less; the limit is a setting of the service.",
    "head_too_large": "Ask for less in the query, or send fewer headers. The connection is closed.",
    "too_slow": "Send the body at once; nothing of it was kept.",
    "idempotency_key_reused": "The key was used with another body in the last 24 hours. Use a new key for a new request.",
    "idempotency_key_busy": "Repeat the request in a moment, with the same key.",
    "job_deleted": "The request was taken in before, and its job was deleted since. Nothing is submitted, for it might be paid "
    "for twice. If you want it again, send it with a new key.",
    "not_ended": "Only a job that has ended is deleted. Cancel it first, with `POST /v1/jobs/{id}/cancel`.",
    "being_copied": "The copy may take its outputs from the job. Delete it once the copy has ended, or cancel the copy.",
    "event_gone": "Events are kept for as long as the operator has set. Read on from the first one that is kept, with "
    "`?after=start`, and look at the jobs themselves for what happened before: `GET /v1/jobs`. A delivery of such an event "
    "can't be sent again.",
    "already_ended": "A terminal state never changes within a run.",
    "not_retryable": "Only a failed or canceled job begins another run.",
    "second_charge": 'The last submit may have run. Send `{"accept_second_charge": true}` to pay for it again if it did.',
    "input_gone": "Inputs are kept for a day after a job has ended badly. Submit it as a new job.",
    "not_copyable": "A copy stores a job's outputs in another destination: it takes a job that is no test, has ended, and has "
    "outputs.",
    "not_stored": "The output was not copied into a bucket: it is not ready, it failed, or it is a mock.",
    "destination_deleted": "Its credentials are not used any more. To retry a job, put a destination of the same name, or use "
    "`copy` with another one. To an output that is stored already there are no links any more.",
    "destination_trouble": "`detail` says what the bucket answered and what to change.",
    "too_many_checks": "A check sends jobs and waits for callbacks, so few run at once, and one per account. Repeat it after "
    "`Retry-After` seconds.",
    "too_many_streams": "An account may have so many streams of events open at a time. Close one, or repeat the request after "
    "`Retry-After` seconds.",
    "too_many_tests": "A test waits for an endpoint, so few run at once: one of a subscription, four of an account. Repeat the "
    "request after `Retry-After` seconds.",
    "too_many_requests": "Repeat the request after `Retry-After` seconds. `RateLimit` tells with every answer how many are "
    "left. A stream of events, a webhook or `?wait=` ask for less than polling does.",
    "too_many_requests_at_once": "Long polls count, streams of events do not. Wait for the answer to one, or repeat the "
    "request after `Retry-After` seconds.",
    "too_many_jobs": "Submits, copies and retries count; as many may come at once as are allowed in a minute, and they come "
    "back evenly. Nothing was stored: repeat the request after `Retry-After` seconds, with the same `Idempotency-Key`.",
    "too_many_open_jobs": "Wait until one has ended, or cancel one. Nothing was stored. Nobody knows when a job ends: "
    "`Retry-After` is when it is worth another try.",
    "subscription_of_jobs": "It was made by jobs that name its URL as their `webhook`. It can be disabled, enabled, tested and "
    "deleted; what is delivered to it is said by the jobs, and it is signed with the account's own secret, "
    "`/v1/account/webhook-secret`. For more make a subscription of your own with the same URL.",
    "subscription_stopped": "It is disabled or deleted. Enable it first, with `POST /v1/subscriptions/{id}/enable`.",
    "not_signed": "Only webhooks have a secret. What is sent to a queue, topic or bus comes from AWS's own hands.",
    "no_sink": "Only a queue, topic or bus needs policies of AWS. A webhook is let in by the signature of what it gets.",
    "too_many_subscriptions": "Delete one that is not needed any more, or let one hear of more with patterns in "
    "`event_types`. The limit is a setting of the service.",
    "unavailable": "The database is away, a limit is reached, or the service is about to stop. Repeat the request after "
    "`Retry-After` seconds.",
    "internal": "It was logged under the request's id.",
}


class Problem(Exception):  # noqa: N818 - it is the answer, not only an error
    """An answer other than the one hoped for."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        errors: Sequence[Mistake] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status, self.code, self.detail = status, code, detail
        self.errors, self.headers = list(errors), dict(headers or {})

    def response(self, request_id: str) -> Response:
        """Return the answer."""
        body = json.dumps(self.document(request_id), ensure_ascii=True)
        return Response(body, self.status, self.headers, "application/problem+json")

    def document(self, request_id: str) -> dict[str, Any]:
        """Return the problem document."""
        return {
            "type": f"/problems/{self.code}",
            "title": TITLES[self.code],
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
            "request_id": request_id,
            "errors": [mistake_json(mistake) for mistake in self.errors],
        }


def mistake_json(mistake: Mistake) -> dict[str, Any]:
    """Return one mistake as it is shown in `errors`."""
    said = f"{mistake.path}: {mistake.rule}" + (f" (got {mistake.got})" if mistake.got is not None else "")
    return {"path": mistake.path, "rule": mistake.rule, "got": mistake.got, "detail": said}


def invalid(*mistakes: Mistake) -> Problem:
    """Return the problem of a request that is understood but wrong."""
    count = "one mistake" if len(mistakes) == 1 else f"{len(mistakes)} mistakes"
    return Problem(
        422, "invalid_request", f"the request has {count}: {mistakes[0].path}: {mistakes[0].rule}", errors=mistakes
    )


def not_found(what: str) -> Problem:
    """Return the problem of a thing that is not there, or not this account's."""
    return Problem(404, "not_found", f"there is no such {what}")


def unavailable(why: str) -> Problem:
    """Return the problem of a service that can't do it now."""
    return Problem(503, "unavailable", why, headers={"Retry-After": "5"})


def decide_problem(error: Exception) -> Problem:
    """Decide what a client is told of an exception."""
    match error:
        case Problem():
            return error
        case InvalidRequestError(mistakes=mistakes):
            return invalid(*mistakes)
        case NoSuchJobError():
            return not_found("job")
        case NoSuchDeliveryError():
            return not_found("delivery")
        case TooManyError(code=code, detail=detail, retry_after=seconds, headers=headers):
            return Problem(429, code, detail, headers={"Retry-After": str(seconds), **headers})
    return _decide_conflict(error) or _decide_trouble(error)


def _decide_conflict(error: Exception) -> Problem | None:
    match error:
        case KeyReusedError():
            return Problem(422, "idempotency_key_reused", "Idempotency-Key: it was used with another body")
        case JobDeletedError():
            return Problem(410, "job_deleted", "Idempotency-Key: the job that it stands for has been deleted")
        case EventGoneError():
            return Problem(410, "event_gone", str(error))
        case KeyBusyError():
            return Problem(
                409,
                "idempotency_key_busy",
                "a request with the same Idempotency-Key is under way",
                headers={"Retry-After": "1"},
            )
        case NotPossibleError(code=code) | SubscriptionRefusedError(code=code):
            return Problem(409, code, str(error))
        case NotDeliverableError():
            return Problem(409, "subscription_stopped", str(error))
        case OutputError(message=message, hint=hint):
            return Problem(409, "destination_trouble", f"{message}. {hint}")
    return None


def _decide_trouble(error: Exception) -> Problem:
    match error:
        case InboxUnavailableError():
            return unavailable("the callback could not be stored")
        case UndecryptableError():
            return unavailable("the secret can't be read: GENRELAY_SECRET_KEY lacks the key that it was encrypted with")
    if isinstance(error, asyncpg.LockNotAvailableError):
        return unavailable("another request holds what this one needs")
    if isinstance(error, asyncpg.ForeignKeyViolationError):
        # Both were right when they were looked up, and nothing is stored: the next try sees what there is then.
        return unavailable("something that the request is about was deleted at this moment")
    if isinstance(error, DATABASE_AWAY):
        return unavailable("the database is away")
    return Problem(500, "internal", "it was logged under this request's id")


async def explain(request: Request) -> Response:
    """Answer `GET /problems/{code}`, which a problem's `type` points to."""
    code = request.path_params["code"]
    if code not in TITLES:
        raise not_found("problem")
    return Response(f"# {TITLES[code]}\n\n{EXPLANATIONS[code]}\n", media_type="text/markdown; charset=utf-8")
