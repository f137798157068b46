"""What the sandbox remembers: tasks, the ledger of submits, look-ups and callbacks. All of it in memory."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import httpx

from service.sandbox.pictures import Gallery, draw_lean_jpeg
from service.sandbox.settings import SandboxSettings
from service.sandbox.submissions import Submission

_log = logging.getLogger(__name__)

Clock = Callable[[], float]
Claim = Literal["success", "failure", "processing", "unknown"]


@dataclass(frozen=True, slots=True)
class Submit:
    """One accepted submit. at: Unix seconds. test: in test mode, so nothing was to be paid for.

    provider: as genrelay names it (`novita`, `modelslab`). images: how many outputs were asked for.
    """

    task_id: str
    at: float
    provider: str
    endpoint: str
    prompt: str
    callback_url: str | None
    test: bool
    images: int


@dataclass(frozen=True, slots=True)
class CallbackTry:
    """One try of one callback. kind: `final`, `test`, or the fault that made it. status is None when error says why."""

    task_id: str
    at: float
    kind: str
    attempt: int
    status: int | None
    error: str | None
    body: bytes = field(repr=False)


class Dialect(Protocol):
    """How one provider names its tasks and talks about them in callbacks."""

    def new_task_id(self, sandbox: Sandbox, submission: Submission) -> str:
        """Return an id for a task that is being accepted."""
        ...

    def new_names(self, count: int) -> tuple[str, ...]:
        """Return names for the files of a task, without extension; no two tasks share one."""
        ...

    def final_event(self, sandbox: Sandbox, task: Task) -> bytes:
        """Return the body of the callback about a task that has ended."""
        ...

    def claim_event(self, task: Task, claim: Claim, urls: tuple[str, ...] = (), task_id: str | None = None) -> bytes:
        """Return the body of a callback that merely claims something about a task."""
        ...

    def retry_seconds(self, settings: SandboxSettings) -> tuple[float, ...]:
        """Return the waits between the tries of one callback; none means that there is one try."""
        ...

    def timeout_seconds(self, settings: SandboxSettings) -> float:
        """Return how long a receiver may take."""
        ...


@dataclass(slots=True)
class Task:
    """One accepted task and where it stands; `finished_at` is None until it ends."""

    task_id: str
    submission: Submission
    dialect: Dialect
    seed: int
    submitted_at: float
    names: tuple[str, ...]
    fails: bool
    finished_at: float | None = None
    lookups: int = 0
    lookups_after_end: int = 0
    downloads: Counter[int] = field(default_factory=Counter)
    released: asyncio.Event = field(default_factory=asyncio.Event)
    called_back: asyncio.Event = field(default_factory=asyncio.Event)
    encoded: bytes | None = None

    @property
    def succeeded(self) -> bool:
        """Return whether the task has ended well."""
        return self.finished_at is not None and not self.fails


class Sandbox:
    """The state of one set of fake providers.

    submits: the ledger of every accepted submit, test-mode ones marked `test` (`paid` leaves them out). lookups: how
    often each task id was looked up, unknown ids too. callbacks_sent: every try of every callback. files: the task and the
    index of each output, by its name. crashes: what went wrong in the sandbox itself, out of anybody's sight. public_url
    may be set once the port is known.
    """

    def __init__(self, settings: SandboxSettings, now: Clock = time.time) -> None:
        """Start empty; `now` gives Unix seconds."""
        self.settings = settings
        self.public_url = settings.public_url.rstrip("/")
        self.now = now
        self.signing_key = secrets.token_bytes(32)
        self.gallery = Gallery()
        self.lean_jpeg = draw_lean_jpeg(settings.lean_image_bytes) if settings.lean else b""
        self.tasks: dict[str, Task] = {}
        self.files: dict[str, tuple[Task, int]] = {}
        self.submits: list[Submit] = []
        self.lookups: Counter[str] = Counter()
        self.callbacks_sent: list[CallbackTry] = []
        self.refused: Counter[str] = Counter()
        self.failures: Counter[str] = Counter()
        self.crashes: list[BaseException] = []
        self.transport: httpx.AsyncHTTPTransport | None = None
        self._background: set[asyncio.Task[None]] = set()

    @property
    def paid(self) -> list[Submit]:
        """Return the submits that would have cost something."""
        return [submit for submit in self.submits if not submit.test]

    def accept(self, submission: Submission, dialect: Dialect) -> Task:
        """Take a submit: make its task, write the ledger. Test-mode tasks can't be looked up afterwards."""
        test, wanted = submission.test_status is not None, submission.wanted
        count = wanted.count * (2 if "more_images" in submission.faults else 1)
        task = Task(
            task_id=dialect.new_task_id(self, submission),
            submission=submission,
            dialect=dialect,
            seed=secrets.randbelow(2**32) if wanted.seed < 0 else wanted.seed,
            submitted_at=self.now(),
            names=dialect.new_names(count - (1 if "fewer" in submission.faults else 0)),
            fails=not test and self._shall_fail(submission),
        )
        if not test:
            self.tasks[task.task_id] = task
            self.files.update((name, (task, index)) for index, name in enumerate(task.names))
        self.submits.append(_ledger_line(task, test))
        return task

    def _shall_fail(self, submission: Submission) -> bool:
        if "failed" not in submission.faults:
            return False
        self.failures[submission.prompt] += 1
        return self.failures[submission.prompt] <= submission.faults.value("failed")

    def release(self, task_id: str) -> bool:
        """Let a held task end; False when there is no such task."""
        task = self.tasks.get(task_id)
        if task is not None:
            task.released.set()
        return task is not None

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something in the background until it is done or the sandbox closes."""
        running = asyncio.create_task(work)
        self._background.add(running)
        running.add_done_callback(self._forget)

    def _forget(self, ended: asyncio.Task[None]) -> None:
        self._background.discard(ended)
        error = None if ended.cancelled() else ended.exception()
        if error is not None:
            _log.error("sandbox.crashed", exc_info=error)
            self.crashes.append(error)

    async def settle(self) -> None:
        """Wait until nothing runs in the background any more."""
        while self._background:
            await asyncio.wait(self._background)

    async def reset(self) -> None:
        """Stop everything that runs and forget everything that was."""
        await self._stop()
        for task in self.tasks.values():
            task.released.set()  # a request that is held is not in the background, and shall not wait for ever
        ledgers = (self.submits, self.lookups, self.callbacks_sent, self.refused, self.failures)
        for memory in (self.tasks, self.files, *ledgers):
            memory.clear()

    @contextlib.asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """Hold the connections for callbacks open; on the way out everything in the background is cancelled."""
        limits = httpx.Limits(max_connections=500, max_keepalive_connections=100)
        async with httpx.AsyncHTTPTransport(trust_env=False, limits=limits) as transport:
            self.transport = transport
            try:
                yield
            finally:
                await self._stop()
                self.transport = None

    async def _stop(self) -> None:
        running = list(self._background)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


def _ledger_line(task: Task, test: bool) -> Submit:
    asked = task.submission
    return Submit(
        task_id=task.task_id,
        at=task.submitted_at,
        provider=asked.provider,
        endpoint=asked.endpoint,
        prompt=asked.prompt,
        callback_url=asked.webhook_url,
        test=test,
        images=asked.wanted.count,
    )
