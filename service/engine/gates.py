"""The ways out of this process: one gate per provider and operation, and one per provider for read-backs.

A provider that hangs or is dead holds some of this process' places, and never all. What can't go now waits in the line
(service/engine/line.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from uuid import UUID

from config.providers import ProviderSettings
from config.settings import Settings
from service.engine.breaker import Breaker
from service.engine.calls import Calls
from service.engine.gate import LATER, LOOK_UP, Gate, Hall, Parked, Room
from service.engine.limits import Limits, limits_of
from service.providers.contract import Provider

PLACES = 2  # tasks that one process has under way, for each submit that a provider may have


class Gates(Hall):
    """All gates of one process."""

    def __init__(self, settings: Settings, providers: Mapping[str, Provider], calls: Calls) -> None:
        super().__init__()
        self._settings = settings
        size = settings.engine.concurrency
        # One provider's submits and read-backs together are three quarters of a process' places (see PLACES); the rest is for
        # others, whatever it does.
        self._submits = {name: Room(size) for name in providers}
        self._calls = {name: Room(settings.engine.calls, lambda: calls.open) for name in providers}
        # Bounds how many jobs are undecided at a time, so that room is not doubted more than needed.
        self.turn = asyncio.Semaphore(max(1, size // 8))
        self._providers = providers
        for name, provider in providers.items():
            self._make_look_ups(name, Room(size // 2, doubted=False))
            for operation in provider.operations:
                self.submits(name, operation)

    @property
    def most_calls(self) -> int:
        """Return how many calls may be under way through all gates together: none of them waits for a connection."""
        rooms = {id(gate.room): gate.room.size for gate in self.gates.values()}
        return sum(rooms.values())

    def submits(self, provider: str, operation: str) -> Gate:
        """Return the way to an operation."""
        gate = self.gates.get((provider, operation))
        if gate is None:
            known = self._providers[provider].operations.get(operation)
            is_long = known is not None and known.answers == "result"
            room = (self._calls if is_long else self._submits)[provider]
            limits = limits_of(self._settings_of(provider), operation)
            gate = self._make(provider, operation, room, limits, self.whole(provider))
        return gate

    def _make(self, provider: str, operation: str, room: Room, limits: Limits, whole: Limits) -> Gate:
        breaker = Breaker(provider, operation, self._settings.breaker, self.now)
        gate = self.gates[provider, operation] = Gate(self, breaker, provider, operation, room, limits, whole)
        return gate

    def _make_look_ups(self, provider: str, room: Room) -> None:
        # One job's answer closes it for all, and what they wait for lives an hour.
        self._make(provider, LOOK_UP, room, Limits(), Limits()).longest_told = self._settings.reconcile.max_seconds

    def look_ups(self, provider: str) -> Gate:
        """Return the way to a provider's read-backs."""
        return self.gates[provider, LOOK_UP]

    def whole(self, provider: str) -> Limits:
        """Return the limits of a provider as a whole."""
        return limits_of(self._settings_of(provider))

    def _settings_of(self, provider: str) -> ProviderSettings:
        return getattr(self._settings.providers, provider)  # type: ignore[no-any-return]

    def lanes(self) -> Iterator[Gate]:
        """Return every way to an operation."""
        return (gate for gate in self.gates.values() if gate.operation != LOOK_UP)

    def held(self) -> list[str]:
        """Return the lanes that take nobody without a grant: they are limited, or others wait there already."""
        return [gate.lane for gate in self.lanes() if gate.waiting or gate.limited]

    def closed_for(self, job_id: UUID) -> list[str]:
        """Return the lanes that don't take this job now, granted or not."""
        return [gate.lane for gate in self.lanes() if gate.is_closed_for(job_id)]

    def native(self, lanes: list[str]) -> list[str]:
        """Return those of some lanes where test jobs too go to the provider."""
        known = {f"{name}/{o.name}": o for name, p in self._providers.items() for o in p.operations.values()}
        return [lane for lane in lanes if lane in known and known[lane].native_test_mode]

    def full_look_ups(self) -> list[str]:
        """Return the providers that have as many read-backs under way as they may."""
        return [name for name in self._providers if self.look_ups(name).is_full]

    @contextmanager
    def deciding(self, job_id: UUID) -> Iterator[None]:
        """Count a job as undecided while it is being looked at; one whose place is kept needs no other."""
        rooms = [*self._submits.values(), *self._calls.values()]
        counted = not any(job_id in room.promises for room in rooms)
        self.undecided += counted
        try:
            yield
        finally:
            # For these alone it matters that one less is undecided.
            full = [gate for gate in self.gates.values() if gate.waits_here and not gate.free()]
            self.undecided -= counted
            for room in rooms:
                room.promises.pop(job_id, None)
            self.ring(full)

    def joined(self, provider: str, operation: str) -> None:
        """Take note that somebody waits in line now."""
        gate = self.submits(provider, operation)
        gate.waiting = True
        if gate.lacks == LATER:
            gate.unblock()
        if not gate.is_blocked:
            self.bell.set()

    def heard(self, lane: str) -> None:
        """Take note that somebody waits in a lane ("provider/operation") since another process took the job in."""
        provider, _, operation = lane.partition("/")
        if provider in self._providers:
            self.joined(provider, operation)

    def drop_parked(self) -> None:
        """Forget the hints that wait here: this process is about to stop, and the sweep of another finds their jobs."""
        for name in self._providers:
            self.look_ups(name).drop_parked()

    def look_anew(self) -> None:
        """Wake the dispatcher, whatever it knows: other processes may have given back what the lanes wait for."""
        for gate in self.gates.values():
            gate.unblock()
        self.bell.set()

    def next_parked(self) -> Parked | None:
        """Take a hint that waited for room which is free now."""
        for name in self._providers:
            parked = self.look_ups(name).next_parked()
            if parked is not None:
                return parked
        return None
