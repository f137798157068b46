"""SIGTERM before there is a service that could be stopped.

As process 1 of a container we would never hear of a signal that has no handler. Anywhere else it would end us at once and
leave an embedded PostgreSQL running.
"""

from __future__ import annotations

import asyncio
import os
import signal

TERMINATED = 128 + signal.SIGTERM  # as a shell has it

_UNDO_SECONDS = 5.0


def end_at_sigterm() -> None:
    """Have SIGTERM end this process, which has begun nothing yet."""
    # Not by an exception: raised in the middle of an import, anybody might catch it.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(TERMINATED))


class Start:
    """The time in which SIGTERM cancels the running task, so that it undoes what it has begun.

    A database that hangs does not hold it up: after `_UNDO_SECONDS` the process ends as it is, and its transactions with it.
    """

    def __init__(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task, self._loop = task, asyncio.get_running_loop()
        self._told = self._over = False
        signal.signal(signal.SIGTERM, self._hear)

    def end(self) -> None:
        """Do nothing on SIGTERM from now on; raises CancelledError if there has been one, however it was overheard."""
        self._over = True
        if self._told:
            raise asyncio.CancelledError

    def _hear(self, *_: object) -> None:
        if not (self._told or self._over):
            self._told = True
            # A signal handler runs between any two lines of Python; the loop is woken for the rest.
            self._loop.call_soon_threadsafe(self._cancel)

    def _cancel(self) -> None:
        self._loop.call_later(_UNDO_SECONDS, os._exit, TERMINATED)
        if not self._over:
            self._task.cancel()
