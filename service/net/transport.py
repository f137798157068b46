"""The guard's second half for httpx: a transport over httpcore that connects to checked addresses only.

httpx has no public hook below DNS, so the transport brings its own httpcore pools with a network backend of ours.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any

import httpcore
import httpx

from service.net.guard import check_url
from service.net.policy import GuardPolicy, check_address
from service.net.pools import NARROW, Pool, PoolPerHost, WidePool
from service.net.resolver import Resolver, ask_dns, check_peer, find_addresses
from service.net.streams import Stream, StreamBackend

DEFAULT_LIMITS = httpx.Limits(max_connections=100, max_keepalive_connections=20, keepalive_expiry=15)
DEFAULT_TIMEOUT = httpx.Timeout(30, connect=10)

# Of a body, before others get their turn: a server may send it in chunks of one byte, ten thousand of which come at once.
_CHUNKS_AT_ONCE = 64


def guarded_client(
    policy: GuardPolicy,
    *,
    limits: httpx.Limits = DEFAULT_LIMITS,
    timeout: httpx.Timeout = DEFAULT_TIMEOUT,
    resolver: Resolver = ask_dns,
    ssl_context: ssl.SSLContext | None = None,
    many_hosts: bool = False,
) -> httpx.AsyncClient:
    """Return a client whose every request passes the guard; requests raise Refused, NameNotFound or httpx's own errors.

    It follows no redirects, reads no proxy or certificate settings from the environment, and keeps no cookies, since
    requests for many customers share it. timeout: each single step; cap the total yourself. many_hosts: each host keeps
    connections of its own, and the limits hold per host.
    """
    return httpx.AsyncClient(
        transport=GuardedTransport(
            policy, limits=limits, resolver=resolver, ssl_context=ssl_context, many_hosts=many_hosts
        ),
        timeout=timeout,
        trust_env=False,
        follow_redirects=False,
        headers={"User-Agent": "genrelay", "Accept-Encoding": "identity"},
        cookies=CookieJar(policy=DefaultCookiePolicy(allowed_domains=[])),
    )


class PooledTransport(httpx.AsyncBaseTransport):
    """Sends requests through two wide pools, one per scheme; `backend` makes the network side of each."""

    def __init__(
        self,
        backend: Callable[[str], httpcore.AsyncNetworkBackend],
        *,
        limits: httpx.Limits,
        ssl_context: ssl.SSLContext | None = None,
        many_hosts: bool = False,
    ) -> None:
        context = ssl_context or httpx.create_ssl_context(trust_env=False)

        def make(scheme: str) -> Callable[[int], httpcore.AsyncConnectionPool]:
            return lambda width: httpcore.AsyncConnectionPool(
                ssl_context=context,
                max_connections=width,
                max_keepalive_connections=width,
                keepalive_expiry=limits.keepalive_expiry,
                network_backend=backend(scheme),
            )

        def make_pool(scheme: str) -> Pool:
            most = limits.max_connections or NARROW
            if many_hosts:
                return PoolPerHost(make(scheme), most, limits.keepalive_expiry or 0.0)
            return WidePool(make(scheme), most)

        self._pools = {scheme: make_pool(scheme) for scheme in ("https", "http")}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request."""
        return await self.send(request, request.url, request.extensions)

    async def send(self, request: httpx.Request, url: httpx.URL, extensions: Mapping[str, Any]) -> httpx.Response:
        """Send a request to a URL with httpcore's extensions; errors are httpx's."""
        assert isinstance(request.stream, httpx.AsyncByteStream)
        pool = self._pools.get(url.scheme)
        if pool is None:
            raise httpx.UnsupportedProtocol(f"not a scheme that is spoken here: {url.scheme}", request=request)
        with _as_httpx_errors(request):
            answer, release = await pool.handle_async_request(
                httpcore.Request(
                    method=request.method,
                    url=httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
                    headers=request.headers.raw,
                    content=request.stream,
                    extensions=dict(extensions),
                )
            )
        assert isinstance(answer.stream, AsyncIterable)
        stream = answer.extensions.get("network_stream")
        if isinstance(stream, Stream):
            stream.end_head()
        return httpx.Response(
            answer.status, headers=answer.headers, stream=_Body(answer, request, release), extensions=answer.extensions
        )

    async def aclose(self) -> None:
        """Close every connection."""
        for pool in self._pools.values():
            await pool.aclose()


