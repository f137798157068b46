"""Streams of events: how many there may be, and what they tell.

A stream that ends is no loss: every event carries its id, and a client that comes back with the last one it has goes on
behind it. So a stream is ended rather than anything kept for its reader.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from uuid import UUID

from starlette.types import Receive, Scope, Send

from config.settings import EventSettings
from handlers.places import leave_place
from handlers.problems import Problem, unavailable
from handlers.sse import COMMENT, START, Line, Reason, chunks
from service import metrics
from service.events.feed import Follower, StoppingError, Told, UnknownEventError
from service.limits import RequestLimits

Follow = Callable[[], AbstractAsyncContextManager[Follower]]


class Streams:
    """The streams of one process, so many in all and so many of an account. stopping: whether the process is about to end."""

    def __init__(self, settings: EventSettings, stopping: Callable[[], bool], requests: RequestLimits) -> None:
        self.settings = settings
        self.requests = requests
        self.stopping = stopping
        self.open = 0
        self._of: Counter[UUID] = Counter()

    @contextmanager
    def place(self, account_id: UUID) -> Iterator[None]:
        """Hold a place for a stream; raises Problem when there is none."""
        if self.open >= self.settings.streams:
            raise unavailable("this process has as many streams open as it may")
        most = self.settings.streams_per_account
        if self._of[account_id] >= most:
            detail = f"the account may have {most} streams open at this process, and has"
            raise Problem(429, "too_many_streams", detail, headers={"Retry-After": "5"})
        self._count(account_id, 1)
        try:
            yield
        finally:
            self._count(account_id, -1)

    def line(self, scope: Scope, receive: Receive, send: Send) -> Line:
        """Return the connection of a request."""
        return Line(scope, receive, send, send_seconds=self.settings.send_seconds, stopping=self.stopping)

    def _count(self, account_id: UUID, change: int) -> None:
        self.open += change
        self._of[account_id] += change
        if not self._of[account_id]:
            del self._of[account_id]
        metrics.STREAMS.set(self.open)


class EventStream:
    """An answer that goes on: what a follower is told, until there is a reason to end.

    It is a plain ASGI application, for there are thousands at a time. unknown: what to answer when the event to go on
    behind is not in the feed. skip: of a job's events, those up to this number are left out. last: the stream ends behind
    the first end of a run that has this number or a higher one; None: it goes on.
    """

    def __init__(
        self,
        streams: Streams,
        account_id: UUID,
        follow: Follow,
        unknown: Callable[[], Problem],
        *,
        skip: int = 0,
        last: int | None = None,
    ) -> None:
        self._streams, self._account_id, self._follow = streams, account_id, follow
        self._unknown, self._skip, self._last = unknown, skip, last

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        try:
            with self._streams.place(self._account_id):
                # From here on it counts among the streams, not among the requests.
                leave_place(scope, self._streams.requests)
                async with self._follow() as follower:
                    await self._answer(follower, scope, receive, send)
        except UnknownEventError:
            raise self._unknown() from None
        except StoppingError:
            raise unavailable("the service is about to stop") from None

    async def _answer(self, follower: Follower, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] == "HEAD":
            await send({**START})
            await send({"type": "http.response.body"})
            return
        line = self._streams.line(scope, receive, send)
        reason: Reason | None = None
        try:
            seconds = self._streams.settings.stream_seconds * random.uniform(0.9, 1.1)  # noqa: S311 - no secret
            reason = await line.run(lambda: self._tell(line, follower), seconds)
        finally:
            scope["state"]["ended"] = reason or "error"
            metrics.STREAMS_ENDED.labels(reason or "error").inc()

    async def _tell(self, line: Line, follower: Follower) -> Reason:
        """Pass on what happens until the job has ended."""
        pause = self._streams.settings.comment_seconds
        while True:
            # Never quite the same pause: streams that began together would all speak at once for ever.
            told = await follower.next(pause * random.uniform(0.9, 1.0))  # noqa: S311
            if not told:
                await line.send(COMMENT)
                continue
            end = next((place for place, each in enumerate(told, 1) if self._ends(each)), None)
            for chunk in chunks([each for each in told[:end] if not self._skip or (each.sequence or 0) > self._skip]):
                await line.send(chunk)
            if end is not None:
                return "job_ended"

    def _ends(self, told: Told) -> bool:
        return self._last is not None and told.ends_run and (told.sequence or 0) >= self._last
