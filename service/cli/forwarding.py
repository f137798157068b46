"""Posting events to a URL on the developer's machine, signed as a real delivery is. Nothing is tried again."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from service.cli.event_stream import Frame
from service.cli.failures import ExitStatus, Failure

if TYPE_CHECKING:
    import httpx

_SECONDS = 15.0  # what a real delivery gives a receiver
_LAST_PORT = 65_535


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
    """Posts events to one URL. secret: `whsec_…`, None to make one. Raises Failure for what can't be used.

    origin: the URL without what may be secret in it.
    """

    def __init__(self, url: str, secret: str | None) -> None:
        import httpx

        from service.events.signing import BadSecretError, Signer, make_secret, read_secret

        self._url = _read_url(url)
        self.origin = f"{self._url.scheme}://{self._url.netloc.decode('ascii')}"
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
            with self._http.stream("POST", self._url, content=frame.body, headers=headers) as answer:
                status = answer.status_code
        except httpx.TransportError as problem:
            error = str(problem) or type(problem).__name__
        return Forwarded(status, error, time.monotonic() - began)


def _read_url(text: str) -> httpx.URL:
    import httpx

    try:
        url = httpx.URL(text)
        # `host` decodes xn--…, which fails for some names.
        good = url.scheme in {"http", "https"} and bool(url.host) and (url.port is None or 0 < url.port <= _LAST_PORT)
    except (httpx.InvalidURL, ValueError):
        good = False
    if not good:
        raise Failure("--forward-to must be an http or https URL", status=ExitStatus.USAGE)
    return url
