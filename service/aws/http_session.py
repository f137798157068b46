"""The HTTP session of our S3 clients: botocore's `http_session_cls`, with the guard below it.

aiobotocore's own session follows redirects, obeys proxies from the environment, and asks its resolver for names only.
This one does none of it: literal addresses and resolved ones pass the same check, right before a socket is made. And it
reads no more of an answer than S3 would ever send: the endpoint may be anybody's.
"""

from __future__ import annotations

import contextlib
import io
import socket
import ssl
from collections.abc import Iterator
from functools import lru_cache
from types import TracebackType
from typing import Any

import aiohttp
from aiobotocore.awsrequest import AioAWSResponse
from aiohttp.abc import AbstractResolver, AbstractStreamWriter, ResolveResult
from botocore.exceptions import (
    ConnectionClosedError,
    ConnectTimeoutError,
    EndpointConnectionError,
    ReadTimeoutError,
    SSLError,
)
from botocore.httpsession import get_cert_path
from multidict import CIMultiDict
from yarl import URL

from service.aws.connections import Connector
from service.net import GuardPolicy, NameNotFound, Resolver, check_address
from service.net.guard import check_reach
from service.net.resolver import find_addresses

_SLICE = 2**18  # bytes of a large body that are handed to the socket at a time
_WHOLE = 2**20  # bytes up to which a body goes out in one piece
_LONGEST_ANSWER = 2**20  # bytes; errors and the answers to writes are a few hundred
_KEEPALIVE = 12.0  # seconds; S3 closes idle connections after about 20


