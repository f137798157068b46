"""Many webhook endpoints in one process: each a port of its own, so that each has connections of its own.

What comes is noted with its time and answered at once with 200; endpoints that are dead take a connection and never answer.
`GET /told` at the first port gives what came since the last time it was asked, `GET /ports` the ports. Written on asyncio's
protocols, because it must cost little beside what is measured.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

_END = b"\r\n\r\n"
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


class Told:
    """What came: when (unix time), to which endpoint, the event's id, and its body if bodies are kept."""

    def __init__(self, *, bodies: bool) -> None:
        self.ports: Sequence[int] = ()
        self._bodies = bodies
        self._came: list[tuple[float, int, str, bytes]] = []

    def note(self, endpoint: int, head: bytes, body: bytes) -> None:
        """Note a request."""
        at = head.lower().find(b"webhook-id:")
        event_id = head[at + 11 : head.find(b"\r", at)].strip().decode() if at >= 0 else ""
        self._came.append((time.time(), endpoint, event_id, body if self._bodies else b""))

    def take(self) -> list[dict[str, Any]]:
        """Return what came, and forget it."""
        came, self._came = self._came, []
        return [
            {"at": at, "endpoint": endpoint, "id": event_id, **_read(body)} for at, endpoint, event_id, body in came
        ]


def _read(body: bytes) -> dict[str, Any]:
    if not body:
        return {}
    event = json.loads(body)
    return {"type": event["type"], "subject": event["subject"]}


class Connection(asyncio.Protocol):
    """One client's connection to one endpoint; number 0 is asked what came."""

    def __init__(self, told: Told, endpoint: int, *, dead: bool) -> None:
        self._told = told
        self._endpoint = endpoint
        self._dead = dead
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way out."""
        self._transport: Any = transport

    def data_received(self, data: bytes) -> None:
        """Answer every whole request."""
        self._buffer += data
        while (end := self._buffer.find(_END)) >= 0:
            head = self._buffer[:end]
            at = head.lower().find(b"content-length:")
            length = int(head[at + 15 :].split(b"\r", 1)[0]) if at >= 0 else 0
            whole = end + 4 + length
            if len(self._buffer) < whole:
                return
            body, self._buffer = self._buffer[end + 4 : whole], self._buffer[whole:]
            self._take(head, body)

    def _take(self, head: bytes, body: bytes) -> None:
        if self._endpoint:
            self._told.note(self._endpoint, head, body)
            if not self._dead:
                self._transport.write(_ANSWER)
            return
        shown = self._told.take() if head.startswith(b"GET /told") else self._told.ports
        answer = json.dumps(shown).encode()
        kind = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(answer)}\r\n\r\n"
        self._transport.write(kind.encode() + answer)


async def serve(port_file: Path, endpoints: int, dead: int, *, bodies: bool) -> None:
    """Serve until the process ends; writes the first port into the file. The last `dead` endpoints never answer."""
    told, loop = Told(bodies=bodies), asyncio.get_running_loop()
    servers = [
        await loop.create_server(
            lambda number=number: Connection(told, number, dead=number > endpoints - dead),  # type: ignore[misc]
            "127.0.0.1",
            0,
            backlog=1024,
        )
        for number in range(endpoints + 1)
    ]
    first, *told.ports = [server.sockets[0].getsockname()[1] for server in servers]
    port_file.write_text(str(first))  # noqa: ASYNC240 - before anybody is served
    await asyncio.gather(*(server.serve_forever() for server in servers))


class Receivers:
    """The process as the bench sees it."""

    def __init__(self, control: int) -> None:
        import httpx  # noqa: PLC0415 - the process itself does without

        self._client = httpx.Client(base_url=f"http://127.0.0.1:{control}", trust_env=False, timeout=60)
        self.urls = [f"http://127.0.0.1:{port}/hooks" for port in self._client.get("/ports").json()]

    def take(self) -> list[dict[str, Any]]:
        """Return what came since it was last asked: `at`, `endpoint` (from 1), `id`; with bodies also `type`, `subject`."""
        return self._client.get("/told").json()  # type: ignore[no-any-return]


@contextmanager
def running_receivers(folder: Path, endpoints: int, dead: int = 0, *, bodies: bool = False) -> Iterator[Receivers]:
    """Run the process; its log goes to `folder`."""
    import sys  # noqa: PLC0415 - see above

    from tests.bench.processes import Child, clean_environment, port_file  # noqa: PLC0415 - see above

    listening = port_file(folder, "receivers")
    command = [sys.executable, "-m", "tests.bench.receivers", "--port-file", str(listening)]
    command += ["--endpoints", str(endpoints), "--dead", str(dead), *(["--bodies"] if bodies else [])]
    with Child("receivers", command, folder / "receivers.log", clean_environment()) as child:
        yield Receivers(child.wait_for_port(listening))
        child.alive()


def main() -> None:
    """Run it."""
    import uvloop  # noqa: PLC0415 - as the service does

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port-file", type=Path, required=True)
    parser.add_argument("--endpoints", type=int, required=True)
    parser.add_argument("--dead", type=int, default=0)
    parser.add_argument("--bodies", action="store_true")
    options = parser.parse_args()
    uvloop.run(serve(options.port_file, options.endpoints, options.dead, bodies=options.bodies))


if __name__ == "__main__":
    main()
