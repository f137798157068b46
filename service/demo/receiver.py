"""A consumer of the demo's: a webhook endpoint on this machine that keeps what it gets."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from standardwebhooks import Webhook, WebhookVerificationError

_MOST = 2**20  # bytes of one body


@dataclass(frozen=True)
class Received:
    """One delivery. verified: the official library of Standard Webhooks accepts its signature."""

    id: str
    event: dict[str, Any]
    verified: bool


@dataclass
class Receiver:
    """Where the service delivers to; `received` may be read once `url` is not posted to any more, or for a count."""

    url: str
    _raw: list[tuple[dict[str, str], bytes]] = field(default_factory=list)

    def keep(self, headers: dict[str, str], body: bytes) -> None:
        """Take a delivery; called by the server's threads."""
        self._raw.append((headers, body))

    def count(self) -> int:
        """Return how many different events have come."""
        return len({headers.get("webhook-id") for headers, _ in list(self._raw)})

    def read(self, secret: str) -> list[Received]:
        """Return everything that came, each verified with the subscription's secret."""
        return [_read(headers, body, secret) for headers, body in list(self._raw)]


def _read(headers: dict[str, str], body: bytes, secret: str) -> Received:
    try:
        Webhook(secret).verify(body, headers)
        verified = True
    except WebhookVerificationError:
        verified = False
    return Received(headers.get("webhook-id", ""), json.loads(body), verified)


@contextmanager
def running_receiver() -> Iterator[Receiver]:
    """Listen on a free port of this machine."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(min(int(self.headers.get("content-length", 0)), _MOST))
            receiver.keep({name.lower(): value for name, value in self.headers.items()}, body)
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_said: object) -> None:
            """Print nothing: the demo tells its own story."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    receiver = Receiver(f"http://127.0.0.1:{server.server_address[1]}/hooks")
    thread = threading.Thread(target=server.serve_forever, name="the demo's receiver", daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
