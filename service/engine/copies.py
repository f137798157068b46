"""Copies of jobs: a new job with another destination that begins with the outputs of one that has ended.

The provider is neither asked nor paid for it again. Where its files come from: the provider's URLs while they live, fresh
ones from a read-back of the original's task, then what the original has stored.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, NotRequired
from uuid import UUID

import structlog
from pydantic import Field, with_config
from typing_extensions import TypedDict

from service import metrics, tracing
from service.db.pool import Connection
from service.db.sql import queries
from service.engine.admission import admit
from service.engine.commands import NotPossibleError, lock_own
from service.engine.context import Context
from service.engine.idempotency import Taken, claim
from service.engine.intake import InvalidRequestError
from service.engine.ledger import Locked, begin_copying, outputs_of
from service.ids import new_uuid, show
from service.jobs.lifecycle import COPY_BEGINS
from service.jobs.model import Job, Output, read_job
from service.jobs.request import Metadata
from service.limits import Limits
from service.providers.checking import STRICT, InputCheck
from service.providers.contract import Mistake

log = structlog.get_logger()


@with_config(STRICT)
class CopyIn(TypedDict):
    """The body of `POST /v1/jobs/{id}/copy`."""

    destination: Annotated[str, Field(max_length=64)]
    metadata: NotRequired[Metadata]


_CHECK = InputCheck(CopyIn, root="")


@dataclass(frozen=True, slots=True)
class CopyRequest:
    """Where the outputs shall go; metadata: None takes the original's."""

    destination: str
    metadata: dict[str, str] | None


def read_copy_request(given: Any) -> CopyRequest | list[Mistake]:
    """Read the body of `POST /v1/jobs/{id}/copy`; every mistake at once."""
    mistakes = _CHECK.find_mistakes(given)
    return mistakes or CopyRequest(given["destination"], given.get("metadata"))


async def copy_job(
    context: Context,
    account_id: UUID,
    job_id: UUID,
    request: CopyRequest,
    *,
    key: str | None = None,
    digest: bytes = b"",
    limits: Limits | None = None,
) -> Taken:
    """Commit a job that stores the outputs of another one in another destination, or find the one that `key` stands for.

    digest: of the request's JSON and the job, for the comparison with the key's first use. Raises NoSuchJobError,
    NotPossibleError, InvalidRequestError, KeyReusedError, KeyBusyError, TooManyError.
    """
    async with context.transaction() as connection:
        new_id = new_uuid()
        if key is not None:
            twin = await claim(context, connection, account_id, key, digest, new_id)
            if twin is not None:
                return Taken(twin, replayed=True)
        original = (await lock_own(connection, account_id, job_id)).job
        _check_copyable(original, await outputs_of(connection, job_id))
        await admit(connection, account_id, limits)
        job = await _insert(connection, new_id, original, request)
    metrics.JOBS_CREATED.labels(job.provider, job.operation, "false").inc()
    log.info("job.copied", job_id=show("job", job.id), copy_of=show("job", job_id), destination=job.destination)
    return Taken(job)


def _check_copyable(job: Job, outputs: list[Output]) -> None:
    if job.test:
        raise NotPossibleError("not_copyable", "a test job has no outputs that could be stored")
    if not job.ended:
        raise NotPossibleError("not_copyable", f"only a job that has ended is copied; this one is {job.status.value}")
    if not outputs:
        raise NotPossibleError("not_copyable", f"the job has {job.status.value} without outputs")


async def _insert(connection: Connection, new_id: UUID, original: Job, request: CopyRequest) -> Job:
    destination = await queries().get_destination(connection, account_id=original.account_id, name=request.destination)
    if destination is None:
        raise InvalidRequestError([Mistake("destination", "no destination of that name", request.destination[:100])])
    row = await queries().insert_copy(
        connection,
        id=new_id,
        original=original.id,
        status=COPY_BEGINS.next.value,
        destination=destination["name"],
        destination_id=destination["id"],
        metadata=request.metadata,
        new_webhook_id=new_uuid(),
        traceparent=tracing.show_current(),
    )
    await queries().insert_copied_outputs(connection, id=new_id, original=original.id)
    await queries().copy_inline(connection, id=new_id, original=original.id)
    return (await begin_copying(connection, Locked(read_job(row), row["created_at"]))).job
