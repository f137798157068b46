"""The client connects to checked addresses only. Every refusal is proven by a real socket that nobody connected to."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from ipaddress import ip_network

import httpx
import pytest

from service.net import GuardPolicy, NameNotFound, Refused, guarded_client
from service.net.resolver import Resolver, ask_dns, check_peer
from tests.listening import answering, http_answer, listening, ok
from tests.net.conftest import HOST, Tls

CLOSED = GuardPolicy()
# One address of this machine is opened and its neighbour is not, so that a connection to either would be seen.
OPENED = GuardPolicy((ip_network("127.0.0.2/32"),))
ANY_ADDRESS = "0.0.0.0"


def resolving(*answers: Sequence[str]) -> Resolver:
    """Answer the n-th question with the n-th of these, the last one for ever."""
    left = list(answers)

    async def resolve(_host: str, _port: int) -> Sequence[str]:
        return left.pop(0) if len(left) > 1 else left[0]

    return resolve


async def refusal(policy: GuardPolicy, url: str, resolver: Resolver = ask_dns) -> str:
    async with guarded_client(policy, resolver=resolver) as client:
        with pytest.raises(Refused) as refused:
            await client.get(url)
    return refused.value.reason


async def test_name_in_an_opened_subnet_is_reached_over_plain_http_on_any_port() -> None:
    async with (
        listening(answering(ok(b"hello")), address=ANY_ADDRESS) as listener,
        guarded_client(OPENED, resolver=resolving(["127.0.0.2"])) as client,
    ):
        answer = await client.get(f"http://inside.example:{listener.port}/file")
    assert (answer.status_code, answer.content) == (200, b"hello")
    assert f"Host: inside.example:{listener.port}\r\n".encode() in listener.requests[0]


async def test_literal_address_that_is_closed_is_not_connected_to() -> None:
    async with listening(answering(ok(b"")), address=ANY_ADDRESS) as listener:
        assert await refusal(OPENED, f"http://127.0.0.1:{listener.port}/") == "private_address"
        assert await refusal(CLOSED, f"http://127.0.0.1:{listener.port}/") == "scheme"
    assert listener.connections == 0


async def test_name_that_resolves_to_a_closed_address_is_not_connected_to() -> None:
    async with listening(answering(ok(b"")), address=ANY_ADDRESS) as listener:
        url = f"http://inside.example:{listener.port}/"
        assert await refusal(OPENED, url, resolving(["127.0.0.1"])) == "private_address"
        assert await refusal(OPENED, url, resolving(["::ffff:127.0.0.2"])) == "private_address"
    assert listener.connections == 0


async def test_localhost_is_refused_by_the_systems_own_resolver() -> None:
    assert await refusal(CLOSED, "https://localhost:8443/") == "private_address"


async def test_one_closed_address_in_the_answer_refuses_them_all() -> None:
    async with listening(answering(ok(b"")), address=ANY_ADDRESS) as listener:
        url = f"http://inside.example:{listener.port}/"
        for answer in (["127.0.0.2", "127.0.0.1"], ["127.0.0.1", "127.0.0.2"]):
            assert await refusal(OPENED, url, resolving(answer)) == "private_address"
    assert listener.connections == 0


async def test_name_that_turns_private_later_is_refused_then() -> None:
    async with listening(answering(ok(b"first")), address=ANY_ADDRESS) as listener:
        url = f"http://rebinding.example:{listener.port}/"
        async with guarded_client(OPENED, resolver=resolving(["127.0.0.2"], ["127.0.0.1"])) as client:
            assert (await client.get(url)).content == b"first"
            with pytest.raises(Refused):
                await client.get(url)
    assert listener.connections == 1


async def test_public_name_may_not_be_reached_over_plain_http_or_odd_ports_although_subnets_are_opened() -> None:
    public = resolving(["1.1.1.1"])
    assert await refusal(OPENED, "http://public.example/", public) == "scheme"
    assert await refusal(OPENED, "http://public.example:443/", public) == "scheme"
    assert await refusal(OPENED, "https://public.example:22/", public) == "port"
    assert await refusal(OPENED, "https://public.example:22/", resolving(["127.0.0.2", "1.1.1.1"])) == "port"


async def test_next_address_is_tried_when_one_does_not_answer() -> None:
    policy = GuardPolicy((ip_network("127.0.0.0/8"),))
    async with (
        listening(answering(ok(b"second")), address="127.0.0.3") as listener,
        guarded_client(policy, resolver=resolving(["127.0.0.4", "127.0.0.3"])) as client,
    ):
        assert (await client.get(f"http://two.example:{listener.port}/")).content == b"second"


async def test_name_without_address_is_a_passing_trouble() -> None:
    async with guarded_client(CLOSED) as client:
        with pytest.raises(NameNotFound) as missing:
            await client.get("https://missing.invalid/")
    assert isinstance(missing.value, httpx.ConnectError)
    async with guarded_client(CLOSED, resolver=resolving([])) as client:
        with pytest.raises(NameNotFound):
            await client.get("https://missing.example/")


async def test_slow_dns_ends_as_a_connect_timeout() -> None:
    async def never(_host: str, _port: int) -> list[str]:
        await asyncio.Event().wait()
        return []

    async with guarded_client(CLOSED, resolver=never, timeout=httpx.Timeout(0.01)) as client:
        with pytest.raises(httpx.ConnectTimeout):
            await client.get("https://slow.example/")


async def test_redirect_is_returned_and_not_followed() -> None:
    async with listening(answering(ok(b"")), address=ANY_ADDRESS) as target:
        moved = http_answer(302, b"", f"Location: http://127.0.0.2:{target.port}/")
        async with listening(answering(moved), address=ANY_ADDRESS) as listener, guarded_client(OPENED) as client:
            assert (await client.get(f"http://127.0.0.2:{listener.port}/")).status_code == 302
    assert target.connections == 0


async def test_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async with (
        listening(answering(ok(b"proxy"))) as proxy,
        listening(answering(ok(b"direct")), address=ANY_ADDRESS) as d,
    ):
        for name in ("http_proxy", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        async with guarded_client(OPENED) as client:
            assert (await client.get(f"http://127.0.0.2:{d.port}/")).content == b"direct"
    assert proxy.connections == 0


async def test_cookie_of_one_answer_is_not_sent_with_the_next_request() -> None:
    async with (
        listening(answering(ok(b"", "Set-Cookie: session=1; Path=/")), address=ANY_ADDRESS) as listener,
        guarded_client(OPENED) as client,
    ):
        for _ in range(2):
            await client.get(f"http://127.0.0.2:{listener.port}/")
    assert len(listener.requests) == 2
    assert b"cookie" not in listener.requests[1].lower()


async def test_tls_asks_for_and_verifies_the_name_of_the_host(tls: Tls) -> None:
    async with (
        listening(answering(ok(b"secret")), address=ANY_ADDRESS, tls=tls.server) as listener,
        guarded_client(OPENED, resolver=resolving(["127.0.0.2"]), ssl_context=tls.client) as client,
    ):
        assert (await client.get(f"https://{HOST}:{listener.port}/")).content == b"secret"
        with pytest.raises(httpx.ConnectError, match="certificate"):
            await client.get(f"https://other.example.com:{listener.port}/")
    assert tls.asked_for == [HOST, "other.example.com"]


async def test_certificate_that_nobody_vouches_for_is_refused(tls: Tls) -> None:
    async with (
        listening(answering(ok(b"")), address=ANY_ADDRESS, tls=tls.server) as listener,
        guarded_client(OPENED, resolver=resolving(["127.0.0.2"])) as client,
    ):
        with pytest.raises(httpx.ConnectError, match="certificate"):
            await client.get(f"https://{HOST}:{listener.port}/")


async def test_caller_can_not_change_which_name_tls_verifies(tls: Tls) -> None:
    async with (
        listening(answering(ok(b"")), address=ANY_ADDRESS, tls=tls.server) as listener,
        guarded_client(OPENED, resolver=resolving(["127.0.0.2"]), ssl_context=tls.client) as client,
    ):
        with pytest.raises(httpx.ConnectError, match="certificate"):
            await client.get(f"https://evil.example.com:{listener.port}/", extensions={"sni_hostname": HOST})


async def test_connection_that_breaks_off_is_httpx_own_error() -> None:
    broken = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"
    async with listening(answering(broken), address=ANY_ADDRESS) as listener, guarded_client(OPENED) as client:
        with pytest.raises(httpx.RemoteProtocolError):
            await client.get(f"http://127.0.0.2:{listener.port}/")


def test_other_end_must_be_the_checked_address() -> None:
    check_peer("2606:4700:4700::1111", "2606:4700:4700:0::1111")
    with pytest.raises(Refused) as refused:
        check_peer("127.0.0.1", "1.1.1.1")
    assert refused.value.reason == "peer_mismatch"
