"""What the sandbox remembers: tasks, the ledger of submits, look-ups and callbacks. All of it in memory."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import httpx

from service.sandbox.pictures import Gallery, Picture, draw_lean_jpeg
from service.sandbox.settings import SandboxSettings
from service.sandbox.submissions import TASK_TYPES, Submission

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Submit:
    """One accepted submit. at: Unix seconds. test: in test mode, so nothing was to be paid for."""

    task_id: str
    at: float
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


@dataclass(slots=True)
class Task:
    """One accepted task and where it stands; `finished_at` is None until it ends."""

    task_id: str
    submission: Submission
    seed: int
    submitted_at: float
    image_names: tuple[str, ...]
    fails: bool
    finished_at: float | None = None
    lookups: int = 0
    lookups_after_end: int = 0
    downloads: Counter[int] = field(default_factory=Counter)
    released: asyncio.Event = field(default_factory=asyncio.Event)
    called_back: asyncio.Event = field(default_factory=asyncio.Event)
    encoded: bytes | None = None

    @property
    def status(self) -> str:
        """Return Novita's name for where the task stands."""
        faults = self.submission.faults
        if self.finished_at is not None:
            return "TASK_STATUS_FAILED" if self.fails else "TASK_STATUS_SUCCEED"
        if "queued" in faults:
            return "TASK_STATUS_QUEUED"
        return "TASK_STATUS_UNKNOWN" if "unknown_status" in faults else "TASK_STATUS_PROCESSING"

    @property
    def task_type(self) -> str:
        """Return Novita's name for what the task does."""
        return TASK_TYPES[self.submission.endpoint]

    def picture(self, index: int, image_type: str) -> Picture:
        """Return what the image at `index` is drawn from."""
        asked = self.submission
        return Picture(
            caption=asked.caption,
            width=asked.width,
            height=asked.height,
            seed=self.seed,
            index=index,
            image_type=image_type,
            source=asked.source,
            strength=asked.strength if asked.source is not None else 1.0,
        )


class Sandbox:
    """The state of one fake Novita.

    submits: the ledger of every accepted submit, test-mode ones marked `test` (`paid` leaves them out). lookups: how
    often each task id was looked up, unknown ids too. callbacks_sent: every try of every callback. public_url may be
    set once the port is known.
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
        self.submits: list[Submit] = []
        self.lookups: Counter[str] = Counter()
        self.callbacks_sent: list[CallbackTry] = []
        self.refused: Counter[str] = Counter()
        self.failures: Counter[str] = Counter()
        self.transport: httpx.AsyncHTTPTransport | None = None
        self._background: set[asyncio.Task[None]] = set()

    @property
    def paid(self) -> list[Submit]:
        """Return the submits that would have cost something."""
        return [submit for submit in self.submits if not submit.test]

    def accept(self, submission: Submission) -> Task:
        """Take a submit: make its task, write the ledger. Test-mode tasks can't be looked up afterwards."""
        test = submission.test_status is not None
        count = submission.image_num * (2 if "more_images" in submission.faults else 1)
        task = Task(
            task_id=str(uuid.uuid4()),
            submission=submission,
            seed=secrets.randbelow(2**32) if submission.seed < 0 else submission.seed,
            submitted_at=self.now(),
            image_names=tuple(secrets.token_hex(16) for _ in range(count)),
            fails=not test and self._shall_fail(submission),
        )
        if not test:
            self.tasks[task.task_id] = task
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
        running.add_done_callback(self._background.discard)

    async def reset(self) -> None:
        """Stop everything that runs and forget everything that was."""
        await self._stop()
        for memory in (self.tasks, self.submits, self.lookups, self.callbacks_sent, self.refused, self.failures):
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
    return Submit(
        task_id=task.task_id,
        at=task.submitted_at,
        endpoint=task.submission.endpoint,
        prompt=task.submission.prompt,
        callback_url=task.submission.webhook_url,
        test=test,
        images=task.submission.image_num,
    )
