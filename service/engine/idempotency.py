"""`Idempotency-Key`: the key goes in with the job's own transaction, and a twin waits for it and gets the same job."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import asyncpg

from service.db.pool import Connection
from service.db.sql import queries
from service.engine.context import Context
from service.jobs.model import Job, read_job


class KeyReusedError(Exception):
    """The idempotency key stands for another request."""


class JobDeletedError(Exception):
    """The job that the idempotency key stands for is deleted. Another one in its place might be paid a second time."""


class KeyBusyError(Exception):
    """A request with the same idempotency key is still being worked on."""


@dataclass(frozen=True, slots=True)
class Taken:
    """A job that was taken in; replayed: it had been already, with the same idempotency key."""

    job: Job
    replayed: bool = False


async def claim(
    context: Context, connection: Connection, account_id: UUID, key: str, digest: bytes, job_id: UUID
) -> Job | None:
    """Take the key for a job that this transaction makes; a twin under way is waited for, and its job is returned.

    digest: of the request's JSON, for the comparison with the key's first use. Raises KeyReusedError, KeyBusyError,
    JobDeletedError.
    """
    await _limit_wait(connection, context.settings.http.idempotency_wait_seconds)
    try:
        mine = await queries().claim_idempotency_key(
            connection, account_id=account_id, key=key, request_digest=digest, job_id=job_id
        )
    except asyncpg.LockNotAvailableError:
        raise KeyBusyError from None
    if mine is not None:
        return None
    found = await queries().find_idempotent(connection, account_id=account_id, key=key)
    if found is None or found["request_digest"] != digest:
        raise KeyReusedError
    row = await queries().get_job(connection, id=found["job_id"], account_id=account_id)
    if row is None:
        raise JobDeletedError
    return read_job(row)


async def _limit_wait(connection: Connection, seconds: float) -> None:
    # 0 would mean for ever.
    await connection.execute(f"SET LOCAL lock_timeout = {max(1, round(seconds * 1000))}")


def digest_request(given: Any) -> bytes:
    """Return the digest of a request compared as JSON: order and spelling don't count, 7 is 7.0."""
    text = json.dumps(_respell(given), sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).digest()


def _respell(value: Any) -> Any:
    match value:
        case float() if value.is_integer():
            return int(value)
        case dict():
            return {name: _respell(part) for name, part in value.items()}
        case list():
            return [_respell(part) for part in value]
    return value
