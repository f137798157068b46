"""Posting events to a URL on the developer's machine, signed as a real delivery is. Nothing is tried again."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from service.cli.event_stream import Frame
from service.cli.failures import ExitStatus, Failure

_SECONDS = 15.0  # what a real delivery gives a receiver


@dataclass(frozen=True, slots=True)
class Forwarded:
    """What came of one event: the receiver's status, or why there is none."""

    status: int | None
    error: str | None
    seconds: float

    @property
    def ok(self) -> bool:
        """Whether a delivery would count as done."""
        return self.status is not None and 200 <= self.status < 300

    def as_json(self, event: dict[str, Any]) -> dict[str, Any]:
        """Return it for machines."""
        return {
            "event": event["id"],
            "type": event["type"],
            "subject": event["subject"],
            "status": self.status,
            "error": self.error,
            "duration_ms": round(self.seconds * 1000),
        }


class Forwarder:
    """Posts events to one URL. secret: `whsec_…`, None to make one. Raises Failure for what can't be used."""

    def __init__(self, url: str, secret: str | None) -> None:
        import httpx

        from service.events.signing import BadSecretError, Signer, make_secret, read_secret

        self.url = _check(url)
        self.secret = secret or make_secret()
        try:
            self._signer = Signer((read_secret(self.secret),), ())
        except BadSecretError as error:
            raise Failure(f"--secret {error}", status=ExitStatus.USAGE) from None
        self._http = httpx.Client(timeout=_SECONDS, trust_env=False, follow_redirects=False)

    def post(self, frame: Frame) -> Forwarded:
        """Post one event; never raises for what the receiver does."""
        import httpx

        from service.events.webhooks import CLOUD_EVENT

        signed = self._signer.headers(frame.id, int(time.time()), frame.body)
        headers = {"content-type": CLOUD_EVENT, "user-agent": "genrelay", **signed}
        began = time.monotonic()
        status, error = None, None
        try:
            with self._http.stream("POST", self.url, content=frame.body, headers=headers) as answer:
                status = answer.status_code
        except httpx.TransportError as problem:
            error = str(problem) or type(problem).__name__
        return Forwarded(status, error, time.monotonic() - began)


def _check(url: str) -> str:
    try:
        parts = urlsplit(url)
        good = parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        good = False
    if not good:
        raise Failure("--forward-to must be an http or https URL", status=ExitStatus.USAGE)
    return url