class GuardedTransport(PooledTransport):
    """Sends requests to checked addresses only; a connection knows the scheme under whose rules it was opened."""

    def __init__(
        self,
        policy: GuardPolicy,
        *,
        limits: httpx.Limits,
        resolver: Resolver,
        ssl_context: ssl.SSLContext | None,
        many_hosts: bool = False,
    ) -> None:
        super().__init__(
            lambda scheme: GuardedBackend(scheme, policy, resolver),
            limits=limits,
            ssl_context=ssl_context,
            many_hosts=many_hosts,
        )
        self._policy = policy

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request; its URL is checked here again, whoever built it."""
        url = check_url(str(request.url), self._policy)
        # No `sni_hostname` from outside: the certificate is checked against the host that was asked for.
        return await self.send(request, url, {"timeout": request.extensions.get("timeout", {})})


class GuardedBackend(httpcore.AsyncNetworkBackend):
    """Resolves, checks every address of the answer, and connects to those only, in their order."""

    def __init__(self, scheme: str, policy: GuardPolicy, resolver: Resolver) -> None:
        self._scheme = scheme
        self._policy = policy
        self._resolver = resolver
        self._sockets = StreamBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to the first address that answers; timeout: seconds for DNS, and for each address."""
        addresses = await self._find_addresses(host, port, timeout)
        for address in addresses[:-1]:
            try:
                return await self._connect(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                continue
        return await self._connect(addresses[-1], port, timeout, local_address, socket_options)

    async def _find_addresses(self, host: str, port: int, seconds: float | None) -> list[str]:
        try:
            async with asyncio.timeout(seconds):
                return await find_addresses(
                    host, port, scheme=self._scheme, policy=self._policy, resolver=self._resolver
                )
        except TimeoutError:
            raise httpcore.ConnectTimeout("DNS did not answer in time") from None

    async def _connect(
        self,
        address: str,
        port: int,
        seconds: float | None,
        local_address: str | None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None,
    ) -> httpcore.AsyncNetworkStream:
        stream = await self._sockets.connect_tcp(address, port, seconds, local_address, socket_options)
        try:
            peer = str(stream.get_extra_info("server_addr")[0])
            check_peer(peer, address)
            check_address(peer, self._policy)
        except BaseException:
            await stream.aclose()
            raise
        return stream

    async def sleep(self, seconds: float) -> None:
        """Wait; httpcore's interface, used by its retries, which are off."""
        await asyncio.sleep(seconds)


class _Body(httpx.AsyncByteStream):
    def __init__(self, answer: httpcore.Response, request: httpx.Request, release: Callable[[], None]) -> None:
        self._answer = answer
        self._request = request
        self._release = release

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with _as_httpx_errors(self._request):
            since = 0
            async for chunk in self._answer.aiter_stream():
                yield chunk
                since += 1
                if since == _CHUNKS_AT_ONCE:
                    since = 0
                    await asyncio.sleep(0)

    async def aclose(self) -> None:
        try:
            with _as_httpx_errors(self._request):
                await self._answer.aclose()
        finally:
            self._release()


@contextmanager
def _as_httpx_errors(request: httpx.Request) -> Iterator[None]:
    """Turn httpcore's errors into httpx's of the same name."""
    try:
        yield
    except (httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError, httpcore.PoolTimeout) as error:
        kind = getattr(httpx, type(error).__name__, httpx.TransportError)
        raise kind(str(error) or type(error).__name__, request=request) from error
    except httpcore.UnsupportedProtocol as error:
        raise httpx.UnsupportedProtocol(str(error), request=request) from error
