"""The workers: PgQueuer hints at work, supervised loops sweep up what it misses.

Each PgQueuer manager has a connection of its own; when that is cut, the next manager starts on a new one at once, while what
the old one has under way goes on to its end. Whatever ends a loop, it is rebuilt after a pause, counted and logged; after
several failures in a row the process says that it is unhealthy, unless it is only the database that is away.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any
from uuid import UUID

import asyncpg
import structlog
from pgqueuer import Job as Task
from pgqueuer import Queries, QueueManager

from service import metrics
from service.db.pool import DATABASE_AWAY
from service.db.sql import queries
from service.engine.alerts import Alerts
from service.engine.backlog import BACKLOG_PAUSE, count_backlog
from service.engine.context import Context
from service.engine.copying import copy
from service.engine.dispatch import Dispatcher
from service.engine.gates import PLACES
from service.engine.housekeeping import keep_house
from service.engine.judge import look_up, settle
from service.engine.ledger import COPY, LOOK_UP, SETTLE, SUBMIT
from service.engine.starting import after_exception
from service.engine.submit import submit
from service.engine.sweep import sweep
from service.events.delivering import Deliverer
from service.events.placing import note_oldest
from service.ids import show

log = structlog.get_logger()

Handler = Callable[[Context, UUID], Awaitable[None]]
TASKS: dict[str, Handler] = {SUBMIT: submit, LOOK_UP: look_up, SETTLE: settle, COPY: copy}

# One manager per kind of work, so that copies don't starve verdicts.
MANAGERS: dict[str, tuple[str, ...]] = {"provider": (SUBMIT, LOOK_UP, SETTLE), "copies": (COPY,)}

_BATCH = 16
_UNHEALTHY_AFTER = 5  # failures in a row
_RAN_WELL = 60.0  # seconds


async def run_task(context: Context, task: str, handler: Handler, job_id: UUID) -> None:
    """Run one task to its end, and in its place those that had to wait for it.

    An exception is counted, logged without values, and decides when the task is due again.
    """
    await _run_one(context, task, handler, job_id)
    while task != COPY and (parked := context.gates.next_parked()) is not None:
        waited, waiting_job = parked
        await _run_one(context, waited, TASKS[waited], waiting_job)
    context.gates.ring()


async def _run_one(context: Context, task: str, handler: Handler, job_id: UUID) -> None:
    began = time.monotonic()
    outcome = "done"
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(task=task, job_id=show("job", job_id))
    try:
        await handler(context, job_id)
    except DATABASE_AWAY as error:
        # Nothing was committed; the due column or the inbox still tells of the work, and the sweep finds it.
        outcome = "database_away"
        log.warning("task.database_away", reason=type(error).__name__)
    except Exception as error:
        outcome = "raised"
        # The traceback's text is ours, without the values of variables.
        log.exception("task.raised", reason=type(error).__name__)
        with suppress(*DATABASE_AWAY):
            await after_exception(context, task, job_id, f"{type(error).__name__}")
    finally:
        metrics.TASKS.labels(task, outcome).inc()
        metrics.TASK_SECONDS.labels(task).observe(time.monotonic() - began)
        structlog.contextvars.clear_contextvars()


class Engine:
    """All workers of one process."""

    def __init__(self, context: Context, dsn: str, deliverer: Deliverer) -> None:
        self._context = context
        self._dsn = dsn
        self._stopping = asyncio.Event()
        self._hurried = asyncio.Event()
        self._stop: asyncio.Task[None] | None = None
        self._loops: list[asyncio.Task[None]] = []
        self._beating: asyncio.Task[None] | None = None
        self._winding_down: set[asyncio.Task[None]] = set()
        self._managers: list[QueueManager] = []
        self._failures: dict[str, int] = {}
        self._dispatcher = Dispatcher(context)
        self._deliverer = deliverer
        self._alerts = Alerts(context.settings.outputs.alert_seconds)

    @property
    def healthy(self) -> bool:
        """Whether no worker has failed several times in a row."""
        return all(count < _UNHEALTHY_AFTER for count in self._failures.values())

    def start(self) -> None:
        """Start every worker."""
        metrics.ENGINE_HEALTHY.set(1)
        settings = self._context.settings.engine
        work: dict[str, Callable[[], Awaitable[None]]] = {
            name: self._manager(kinds) for name, kinds in MANAGERS.items()
        }
        work["sweep"] = lambda: sweep(self._context)
        work["dispatcher"] = self._dispatcher.run
        work["deliveries"] = self._deliverer.run
        work["housekeeping"] = lambda: keep_house(self._context)
        # Not with the heartbeat: however long it takes, this worker lives.
        work["backlog"] = lambda: count_backlog(self._context.pool)
        pauses = {"sweep": settings.sweep_seconds, "housekeeping": 60.0, "backlog": BACKLOG_PAUSE}
        for name in work:
            metrics.WORKER_RESTARTS.labels(name)
        self._loops = [
            asyncio.create_task(self._supervise(name, act, pauses.get(name, 0.0)), name=name)
            for name, act in work.items()
        ]
        self._beating = asyncio.create_task(self._beat_forever(), name="heartbeat")
        room = {"provider": PLACES * settings.concurrency, "copies": self._context.settings.outputs.concurrency}
        kind_of = {task: kind for kind, tasks in MANAGERS.items() for task in tasks}
        self._context.nearby.open(self._run, room, kind_of)

    async def _run(self, task: str, job_id: UUID) -> None:
        await run_task(self._context, task, TASKS[task], job_id)

    @property
    def stopping(self) -> bool:
        """Whether it takes no more work."""
        return self._stopping.is_set()

    async def stop(self) -> None:
        """Take no more work and finish what is under way; what takes too long is handed back. Twice is once."""
        if self._stop is None:
            self._stop = asyncio.create_task(self._wind_down())
        await asyncio.shield(self._stop)

    def hurry(self) -> None:
        """Hand back what is still under way, now."""
        self._hurried.set()

    async def _wind_down(self) -> None:
        self._stopping.set()
        self._dispatcher.stop()
        self._deliverer.stop()
        self._context.gates.drop_parked()
        for manager in self._managers:
            manager.shutdown.set()
        calls, until = self._context.calls, time.monotonic() + self._context.settings.engine.drain_seconds
        calls.open = False
        ending = [*self._loops, *self._winding_down, asyncio.create_task(self._context.nearby.close())]
        late = await self._wait(ending, until)
        # Only now is it sure that none begins any more.
        ending.append(asyncio.create_task(calls.wait()))
        late |= await self._wait(ending[-1:], until)
        if late:
            log.warning("service.work_handed_back", reason="not finished in GENRELAY_ENGINE__DRAIN_SECONDS, or hurried")
            for task in late:
                task.cancel()
            self._context.nearby.cancel()
            calls.cancel()
        await asyncio.gather(*ending, return_exceptions=True)
        await self._deliverer.close()
        # One that has its answer records it first.
        await calls.wait()
        if self._beating is not None:
            self._beating.cancel()
            await asyncio.gather(self._beating, return_exceptions=True)

    async def _wait(self, ending: list[asyncio.Task[None]], until: float) -> set[asyncio.Task[None]]:
        """Wait for tasks until a moment, or until somebody is in a hurry; returns those that are left."""
        hurried = asyncio.create_task(self._hurried.wait())
        left = set(ending)
        while left and not hurried.done() and time.monotonic() < until:
            await asyncio.wait({*left, hurried}, timeout=until - time.monotonic(), return_when=asyncio.FIRST_COMPLETED)
            left = {task for task in left if not task.done()}
        hurried.cancel()
        return left

    async def _beat_forever(self) -> None:
        """Say that this worker lives, also while it drains: what it has under way is still its own."""
        while True:
            try:
                found = await self._beat()
                self._context.pulse.beat()
                self._alerts.see(found)
                note_oldest(found["unplaced"])
                if found["unplaced"] is not None:
                    # Perhaps those of a process that died before it could.
                    self._context.nearby.tell_of_events()
                if found["someone_waits"]:
                    # Perhaps because of another process, which may not live any more.
                    self._context.gates.look_anew()
            except DATABASE_AWAY as error:
                log.warning("worker.no_heartbeat", reason=type(error).__name__)
            except Exception as error:  # whatever it is, a worker that stops beating loses its submits to others
                log.exception("worker.no_heartbeat", reason=type(error).__name__)
            await asyncio.sleep(self._context.silence / 4)

    async def _beat(self) -> Any:
        seconds = self._context.settings.outputs.alert_seconds
        return await queries().beat(self._context.pool, id=self._context.worker_id, alert_seconds=seconds)

    async def _supervise(self, name: str, act: Callable[[], Awaitable[None]], pause: float) -> None:
        while not self._stopping.is_set():
            began = time.monotonic()
            try:
                await act()
            except DATABASE_AWAY as error:
                # A new process would not help, so the count of failures stays what it is.
                log.warning("worker.database_away", worker=name, reason=type(error).__name__)
                metrics.WORKER_RESTARTS.labels(name).inc()
            except Exception as error:
                log.exception("worker.failed", worker=name, reason=type(error).__name__)
                metrics.WORKER_RESTARTS.labels(name).inc()
                # In a row means soon after one another: a manager that ran well for a while begins to count anew.
                before = 0 if time.monotonic() - began > _RAN_WELL else self._failures.get(name, 0)
                self._failures[name] = before + 1
            else:
                self._failures[name] = 0
            metrics.ENGINE_HEALTHY.set(1 if self.healthy else 0)
            with suppress(TimeoutError):
                async with asyncio.timeout(max(pause, 0.5)):
                    await self._stopping.wait()

    def _manager(self, kinds: tuple[str, ...]) -> Callable[[], Awaitable[None]]:
        async def run() -> None:
            connection = await asyncpg.connect(
                self._dsn,
                timeout=5,
                # Losing what the queue did last loses hints at most, so its commits need not wait for the disk.
                server_settings={"application_name": "genrelay queue", "synchronous_commit": "off"},
            )
            manager = QueueManager(Queries.from_asyncpg_connection(connection))
            running = asyncio.create_task(self._run_manager(manager, kinds))
            running.add_done_callback(lambda _: connection.terminate())
            await self._until_cut(connection, manager, running)

        return run

    async def _until_cut(
        self, connection: asyncpg.Connection[asyncpg.Record], manager: QueueManager, running: asyncio.Task[None]
    ) -> None:
        """Return when the manager has ended; raise as soon as its connection is cut, without waiting for its tasks."""
        cut = asyncio.Event()
        connection.add_termination_listener(lambda *_: cut.set())
        watching = asyncio.create_task(cut.wait())
        try:
            await asyncio.wait({running, watching}, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            running.cancel()
            raise
        finally:
            watching.cancel()
        if running.done():
            running.result()
            return
        manager.shutdown.set()
        self._winding_down.add(running)
        running.add_done_callback(self._wound_down)
        raise asyncpg.ConnectionDoesNotExistError("the queue's connection was cut")

    def _wound_down(self, running: asyncio.Task[None]) -> None:
        self._winding_down.discard(running)
        if not running.cancelled() and (error := running.exception()) is not None:
            log.info("worker.wound_down", reason=type(error).__name__)

    async def _run_manager(self, manager: QueueManager, kinds: tuple[str, ...]) -> None:
        for kind in kinds:
            self._register(manager, kind)
        settings = self._context.settings
        most = settings.outputs.concurrency if kinds == (COPY,) else PLACES * settings.engine.concurrency
        batch = max(1, min(_BATCH, most // 2))
        self._managers.append(manager)
        try:
            if not self._stopping.is_set():
                await manager.run(
                    dequeue_timeout=timedelta(seconds=self._context.grace),
                    batch_size=batch,
                    max_concurrent_tasks=max(most, 2 * batch),
                    shutdown_on_listener_failure=True,
                    heartbeat_timeout=timedelta(seconds=settings.engine.heartbeat_seconds),
                    # Nobody reads its statistics, which have rows by urgency and are never deleted.
                    log_aggregation_interval=timedelta(0),
                )
        finally:
            self._managers.remove(manager)

    def _register(self, manager: QueueManager, kind: str) -> None:
        handler = TASKS[kind]

        @manager.entrypoint(kind, accepts_context=False)
        async def entry(task: Task) -> None:
            await run_task(self._context, kind, handler, UUID(bytes=task.payload))
