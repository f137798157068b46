"""How steadily this process has been heard of: who was away itself can't tell who else is."""

from __future__ import annotations

import time


class Pulse:
    """The heartbeats that reached the database. silence: seconds without one that count as having been away."""

    def __init__(self, silence: float) -> None:
        self._silence = silence
        self.since = self.last = time.monotonic()

    def beat(self) -> None:
        """Take note of a heartbeat that got through."""
        now = time.monotonic()
        if now - self.last > self._silence:
            self.since = now
        self.last = now

    @property
    def steady_for(self) -> float:
        """Return for how many seconds there was no gap; 0 while there is one."""
        now = time.monotonic()
        return 0.0 if now - self.last > self._silence else now - self.since
