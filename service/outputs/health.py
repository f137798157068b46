"""Whether a destination takes what it is sent: it is marked when it begins to fail, and an event tells of it, once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import structlog

from service import metrics
from service.db.pool import Connection, Pool, inside
from service.db.sql import queries
from service.ids import new_uuid, show
from service.jobs.model import moment
from service.outputs.destinations import destination_json
from service.outputs.errors import DestinationConflict, DestinationError, OutputError
from service.outputs.steps import Step, first_serious

log = structlog.get_logger()

# One output is refused with these, and the next one is taken; or this machine's clock is wrong, and no bucket's fault.
_NOT_ITS_OWN = frozenset(
    {"EntityTooLarge", "KeyTooLongError", "InvalidObjectState", "NoSuchKey", "RequestTimeTooSkewed", "RequestExpired"}
)
_TIMES = ("checked_at", "failing_since", "created_at", "updated_at")


def find_failure(trouble: Iterable[OutputError]) -> DestinationError | None:
    """Return what marks the destination as failing of the errors that a job ended with: what the next one meets too."""
    return next((error for error in trouble if isinstance(error, DestinationError) and _is_its_own(error)), None)


def _is_its_own(error: DestinationError) -> bool:
    return not (isinstance(error, DestinationConflict) or error.ours or error.s3_code in _NOT_ITS_OWN)


async def note_failure(
    connection: Connection | Pool, destination_id: UUID, error: DestinationError, *, seen: datetime | None = None
) -> bool:
    """Mark a destination as failing; an event is written when this is the beginning, another code only replaces the last.

    seen: the `updated_at` of the row that was used, so that a destination which was replaced meanwhile is left alone.
    Returns whether an event was written.
    """
    failure = {"code": error.s3_code or error.code.value, "message": error.message, "hint": error.hint}
    row = await _record(connection, destination_id, seen=seen, failure=failure)
    return row is not None and row["event"] is not None


async def note_success(connection: Connection | Pool, destination_id: UUID, *, seen: datetime | None = None) -> bool:
    """Take the mark of a destination away; call it only for one that is marked. Returns whether an event was written."""
    row = await _record(connection, destination_id, seen=seen, failure=None)
    return row is not None and row["event"] is not None


async def record_check(connection: Connection | Pool, row: Any, steps: Sequence[Step]) -> Any:
    """Keep what a check of a destination came to, and mark it or take its mark away.

    row: as it was read before the check. Returns the row as it is now, with the type of the event that was written as `event`;
    None if it was replaced or deleted meanwhile. A check that failed for a reason of the service's own says nothing of the
    destination, and is not kept.
    """
    serious = first_serious(steps)
    if serious is not None and serious.ours:
        return row
    failure = {"code": serious.code, "message": serious.message, "hint": serious.hint} if serious else None
    told = [step.as_json() for step in steps]
    return await _record(connection, row["id"], seen=row["updated_at"], failure=failure, steps=told)


async def _record(
    connection: Connection | Pool,
    destination_id: UUID,
    *,
    seen: datetime | None,
    failure: dict[str, Any] | None,
    steps: list[dict[str, Any]] | None = None,
) -> Any:
    event_id = new_uuid()
    async with inside(connection) as transaction:
        row = await queries().record_health(
            transaction, id=destination_id, seen=seen, failure=failure, steps=steps, event_id=event_id
        )
        if row is not None and row["event"] is not None:
            data = {"destination": destination_json(row)}
            await queries().tell_of_destination(transaction, event_id=event_id, data=data)
    if row is not None and row["event"] is not None:
        metrics.DESTINATION_EVENTS.labels(row["event"]).inc()
        code = failure["code"] if failure else None
        log.warning(row["event"], destination=row["name"], account=row["account_name"], code=code)
    return row


def destination_event_json(row: Any, source: str) -> dict[str, Any]:
    """Return a row of `destination_events` as a CloudEvent; its data shows the destination as it was then.

    source: for those of the version before the feed, which kept none.
    """
    data = row["told"] or {"destination": destination_json(_read_then(row["data"]["destination"]))}
    return {
        "specversion": "1.0",
        "id": show("evt", row["id"]),
        "source": row["source"] or source,
        "type": row["type"],
        "subject": data["destination"]["name"],
        "time": moment(row["time"]),
        "datacontenttype": "application/json",
        "data": data,
    }


def _read_then(then: dict[str, Any]) -> dict[str, Any]:
    return {**then, **{name: _read_time(then[name]) for name in _TIMES}}


def _read_time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text).astimezone(UTC)
