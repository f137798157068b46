"""A proxy in front of the real S3 server that makes, by rule, everything go wrong that goes wrong between us and S3.

What no rule asks for passes byte by byte. Signatures cover the Host header, which stays what the client sent.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args
from urllib.parse import parse_qsl, unquote, urlsplit

import pytest

from service.demo.s3server import S3Server
from tests.chaos.proxy import Connect, Proxy, serving_proxy
from tests.counting import Count
from tests.http_messages import Message, read_answer, read_request

Where = Literal["before", "body", "answer", "answered"]
# before: of the request, only its beginning is read. body: half of the body (of the head, if it has none) is passed on.
# answer: the server has answered, the client hears nothing. answered: the client hears half of the answer.
PLACES: tuple[Where, ...] = get_args(Where)

_OPERATIONS = {
    ("POST", "uploads"): "CreateMultipartUpload",
    ("POST", "uploadId"): "CompleteMultipartUpload",
    ("PUT", "partNumber"): "UploadPart",
    ("DELETE", "uploadId"): "AbortMultipartUpload",
    ("GET", "uploads"): "ListMultipartUploads",
    ("GET", "uploadId"): "ListParts",
}
_PLAIN = {"PUT": "PutObject", "HEAD": "HeadObject", "GET": "GetObject", "DELETE": "DeleteObject"}


@dataclass
class Request:
    """A request that came by, and what became of it.

    status: what the client was told, None if nothing. passed_on: the statuses with which the server answered.
    """

    method: str
    bucket: str
    key: str
    query: Mapping[str, str]
    headers: Mapping[str, str] = field(repr=False)
    body_bytes: int = 0
    status: int | None = None
    passed_on: list[int] = field(default_factory=list)

    @property
    def operation(self) -> str:
        """Return S3's name for what is asked."""
        for (method, parameter), name in _OPERATIONS.items():
            if method == self.method and parameter in self.query:
                return name
        return _PLAIN[self.method] if self.key else f"{self.method} bucket"

    @property
    def part(self) -> int | None:
        """Return the number of the part, of a part."""
        return int(self.query["partNumber"]) if "partNumber" in self.query else None


# --- What a rule does -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Error:
    """Answer an error of S3's; inside: of a 200. done: the request was passed on, and done, all the same."""

    status: int
    code: str
    message: str = "Told by the test."
    inside: bool = False
    done: bool = False

    def answer(self, method: str) -> bytes:
        """Return the answer's bytes."""
        body = f"<Error><Code>{self.code}</Code><Message>{self.message}</Message><Resource>/x</Resource></Error>"
        sent = b"" if method == "HEAD" else b'<?xml version="1.0" encoding="UTF-8"?>\n' + body.encode()
        head = f"HTTP/1.1 {200 if self.inside else self.status} Told\r\nContent-Type: application/xml\r\n"
        return f"{head}Content-Length: {len(sent)}\r\n\r\n".encode() + sent


@dataclass(frozen=True)
class Cut:
    """Break the connection off."""

    at: Where


@dataclass(frozen=True)
class Stall:
    """Say nothing more until the client hangs up: before the request is passed on, or after it was done."""

    at: Literal["before", "answer"] = "answer"


@dataclass(frozen=True)
class Drip:
    """Pass the request on, and its answer byte by byte, `pause` seconds after each but the first `at_once`."""

    pause: float = 0.0
    at_once: int = 0


@dataclass(frozen=True)
class Twice:
    """Pass the request on twice, as something on the way might; the client hears the second answer."""


@dataclass(frozen=True)
class Late:
    """Break the connection off, and pass the request on once the server has answered `behind` later ones."""

    behind: int = 0


@dataclass(frozen=True)
class Raw:
    """Answer what no S3 server would."""

    status: int = 200
    body: bytes = b"<!doctype html><html><head><title>Sign in</title></head></html>"
    headers: str = "Content-Type: text/html\r\n"

    def answer(self, method: str) -> bytes:
        """Return the answer's bytes."""
        sent = b"" if method == "HEAD" else self.body
        return f"HTTP/1.1 {self.status} Told\r\n{self.headers}Content-Length: {len(sent)}\r\n\r\n".encode() + sent


