"""An operator who has a spool, and jobs whose outputs get there."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from service.aws.auth import AccessKey
from service.crypto import Keyring
from service.demo.s3server import Identity, S3Server
from service.engine.context import Context
from service.outputs.spool import Spool
from tests.engine.driven import Driven
from tests.world import destination

SPOOL = "GENRELAY_SPOOL__"


def spool_settings(s3: S3Server, spool_bucket: str) -> dict[str, Any]:
    """Return the settings of an operator who has a spool."""
    return {
        SPOOL + "BUCKET": spool_bucket,
        SPOOL + "PATH": "waiting",
        SPOOL + "ENDPOINT_URL": s3.endpoint_url,
        SPOOL + "ACCESS_KEY_ID": s3.admin.access_key_id,
        SPOOL + "SECRET_ACCESS_KEY": s3.admin.secret_access_key,
    }


def spool_keys(driven: Driven) -> list[str]:
    """Return the keys in the spool."""
    return driven.s3.list_keys(driven.context.settings.spool.bucket or "")


async def put_destination(driven: Driven, who: Identity | None = None, **changes: Any) -> None:
    """Let the customer's destination be this one, seen by that identity; the administrator's by default."""
    who = who or driven.s3.admin
    auth = {"type": "access_key", "access_key_id": who.access_key_id, "secret_access_key": who.secret_access_key}
    answer = await driven.client.put(
        "/v1/destinations/acme", json=destination(driven.s3, driven.bucket, auth=auth, **changes)
    )
    assert answer.status_code == 200, answer.text


async def refused(driven: Driven, prompt: str = "a lighthouse at dawn", **changes: Any) -> dict[str, Any]:
    """Return a job that has failed because its bucket may only be read."""
    job = await driven.copying(prompt, **changes)
    await put_destination(driven, driven.s3.reader)
    job = await driven.copy(job)
    assert (job["status"], job["error"]["code"]) == ("failed", "destination_denied")
    return job


async def retried(driven: Driven, job: dict[str, Any]) -> dict[str, Any]:
    """Retry a job and take it to its end."""
    answer = await driven.retry(job)
    assert answer.status_code == 202, answer.text
    return await driven.drive(job)


def count_asked(driven: Driven, job: dict[str, Any]) -> tuple[int, int]:
    """Return how often the provider was asked for a file (which it counts for a prompt with a fault) and for the task."""
    return driven.sandbox.tasks[job["provider_task_id"]].downloads.total(), driven.lookups(job)


async def lose_sources(driven: Driven) -> None:
    """Let every URL be over."""
    await driven.sql(
        "UPDATE outputs SET source_url = regexp_replace(source_url, 'X-Amz-Date=[0-9]{4}', 'X-Amz-Date=2020'),"
        " source_expires_at = now() - interval '1 day'"
    )


@asynccontextmanager
async def seen_by(driven: Driven, who: Identity) -> AsyncIterator[Context]:
    """Lend a context whose spool is seen by another identity."""
    async with another_spool(driven, driven.context.keyring) as context:
        assert context.spool is not None
        context.spool.spec = replace(context.spool.spec, auth=AccessKey(who.access_key_id, who.secret_access_key))
        yield context


@asynccontextmanager
async def another_spool(driven: Driven, keyring: Keyring, **changes: Any) -> AsyncIterator[Context]:
    """Lend the context of a process with other keys, or whose settings name the spool otherwise."""
    settings = driven.context.settings
    spool = Spool(settings.spool.model_copy(update=changes), settings.outputs, keyring)
    yield replace(driven.context, spool=spool)
    await spool.aclose()
