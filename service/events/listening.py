"""The one connection of a process on which the database tells it things: built anew when it is cut, counted and logged.

NOTIFY wakes, the tables tell. What was said while nobody listened is lost, so everybody looks anew when a new connection
listens.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import asyncpg
import structlog

from service import metrics

log = structlog.get_logger()

_PAUSE, _LONGEST_PAUSE = 0.5, 1.0  # seconds between two tries to connect
_RAN_WELL = 5.0  # seconds after which a cut connection is replaced at once
_PING_SECONDS = 3.0


class Listener:
    """Listens to several channels. `channels` and `on_open` are to be filled before `start`.

    channels: who is told what was said on each. on_open: who looks anew whenever it begins to listen.
    """

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self.channels: dict[str, Callable[[str], None]] = {}
        self.on_open: list[Callable[[], None]] = []
        self.listening = False
        self._stir = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to listen."""
        self._task = asyncio.create_task(self._listen_forever(), name="listener")

    async def stop(self) -> None:
        """Stop listening."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def doubt(self) -> None:
        """Have the connection tried: something was not heard of that should have been."""
        self._stir.set()

    async def _listen_forever(self) -> None:
        pause = _PAUSE
        while True:
            began = time.monotonic()
            reason = "cut"
            try:
                await self._listen()
            except Exception as error:  # a listener that is silently dead is worse than one that logs
                reason = type(error).__name__
            self._now(listening=False)
            metrics.LISTENER_LOST.inc()
            log.warning("listener.lost", channels=sorted(self.channels), reason=reason)
            if time.monotonic() - began > _RAN_WELL:
                pause = 0.0
            await asyncio.sleep(pause)
            pause = min(max(_PAUSE, pause * 2), _LONGEST_PAUSE)

    async def _listen(self) -> None:
        connection = await asyncpg.connect(
            self._dsn, timeout=5, server_settings={"application_name": "genrelay listener"}
        )
        try:
            connection.add_termination_listener(lambda *_: self._stir.set())
            for channel in self.channels:
                await connection.add_listener(channel, self._heard)
            self._now(listening=True)
            for look in self.on_open:
                look()
            await self._until_cut(connection)
        finally:
            connection.terminate()

    async def _until_cut(self, connection: asyncpg.Connection[asyncpg.Record]) -> None:
        """Return when the connection is cut, raise when it is found dead."""
        while not connection.is_closed():
            await self._stir.wait()
            self._stir.clear()
            if not connection.is_closed():
                await connection.execute("SELECT 1", timeout=_PING_SECONDS)

    def _heard(self, _connection: object, _pid: int, channel: str, payload: object) -> None:
        self.channels[channel](str(payload))

    def _now(self, *, listening: bool) -> None:
        self.listening = listening
        metrics.LISTENING.set(1 if listening else 0)
