"""A customer's receiver: a real HTTP server that keeps a ledger of everything it gets and answers as it is told.

In the test's own loop (`serving_receiver`), or as a process of its own that can be killed (`ReceiverProcess`), whose ledger
is a file: one line of JSON for each request, written before it is answered.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import signal
import socket
import struct
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import httpx
from starlette.types import Message, Receive, Scope, Send

from tests.serving import serving

_CHUNK = b"x" * 65_536
PLANS = "/receiver/plans"


@dataclass(frozen=True, slots=True)
class Arrival:
    """One request. at: unix time. headers: names in lower case. status: what it was answered; None: nothing."""

    at: float
    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    status: int | None

    @property
    def id(self) -> str:
        """Return the event's id, as the headers say."""
        return self.headers.get("webhook-id", "")

    @property
    def event(self) -> dict[str, Any]:
        """Return the body as JSON."""
        return json.loads(self.body)  # type: ignore[no-any-return]

    def line(self) -> bytes:
        """Return it as a line of a ledger."""
        return json.dumps({**asdict(self), "body": base64.b64encode(self.body).decode()}).encode() + b"\n"


def read_arrival(line: bytes) -> Arrival:
    """Read a line of a ledger."""
    given = json.loads(line)
    return Arrival(**{**given, "body": base64.b64decode(given["body"])})


@dataclass(slots=True)
class Plan:
    """How a path answers.

    statuses: of the first requests, one each; `then`: of all others. headers: further ones (`Location`, `Retry-After`).
    body_bytes: that many bytes follow after `body`. seconds: so long before the answer. dribble: so long before each byte
    of `body`. hang: never answers, until it is released. reset: cuts the connection with RST instead of an answer; hang and
    reset last for `times` requests, None: all.
    """

    statuses: list[int] = field(default_factory=list)
    then: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: str = ""
    body_bytes: int = 0
    seconds: float = 0.0
    dribble: float = 0.0
    hang: bool = False
    reset: bool = False
    times: int | None = None

    def next_status(self) -> int:
        """Return the status of the next answer."""
        return self.statuses.pop(0) if self.statuses else self.then

    def is_cut(self) -> bool:
        """Return whether the next request gets no answer, and count it."""
        if not (self.hang or self.reset) or self.times == 0:
            return False
        if self.times is not None:
            self.times -= 1
        return True


