"""The deliverer: claims what is due, sends it, and has the outcome recorded. One runs in every process that runs workers."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from contextvars import Context
from datetime import UTC, datetime
from uuid import UUID

import structlog

from config.settings import DeliverySettings
from service import metrics, tracing
from service.db.pool import DATABASE_AWAY, Pool
from service.db.sql import queries
from service.events.claims import Claimed, Delivery, ProviderBody, claim, write_letter
from service.events.letter import Channel, Letter, Reply
from service.events.recording import Recorder, Result
from service.events.recovery import cancel_strays
from service.events.schedule import Next, decide_next
from service.ids import show
from service.points import reach

log = structlog.get_logger()

_BREATH = 0.012  # seconds between two claims, so that what happens together is claimed together
_LONGEST_BREATH = 0.04  # while nothing is found
_LOOK_AGAIN = 10.0  # seconds after which is looked, should nobody have told of something
_LOOK_AGAIN_EMPTY = 60.0  # the same when nothing waits at all
_NET = 60.0  # seconds between two looks for subscriptions that sleep too long
_NET_WIDTH = 2000  # subscriptions that one of these looks at


class Deliverer:
    """Delivers for one process. channels: by `url` and `sink`. on_trouble: called after account events were written."""

    def __init__(
        self,
        pool: Pool,
        worker_id: UUID,
        settings: DeliverySettings,
        *,
        channels: Mapping[str, Channel],
        provider_body: ProviderBody,
        on_trouble: Callable[[], None],
    ) -> None:
        self._pool = pool
        self._worker_id = worker_id
        self._settings = settings
        self._channels = channels
        self._provider_body = provider_body
        self._recorder = Recorder(pool, worker_id, settings, on_trouble)
        self._bell = asyncio.Event()
        self._stopping = False
        self._sending: dict[asyncio.Task[None], UUID] = {}  # and whose it is
        self._net_at, self._net_after = 0.0, UUID(int=0)
        self._look = False
        # On the loop's clock: when to look; and what was told of this while a claim was under way.
        self._due_at: float | None = None
        self._told_at: float | None = None
        self._breath = _BREATH
        self._more = False

    def kick(self) -> None:
        """Say that something is due; returns at once."""
        self._look = True
        self._bell.set()

    def stop(self) -> None:
        """Take no more; `run` returns once what is under way is recorded, or handed back when it is cancelled."""
        self._stopping = True
        self._bell.set()

    async def close(self) -> None:
        """Hand back what is still under way; to be called when `run` has ended, however it did."""
        await self._hand_back()

    async def run(self) -> None:
        """Deliver until `stop` is called. Raises what asyncpg raises without a database; may be run again then."""
        self.kick()  # what is due already
        try:
            while not self._stopping:
                await self._wait()
                if not self._stopping:
                    await self._round()
            while self._sending:
                await asyncio.wait(self._sending)
        except asyncio.CancelledError:
            await self._hand_back()
            raise

    async def _wait(self) -> None:
        while not (self._look or self._stopping):
            pause = None if self._due_at is None else self._due_at - asyncio.get_running_loop().time()
            if pause is not None and pause <= 0:
                return
            self._bell.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._bell.wait()

    async def _round(self) -> None:
        self._look, self._told_at = False, None
        if len(self._sending) >= self._settings.concurrency:
            self._due_at = None  # whoever ends rings the bell
            self._more = True
            return
        # A claim that failed is made again by the supervisor, which waits a moment.
        found = await claim(self._pool, self._worker_id, Counter(self._sending.values()), self._settings)
        self._note(found)
        for delivery in found.deliveries:
            self._begin(delivery)
        if found.strays:
            await cancel_strays(self._pool, found.strays)
            self.kick()
        if found.deliveries:
            reach("delivery.claimed")
        if found.resting:
            await queries().rest_subscriptions(self._pool, ids=found.resting)
        await self._wake_overslept()
        self._breath = _BREATH if found.pending else min(2 * self._breath, _LONGEST_BREATH)
        await asyncio.sleep(self._breath)

    async def _wake_overslept(self) -> None:
        """Now and then, wake those that nobody has woken though something of theirs is due; there should be none."""
        now = asyncio.get_running_loop().time()
        if now < self._net_at:
            return
        self._net_at = now + _NET
        found = await queries().wake_overslept(self._pool, after=self._net_after, limit=_NET_WIDTH)
        self._net_after = found["last"] or UUID(int=0)
        if found["count"]:
            log.warning("delivery.overslept", count=found["count"])
            self.kick()

    def _note(self, found: Claimed) -> None:
        metrics.DELIVERIES_OVERDUE.set(found.overdue)
        self._more = found.more
        pauses = [_LOOK_AGAIN if found.pending else _LOOK_AGAIN_EMPTY]
        if found.next_in is not None:
            pauses.append(max(found.next_in, 0.0))
        self._due_at = asyncio.get_running_loop().time() + min(pauses)
        if self._told_at is not None:
            self._due_at = min(self._due_at, self._told_at)

    def _begin(self, delivery: Delivery) -> None:
        task = asyncio.create_task(
            self._deliver(delivery), name=f"deliver {show('dlv', delivery.id)}", context=Context()
        )
        self._sending[task] = delivery.subscription.account_id
        metrics.DELIVERIES_UNDER_WAY.set(len(self._sending))
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._sending.pop(task, None)
        metrics.DELIVERIES_UNDER_WAY.set(len(self._sending))
        if self._more or self._stopping:
            self.kick()
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("delivery.raised", reason=type(error).__name__)

    async def _deliver(self, delivery: Delivery) -> None:
        if time.monotonic() > delivery.until:
            return  # we were stopped for so long that it is somebody else's by now
        _name_in_logs(delivery)
        started_at, began = datetime.now(UTC), time.monotonic()
        stopped = False
        try:
            with _span(delivery) as span:
                reply = await self._send(delivery)
                span.set(outcome=reply.outcome, status=reply.status)
        except asyncio.CancelledError:
            reply, stopped = Reply("ours", error="the service was stopped meanwhile"), True
        seconds = time.monotonic() - began
        reach("delivery.sent")
        following = self._decide(delivery, reply, stopped=stopped)
        await self._recorder.record(Result(delivery, reply, following, started_at, seconds))
        self._say(delivery, reply, following, seconds)
        if following.verdict == "pending":
            self._due(following.pause)

    async def _send(self, delivery: Delivery) -> Reply:
        if delivery.event["data"] is None:
            return Reply("failed", error="its event is not there any more", final=True, this_one=True)
        letter = await self._write(delivery)
        if isinstance(letter, Reply):
            return letter
        channel = self._channels["url" if delivery.subscription.url is not None else "sink"]
        try:
            async with asyncio.timeout(max(0.0, delivery.until - time.monotonic())):
                return await channel.send(delivery.subscription, letter)
        except TimeoutError:
            return Reply("ours", error="it took longer than our lease")
        except Exception as error:
            log.exception("delivery.raised", reason=type(error).__name__)
            return Reply("ours", error=f"something went wrong here ({type(error).__name__})")

    async def _write(self, delivery: Delivery) -> Letter | Reply:
        try:
            async with asyncio.timeout(self._settings.timeout_seconds):
                return await write_letter(delivery, self._provider_body)
        except Exception as error:
            if not isinstance(error, DATABASE_AWAY):
                log.exception("delivery.not_written", reason=type(error).__name__)
            return Reply("ours", error=f"the body could not be made ({type(error).__name__})", this_one=True)

    def _decide(self, delivery: Delivery, reply: Reply, *, stopped: bool) -> Next:
        if stopped:
            return Next("pending")
        return decide_next(reply, failures=delivery.failures, ours=delivery.ours, settings=self._settings)

    def _due(self, pause: float) -> None:
        """Look so many seconds from now, if not before."""
        at = asyncio.get_running_loop().time() + pause
        if self._told_at is None or at < self._told_at:
            self._told_at = at
        if self._due_at is None or at < self._due_at:
            self._due_at = at
            self._bell.set()  # whoever waits has a later moment in mind

    def _say(self, delivery: Delivery, reply: Reply, following: Next, seconds: float) -> None:
        channel = "url" if delivery.subscription.url is not None else "sink"
        metrics.DELIVERY_ATTEMPTS.labels(channel, reply.outcome).inc()
        metrics.DELIVERY_SECONDS.labels(channel).observe(seconds)
        say = log.info if reply.outcome != "ours" else log.warning
        say(
            "delivery.attempted",
            attempt=delivery.number,
            outcome=reply.outcome,
            status=reply.status,
            reason=reply.error,
            seconds=round(seconds, 3),
            next=following.verdict,
            pause=round(following.pause, 1),
        )

    async def _hand_back(self) -> None:
        """Give up what is still under way: due again at once, and not charged."""
        for task in self._sending:
            task.cancel()
        if self._sending:
            await asyncio.wait(self._sending, timeout=5)
        await self._recorder.stop()


def _name_in_logs(delivery: Delivery) -> None:
    """Have every line of the log, in this delivery's task, say what it is about."""
    job_id, trace_id = delivery.event["job_id"], tracing.trace_id_of(delivery.traceparent)
    structlog.contextvars.bind_contextvars(
        delivery_id=show("dlv", delivery.id),
        event_id=show("evt", delivery.event_id),
        subscription_id=show("sub", delivery.subscription.id),
        **({} if job_id is None else {"job_id": show("job", job_id)}),
        **({} if trace_id is None else {"trace_id": trace_id}),
    )


def _span(delivery: Delivery) -> tracing.Span:
    if not tracing.is_recording():
        return tracing.NO_SPAN
    job_id = delivery.event["job_id"]
    return tracing.span(
        "deliver",
        delivery.traceparent,
        kind="producer",
        delivery_id=show("dlv", delivery.id),
        event_id=show("evt", delivery.event_id),
        event_type=delivery.event["type"],
        job_id=None if job_id is None else show("job", job_id),
        attempt=delivery.number,
    )