class AwsHttpSession:
    """Sends botocore's requests. guard: the endpoint's scheme, the policy and the resolver; None checks nothing."""

    def __init__(
        self,
        *,
        guard: tuple[str, GuardPolicy, Resolver] | None,
        verify: bool | str = True,
        timeout: tuple[float, float] = (5, 60),
        max_pool_connections: int = 10,
        **_unused: object,
    ) -> None:
        """Keep the settings; what botocore passes on about proxies and client certificates is not used."""
        self._guard = guard
        self._verify = verify
        self._timeout = aiohttp.ClientTimeout(sock_connect=timeout[0], sock_read=timeout[1])
        self._max_connections = max_pool_connections
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> AwsHttpSession:
        """Open the connection pool."""
        self._session = aiohttp.ClientSession(
            connector=self._connector(),
            timeout=self._timeout,
            skip_auto_headers={"CONTENT-TYPE"},
            auto_decompress=False,
            trust_env=False,
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        """Close the connection pool."""
        if self._session is not None:
            await self._session.close()

    async def close(self) -> None:
        """Close the connection pool."""
        await self.__aexit__()

    def _connector(self) -> Connector:
        settings: dict[str, Any] = {}
        if self._guard is not None:
            settings = {"resolver": _GuardedResolver(*self._guard), "socket_factory": _SocketFactory(*self._guard)}
        return Connector(
            limit=self._max_connections,
            keepalive_timeout=_KEEPALIVE,
            happy_eyeballs_delay=None,
            ssl=_ssl_context(get_cert_path(self._verify)) if self._verify else False,
            **settings,
        )

    async def send(self, request: Any) -> AioAWSResponse:
        """Send a prepared request (`AWSPreparedRequest`); raises botocore's errors, or Refused."""
        with _as_botocore_errors(request.url):
            answer = await self._request(request)
            headers = {k.decode("latin-1").lower(): v.decode("latin-1") for k, v in answer.raw_headers}
            response = _Response(str(answer.url), answer.status, headers, answer)
            if not request.stream_output:
                await response.content
            return response

    async def _request(self, request: Any) -> aiohttp.ClientResponse:
        assert self._session is not None
        headers = CIMultiDict((name, _text(value)) for name, value in request.headers.items())
        headers["Accept-Encoding"] = "identity"
        # It costs a round trip, and hangs at servers that don't know it.
        headers.popall("Expect", None)
        return await self._session.request(
            request.method,
            URL(request.url, encoded=True),
            headers=headers,
            data=_payload(request.body),
            allow_redirects=False,
        )


class _Response(AioAWSResponse):  # type: ignore[misc]
    """An answer; what is not streamed is read whole, as long as it is short."""

    _content: bytes | None

    async def _content_prop(self) -> bytes:
        if self._content is None:
            # Not only within `send`: botocore comes here, too, for the error that answers a streamed request.
            with _as_botocore_errors(self.url):
                self._content = await _read_short(self.raw)
        return self._content


async def _read_short(answer: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    try:
        async for chunk in answer.content.iter_any():
            body += chunk
            if len(body) > _LONGEST_ANSWER:
                break
        else:
            await answer.wait_for_close()
            return bytes(body)
    except BaseException:
        answer.close()
        raise
    answer.close()
    raise aiohttp.ClientPayloadError("the answer is too long")


def _payload(body: Any) -> Any:
    """Return the body in a form that aiohttp neither copies nor writes in one piece when it is large."""
    if isinstance(body, io.BytesIO):
        body = body.getvalue()  # botocore wraps bytes; this gives them back without a copy
    return _Slices(body) if isinstance(body, bytes | bytearray) and len(body) > _WHOLE else body


class _Slices(aiohttp.payload.Payload):
    """A large body in memory, handed to the socket slice by slice; can be sent again."""

    def __init__(self, body: bytes | bytearray) -> None:
        super().__init__(body, content_type="application/octet-stream")
        self._size = len(body)

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Write it all."""
        await self.write_with_length(writer, None)

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        """Write at most so many bytes."""
        view = memoryview(self._value)[:content_length]
        for start in range(0, len(view), _SLICE):
            await writer.write(view[start : start + _SLICE])

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """Return the body as text, which nobody wants."""
        return str(self._value, encoding, errors)


def _text(value: str | bytes) -> str:
    return value.decode("utf-8") if isinstance(value, bytes) else value


@lru_cache(maxsize=8)
def _ssl_context(ca_file: str) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=ca_file)


class _GuardedResolver(AbstractResolver):
    def __init__(self, scheme: str, policy: GuardPolicy, resolver: Resolver) -> None:
        self._scheme, self._policy, self._resolver = scheme, policy, resolver

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        try:
            addresses = await find_addresses(
                host, port, scheme=self._scheme, policy=self._policy, resolver=self._resolver
            )
        except NameNotFound as error:
            raise OSError(str(error)) from None
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in addresses
        ]

    async def close(self) -> None:
        """Close nothing: the resolver is the system's."""


class _SocketFactory:
    """Makes the sockets; aiohttp comes here for resolved addresses and for literal ones."""

    def __init__(self, scheme: str, policy: GuardPolicy, _resolver: Resolver) -> None:
        self._scheme, self._policy = scheme, policy

    def __call__(self, info: Any) -> socket.socket:
        family, kind, protocol, _name, (address, port, *_rest) = info
        check_reach(self._scheme, port, [check_address(address, self._policy)])
        made = socket.socket(family, kind, protocol)
        made.setblocking(False)
        return made


@contextlib.contextmanager
def _as_botocore_errors(url: str) -> Iterator[None]:
    where = {"endpoint_url": url.partition("?")[0]}
    try:
        yield
    except aiohttp.ClientSSLError as error:
        raise SSLError(error=error, **where) from error
    except aiohttp.ConnectionTimeoutError as error:
        raise ConnectTimeoutError(error=error, **where) from error
    except TimeoutError as error:
        raise ReadTimeoutError(error=error, **where) from error
    except aiohttp.ClientConnectorError as error:
        raise EndpointConnectionError(error=error, **where) from error
    except (aiohttp.ClientError, OSError) as error:
        raise ConnectionClosedError(error=error, request=None, **where) from error
