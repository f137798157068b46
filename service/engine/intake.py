"""Taking a job in: checked whole, then committed together with its input, its first event and its first task."""

from __future__ import annotations

import asyncio
import hashlib
import json
from dataclasses import dataclass
from typing import Any, NamedTuple
from uuid import UUID

import structlog

from service import metrics, tracing
from service.db.pool import Connection
from service.db.sql import queries
from service.engine.admission import admit
from service.engine.context import Context
from service.engine.idempotency import Taken, claim
from service.engine.ledger import SUBMIT, enqueue
from service.engine.line import join_at_once
from service.engine.nearby import wrote_events
from service.events.endpoint_rules import check_webhook_url
from service.ids import new_uuid, show
from service.jobs.lifecycle import EventType
from service.jobs.model import Job, job_json, read_job
from service.jobs.request import JobRequest, destination_to_look_up, find_webhook
from service.limits import Limits
from service.net.policy import GuardPolicy
from service.outputs.destinations import NAME as DESTINATION_NAME
from service.outputs.keys import check_path, clean_path
from service.points import reach
from service.providers.contract import CustomStorage, Mistake

log = structlog.get_logger()

_BIG = 256 * 1024  # bytes


class InvalidRequestError(Exception):
    """The request is understood but wrong; carries every mistake."""

    def __init__(self, mistakes: list[Mistake]) -> None:
        super().__init__(f"{len(mistakes)} mistakes")
        self.mistakes = mistakes


@dataclass(frozen=True, slots=True)
class Place:
    """Where a job's outputs will go."""

    name: str | None = None
    id: UUID | None = None
    storage: dict[str, Any] | None = None


async def take_in(
    context: Context,
    account_id: UUID,
    request: JobRequest,
    *,
    key: str | None = None,
    digest: bytes = b"",
    limits: Limits | None = None,
) -> Taken:
    """Commit a job, or find the one that `key` already stands for.

    digest: of the request's JSON, for the comparison with the key's first use. limits: of the account, None for a job that is
    not counted. Raises InvalidRequestError, KeyReusedError, KeyBusyError, TooManyError.
    """
    encoded = await _encode(request)
    async with context.transaction() as connection:
        job_id = new_uuid()
        if key is not None:
            twin = await claim(context, connection, account_id, key, digest, job_id)
            if twin is not None:
                return Taken(twin, replayed=True)
        place = await _find_place(context, connection, account_id, request)
        await admit(connection, account_id, limits)
        job = await _insert(connection, account_id, job_id, request, place, encoded)
        if not await join_at_once(context, connection, job):
            await enqueue(connection, SUBMIT, job_id)
        reach("intake.before_commit")
    reach("intake.committed")
    metrics.JOBS_CREATED.labels(job.provider, job.operation, str(job.test).lower()).inc()
    log.info("job.accepted", job_id=show("job", job.id), provider=job.provider, operation=job.operation, test=job.test)
    return Taken(job)


class _Encoded(NamedTuple):
    body: bytes
    sha256: bytes


async def _encode(request: JobRequest) -> _Encoded:
    def encode() -> _Encoded:
        body = json.dumps(request.checked.body, ensure_ascii=False, separators=(",", ":")).encode()
        return _Encoded(body, hashlib.sha256(body).digest())

    # Megabytes of base64 are written in a thread, not on the loop.
    return await asyncio.to_thread(encode) if _is_big(request.checked.body) else encode()


def _is_big(body: dict[str, Any]) -> bool:
    # An operation that only the settings know takes any object.
    inner = body["request"] if isinstance(body.get("request"), dict) else body
    return any(isinstance(value, str | list | dict) and len(value) > _BIG for value in inner.values())


async def find_more_mistakes(context: Context, account_id: UUID, given: Any, mistakes: list[Mistake]) -> list[Mistake]:
    """Return the mistakes of a request that is refused anyway, with those that only the settings or the database know."""
    told = {mistake.path for mistake in mistakes}
    mistakes = mistakes + [
        more for more in _find_webhook_mistakes(context, *find_webhook(given)) if more.path not in told
    ]
    name = destination_to_look_up(given)
    if name is None or "destination" in told:
        return mistakes
    known = DESTINATION_NAME.fullmatch(name) is not None and await queries().get_destination(
        context.pool, account_id=account_id, name=name
    )
    if known:
        return mistakes
    return [*mistakes, Mistake("destination", "no destination of that name", name[:100])]


