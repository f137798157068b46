"""No secret that deliveries are signed with is logged, answered where it was not asked for, or readable in the database."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import asyncpg
import httpx

from service.events.signing import make_secret
from tests.processes import serve
from tests.receiver import Receiver
from tests.serving import serving_sandbox
from tests.world import client_for, environment, free_port, job_body

ACCOUNT, KEY = "/v1/account/webhook-secret", "/v1/account/signing-key"


async def test_no_signing_secret_shows_up_anywhere_but_where_it_is_asked_for(
    database_url: str, tmp_path: Path, receiver: Receiver
) -> None:
    async with serving_sandbox() as fake:
        given = environment(
            port=free_port(), sandbox_url=fake.url, database_url=database_url, GENRELAY_LOG_LEVEL="debug"
        )
        async with serve(given, tmp_path / "log") as process, client_for(process.url) as client:
            secrets, answers = await use_secrets(client, receiver)
            assert await process.terminate() == 0
    log = (tmp_path / "log").read_text(encoding="utf-8")
    assert '"route": "/v1/account/webhook-secret/rotate"' in log
    assert len(secrets) == 8
    rows = await all_rows(database_url)
    for place, text in {"log": log, "answers": "\n".join(answers), "rows": rows}.items():
        for word in ("whsk_", *(form for secret in secrets for form in forms(secret))):
            assert word not in text, place
    assert "whsec_" not in log + rows


async def use_secrets(client: httpx.AsyncClient, receiver: Receiver) -> tuple[set[str], list[str]]:
    """Make, rotate, mistype and use secrets; returns them, and the texts of all answers that are not to have any."""
    wanted = {"url": f"{receiver.url}/hooks", "event_types": ["*"], "include_test": True}
    made = await client.post("/v1/subscriptions", json=wanted)
    own = f"{made.json()['links']['self']}/secret"
    shown, answers, mistyped = [], [made], make_secret()[:-4] + "####"
    for path in (own, ACCOUNT):
        shown.append(await client.get(path))
        shown.append(await client.post(f"{path}/rotate"))
        shown.append(await client.post(f"{path}/rotate", json={"secret": make_secret()}))
        answers.append(await client.post(f"{path}/rotate", json={"secret": mistyped}))
        answers.append(await client.post(f"{path}/rotate", json={mistyped: 7}))
    unsaid = make_secret()
    answers.append(await client.get(ACCOUNT, params={"secret": unsaid}))
    job = job_body(test_mode={"enabled": True}, webhook=f"{receiver.url}/own")
    answers.append(await client.post("/v1/jobs", json=job))
    for path in ("/hooks", "/own"):
        await receiver.until(1, path, where=lambda each: each.event["type"] == "job.succeeded")
    paths = (KEY, "/v1/subscriptions", "/v1/events", "/v1/deliveries", "/.well-known/jwks.json", "/metrics")
    answers += [await client.get(path) for path in paths]
    assert {answer.status_code for answer in shown} == {200}
    answers.append(await client.post(f"{KEY}/rotate"))
    return {answer.json()["secret"] for answer in shown} | {mistyped, unsaid}, [answer.text for answer in answers]


def forms(secret: str) -> list[str]:
    """Return what to look for: the text, its base64, and the bytes as PostgreSQL shows them."""
    encoded = secret.removeprefix("whsec_")
    found = [encoded, encoded.encode().hex()]
    return found if "#" in encoded else [*found, base64.b64decode(encoded).hex()]


async def all_rows(database_url: str) -> str:
    """Return every row of every table as text."""
    connection = await asyncpg.connect(database_url)
    try:
        tables = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        rows = [
            row["text"]
            for table in tables
            for row in await connection.fetch(f'SELECT t::text AS text FROM "{table["tablename"]}" t')
        ]
    finally:
        await connection.close()
    assert len(rows) > 20, json.dumps(rows)
    return "\n".join(rows)
