"""Follow-up work that this very process takes up itself: the shortest way from a commit to the next task.

A task is only a hint; the due column and the inbox are the truth. So a process that runs workers hands what its own
transaction has caused straight to itself, once that has committed, and saves the way through the queue. When it is full,
stopping, or runs no workers, the hint goes through PgQueuer to whoever is free. A hint that dies with its process is
found by the sweep, like any other work that nobody has taken up.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from contextvars import Context, ContextVar
from uuid import UUID

from service.db import pool as db
from service.db.pool import Connection, Pool

Run = Callable[[str, UUID], Awaitable[None]]


class Nearby:
    """Runs tasks in this process, so many of a kind at a time; takes none until `open` is called."""

    def __init__(self) -> None:
        self._run: Run | None = None
        self._free: dict[str, int] = {}
        self._kind_of: Mapping[str, str] = {}
        self._running: set[asyncio.Task[None]] = set()
        # Called after every commit that has written events: whoever gives them their places and delivers them.
        self.on_events: list[Callable[[], None]] = []

    def tell_of_events(self) -> None:
        """Say that there are events which have not gone on their way yet."""
        for act in self.on_events:
            act()

    def open(self, run: Run, room: Mapping[str, int], kind_of: Mapping[str, str]) -> None:
        """Take tasks from now on. room: how many of a kind at a time. kind_of: each task's kind."""
        self._run, self._free, self._kind_of = run, dict(room), kind_of

    async def close(self) -> None:
        """Take no more, and wait for those that run."""
        self._run = None
        while self._running:
            await asyncio.wait(self._running)

    @property
    def busy(self) -> bool:
        """Whether any task runs here."""
        return bool(self._running)

    def cancel(self) -> None:
        """Break off those that run; their jobs are due again when their leases end."""
        for running in self._running:
            running.cancel()

    def room(self, task: str) -> int | None:
        """Return how many more of a task it takes; None: it runs no tasks, and they go through the queue."""
        return None if self._run is None else self._free[self._kind_of[task]]

    def reserve(self, task: str) -> bool:
        """Keep a place for a task; False when there is none."""
        if self._run is None or self._free[self._kind_of[task]] <= 0:
            return False
        self._free[self._kind_of[task]] -= 1
        return True

    def give_back(self, task: str) -> None:
        """Give a reserved place back."""
        self._free[self._kind_of[task]] += 1

    def begin(self, task: str, job_id: UUID) -> None:
        """Run a task in its reserved place."""
        # Nothing of whoever gave the hint: neither its transaction's hints nor what its log lines are about.
        running = asyncio.create_task(self._run_one(task, job_id), name=f"{task} nearby", context=Context())
        self._running.add(running)
        running.add_done_callback(self._running.discard)

    async def _run_one(self, task: str, job_id: UUID) -> None:
        try:
            if self._run is not None:
                await self._run(task, job_id)
        finally:
            self.give_back(task)


class _Hints:
    """What one transaction has caused so far."""

    def __init__(self, nearby: Nearby) -> None:
        self._nearby = nearby
        self._held: list[tuple[str, UUID]] = []
        self.after: list[Callable[[], None]] = []
        self.has_events = False

    def take(self, task: str, job_id: UUID) -> bool:
        if (task, job_id) in self._held:
            return True
        if not self._nearby.reserve(task):
            return False
        self._held.append((task, job_id))
        return True

    def send(self) -> None:
        for task, job_id in self._held:
            self._nearby.begin(task, job_id)
        for act in self.after:
            act()
        if self.has_events:
            self._nearby.tell_of_events()

    def drop(self) -> None:
        for task, _ in self._held:
            self._nearby.give_back(task)


_open: ContextVar[_Hints | None] = ContextVar("hints of the open transaction", default=None)


@asynccontextmanager
async def transaction(pool: Pool, nearby: Nearby) -> AsyncIterator[Connection]:
    """Run the block in one transaction; what it hints at is begun once it has committed, and dropped otherwise."""
    hints = _Hints(nearby)
    token = _open.set(hints)
    try:
        async with db.transaction(pool) as connection:
            yield connection
    except BaseException:
        hints.drop()
        raise
    finally:
        _open.reset(token)
    hints.send()


def after_commit(act: Callable[[], None]) -> None:
    """Do something small, such as counting, once the open transaction has committed; nothing if there is none."""
    hints = _open.get()
    if hints is not None:
        hints.after.append(act)


def wrote_events() -> None:
    """Say that the open transaction has written events; once it has committed, they go on their way without delay."""
    hints = _open.get()
    if hints is not None:
        hints.has_events = True


def hint(task: str, job_id: UUID) -> bool:
    """Hand a task to this process for when the open transaction has committed; False when it can't take it."""
    hints = _open.get()
    return hints is not None and hints.take(task, job_id)
