"""Writing down what came of deliveries: many at a time, with what follows for their endpoints, until it is written."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextvars import Context
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg
import structlog

from config.settings import DeliverySettings
from service import metrics
from service.db.pool import DATABASE_AWAY, Connection, Pool, transaction
from service.db.sql import queries
from service.events.claims import Delivery
from service.events.letter import Reply
from service.events.recovery import cancel_pending
from service.events.schedule import Next
from service.ids import new_uuid, show
from service.jobs.model import moment

log = structlog.get_logger()

_BREATH = 0.02  # seconds in which results come together: nobody waits for them but the next of a queue
_MOST = 200  # results in one statement
_LATER: tuple[type[BaseException], ...] = (*DATABASE_AWAY, asyncpg.TransactionRollbackError)
_STOP_SECONDS = 3.0
_PAUSE, _LONGEST_PAUSE = 0.1, 2.0  # seconds until the next try while the database is away


@dataclass(frozen=True, slots=True)
class Result:
    """A try that is over. seconds: how long it took."""

    delivery: Delivery
    reply: Reply
    next: Next
    started_at: datetime
    seconds: float


class Recorder:
    """Records results for one process. on_trouble: called after account events were written."""

    def __init__(self, pool: Pool, worker_id: UUID, settings: DeliverySettings, on_trouble: Callable[[], None]) -> None:
        self._pool = pool
        self._worker_id = worker_id
        self._settings = settings
        self._on_trouble = on_trouble
        self._waiting: list[tuple[Result, asyncio.Future[None]]] = []
        self._task: asyncio.Task[None] | None = None

    async def record(self, result: Result) -> None:
        """Return once a result is written; as long as the database is away it is tried again."""
        written = asyncio.get_running_loop().create_future()
        self._waiting.append((result, written))
        if self._task is None or self._task.done():
            # It is of all deliveries, not of the one that happens to begin it.
            self._task = asyncio.create_task(self._run(), name="deliveries recorded", context=Context())
        await written

    async def stop(self) -> None:
        """Write what there is, if the database is there, and leave the rest: it is delivered again when its lease ends."""
        if self._task is not None:
            await asyncio.wait({self._task}, timeout=_STOP_SECONDS)
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        for _, written in self._waiting:
            written.cancel()
        self._waiting.clear()

    async def _run(self) -> None:
        while self._waiting:
            await asyncio.sleep(_BREATH)
            batch = self._waiting[:_MOST]
            await self._insist([result for result, _ in batch])
            del self._waiting[: len(batch)]
            for _, written in batch:
                if not written.done():
                    written.set_result(None)

    async def _insist(self, results: Sequence[Result]) -> None:
        pause = _PAUSE
        while True:
            try:
                await self._write(results)
            except _LATER as error:
                log.warning("delivery.not_recorded", count=len(results), reason=type(error).__name__)
            except Exception as error:
                log.exception("delivery.not_recorded", count=len(results), reason=type(error).__name__)
                if len(results) == 1:
                    return  # it can't be written as it is; its lease ends, and it is tried again
                for each in results:
                    await self._insist([each])
                return
            else:
                return
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)

    async def _write(self, results: Sequence[Result]) -> None:
        await self._write_all(results)
        # What is tried again because of us left its subscription as it was, which may sleep until the end of the lease.
        ours = {each.delivery.subscription.id for each in results if _is_ours(each)}
        if ours:
            await queries().wake_subscriptions(self._pool, ids=sorted(ours))

    async def _write_all(self, results: Sequence[Result]) -> None:
        if all(each.reply.outcome != "failed" and each.next.verdict in {"delivered", "pending"} for each in results):
            # One statement, and so one transaction.
            for row in await self._statement(self._pool, results):
                _count(row)
            return
        async with transaction(self._pool) as connection:
            rows = await self._statement(connection, results)
            told = [await self._tell(connection, row, results) for row in rows]
        for row in rows:
            _count(row)
        if any(told):
            self._on_trouble()

    async def _statement(self, connection: Connection | Pool, results: Sequence[Result]) -> list[Any]:
        rows = queries().record_deliveries(
            connection,
            worker_id=self._worker_id,
            ids=[each.delivery.id for each in results],
            numbers=[each.delivery.number for each in results],
            outcomes=[each.reply.outcome for each in results],
            statuses=[each.reply.status for each in results],
            errors=[each.reply.error for each in results],
            responses=[each.reply.response for each in results],
            started=[each.started_at for each in results],
            seconds=[each.seconds for each in results],
            verdicts=[each.next.verdict for each in results],
            reasons=[each.next.reason for each in results],
            pauses=[each.next.pause for each in results],
            slow=[each.next.slow for each in results],
            breaker_failures=self._settings.breaker_failures,
            breaker_first=self._settings.breaker_first_seconds,
            breaker_max=self._settings.breaker_max_seconds,
            warn_after=self._settings.warn_after_seconds,
            disable_after=self._settings.disable_after_seconds,
        )
        return [row async for row in rows]

    async def _tell(self, connection: Connection, row: Any, results: Sequence[Result]) -> bool:
        """Write the account event that follows from a row, and what follows from that; whether there was one."""
        if row["id"] is not None:
            # An account event that could not be delivered makes no further one: it would go on for ever.
            if row["status"] != "failed" or row["reason"] == "gone" or row["job_id"] is None:
                return False
            error = next((each.reply.error for each in results if each.delivery.id == row["id"]), None)
            await _tell(
                connection, row, "delivery.failed", show("dlv", row["id"]), {"delivery": failed_json(row, error)}
            )
            return True
        if row["disable"] is not None:
            await cancel_pending(connection, row["subscription_id"], row["disable"])
            log.warning("subscription.disabled", subscription_id=_shown(row), reason=row["disable"])
        kind = "failing" if row["disable"] is None else "disabled"
        metrics.SUBSCRIPTION_TROUBLE.labels(kind).inc()
        await _tell(connection, row, f"subscription.{kind}", _shown(row), {"subscription": trouble_json(row)})
        return True


async def _tell(connection: Connection, row: Any, kind: str, subject: str, data: dict[str, Any]) -> None:
    await queries().tell_of_trouble(
        connection,
        id=new_uuid(),
        account_id=row["account_id"],
        type=kind,
        subject=subject,
        subscription_id=row["subscription_id"],
        data=data,
    )


def _is_ours(result: Result) -> bool:
    return result.reply.outcome == "ours" and result.next.verdict == "pending"


def _shown(row: Any) -> str:
    return show("sub", row["subscription_id"])


def failed_json(row: Any, error: str | None) -> dict[str, Any]:
    """Return a delivery that was given up as `delivery.failed` shows it."""
    shown = show("dlv", row["id"])
    return {
        "id": shown,
        "object": "delivery",
        "event_id": show("evt", row["event_id"]),
        "event_type": row["type"],
        "job_id": show("job", row["job_id"]),
        "subscription_id": _shown(row),
        "status": row["status"],
        "reason": row["reason"],
        "attempt_count": row["attempts"],
        "response_status": row["response_status"],
        "error": error,
        "links": {"self": f"/v1/deliveries/{shown}", "subscription": f"/v1/subscriptions/{_shown(row)}"},
    }


def trouble_json(row: Any) -> dict[str, Any]:
    """Return a subscription in trouble as its events show it; its URL is nobody else's business."""
    return {
        "id": _shown(row),
        "object": "subscription",
        "status": "enabled" if row["disable"] is None else "disabled",
        "disabled_reason": row["disable"],
        "failing_since": moment(row["failing_since"]),
        "links": {
            "self": f"/v1/subscriptions/{_shown(row)}",
            "deliveries": f"/v1/subscriptions/{_shown(row)}/deliveries",
        },
    }


def _count(row: Any) -> None:
    if row["id"] is not None and row["status"] != "pending":
        metrics.DELIVERIES.labels(row["status"]).inc()