@dataclass(frozen=True)
class Alter:
    """Pass the request on with other headers (name in lower case to value; None takes one out)."""

    headers: Mapping[str, str | None]


Act = Error | Cut | Stall | Drip | Twice | Late | Raw | Alter

SLOW_DOWN = Error(503, "SlowDown")
INTERNAL_ERROR = Error(500, "InternalError")
ACCESS_DENIED = Error(403, "AccessDenied")
EXPIRED_TOKEN = Error(400, "ExpiredToken")
CONFLICT = Error(409, "ConditionalRequestConflict")
PRECONDITION_FAILED = Error(412, "PreconditionFailed")
SKEWED = Error(403, "RequestTimeTooSkewed")
KMS_DISABLED = Error(400, "KMS.DisabledException")
NO_SUCH_BUCKET = Error(404, "NoSuchBucket")
NO_SUCH_UPLOAD = Error(404, "NoSuchUpload")


@dataclass
class Rule:
    """Do something about requests of one kind: the first `times` (None: all) after `skip` of them. hits: how often yet."""

    act: Act
    on: str | None = None
    part: int | None = None
    key: str | None = None
    query: Mapping[str, str] = field(default_factory=dict)
    skip: int = 0
    times: int | None = 1
    hits: int = 0

    def takes(self, request: Request) -> bool:
        """Whether this request is one to act on; counts it."""
        if not self._is_meant(request) or self.hits == self.times:
            return False
        if self.skip > 0:
            self.skip -= 1
            return False
        self.hits += 1
        return True

    def _is_meant(self, request: Request) -> bool:
        return (
            self.on in (None, request.operation, request.method)
            and self.part in (None, request.part)
            and self.key in (None, request.key)
            and self.query.items() <= request.query.items()
        )


# --- The proxy ------------------------------------------------------------------------------------------------------


class _Broken(Exception):  # noqa: N818 - reads as what happened
    """The connection to the client is to be broken off."""


