"""How a public URL looks from this machine, against real sockets and real TLS."""

from __future__ import annotations

import asyncio
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


async def test_a_port_that_does_not_speak_tls_is_told_so() -> None:
    async def hang_up(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(http_answer(400))
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as server:
        steps = await reach(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}", LOCAL)
    assert told(steps)[1:] == [(True, None), (False, "tls_failed")]
