"""The receivers of docs/receiving.md take what is ours, once, and nothing else."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from config.settings import DeliverySettings
from examples.receivers.verify_key import fetch_key, is_genuine
from service.events.body import encode, event_json, thin
from service.events.signing import make_secret, sign
from service.events.signing_secrets import DEFAULT_GRACE_SECONDS, MOST_GRACE_SECONDS, MOST_SECRETS
from service.ids import new_uuid, show
from tests.events.bodies import EVERY_TYPE, NOW, make_event
from tests.events.receivers import FOLDER, RunningReceiver, running_receiver
from tests.receiver import Receiver
from tests.world import World

PAGE = Path(__file__).parents[2] / "docs" / "receiving.md"
FILES = ("receive.py", "receive.ts")
SECRET = make_secret()


@pytest.fixture(params=FILES)
async def running(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[RunningReceiver]:
    """Each of the receivers in turn, as a process of its own."""
    async with running_receiver(request.param, SECRET, tmp_path) as receiver:
        yield receiver


def signed(event: dict[str, Any], *secrets: str, body: bytes | None = None, age: int = 0) -> dict[str, str]:
    """Return the headers of a delivery."""
    at = int(time.time()) - age
    return {
        "content-type": "application/cloudevents+json; charset=utf-8",
        "webhook-id": event["id"],
        "webhook-timestamp": str(at),
        "webhook-signature": sign(event["id"], at, encode(event) if body is None else body, secrets),
    }


async def post(url: str, body: bytes, headers: dict[str, str]) -> int:
    async with httpx.AsyncClient(trust_env=False, timeout=20) as http:
        return (await http.post(url, content=body, headers=headers)).status_code


async def test_every_event_is_taken_once_however_often_it_comes(running: RunningReceiver) -> None:
    events = [make_event(each, "ein Leuchtturm bei Nacht – 灯台 🌊") for each in EVERY_TYPE]
    for event in events:
        for body in (encode(event), encode(thin(event))):
            assert await post(running.url, body, signed(event, SECRET, body=body)) == 204
    assert running.inbox() == [event["id"] for event in events]


async def test_what_was_tampered_with_is_refused(running: RunningReceiver) -> None:
    event = make_event("job.succeeded")
    body, headers = encode(event), signed(event, SECRET)
    refused = [
        (body.replace(b"running", b"RUNNING"), headers),
        (body + b" ", headers),
        (body, {**headers, "webhook-id": show("evt", new_uuid())}),
        (body, {**headers, "webhook-timestamp": str(int(headers["webhook-timestamp"]) + 1)}),
        (body, {**headers, "webhook-timestamp": "yesterday"}),
        (body, {**headers, "webhook-signature": "v1"}),
        (body, {**headers, "webhook-signature": "v1,%%%"}),
        (body, {**headers, "webhook-signature": headers["webhook-signature"].replace("v1,", "v2,")}),
        (body, {name: value for name, value in headers.items() if name != "webhook-signature"}),
        (b"\xff\xfe", headers),
    ]
    assert [await post(running.url, *each) for each in refused] == [401] * len(refused)
    assert running.inbox() == []
    assert await post(running.url, body, headers) == 204


async def test_a_body_without_an_end_is_refused_before_it_is_read(running: RunningReceiver) -> None:
    event = make_event("job.succeeded")
    with contextlib.suppress(httpx.TransportError):  # it may hang up while we are still sending
        assert await post(running.url, b" " * 2**22, signed(event, SECRET, body=b"")) == 413
    assert await post(running.url, encode(event), signed(event, SECRET)) == 204


async def test_a_wrong_secret_is_refused_and_both_are_taken_during_a_rotation(running: RunningReceiver) -> None:
    event, other = make_event("job.failed"), make_secret()
    assert await post(running.url, encode(event), signed(event, other)) == 401
    assert await post(running.url, encode(event), signed(event, other, SECRET)) == 204


async def test_an_old_delivery_is_refused_and_a_replayed_one_is_not_taken_again(running: RunningReceiver) -> None:
    event = make_event("job.succeeded")
    assert await post(running.url, encode(event), signed(event, SECRET, age=330)) == 401
    assert await post(running.url, encode(event), signed(event, SECRET, age=-330)) == 401
    headers = signed(event, SECRET, age=290)
    assert [await post(running.url, encode(event), headers) for _ in range(3)] == [204] * 3
    assert running.inbox() == [event["id"]]


async def test_an_older_event_that_comes_later_does_not_undo_a_newer_one(running: RunningReceiver) -> None:
    job_id = new_uuid()
    events = [job_event(job_id, *each) for each in ((1, "queued"), (4, "succeeded"), (3, "copying"), (2, "running"))]
    for event in events:
        assert await post(running.url, encode(event), signed(event, SECRET)) == 204
    assert running.jobs() == {show("job", job_id): (4, "succeeded")}
    assert len(running.inbox()) == 4


def job_event(job_id: Any, sequence: int, status: str) -> dict[str, Any]:
    job = {"id": show("job", job_id), "object": "job", "status": status}
    row = {
        "id": new_uuid(),
        "type": "job.progress",
        "job_id": job_id,
        "time": NOW,
        "source": "https://genrelay.example",
    }
    return event_json({**row, "data": {"sequence": sequence, "job": job}})


@pytest.mark.parametrize("file", [*FILES, "verify_key.py"])
def test_the_page_shows_the_files_as_they_are(file: str) -> None:
    blocks = re.findall(r"^```(?:python|ts)\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert (FOLDER / file).read_text(encoding="utf-8") in blocks


def test_what_is_installed_is_fixed_and_comes_from_wherever_the_reader_gets_packages() -> None:
    package, lock = [json.loads((FOLDER / name).read_text()) for name in ("package.json", "package-lock.json")]
    for version in package["dependencies"].values():
        assert re.fullmatch(r"\d+\.\d+\.\d+", version)
    assert lock["packages"][""]["dependencies"] == package["dependencies"]
    installed = [each for name, each in lock["packages"].items() if name]
    assert all(each["integrity"].startswith("sha512-") for each in installed)
    assert "http" not in json.dumps(lock)


async def test_the_key_of_the_key_set_verifies_and_another_accounts_does_not(world: World, receiver: Receiver) -> None:
    ours, theirs = [(await each.get("/v1/account/signing-key")).json()["id"] for each in (world.client, world.stranger)]
    account = await world.service.accounts.authenticate(world.client.headers["authorization"].split()[1])
    row = await world.service.pool.fetchrow("SELECT * FROM signing_keys WHERE account_id = $1", account)
    assert row is not None
    event = make_event("job.succeeded")
    body, at = encode(event), int(time.time())
    key = world.service.keyring.decrypt(row["secret"])
    headers = {
        "webhook-id": event["id"],
        "webhook-timestamp": str(at),
        "webhook-signature": sign(event["id"], at, body, [SECRET], [key]),
    }
    our_key, their_key = [await asyncio.to_thread(fetch_key, world.url, each) for each in (ours, theirs)]
    whole = (await world.client.get("/.well-known/jwks.json")).text
    receiver.plan("/.well-known/jwks.json", body=whole)
    assert await asyncio.to_thread(fetch_key, receiver.url, ours) == our_key != their_key
    assert is_genuine(our_key, headers, body)
    assert not is_genuine(their_key, headers, body)
    assert not is_genuine(our_key, headers, body + b" ")
    assert not is_genuine(our_key, {**headers, "webhook-timestamp": str(at - 301)}, body)
    assert not is_genuine(our_key, {**headers, "webhook-signature": "v1a,%"}, body)
    assert not is_genuine(our_key, {}, body)


def test_the_page_names_the_numbers_of_the_settings() -> None:
    page, settings = PAGE.read_text(encoding="utf-8"), DeliverySettings()
    pauses = [in_words(seconds) for seconds in settings.retry_schedule]
    assert f"after {', '.join(pauses[:-1])} and {pauses[-1]}," in " ".join(page.split())
    for shown, seconds in {
        "within 15 seconds": settings.timeout_seconds - 15,
        "up to 6 hours": settings.max_retry_after_seconds - 6 * 3600,
        "Five failures in a row": settings.breaker_failures - 5,
        "alone for 5 seconds, then longer, up to 5 minutes": settings.breaker_first_seconds * 60
        - settings.breaker_max_seconds,
        "After a day of nothing but failures": settings.warn_after_seconds - 86_400,
        "after five days": settings.disable_after_seconds - 5 * 86_400,
        "up to 1 KiB": settings.response_bytes - 1024,
        "the newest four sign": MOST_SECRETS - 5,
        "a day; 0 to 7 days": DEFAULT_GRACE_SECONDS * 7 - MOST_GRACE_SECONDS,
    }.items():
        assert (shown in " ".join(page.split()), seconds) == (True, 0), shown


def in_words(seconds: float) -> str:
    """Return a time as the page writes it."""
    unit = next(each for each in ((3600, "h"), (60, "min"), (1, "s")) if seconds >= each[0])
    return f"{seconds / unit[0]:g} {unit[1]}"
