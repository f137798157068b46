"""Credentials that end, shared by everybody who uses them, and renewed before they do.

botocore has such credentials too. In them, whoever finds that a renewal is due waits for it although the old ones would
do, a renewal that fails is logged with its traceback, and everybody who waits for one that fails tries again, one after
the other.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from copy import copy
from dataclasses import dataclass
from typing import ClassVar, TypeAlias

import structlog
from aiobotocore.credentials import AioCredentials

from service.aws.errors import DestinationError

log = structlog.get_logger(__name__)

Clock: TypeAlias = Callable[[], float]
Result: TypeAlias = AioCredentials | DestinationError

_RETRY_SECONDS = 30.0  # between two tries to renew what still works
_DROP_SECONDS = 10.0  # between two drops: an endpoint that calls everything expired must not make us ask STS all day


@dataclass(frozen=True, slots=True)
class Lease:
    """Credentials, and for how many seconds they are good."""

    credentials: AioCredentials
    seconds: float


Fetch: TypeAlias = Callable[[str], Awaitable[Lease]]


class SharedCredentials:
    """The same credentials for everybody, fetched once however many ask.

    name: for the log. fetch: gets them on behalf of a job, say; bounded in time, raises DestinationError. hold: for so
    many seconds a failure is told to whoever comes, without another try. tasks: where renewals under way are kept.
    """

    ours: ClassVar[bool] = False  # whether they are the service's own

    def __init__(
        self,
        name: str,
        fetch: Fetch,
        *,
        tasks: set[asyncio.Task[Result]],
        hold: float = 0.0,
        clock: Clock = time.monotonic,
    ) -> None:
        self._name = name
        self._fetch = fetch
        self._tasks = tasks
        self._hold = hold
        self._clock = clock
        self._cause = "genrelay"
        self._current: AioCredentials | None = None
        self._came_at = self._renew_at = self._replace_at = self._ends_at = 0.0
        self._dropped_at = float("-inf")
        self._failure: tuple[DestinationError, float] | None = None
        self._task: asyncio.Task[Result] | None = None

    async def get(self, cause: str | None = None) -> AioCredentials:
        """Return credentials that are good for a while; raises DestinationError.

        cause: who asks. A renewal is on behalf of who asked last before it, whoever else is served by it.
        """
        self._cause = cause or self._cause
        now = self._clock()
        if self._current is None or now >= self._replace_at:
            return await self._wait()
        if now >= self._renew_at:
            self._start()
        return self._current

    def seconds_left(self) -> float | None:
        """Return for how long what is signed now is good; None for credentials that do not end."""
        return self._ends_at - self._clock()

    def drop(self, refused: AioCredentials, *, older_than: float = 0.0) -> bool:
        """Forget credentials that were refused although they should be good; tells whether others are to be tried.

        older_than: only when we have had them for so many seconds.
        """
        if self._current is not refused:
            return True
        now = self._clock()
        if now - self._came_at < older_than or now - self._dropped_at < _DROP_SECONDS:
            return False
        self._forget()
        self._dropped_at = now
        return True

    def _forget(self) -> None:
        self._current = self._failure = None

    async def _wait(self) -> AioCredentials:
        if self._failure is not None and self._clock() < self._failure[1]:
            raise copy(self._failure[0])
        # A task of its own: whoever began it may be canceled, and the others still get theirs.
        result = await asyncio.shield(self._start())
        if isinstance(result, DestinationError):
            raise copy(result)  # each its own: raising writes into an exception
        return result

    def _start(self) -> asyncio.Task[Result]:
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._renew(), name=f"renew {self._name}")
            self._tasks.add(self._task)
            self._task.add_done_callback(self._tasks.discard)
        return self._task

    async def _renew(self) -> Result:
        """Fetch, and return what went wrong: an exception would be lost where nobody waits."""
        try:
            lease = await self._fetch(self._cause)
        except DestinationError as error:
            return self._note_failure(error)
        self._current, self._failure, self._came_at = lease.credentials, None, self._clock()
        self._ends_at = self._came_at + lease.seconds
        self._renew_at = self._ends_at - min(600.0, lease.seconds / 4)
        self._replace_at = self._ends_at - min(120.0, lease.seconds / 12)
        return lease.credentials

    def _note_failure(self, error: DestinationError) -> DestinationError:
        now = self._clock()
        usable = self._current is not None and now < self._replace_at
        if usable:
            self._renew_at = now + _RETRY_SECONDS
        else:
            self._failure = (error, now + self._hold)
        log.warning("credentials.not_renewed", of=self._name, usable=usable, error=error.message)
        return error
