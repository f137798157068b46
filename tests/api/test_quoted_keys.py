"""ModelsLab takes the operator's key in the body, so it may well quote it: nobody gets to see it all the same."""

from __future__ import annotations

import asyncio
import json
from functools import partial
from pathlib import Path
from typing import Any

import asyncpg
import httpx
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.demo.s3server import S3Server
from service.sandbox import SandboxSettings, sandbox_app
from tests.processes import Process, serve
from tests.serving import serving
from tests.world import client_for, destination, environment, free_port, job_body, until

# Nothing recognises it by its looks, as long runs of letters and digits are.
KEY = "the-operators-own-key-at-modelslab"
REFUSED = ("400", "error_200", "message_object", "failed")
ENDING = ("", "instant", "id_text", "500_before", *REFUSED)
# What passes after a pause, which nothing here waits for, and what the log says then. A 429 holds up everything of its kind.
PASSING = {"lookup_500": "job.read_back", "lookup_429": "job.read_back", "429": "job.submitted"}


class Quoting:
    """A ModelsLab that repeats the key it was given in `message` and `meta` of whatever it answers."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hold the answer back until it is whole, and put the key into it."""
        if scope["type"] != "http" or not scope["path"].startswith("/api/"):
            await self.app(scope, receive, send)
            return
        held: list[Message] = []

        async def hold(message: Message) -> None:
            held.append(message)

        await self.app(scope, receive, hold)
        start, *rest = held
        body = json.dumps(_quote(json.loads(b"".join(each["body"] for each in rest)))).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await send({**start, "headers": headers})
        await send({"type": "http.response.body", "body": body})


def _quote(said: dict[str, Any]) -> dict[str, Any]:
    match said.get("message"):
        case dict() as message:
            said["message"] = {**message, "key": [f"The key {KEY} was given."]}
        case "Failed, Try Again":
            said["message"] = f"Generation failed for the key {KEY}"
        case message:
            said["message"] = f"{message or ''} (key {KEY})"
    return {**said, "meta": {**said.get("meta", {}), "key": KEY}, KEY: KEY}


async def test_a_key_that_modelslab_quotes_is_found_nowhere(
    database_url: str, s3_server: S3Server, bucket: str, tmp_path: Path
) -> None:
    app = sandbox_app(SandboxSettings(api_key=KEY, latency_seconds=0.01))
    async with serving(Quoting(app)) as url:
        app.state.sandbox.public_url = url
        given = environment(
            port=free_port(),
            sandbox_url=url,
            database_url=database_url,
            GENRELAY_PROVIDERS__MODELSLAB__API_KEY=KEY,
            GENRELAY_LOG_LEVEL="debug",
            GENRELAY_SUBMIT__UNKNOWN_SECONDS="1",
        )
        async with serve(given, tmp_path / "log") as process, client_for(process.url) as client:
            await client.put("/v1/destinations/acme?check=false", json=destination(s3_server, bucket))
            jobs = await asyncio.gather(*(_run(client, fault) for fault in ENDING))
            for fault, event in PASSING.items():
                before = process.said(event)
                await _submit(client, fault)
                await until(partial(_said_more, process, event, before))
            answers = await _look_everywhere(client)
            assert await process.terminate() == 0
    log = (tmp_path / "log").read_text(encoding="utf-8")
    for place, text in (("the log", log), ("an answer", answers), ("a row", await _rows(database_url))):
        at = text.find(KEY)
        assert at < 0, f"{place} holds the key: …{text[max(0, at - 200) : at]}"
    # What was quoted did get this far: where the key was there is a mark.
    for fault, job in zip(ENDING, jobs, strict=True):
        assert ("[key]" in str(job["error"])) is (fault in REFUSED), (fault, job["error"])


async def _submit(client: httpx.AsyncClient, fault: str) -> str:
    prompt = f"a lighthouse [fault:{fault}]" if fault else "a lighthouse"
    asked = {"prompt": prompt, "model_id": "flux", "width": 64, "height": 64}
    answer = await client.post("/v1/jobs", json=job_body(provider="modelslab", operation="text2img", input=asked))
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


async def _run(client: httpx.AsyncClient, fault: str) -> dict[str, Any]:
    job = await _submit(client, fault)
    ended: dict[str, Any] = (await client.get(f"/v1/jobs/{job}", params={"wait": 30})).json()
    assert ended["completed_at"] is not None, ended
    return ended


async def _said_more(process: Process, event: str, before: int) -> bool:
    return process.said(event) > before


async def _look_everywhere(client: httpx.AsyncClient) -> str:
    """Return the text of everything that can be asked for about the jobs."""
    jobs = [job["id"] for job in (await client.get("/v1/jobs?limit=100")).json()["data"]]
    assert len(jobs) == len((*ENDING, *PASSING))
    paths = [f"/v1/jobs/{job}{more}" for job in jobs for more in ("", "/events?limit=100", "/callbacks?limit=100")]
    paths += ["/v1/jobs?limit=100", "/v1/destinations", "/v1/providers", "/metrics", "/readyz"]
    answers = [await client.get(path) for path in paths]
    assert {answer.status_code for answer in answers} == {200}
    return "\n".join(answer.text for answer in answers)


async def _rows(database_url: str) -> str:
    """Return every row of every table as text, bytes included."""
    connection = await asyncpg.connect(database_url)
    try:
        tables = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        rows = [dict(row) for (table,) in tables for row in await connection.fetch(f'SELECT * FROM "{table}"')]
    finally:
        await connection.close()
    assert len(rows) > 50
    return "\n".join(repr(row) for row in rows)
