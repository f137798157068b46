"""Waiting for a job over HTTP: long polls, so that its end is seen at once and an idle wait costs next to nothing."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import Any

from service.cli.output import open_console
from service.cli.service_client import ServiceClient, place

_LONGEST_POLL = 30  # seconds
_BETWEEN_EVENTS = 1  # seconds; only a job's end cuts a poll short


class CtrlC:
    """Ctrl-C that can't get lost: Python drops a KeyboardInterrupt that happens to be raised inside of a destructor."""

    def __init__(self) -> None:
        self._pressed = False
        signal.signal(signal.SIGINT, self._press)

    def _press(self, *_: object) -> None:
        self._pressed = True
        raise KeyboardInterrupt

    def check(self) -> None:
        """Raise what was dropped."""
        if self._pressed:
            raise KeyboardInterrupt


def wait_for_end(service: ServiceClient, job: dict[str, Any], *, quiet: bool) -> dict[str, Any]:
    """Return the job once it has ended; unless quiet, a terminal shows how far it is meanwhile."""
    ctrl_c = CtrlC()
    console = open_console(stderr=True)
    console.quiet = quiet or not console.is_terminal
    seconds = _LONGEST_POLL if console.quiet else _BETWEEN_EVENTS
    with console.status(_say(job)) as status:
        while job["completed_at"] is None:
            ctrl_c.check()
            job = service.get(place("jobs", job["id"]), wait=seconds)
            status.update(_say(job))
    return job


def _say(job: dict[str, Any]) -> str:
    progress = "" if job["progress"] is None else f", {job['progress']} %"
    return f"{job['id']} is {job['status']}{progress}"


def follow_events(service: ServiceClient, job_id: str) -> Iterator[dict[str, Any]]:
    """Yield a job's events in order, from its first to the last of the run that is under way."""
    ctrl_c = CtrlC()
    seen = 0
    wait: int | None = None
    while True:
        ctrl_c.check()
        # The job first: what it says has ended, the events that are read afterwards tell of completely.
        job = service.get(place("jobs", job_id), wait=wait)
        more = True
        while more:
            page = service.get(place("jobs", job_id, "events"), after=seen, limit=100)
            for event in page["data"]:
                seen = event["data"]["sequence"]
                yield event
            more = page["has_more"]
        if job["completed_at"] is not None:
            return
        wait = _BETWEEN_EVENTS