def _find_webhook_mistakes(context: Context, path: str, url: str | None) -> list[Mistake]:
    if url is None:
        return []
    rule = check_webhook_url(url, GuardPolicy(tuple(context.settings.allowed_private_subnets)))
    return [] if rule is None else [Mistake(path, rule)]


async def _find_place(context: Context, connection: Connection, account_id: UUID, request: JobRequest) -> Place:
    mistakes = _find_webhook_mistakes(context, request.webhook_path, request.webhook)
    # A mock of our own asks nothing of the provider.
    if context.access(request.provider) is None and not _is_our_mock(context, request):
        mistakes.append(Mistake("provider", "this service has no API key for it; the operator has to set one"))
    if request.test_status is not None:
        if context.settings.public_url is None:
            mistakes.append(
                Mistake(
                    "test_mode",
                    "a mock can only arrive where callbacks can: the operator has to set GENRELAY_PUBLIC_URL",
                )
            )
        if mistakes:
            raise InvalidRequestError(mistakes)
        return Place(name=request.destination)
    row = await _find_destination(connection, account_id, request, mistakes)
    storage = _read_storage(request.storage, mistakes)
    if mistakes or row is None:
        raise InvalidRequestError(mistakes)
    return Place(row["name"], row["id"], storage)


def _is_our_mock(context: Context, request: JobRequest) -> bool:
    operation = context.provider(request.provider).operations[request.operation]
    return request.test_status is not None and not operation.native_test_mode


async def _find_destination(
    connection: Connection, account_id: UUID, request: JobRequest, mistakes: list[Mistake]
) -> Any:
    named, storage = None, request.storage
    if request.destination is not None:
        named = await queries().get_destination(connection, account_id=account_id, name=request.destination)
        if named is None:
            mistakes.append(Mistake("destination", "no destination of that name", request.destination[:100]))
            return None
        if storage is None or named["spec"]["bucket"] == storage.bucket:
            return named
    assert storage is not None
    rows = queries().destinations_of_bucket(
        connection, account_id=account_id, bucket=storage.bucket, region=storage.region
    )
    found = [row async for row in rows]
    if len(found) != 1:
        rule = (
            "no destination has this bucket and region"
            if not found
            else "several destinations have this bucket; name one"
        )
        mistakes.append(Mistake("input.extra.custom_storage.aws_s3.bucket", rule, storage.bucket[:100]))
        return None
    return found[0]


def _read_storage(storage: CustomStorage | None, mistakes: list[Mistake]) -> dict[str, Any] | None:
    if storage is None:
        return None
    rule = check_path(storage.path)
    if rule is not None:
        mistakes.append(Mistake("input.extra.custom_storage.aws_s3.path", rule, storage.path[:100]))
    return {"path": clean_path(storage.path), "save_to_path_directly": storage.save_to_path_directly}


async def _insert(
    connection: Connection, account_id: UUID, job_id: UUID, request: JobRequest, place: Place, encoded: _Encoded
) -> Job:
    row = await queries().insert_job(
        connection,
        id=job_id,
        account_id=account_id,
        provider=request.provider,
        operation=request.operation,
        test_status=request.test_status,
        destination=place.name,
        destination_id=place.id,
        storage=place.storage,
        metadata=request.metadata,
        webhook=request.webhook,
        webhook_events=request.webhook_events,
        webhook_payload=request.webhook_payload,
        new_webhook_id=new_uuid(),
        on_unclear=request.on_unclear,
        deadline_seconds=request.deadline_seconds,
        images=request.checked.images,
        track_id=request.checked.track_id,
        input_sha256=encoded.sha256,
        traceparent=tracing.show_current(),
    )
    job = read_job(row)
    await queries().insert_beginning(
        connection,
        job_id=job.id,
        body=encoded.body,
        event_id=new_uuid(),
        account_id=account_id,
        type=EventType.QUEUED.value,
        time=job.created_at,
        data={"sequence": 1, "job": job_json(job, [])},
    )
    wrote_events()
    return job
