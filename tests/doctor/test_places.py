"""What is reached over the network: the public URL and the providers, and the clocks that are heard on the way."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest

from service.doctor import examine
from service.sandbox import SandboxSettings
from tests.certificates import make_certificate, server_side, trusting
from tests.doctor.looking import look, settings, statuses, told
from tests.listening import Answer, answering, http_answer, listening, ok
from tests.serving import serving_sandbox
from tests.world import World, free_port

NOBODY = "postgresql://nobody@127.0.0.1:9/none"


def with_novita(url: str, key: str = "a-key-of-novita", **more: str) -> dict[str, str]:
    return settings(NOBODY, GENRELAY_PROVIDERS__NOVITA__BASE_URL=url, GENRELAY_PROVIDERS__NOVITA__API_KEY=key, **more)


async def test_a_running_service_takes_callbacks_at_its_public_url(world: World) -> None:
    findings = await look(world.settings, "public_url")
    assert statuses(findings) == {
        "public_url.reachable": "ok",
        "public_url.callbacks": "ok",
        "public_url.large_callbacks": "ok",
    }


async def test_without_a_public_url_it_is_said_that_jobs_are_polled() -> None:
    found = told(await look(settings(NOBODY), "public_url"), "public_url")
    assert (found.status, "polled" in found.found) == ("warning", True)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (ok(b"<h1>It works!</h1>"), "this is not a genrelay"),
        (http_answer(404, b"no such page"), "not by a genrelay"),
        (http_answer(403), "asks for credentials"),
        (http_answer(502), "HTTP 502"),
        (http_answer(308, b"", "Location: https://elsewhere.example/"), "redirects to https://elsewhere.example"),
    ],
)
async def test_something_else_at_the_public_url_is_a_failure(answer: bytes, words: str) -> None:
    async with listening(answering(answer)) as server:
        given = settings(NOBODY, GENRELAY_PUBLIC_URL=f"http://127.0.0.1:{server.port}")
        found = told(await look(given, "public_url"), "public_url.callbacks")
    assert found.status == "failed"
    assert words in found.found


OURS = http_answer(404, b'{"type": "/problems/not_found"}', "Content-Type: application/problem+json")


def taking_little(most: int) -> Answer:
    """Answer as a genrelay behind a proxy that takes no large bodies."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        body = await reader.read(most + 1)
        while len(body) <= most and (more := await asyncio.wait_for(reader.read(most), 0.2)):
            body += more
        writer.write(http_answer(413) if len(body) > most else OURS)
        await writer.drain()

    async def patient(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await answer(reader, writer)
        except TimeoutError:
            writer.write(OURS)
            await writer.drain()

    return patient


async def test_a_proxy_that_takes_small_callbacks_only_is_found_out() -> None:
    async with listening(taking_little(100_000)) as server:
        given = settings(NOBODY, GENRELAY_PUBLIC_URL=f"http://127.0.0.1:{server.port}")
        findings = await look(given, "public_url")
    assert told(findings, "public_url.callbacks").status == "ok"
    large = told(findings, "public_url.large_callbacks")
    assert large.status == "failed"
    assert "client_max_body_size" in str(large.hint)


async def test_a_closed_port_may_be_seen_so_from_here_only() -> None:
    findings = await look(settings(NOBODY, GENRELAY_PUBLIC_URL=f"http://127.0.0.1:{free_port()}"), "public_url")
    found = told(findings, "public_url.reachable")
    assert found.status == "warning"
    assert "check-webhook" in str(found.hint)
    assert told(findings, "public_url.callbacks").status == "skipped"


@pytest.mark.parametrize(("days", "status"), [(-1, "failed"), (2, "failed"), (10, "warning"), (60, "ok")])
async def test_a_certificate_is_judged_by_its_last_day(tmp_path: Path, days: int, status: str) -> None:
    certificate = make_certificate(tmp_path, days=days)
    async with listening(answering(OURS), tls=server_side(certificate)) as server:
        given = settings(NOBODY, GENRELAY_PUBLIC_URL=f"https://localhost:{server.port}")
        findings = await look(given, "public_url", trusted=trusting(certificate))
    assert told(findings, "public_url.tls").status == status


async def test_a_public_url_that_hangs_is_bounded() -> None:
    async def hang(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with listening(hang) as server:
        url = f"http://127.0.0.1:{server.port}"
        began = time.monotonic()
        findings = await examine(with_novita(url, GENRELAY_PUBLIC_URL=url), only=("public_url", "providers", "clock"))
    assert time.monotonic() - began < 19
    assert told(findings, "public_url.callbacks").status == "failed"
    assert "did not answer" in told(findings, "providers.novita").found


async def test_what_takes_longer_than_all_may_is_given_up() -> None:
    async def hang(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with listening(hang) as server:
        findings = await examine(with_novita(f"http://127.0.0.1:{server.port}"), only=("providers",), seconds=0.3)
    assert told(findings, "providers").found == "not done within 0.3 s"


@pytest.mark.parametrize("provider", ["NOVITA", "MODELSLAB"])
@pytest.mark.parametrize(("key", "status"), [("the-only-good-key", "ok"), ("some-other-key-777", "failed")])
async def test_a_key_is_tried_without_paying(provider: str, key: str, status: str) -> None:
    async with serving_sandbox(SandboxSettings(api_key="the-only-good-key")) as fake:
        given = {f"GENRELAY_PROVIDERS__{provider}__BASE_URL": fake.url, f"GENRELAY_PROVIDERS__{provider}__API_KEY": key}
        found = told(await look(settings(NOBODY, **given), "providers"), f"providers.{provider.lower()}")
        assert not fake.sandbox.submits
    assert found.status == status
    if status == "failed":
        assert "does not take the key" in found.found
        assert f"GENRELAY_PROVIDERS__{provider}__API_KEY" in str(found.hint)
        assert key not in str(found)


async def test_no_key_at_all_is_a_warning() -> None:
    assert told(await look(settings(NOBODY), "providers"), "providers").status == "warning"


@pytest.mark.parametrize(
    ("answer", "status", "words"),
    [
        (http_answer(503, b"down"), "failed", "in trouble (HTTP 503)"),
        (http_answer(404, b"<h1>no</h1>"), "failed", "not by the provider's API"),
        (http_answer(403, b"<h1>Access denied</h1>"), "failed", "not by the provider itself"),
        (http_answer(429, b'{"reason": "RATE_LIMIT_EXCEEDED"}'), "warning", "could not be tried"),
        (http_answer(400, b'{"reason": "BILLING_BALANCE_NOT_ENOUGH"}'), "failed", "no money left"),
        (http_answer(403, b'{"reason": "NEED_REAL_NAME_VERIFY"}'), "failed", "NEED_REAL_NAME_VERIFY"),
        (http_answer(401, b""), "failed", "does not take the key"),
        (ok(b"<h1>welcome</h1>"), "warning", "not as expected"),
    ],
)
async def test_a_provider_s_answers_are_told_apart(answer: bytes, status: str, words: str) -> None:
    async with listening(answering(answer)) as server:
        findings = await look(with_novita(f"http://127.0.0.1:{server.port}"), "providers")
    found = told(findings, "providers.novita")
    assert (found.status, words in found.found) == (status, True), found


@pytest.mark.parametrize(
    ("url", "words"),
    [("http://127.0.0.1:{}", "refuses connections"), ("https://provider.invalid", "can't be resolved")],
)
async def test_a_provider_that_is_not_there_is_told_by_how(url: str, words: str) -> None:
    found = told(await look(with_novita(url.format(free_port())), "providers"), "providers.novita")
    assert (found.status, words in found.found) == ("failed", True)
    assert "BASE_URL" in str(found.hint)


async def test_a_provider_with_a_bad_certificate_is_told_so(tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path)
    async with listening(answering(OURS), tls=server_side(certificate)) as server:
        found = told(await look(with_novita(f"https://localhost:{server.port}"), "providers"), "providers.novita")
    assert (found.status, "certificate" in found.found) == ("failed", True)


@pytest.mark.parametrize(
    ("ahead", "status", "words"),
    [(0, "ok", "agrees"), (30, "warning", "ahead of"), (-30, "warning", "behind"), (600, "failed", "ahead of")],
)
async def test_the_world_s_clock_is_heard_of_on_the_way(ahead: int, status: str, words: str) -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=ahead), usegmt=True)
    async with listening(answering(http_answer(404, b"{}", f"Date: {date}"))) as server:
        found = told(await look(with_novita(f"http://127.0.0.1:{server.port}"), "clock"), "clock.novita")
    assert (found.status, words in found.found) == (status, True), found
