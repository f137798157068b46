"""How a public URL looks from this machine, against real sockets and real TLS."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from ipaddress import ip_network
from pathlib import Path

import pytest

from service.net.policy import GuardPolicy
from service.webhook_checks.reaching import _plain, reach
from service.webhook_checks.report import Step
from tests.certificates import make_certificate, server_side, trusting
from tests.listening import answering, http_answer, listening, ok
from tests.world import free_port

LOCAL = GuardPolicy((ip_network("127.0.0.0/8"), ip_network("::1/128")))
PUBLIC = GuardPolicy()


def told(steps: list[Step]) -> list[tuple[bool | None, str | None]]:
    """Return what each of the three steps came to."""
    assert [step.step for step in steps] == ["public_url_resolves", "public_url_reachable", "tls_valid"]
    assert all(step.message for step in steps)
    assert all(step.hint for step in steps if step.ok is False)
    return [(step.ok, step.code) for step in steps]


@contextmanager
def full_backlog() -> Iterator[int]:
    """Lend a port whose listener takes no more connections: what comes is dropped, as by a firewall."""
    with ExitStack() as stack:
        server = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(8):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(server.getsockname())
        yield server.getsockname()[1]


async def test_plain_http_on_an_opened_network_is_fine() -> None:
    async with listening(answering(ok(b""))) as server:
        steps = await reach(f"http://127.0.0.1:{server.port}", LOCAL)
    assert told(steps) == [(True, None), (True, None), (True, "not_https")]


async def test_an_address_that_nobody_outside_reaches_is_named() -> None:
    async with listening(answering(ok(b""))) as server:
        steps = await reach(f"http://127.0.0.1:{server.port}/below", PUBLIC)
    assert told(steps) == [(False, "private_address"), (True, None), (True, "not_https")]
    assert "127.0.0.1" in str(steps[0].message)


def test_plain_http_in_public_is_a_failure() -> None:
    assert (_plain(["93.184.215.14"]).ok, _plain(["10.0.0.1", "93.184.215.14"]).ok) == (False, False)
    assert _plain(["10.0.0.1", "::1"]).ok is True
    assert "ModelsLab demands it" in str(_plain(["93.184.215.14"]).hint)


async def test_a_name_without_an_address_skips_the_rest() -> None:
    steps = await reach("https://genrelay.invalid", PUBLIC)
    assert told(steps) == [(False, "name_not_found"), (None, "skipped"), (None, "skipped")]


async def test_a_port_where_nobody_listens_is_told_apart() -> None:
    steps = await reach(f"https://127.0.0.1:{free_port()}", LOCAL)
    assert told(steps) == [(True, None), (False, "connection_refused"), (None, "skipped")]


async def test_a_good_certificate_is_good(tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path)
    async with listening(answering(ok(b"")), tls=server_side(certificate)) as server:
        steps = await reach(f"https://localhost:{server.port}", LOCAL, trusting(certificate))
    assert told(steps)[1:] == [(True, None), (True, None)]
    assert "good until" in str(steps[2].message)


@pytest.mark.parametrize(
    ("host", "days", "trusted", "code"),
    [
        ("localhost", 2, False, "certificate_self_signed"),
        ("localhost", -1, True, "certificate_expired"),
        ("elsewhere.example", 2, True, "certificate_wrong_host"),
    ],
)
async def test_a_certificate_that_providers_would_refuse_is_told_with_its_fault(
    tmp_path: Path, host: str, days: int, trusted: bool, code: str
) -> None:
    certificate = make_certificate(tmp_path, host, days=days)
    async with listening(answering(ok(b"")), tls=server_side(certificate)) as server:
        steps = await reach(f"https://localhost:{server.port}", LOCAL, trusting(certificate) if trusted else None)
    assert told(steps)[1:] == [(True, None), (False, code)]


async def test_a_certificate_without_the_one_that_vouches_for_it_is_an_incomplete_chain(tmp_path: Path) -> None:
    authority = make_certificate(tmp_path, "authority.example")
    between = make_certificate(tmp_path, "intermediate.example", issuer=authority)
    shown = make_certificate(tmp_path, issuer=between)
    async with listening(answering(ok(b"")), tls=server_side(shown)) as server:
        steps = await reach(f"https://localhost:{server.port}", LOCAL, trusting(authority))
    assert told(steps)[1:] == [(True, None), (False, "certificate_chain_incomplete")]
    assert "whole chain" in str(steps[2].hint)


async def test_a_certificate_whose_first_day_is_tomorrow_is_told_apart(tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path, begins=1)
    async with listening(answering(ok(b"")), tls=server_side(certificate)) as server:
        steps = await reach(f"https://localhost:{server.port}", LOCAL, trusting(certificate))
    assert told(steps)[1:] == [(True, None), (False, "certificate_not_yet_valid")]
    assert "clock" in str(steps[2].hint)


@pytest.mark.parametrize(("address", "found"), [("127.0.0.1", None), ("192.0.2.7", "certificate_wrong_host")])
async def test_a_certificate_for_an_address_is_good_for_that_address_alone(
    tmp_path: Path, address: str, found: str | None
) -> None:
    certificate = make_certificate(tmp_path, address)
    async with listening(answering(ok(b"")), tls=server_side(certificate)) as server:
        steps = await reach(f"https://127.0.0.1:{server.port}", LOCAL, trusting(certificate))
    assert told(steps)[1:] == [(True, None), (found is None, found)]
    assert found is None or "for this address" in str(steps[2].hint)


async def test_an_address_that_answers_nobody_is_a_time_out() -> None:
    with full_backlog() as port:
        steps = await reach(f"https://127.0.0.1:{port}", LOCAL, seconds=0.2)
    assert told(steps) == [(True, None), (False, "connect_timeout"), (None, "skipped")]
    assert "within 0.2 s" in str(steps[1].message)
    assert "drops packets" in str(steps[1].hint)


async def test_a_port_that_does_not_speak_tls_is_told_so() -> None:
    async def hang_up(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(http_answer(400))
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as server:
        steps = await reach(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}", LOCAL)
    assert told(steps)[1:] == [(True, None), (False, "tls_failed")]