class Receiver:
    """An ASGI app. `arrivals` is its ledger, in the order in which bodies were complete."""

    def __init__(self, ledger: Path | None = None) -> None:
        self.url = ""
        self.arrivals: list[Arrival] = []
        self.plans: dict[str, Plan] = {}
        self.open = 0
        self.most_open = 0
        self._came = asyncio.Event()
        self._released = asyncio.Event()
        self._ledger = None if ledger is None else ledger.open("ab", buffering=0)

    def plan(self, path: str, *statuses: int, **more: Any) -> str:
        """Have a path answer these statuses, then 200; `more` as in Plan. Returns the path's URL."""
        self.plans[path] = Plan(list(statuses), **more)
        return self.url + path

    def release(self) -> None:
        """Answer those that hang."""
        self._released.set()

    def of(self, path: str) -> list[Arrival]:
        """Return what came to one path."""
        return [each for each in self.arrivals if each.path == path]

    async def until(
        self,
        count: int = 1,
        path: str | None = None,
        seconds: float = 20.0,
        where: Callable[[Arrival], bool] = lambda _: True,
    ) -> list[Arrival]:
        """Return the arrivals (to a path; that satisfy `where`) once there are `count`; fails after so many seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while len(found := self._found(path, where)) < count:
                    self._came.clear()
                    await self._came.wait()
                return found
        raise AssertionError(f"{len(self._found(path, where))} of {count} came; {len(self.arrivals)} in all")

    def _found(self, path: str | None, where: Callable[[Arrival], bool]) -> list[Arrival]:
        return [each for each in self.arrivals if path in {None, each.path} and where(each)]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            return
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        try:
            body = await _read(receive)
            if body is None:
                return
            if scope["path"] == PLANS:
                given = json.loads(body)
                path = given.pop("path")
                self.plans[path] = Plan(**given)
                await _answer(send, 204, {}, b"")
                return
            await self._receive(scope, body, receive, send)
        finally:
            self.open -= 1

    async def _receive(self, scope: Scope, body: bytes, receive: Receive, send: Send) -> None:
        plan = self.plans.get(scope["path"], Plan())
        cut = plan.is_cut()
        status = None if cut else plan.next_status()
        self._record(scope, body, status)
        if cut and plan.reset:
            _reset(receive)
        elif cut:
            await _first(self._released.wait(), _gone(receive))
        if status is None:
            return
        if plan.seconds:
            await _first(asyncio.sleep(plan.seconds), _gone(receive))
        await _answer(send, status, plan.headers, plan.body.encode(), plan.body_bytes, plan.dribble)

    def _record(self, scope: Scope, body: bytes, status: int | None) -> None:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        arrival = Arrival(time.time(), scope["method"], scope["path"], headers, body, status)
        self.arrivals.append(arrival)
        if self._ledger is not None:
            self._ledger.write(arrival.line())
        self._came.set()


async def _read(receive: Receive) -> bytes | None:
    """Return the whole body; None when the client went away."""
    chunks = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        chunks.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(chunks)


async def _gone(receive: Receive) -> None:
    message: Message = {"type": ""}
    while message["type"] != "http.disconnect":
        message = await receive()


async def _first(*waits: Any) -> None:
    """Return when the first of them does."""
    tasks = [asyncio.ensure_future(each) for each in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _reset(receive: Receive) -> None:
    """Send RST: uvicorn's `receive` belongs to the request's cycle, which knows the transport."""
    transport = receive.__self__.transport  # type: ignore[attr-defined]
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


async def _answer(
    send: Send, status: int, more: Mapping[str, str], body: bytes, body_bytes: int = 0, dribble: float = 0.0
) -> None:
    headers = [(name.lower().encode(), value.encode()) for name, value in more.items()]
    headers.append((b"content-length", str(len(body) + body_bytes).encode()))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    if dribble:
        for each in body:
            await asyncio.sleep(dribble)
            await send({"type": "http.response.body", "body": bytes([each]), "more_body": True})
    else:
        await send({"type": "http.response.body", "body": body, "more_body": True})
    left = body_bytes
    while left > 0:
        await send({"type": "http.response.body", "body": _CHUNK[:left], "more_body": True})
        left -= len(_CHUNK)
    await send({"type": "http.response.body", "body": b""})


@contextlib.asynccontextmanager
async def serving_receiver(port: int = 0, ledger: Path | None = None) -> AsyncIterator[Receiver]:
    """Serve a receiver in this loop; `receiver.url` is where, without a slash at the end."""
    receiver = Receiver(ledger)
    async with serving(receiver, port=port) as url:
        receiver.url = url
        try:
            yield receiver
        finally:
            receiver.release()


class ReceiverProcess:
    """A receiver as a process of its own: it can be killed, stopped, and started again with the same port and ledger."""

    def __init__(self, port: int, ledger: Path) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.ledger = ledger
        self._port = port
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start it and return once it listens. Its plans of before are forgotten."""
        self.ledger.touch()
        command = (sys.executable, "-m", "tests.receiver", str(self._port), str(self.ledger))
        root = Path(__file__).parents[1]
        self._process = await asyncio.create_subprocess_exec(*command, cwd=root, stdout=asyncio.subprocess.PIPE)
        assert self._process.stdout is not None
        async with asyncio.timeout(30):
            assert await self._process.stdout.readline() == b"listening\n"

    async def plan(self, path: str, *statuses: int, **more: Any) -> str:
        """Have a path answer these statuses, then 200; `more` as in Plan. Returns the path's URL."""
        async with httpx.AsyncClient(trust_env=False) as http:
            given = {"path": path, "statuses": list(statuses), **more}
            (await http.put(self.url + PLANS, json=given)).raise_for_status()
        return self.url + path

    def arrivals(self) -> list[Arrival]:
        """Return the whole ledger; a line that a kill cut off is no arrival: nobody got an answer to it."""
        lines = self.ledger.read_bytes().splitlines(keepends=True)
        return [read_arrival(line) for line in lines if line.endswith(b"}\n")]

    async def until(self, count: int = 1, path: str | None = None, seconds: float = 20.0) -> list[Arrival]:
        """Return the arrivals (to a path) once there are `count`; fails after so many seconds."""
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while len(found := [each for each in self.arrivals() if path in {None, each.path}]) < count:
            assert loop.time() < end, f"{len(found)} of {count} came"
            await asyncio.sleep(0.05)
        return found

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    async def kill(self) -> None:
        """End it at once; nothing to do when it has ended."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.communicate()
            self._process = None


@contextlib.asynccontextmanager
async def receiver_process(port: int, ledger: Path) -> AsyncIterator[ReceiverProcess]:
    """Run a receiver's process as long as the block. port: of this test's own (`tests.world.free_port()`)."""
    process = ReceiverProcess(port, ledger)
    try:
        await process.start()
        yield process
    finally:
        await process.kill()


async def _main(port: int, ledger: Path) -> None:
    parent = os.getppid()
    async with serving_receiver(port, ledger):
        os.write(1, b"listening\n")
        # Nothing outlives the test that started it.
        while os.getppid() == parent:
            await asyncio.sleep(1)


if __name__ == "__main__":
    asyncio.run(_main(int(sys.argv[1]), Path(sys.argv[2])))
