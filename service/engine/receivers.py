"""What a job's provider would have posted to the customer, so that a receiver which was written for it keeps working.

The event says how it ended, as it was then; links are signed anew at every try, and lead to where the outputs are now. What
can't be linked to, because its destination was deleted or refuses to sign, is left out: a provider that has no URL yet sends
a body without one too, and a receiver has to cope with that. The full story is in the job, which the event's feed tells of.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID

import structlog

from service.db.sql import queries
from service.engine.commands import NotPossibleError
from service.engine.context import BIG, Context
from service.engine.links import Link, make_links
from service.ids import show
from service.jobs.lifecycle import EventType
from service.jobs.model import Job, Output, read_job, read_output
from service.outputs.errors import DestinationError, DestinationUnavailable
from service.providers.contract import EndedFile, EndedJob

log = structlog.get_logger()

ProviderBody = Callable[[UUID, Mapping[str, Any]], Awaitable[tuple[bytes, dict[str, str]] | None]]
_ENDS = {EventType.SUCCEEDED.value: True, EventType.FAILED.value: False}


def provider_body(context: Context) -> ProviderBody:
    """Return what makes the body and headers of a delivery from a job's id and an event's row (`type`, `data`).

    It returns None for an event of which no provider tells: all but the two ways in which a job ends by itself. It raises
    DestinationUnavailable while the credentials for links can't be had, which is no receiver's fault: try again later.
    """

    async def make(job_id: UUID, event: Mapping[str, Any]) -> tuple[bytes, dict[str, str]] | None:
        if event["type"] not in _ENDS:
            return None
        row = await queries().job_to_retell(context.pool, id=job_id)
        provider = context.providers.get(row["provider"]) if row is not None else None
        if provider is None:
            return None
        job, then = read_job(row), event["data"]["job"]
        links = await _sign(context, job, then["outputs"]) if _ENDS[event["type"]] else {}
        sent = provider.sent_callback(job.operation, _describe(job, then, links, await _read_input(row["input"])))
        return sent.body, dict(sent.headers)

    return make


async def _sign(context: Context, job: Job, outputs: list[dict[str, Any]]) -> dict[int, Link]:
    """Return a link for each stored output that one can be made for, by the output's index."""
    stored = {output["index"]: output for output in outputs if output["status"] == "stored"}
    if not stored or job.destination_id is None:
        return {}
    rows = [read_output(row) async for row in queries().list_outputs(context.pool, job_id=job.id)]
    known = [_as_it_was(output, stored[output.index]) for output in rows if output.index in stored]
    try:
        links = await make_links(context, job, known, context.settings.delivery.link_seconds)
    except DestinationUnavailable:
        raise
    except (NotPossibleError, DestinationError) as error:
        log.warning("delivery.without_links", job_id=show("job", job.id), reason=type(error).__name__)
        return {}
    return {output.index: link for output, link in zip(known, links, strict=True)}


def _as_it_was(output: Output, then: dict[str, Any]) -> Output:
    return replace(output, bucket=then["bucket"], key=then["key"])


async def _read_input(body: bytes | None) -> dict[str, Any]:
    if body is None:
        return {}
    # Megabytes of base64 are read in a thread, not on the loop.
    return await asyncio.to_thread(json.loads, body) if len(body) > BIG else json.loads(body)


def _describe(job: Job, then: dict[str, Any], links: dict[int, Link], body: dict[str, Any]) -> EndedJob:
    return EndedJob(
        job_id=then["id"],
        succeeded=then["error"] is None,
        files=tuple(_describe_file(output, links.get(output["index"])) for output in then["outputs"]),
        task_id=then["provider_task_id"],
        words=_find_words(then["error"]),
        test=then["test"],
        body=body,
        webhook=job.webhook,
        track_id=then["track_id"],
        began=_seconds(then["submitted_at"]),
        ended=_seconds(then["completed_at"]),
    )


def _describe_file(output: dict[str, Any], link: Link | None) -> EndedFile:
    return EndedFile(
        kind=output["kind"],
        url=link.url if link else None,
        ttl_seconds=link.seconds if link else 0,
        media_type=output["media_type"],
        width=output["width"],
        height=output["height"],
        nsfw=output["nsfw"],
    )


def _find_words(error: dict[str, Any] | None) -> str | None:
    """Return why a job failed, in the provider's own words where it is to blame."""
    if error is None:
        return None
    said = error["provider"] or {}
    return said.get("message") or error["message"]  # type: ignore[no-any-return]


def _seconds(time: str | None) -> float | None:
    return None if time is None else datetime.fromisoformat(time).timestamp()
