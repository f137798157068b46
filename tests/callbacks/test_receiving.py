"""`POST /v1/callbacks/{provider}/{token}`: a good token is answered 200 for whatever body, a bad one 404."""

from __future__ import annotations

import asyncio
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import AsyncIterator
from urllib.parse import quote
from uuid import uuid4

import httpx
import pytest

from service.callbacks import tokens
from tests.engine.driven import Driven, event, uuid

BODIES = {
    "empty": b"",
    "a NUL byte": b'{"event_type": "\x00"}',
    "an escaped NUL": rb'{"event_type": "\u0000"}',
    "a lone surrogate": rb'{"event_type": "\ud800"}',
    "a lone surrogate in UTF-8": b'{"event_type": "\xed\xa0\x80"}',
    "invalid UTF-8": b"\xff\xfe\xfa",
    "not JSON": b"<html></html>",
    "a number too large": b'{"event_type": 1e999999}',
    "a mebibyte": b"x" * 2**20,
    "nested": b"[" * 50_000,
}


async def _post(driven: Driven, path: str, body: bytes = b"{}", **more: object) -> httpx.Response:
    return await driven.stranger.post(path, content=body, **more)  # type: ignore[arg-type]


@pytest.fixture
async def job(driven: Driven) -> dict[str, object]:
    """A job that waits for its callback."""
    return await driven.sent("a lighthouse [fault:stuck]")


async def test_every_body_is_acknowledged_and_kept_byte_for_byte(driven: Driven, job: dict[str, object]) -> None:
    for name, body in BODIES.items():
        answer = await _post(driven, driven.url_for(job), body)
        assert (answer.status_code, answer.content) == (200, b"{}"), name
    rows = await driven.sql("SELECT body FROM callbacks ORDER BY id")
    assert [row["body"] for row in rows] == list(BODIES.values())
    await driven.settle(job)
    assert set(await driven.verdicts(job)) == {"malformed", "unknown_event"}
    assert (await driven.job(job))["status"] == "running"


async def test_headers_are_kept_as_they_came(driven: Driven, job: dict[str, object]) -> None:
    sent = {"X-Signature": b"\xff\xfe bytes", "Content-Type": b"text/weird; charset=\x80"}
    await _post(driven, driven.url_for(job), b"{}", headers=sent)
    [row] = await driven.sql("SELECT headers FROM callbacks")
    lines = row["headers"].split(b"\n")
    assert b"x-signature: \xff\xfe bytes" in lines
    assert b"content-type: text/weird; charset=\x80" in lines


async def test_what_is_shown_of_a_callback_holds_neither_its_body_nor_its_headers(
    driven: Driven, job: dict[str, object]
) -> None:
    await _post(driven, driven.url_for(job), b"a body with a secret", headers={"X-Secret": "hidden"})
    shown = (await driven.client.get(f"/v1/jobs/{job['id']}/callbacks")).text
    assert json.loads(shown)["data"][0]["bytes"] == 20
    for secret in ("a body", "hidden", driven.url_for(job).rpartition("/")[2]):
        assert secret not in shown