class FaultyS3(Proxy):
    """Passes requests on and remembers them; the first rule that takes a request decides about it.

    stalled: set once a request was stalled.
    """

    def __init__(self, connect: Connect) -> None:
        super().__init__(connect)
        self.endpoint_url = ""
        self.seen: list[Request] = []
        self.rules: list[Rule] = []
        self.stalled = asyncio.Event()
        self.answers = Count()

    def inject(
        self,
        act: Act,
        on: str | None = None,
        *,
        part: int | None = None,
        key: str | None = None,
        query: Mapping[str, str] | None = None,
        skip: int = 0,
        times: int | None = 1,
    ) -> Rule:
        """Add a rule. on: S3's name of an operation, or a method; None is every request."""
        rule = Rule(act, on, part, key, query or {}, skip, times)
        self.rules.append(rule)
        return rule

    def forget(self) -> None:
        """Forget rules and requests."""
        self.rules.clear()
        self.seen.clear()

    def operations(self) -> list[str]:
        """Return the names of what was asked, in order."""
        return [request.operation for request in self.seen]

    def count(self, operation: str) -> int:
        """Return how often an operation was asked for."""
        return self.operations().count(operation)

    def cut(self) -> None:
        """End every connection, and let no new one through; what is held back goes nowhere."""
        super().cut()
        self.answers.end()

    async def pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one client's connection with one to the server."""
        up_reader, up_writer = await self.connect()
        link = _Link(reader, writer, up_reader, up_writer, self.stalled, self.answers)
        try:
            while (message := await read_request(reader)) is not None:
                request = _read(message)
                self.seen.append(request)
                act = next((rule.act for rule in self.rules if rule.takes(request)), None)
                await link.serve(message, request, act)
        except (_Broken, ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            up_writer.transport.abort()


@dataclass
class _Link:
    """A client's connection and ours to the server."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    up_reader: asyncio.StreamReader
    up_writer: asyncio.StreamWriter
    stalled: asyncio.Event
    answers: Count

    async def serve(self, message: Message, request: Request, act: Act | None) -> None:
        """Do with a request, of which the head is read, what a rule says."""
        match act:
            case Cut("before"):
                raise _Broken
            case Cut("body"):
                await self._cut_in_the_body(message, request)
            case Stall("before"):
                await self._stall()
            case Error(done=False):
                await self._read_body(message, request)
                await self._tell(act.answer(request.method), request, 200 if act.inside else act.status)
            case Raw():
                await self._read_body(message, request)
                await self._tell(act.answer(request.method), request, act.status)
            case Late():
                await self._read_body(message, request)
                self.writer.transport.abort()
                if await self.answers.more(act.behind):
                    await self._ask(message, request)
                raise _Broken
            case Alter():
                message.alter(act.headers)
                await self._read_body(message, request)
                await self._answer(await self._ask(message, request), request, None)
            case _:
                await self._read_body(message, request)
                if isinstance(act, Twice):
                    await self._ask(message, request)
                await self._answer(await self._ask(message, request), request, act)

    async def _read_body(self, message: Message, request: Request) -> None:
        await message.read_body(self.reader)
        request.body_bytes = len(message.body)

    async def _ask(self, message: Message, request: Request) -> Message:
        """Pass the whole request on and return the server's answer."""
        self.up_writer.write(message.head + message.body)
        await self.up_writer.drain()
        answer = await read_answer(self.up_reader, request.method)
        request.passed_on.append(answer.status)
        self.answers.add()
        return answer

    async def _answer(self, answer: Message, request: Request, act: Act | None) -> None:
        whole = answer.head + answer.body
        match act:
            case Error():
                await self._tell(act.answer(request.method), request, 200 if act.inside else act.status)
            case Cut("answer"):
                raise _Broken
            case Cut("answered"):
                self.writer.write(whole[: len(answer.head) + len(answer.body) // 2] if answer.body else whole[:20])
                await self.writer.drain()
                # Aborted right away, the kernel might throw away what was written.
                self.writer.write_eof()
                await self.reader.read()
                raise _Broken
            case Stall():
                await self._stall()
            case Drip():
                await self._drip(whole, act)
                request.status = answer.status
            case _:
                await self._tell(whole, request, answer.status)
        if answer.headers.get("connection", "").lower() == "close":
            raise _Broken

    async def _cut_in_the_body(self, message: Message, request: Request) -> None:
        length = message.length
        if length:
            self.up_writer.write(message.head + await self.reader.readexactly(length // 2))
            request.body_bytes = length // 2
        else:
            self.up_writer.write(message.head[: len(message.head) // 2])
        await self.up_writer.drain()
        raise _Broken

    async def _stall(self) -> None:
        self.stalled.set()
        while await self.reader.read(2**16):
            pass  # not all at once: a body would fill the memory
        raise _Broken

    async def _drip(self, whole: bytes, act: Drip) -> None:
        self.writer.write(whole[: act.at_once])
        hung_up = asyncio.ensure_future(self.reader.read(1))
        try:
            for at in range(act.at_once, len(whole)):
                self.writer.write(whole[at : at + 1])
                await self.writer.drain()
                await asyncio.wait([hung_up], timeout=act.pause)
                if hung_up.done():
                    raise _Broken
        finally:
            hung_up.cancel()
            await asyncio.gather(hung_up, return_exceptions=True)

    async def _tell(self, answer: bytes, request: Request, status: int) -> None:
        self.writer.write(answer)
        await self.writer.drain()
        request.status = status


def _read(message: Message) -> Request:
    method, target, _version = message.start.split(" ", 2)
    parts = urlsplit(target)
    bucket, _, key = unquote(parts.path).removeprefix("/").partition("/")
    return Request(method, bucket, key, dict(parse_qsl(parts.query, keep_blank_values=True)), message.headers)


@contextlib.asynccontextmanager
async def faulty_proxy(s3: S3Server) -> AsyncIterator[FaultyS3]:
    """Lend a proxy in front of an S3 server."""
    where = urlsplit(s3.endpoint_url)
    proxy = FaultyS3(lambda: asyncio.open_connection(where.hostname, where.port))
    async with serving_proxy(proxy) as port:
        proxy.endpoint_url = f"http://127.0.0.1:{port}"
        yield proxy


@pytest.fixture
async def faulty_s3(s3_server: S3Server) -> AsyncIterator[FaultyS3]:
    """A proxy of this test's own in front of the S3 server."""
    async with faulty_proxy(s3_server) as proxy:
        yield proxy
