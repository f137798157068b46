"""Following the account's feed: Server-Sent Events, taken up again by id wherever they broke off.

https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from service.cli.following import CtrlC
from service.cli.service_client import AwayError, ServiceClient

if TYPE_CHECKING:
    import httpx

_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 10.0  # seconds between tries while the service is away


@dataclass(frozen=True, slots=True)
class Frame:
    """One event of a stream. body: its bytes, the same as a delivery's."""

    id: str
    body: bytes = field(repr=False)

    @property
    def event(self) -> dict[str, Any]:
        """Return the CloudEvent."""
        found: dict[str, Any] = json.loads(self.body)
        return found


def read_frames(pieces: Iterable[bytes]) -> Iterator[Frame]:
    """Yield the events in a stream's bytes; comments, and what has no data, are left out."""
    fields: dict[bytes, bytes] = {}
    for line in _lines(pieces):
        if line:
            name, _, value = line.partition(b":")
            fields[name] = value.removeprefix(b" ")
        else:
            if b"data" in fields:
                yield Frame(fields.get(b"id", b"").decode(), fields[b"data"])
            fields = {}


def _lines(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Yield whole lines. A text's own idea of lines would break at characters that may stand in JSON."""
    held = b""
    for piece in pieces:
        *whole, held = (held + piece).split(b"\n")
        for line in whole:
            yield line.removesuffix(b"\r")


class Following:
    """A feed that is followed for as long as it takes.

    path: of the stream. query: which events. since: an event's id or `start`, None for what happens from now on. away: called
    when the service can't be reached; here: once it is listened to, and when it can be reached again.
    """

    def __init__(
        self,
        service: ServiceClient,
        path: str,
        query: Mapping[str, str],
        since: str | None,
        *,
        away: Callable[[str], None],
        here: Callable[[], None],
    ) -> None:
        self._service, self._path, self._query, self._since = service, path, query, since
        self._away, self._here = away, here
        self._last: str | None = None
        self._began: datetime | None = None
        self._tries = 0

    def frames(self) -> Iterator[Frame]:
        """Yield events as they happen, each once; ends when the stream has no more, which only a job's has."""
        ctrl_c = CtrlC()
        while True:
            came = False
            try:
                for frame in self._stream():
                    ctrl_c.check()
                    self._last = frame.id
                    came = True
                    yield frame
            except AwayError as error:
                self._note_away(str(error))
            except _NoMoreError:
                return
            else:
                # The service has ended the stream, as it does now and then.
                self._sleep(0.0 if came else _FIRST_PAUSE)
            ctrl_c.check()

    def _stream(self) -> Iterator[Frame]:
        headers = {} if self._last is None else {"Last-Event-ID": self._last}
        # The first time, what happens from then on is all that the service sends, whatever any clock says.
        oldest = None if self._last is not None or self._since is not None else self._began
        with self._service.stream(self._path, params=self._place(), headers=headers) as answer:
            if answer.status_code == 204:
                raise _NoMoreError
            self._note_here(answer)
            for frame in read_frames(answer.iter_bytes()):
                if oldest is None or datetime.fromisoformat(frame.event["time"]) >= oldest:
                    yield frame

    def _place(self) -> dict[str, str]:
        """Return the query, with where to begin: from the start if the service went away before the first event came."""
        since = self._since
        if since is None and self._began is not None:
            since = "start"
        return {**self._query, **({} if since is None or self._last is not None else {"after": since})}

    def _note_here(self, answer: httpx.Response) -> None:
        is_news = self._began is None or self._tries
        if self._began is None:
            said = answer.headers.get("date")
            # By the service's clock, in whole seconds; this machine's may be another.
            self._began = parsedate_to_datetime(said) if said else datetime.now(UTC).replace(microsecond=0)
        if is_news:
            self._here()
        self._tries = 0

    def _note_away(self, why: str) -> None:
        if not self._tries:
            self._away(why)
        self._sleep(min(_FIRST_PAUSE * 2**self._tries, _LONGEST_PAUSE))
        self._tries = min(self._tries + 1, 10)

    @staticmethod
    def _sleep(seconds: float) -> None:
        time.sleep(seconds)


class _NoMoreError(Exception):
    """The stream is over for good."""