async def _chunks(size: int) -> AsyncIterator[bytes]:
    for _ in range(size // 2**16):
        yield bytes(2**16)
    yield bytes(size % 2**16)


async def test_a_body_over_the_limit_is_refused_and_nothing_of_it_is_kept(
    driven: Driven, job: dict[str, object]
) -> None:
    for content in (bytes(2**20 + 1), _chunks(2**20 + 1)):
        answer = await driven.stranger.post(driven.url_for(job), content=content)
        assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")
    assert (await driven.stranger.post(driven.url_for(job), content=_chunks(2**20))).status_code == 200
    assert len(await driven.sql("SELECT FROM callbacks")) == 1


def _bad_tokens(good: str) -> dict[str, str]:
    raw = urlsafe_b64decode(good)
    return {
        "empty": "",
        "one character": "a",
        "cut": good[:-1],
        "longer": good + "A",
        "padded": good + "=",
        "lower case": good.lower(),
        "upper case": good.upper(),
        "a space behind": good + "%20",
        "a line's end behind": good + "%0A",
        "a NUL behind": good + "%00",
        "a slash in it": good[:20] + "%2F" + good[21:],
        "a slash behind": good + "/",
        "twice": good + good,
        "not ASCII": quote("é" * 52),
        "not UTF-8": "%ff" * 52,
        "a changed mac": urlsafe_b64encode(raw[:-1] + bytes([raw[-1] ^ 1])).decode(),
        "a changed attempt": urlsafe_b64encode(raw[:18] + bytes([raw[18] ^ 1]) + raw[19:]).decode(),
        "a changed job": urlsafe_b64encode(bytes([raw[0] ^ 1]) + raw[1:]).decode(),
        "zeros": urlsafe_b64encode(bytes(39)).decode(),
    }


async def test_a_bad_token_in_any_form_is_unknown_and_nothing_is_kept(driven: Driven, job: dict[str, object]) -> None:
    good = driven.url_for(job).rpartition("/")[2]
    answers = {name: await _post(driven, f"/v1/callbacks/novita/{bad}") for name, bad in _bad_tokens(good).items()}
    assert {name: answer.status_code for name, answer in answers.items()} == dict.fromkeys(answers, 404)
    assert {answer.headers["content-type"] for answer in answers.values()} == {"application/problem+json"}
    assert await driven.sql("SELECT FROM callbacks") == []


async def test_a_good_token_under_another_provider_is_unknown(driven: Driven, job: dict[str, object]) -> None:
    good = driven.url_for(job).rpartition("/")[2]
    for provider in ("modelslab", "Novita", "nobody", "novita%00"):
        assert (await _post(driven, f"/v1/callbacks/{provider}/{good}")).status_code == 404
    assert await driven.sql("SELECT FROM callbacks") == []


async def test_an_api_key_is_neither_needed_nor_of_any_use(driven: Driven, job: dict[str, object]) -> None:
    bare = {"Authorization": ""}
    assert (await driven.client.post(driven.url_for(job), content=b"{}", headers=bare)).status_code == 200
    assert (await driven.client.post("/v1/callbacks/novita/" + "A" * 52, content=b"{}")).status_code == 404


async def test_callbacks_are_posted_and_not_read(driven: Driven, job: dict[str, object]) -> None:
    for method in ("GET", "PUT", "DELETE"):
        assert (await driven.client.request(method, driven.url_for(job))).status_code == 405


async def test_an_acknowledgement_never_waits_for_a_locked_job(driven: Driven, job: dict[str, object]) -> None:
    async with driven.service.pool.acquire() as connection, connection.transaction():
        await connection.fetch("SELECT * FROM jobs WHERE id = $1 FOR UPDATE", uuid(job))
        async with asyncio.timeout(5):
            await driven.post(job, event("task"))
    assert len(await driven.sql("SELECT FROM callbacks")) == 1


async def test_a_token_for_a_job_that_is_gone_is_acknowledged_and_leads_nowhere(driven: Driven) -> None:
    token = tokens.mint(driven.service.keyring, "novita", uuid4(), 1)
    assert (await _post(driven, f"/v1/callbacks/novita/{token}")).status_code == 200
    assert len(await driven.sql("SELECT FROM callbacks")) == 1


async def test_more_than_thirty_two_callbacks_of_a_run_are_acknowledged_and_no_more_are_kept(
    driven: Driven, job: dict[str, object]
) -> None:
    await asyncio.gather(*(driven.post(job, event("task", n=number)) for number in range(60)))
    assert len(await driven.sql("SELECT FROM callbacks")) == 32


async def test_a_callback_that_postgresql_refuses_is_not_acknowledged(driven: Driven, job: dict[str, object]) -> None:
    await driven.sql("ALTER TABLE callbacks ADD CONSTRAINT bad CHECK (length(body) <> 3)")
    answers = await asyncio.gather(*(_post(driven, driven.url_for(job), b"x" * n) for n in range(1, 12)))
    assert [answer.status_code for answer in answers] == [200, 200, 503] + [200] * 8
    assert "retry-after" in answers[2].headers
