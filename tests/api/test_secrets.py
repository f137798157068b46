"""Secrets show up nowhere: in no log at its most talkative, no answer, no event, no error, no dead letter."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import asyncpg
import httpx

from service.demo.s3server import S3Server
from service.sandbox import Sandbox, SandboxSettings
from tests.processes import serve
from tests.serving import serving_sandbox
from tests.world import API_KEY, SECRET_KEY, client_for, destination, environment, free_port, job_body, txt2img

PROVIDER_KEY = "sk-the-operators-key-at-the-provider"
BUCKET_SECRET = "a-wrong-secret-access-key-to-be-found/nowhere"
CONSUMER_TOKEN = "the-consumers-own-token-in-its-webhook"
INPUT_KEY = "a-key-out-of-habit-inside-the-input"
FAULTS = (
    "",
    "400",
    "403_html",
    "500_after",
    "reset_after",
    "wrong_type",
    "private_url",
    "malformed",
    "failed",
    "truncated",
)
TABLES = (
    "events",
    "dead_letters",
    "attempts",
    "pgqueuer_log",
    "pgqueuer",
    "api_keys",
    "idempotency_keys",
    "destinations",
    "deliveries",
    "delivery_attempts",
    "account_events",
)


async def _use_every_route(client: httpx.AsyncClient, s3: S3Server, bucket: str) -> tuple[list[str], list[str]]:
    """Return the text of every answer, and the signed links that were answered."""
    answers: list[httpx.Response] = []

    async def ask(method: str, path: str, **more: Any) -> httpx.Response:
        answers.append(await client.request(method, path, **more))
        return answers[-1]

    await ask("PUT", "/v1/destinations/acme", json=destination(s3, bucket))
    broken = destination(s3, bucket)
    broken["auth"]["secret_access_key"] = BUCKET_SECRET
    await ask("PUT", "/v1/destinations/broken", json=broken)
    await ask("PUT", "/v1/destinations/broken", json={**broken, "bucket": "B", "secret_access_key": BUCKET_SECRET})
    for path in ("/v1/destinations/acme/check", "/v1/destinations/broken/check"):
        await ask("POST", path)
    bodies = [_body(f"a lighthouse [fault:{fault}]" if fault else "a lighthouse") for fault in FAULTS]
    bodies += [{**_body(), "destination": "broken"}, {**_body(), "test_mode": {"enabled": True}}]
    for body in [*bodies, {**_body(), "provider": "other"}, _body("")]:
        await ask("POST", "/v1/jobs", json=body, headers={"Idempotency-Key": f"key {len(answers)}"})
    jobs = [answer.json()["id"] for answer in answers if answer.status_code == 202]
    assert len(jobs) == len(bodies)
    await asyncio.gather(*(ask("GET", f"/v1/jobs/{job}", params={"wait": 4}) for job in jobs))
    for job in jobs:
        for more in ("events?limit=100", "callbacks?limit=100", "outputs/0"):
            await ask("GET", f"/v1/jobs/{job}/{more}")
        await ask("POST", f"/v1/jobs/{job}/cancel")
        await ask("POST", f"/v1/jobs/{job}/retry")
    for path in ("/v1/jobs?limit=100", "/v1/destinations", "/v1/providers", "/metrics", "/readyz", "/nowhere?key=1"):
        await ask("GET", path)
    links = [answer.headers["location"] for answer in answers if answer.status_code == 307]
    return [answer.text for answer in answers], links


def _body(prompt: str = "a lighthouse") -> dict[str, Any]:
    hook = f"https://consumer.example/in?token={CONSUMER_TOKEN}"
    return job_body(webhook=hook, input={**txt2img(prompt, extra={"webhook": {"url": hook}}), "key": INPUT_KEY})


def _secrets(sandbox: Sandbox, links: list[str], s3: S3Server) -> set[str]:
    """Return everything that must be found nowhere."""
    tokens = {(submit.callback_url or "").rpartition("/")[2] for submit in sandbox.submits}
    signed = re.findall(
        r"https?://[^\"\\]+\?([^\"\\]+)", " ".join(t.body.decode("utf-8", "replace") for t in sandbox.callbacks_sent)
    )
    own = [re.search(r"X-Amz-Signature=(\w+)", link) for link in links]
    assert len(tokens) > 8
    assert signed
    assert own
    return {
        API_KEY, SECRET_KEY, PROVIDER_KEY, BUCKET_SECRET, CONSUMER_TOKEN, INPUT_KEY, s3.secret_access_key,
        *tokens, *signed, *(found[1] for found in own if found),
    }  # fmt: skip


async def test_no_secret_is_logged_answered_or_kept_where_it_is_shown(
    database_url: str, s3_server: S3Server, bucket: str, tmp_path: Path
) -> None:
    settings = SandboxSettings(api_key=PROVIDER_KEY, latency_seconds=0.01, callback_retry_seconds=(0.01,) * 4)
    async with serving_sandbox(settings) as fake:
        given = environment(
            port=free_port(),
            sandbox_url=fake.url,
            database_url=database_url,
            GENRELAY_PROVIDERS__NOVITA__API_KEY=PROVIDER_KEY,
            GENRELAY_LOG_LEVEL="debug",
            GENRELAY_SUBMIT__UNKNOWN_SECONDS="1",
            GENRELAY_OUTPUTS__MAX_ATTEMPTS="1",
        )
        async with serve(given, tmp_path / "log") as process, client_for(process.url) as client:
            answers, links = await _use_every_route(client, s3_server, bucket)
            for submit in fake.sandbox.submits:
                # A callback that comes again, one with a spoilt token, one that is too large.
                for url, body in (
                    (submit.callback_url, b"{}"),
                    (f"{submit.callback_url}x", b""),
                    (submit.callback_url, b" " * 2**21),
                ):
                    answers.append((await client.post(str(url), content=body)).text)
            assert await process.terminate() == 0
        log = (tmp_path / "log").read_text(encoding="utf-8")
        secrets = _secrets(fake.sandbox, links, s3_server)
    assert '"job.submitted"' in log
    assert all(json.loads(line) for line in log.splitlines())
    _find_nowhere(secrets, {"the log": log, "an answer": "\n".join(answers), "a row": await _rows(database_url)})


async def _rows(database_url: str) -> str:
    connection = await asyncpg.connect(database_url)
    try:
        rows = [row for table in TABLES for row in await connection.fetch(f"SELECT t::text AS text FROM {table} t")]
        rows += await connection.fetch("SELECT error::text AS text FROM jobs WHERE error IS NOT NULL")
        assert len(rows) > 50
    finally:
        await connection.close()
    return "\n".join(row["text"] for row in rows)


def _find_nowhere(secrets: set[str], places: dict[str, str]) -> None:
    for place, text in places.items():
        for secret in secrets:
            at = text.find(secret)
            assert at < 0, f"{place} holds {secret}: …{text[max(0, at - 200) : at]}"
