"""The load generator of the callbacks bench: HTTP/1.1 over keep-alive connections, with bytes built beforehand.

Run as a process of its own, `python -m tests.bench.callback_load PLAN`: PLAN is a JSON file (see `Plan`), the result is
one JSON object on standard output. A general HTTP client would cost more than what is measured.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import time
import uuid
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import cast

import uvloop

STALL_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Plan:
    """One round: `count` posts to 127.0.0.1:`port`, as fast as answers come, or `rate` a second when it isn't 0.

    paths: callback paths, taken in turn; one path for an endpoint that does nothing.
    """

    port: int
    paths: Sequence[str]
    count: int
    connections: int = 64
    rate: float = 0.0


@dataclass(slots=True)
class Result:
    """A round: answers by status, latencies in seconds (from the scheduled time of sending, if there was a rate)."""

    seconds: float = 0.0
    answered: dict[str, int] = field(default_factory=dict)
    lost: int = 0
    latencies: list[float] = field(default_factory=list, repr=False)


def callback_body(callback_url: str, number: int) -> bytes:
    """Return a callback as Novita sends it, about 1.2 kB, different for every number."""
    task_id = str(uuid.UUID(int=(0x4000 << 64) | (0x8000 << 48) | number))
    image = uuid.UUID(int=number).hex
    host = "https://faas-output-image.s3.ap-southeast-1.amazonaws.com"
    signed = (
        "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIDEXAMPLEEXAMPLE00%2F20260101%2Fap-southeast-1%2Fs3"
        "%2Faws4_request&X-Amz-Date=20260101T150041Z&X-Amz-Expires=3600&X-Amz-SignedHeaders=host&x-id=GetObject"
        f"&X-Amz-Signature={image}{image}"
    )
    task = {
        "eta": 0,
        "progress_percent": 0,
        "reason": "",
        "status": "TASK_STATUS_SUCCEED",
        "task_id": task_id,
        "task_type": "TXT_TO_IMG",
    }
    debug = {"request_info": "", "submit_time_ms": "1767279600000", "execute_time_ms": "1767279601000"}
    extra = {
        "enable_nsfw_detection": False,
        "seed": "3183986171",
        "debug_info": debug | {"complete_time_ms": "1767279602000"},
        "webhook": {"url": callback_url},
    }
    shown = {
        "image_type": "jpeg",
        "image_url": f"{host}/prod/{task_id}/{image}.jpeg?{signed}",
        "image_url_ttl": "3600",
        "nsfw_detection_result": {"valid": True, "confidence": 0},
    }
    payload = {"task": task, "extra": extra, "images": [shown], "videos": [], "audios": []}
    return json.dumps({"event_type": "ASYNC_TASK_RESULT", "payload": payload}).encode()


def build_requests(plan: Plan) -> deque[bytes]:
    """Return every request of the round as bytes."""
    requests: deque[bytes] = deque()
    host = f"127.0.0.1:{plan.port}"
    for number in range(plan.count):
        path = plan.paths[number % len(plan.paths)]
        body = callback_body(f"https://relay.example{path}", number)
        head = (
            f"POST {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: Go-http-client/1.1\r\n"
            f"Content-Length: {len(body)}\r\nContent-Type: application/json\r\nAccept-Encoding: gzip\r\n\r\n"
        )
        requests.append(head.encode() + body)
    return requests


class Connection(asyncio.Protocol):
    """One keep-alive connection with at most one request under way."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._buffer = b""
        self._since: float | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way out."""
        # uvloop's transports do everything an asyncio.Transport does, but aren't instances of it.
        self._transport = cast(asyncio.Transport, transport)

    def send(self, request: bytes, since: float) -> None:
        """Send one request; its time runs from `since`."""
        assert self._transport is not None
        self._since = since
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        """Wait for the whole answer, then tell the load."""
        self._buffer = self._buffer + data if self._buffer else data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        # Our servers always say how long an answer is; anything else stalls here and is counted as lost.
        at = self._buffer.lower().find(b"content-length:", 0, end)
        length = int(self._buffer[at + 15 : self._buffer.find(b"\r", at)])
        if len(self._buffer) < end + 4 + length:
            return
        status, self._buffer = int(self._buffer[9:12]), b""
        assert self._since is not None
        since, self._since = self._since, None
        self._load.answered(self, status, since)

    def connection_lost(self, exc: Exception | None) -> None:
        """Count what was under way as lost."""
        if self._since is not None:
            self._load.connection_lost()

    def close(self) -> None:
        """Close it."""
        if self._transport is not None:
            self._transport.close()


class Load:
    """Sends a round's requests and takes the time."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._requests = build_requests(plan)
        self._open = len(self._requests)
        self._idle: deque[Connection] = deque()
        self._due: deque[float] = deque()
        self._finished = asyncio.Event()
        self._latencies: list[float] = []
        self._answered: dict[int, int] = {}

    async def run(self) -> Result:
        """Run the round; what is never answered counts as lost."""
        loop = asyncio.get_running_loop()
        connections = [
            (await loop.create_connection(lambda: Connection(self), "127.0.0.1", self._plan.port))[1]
            for _ in range(self._plan.connections)
        ]
        gc.collect()
        gc.disable()  # a collection over all those requests would show up as latency
        began = time.perf_counter()
        if self._plan.rate:
            self._idle.extend(connections)
            await self._offer(began)
        else:
            for connection in connections:
                self._next(connection)
        try:
            await asyncio.wait_for(self._finished.wait(), STALL_SECONDS + self._plan.count / 200)
        except TimeoutError:
            sys.stderr.write(f"{self._open} posts unanswered\n")
        seconds = time.perf_counter() - began
        for connection in connections:
            connection.close()
        answered = {str(status): count for status, count in self._answered.items()}
        return Result(seconds, answered, self._open, self._latencies)

    async def _offer(self, began: float) -> None:
        # uvloop's timers have a resolution of 1 ms; a post is due at its scheduled time, however late it leaves.
        for number in range(self._plan.count):
            scheduled = began + number / self._plan.rate
            if (ahead := scheduled - time.perf_counter()) > 0:
                await asyncio.sleep(ahead)
            self._due.append(scheduled)
            if self._idle:
                self._next(self._idle.popleft())

    def _next(self, connection: Connection) -> None:
        if self._plan.rate:
            if self._due:
                connection.send(self._requests.popleft(), self._due.popleft())
            else:
                self._idle.append(connection)
        elif self._requests:
            connection.send(self._requests.popleft(), time.perf_counter())

    def answered(self, connection: Connection, status: int, since: float) -> None:
        """Count an answer and send the next request on its connection."""
        self._latencies.append(time.perf_counter() - since)
        self._answered[status] = self._answered.get(status, 0) + 1
        self._open -= 1
        if self._open == 0:
            self._finished.set()
        else:
            self._next(connection)

    def connection_lost(self) -> None:
        """A connection died with a request under way: the round can't be complete any more."""
        self._finished.set()


def main() -> None:
    """Run the plan named on the command line."""
    plan = Plan(**json.loads(Path(sys.argv[1]).read_text()))

    async def run() -> Result:
        return await Load(plan).run()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        result = runner.run(run())
    json.dump(asdict(result), sys.stdout)


if __name__ == "__main__":
    main()
