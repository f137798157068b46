"""What really leaves the service is verified by everybody's libraries, with every secret and key that should, and no other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import standardwebhooks
import svix.webhooks

from examples.receivers.verify_key import fetch_key, is_genuine
from service.events.signing import make_secret
from tests.events.receivers import running_receiver
from tests.events.test_signing import Refused, check_cloud_event, verify
from tests.receiver import Arrival, Receiver
from tests.world import World, until

LIBRARIES = (standardwebhooks.Webhook, svix.webhooks.Webhook)


async def subscribe(world: World, url: str, **more: Any) -> dict[str, Any]:
    answer = await world.client.post("/v1/subscriptions", json={"url": url, "include_test": True, **more})
    assert answer.status_code == 201, answer.text
    return answer.json()  # type: ignore[no-any-return]


async def secret_of(world: World, subscription: dict[str, Any]) -> str:
    return (await world.client.get(f"/v1/subscriptions/{subscription['id']}/secret")).json()["secret"]  # type: ignore[no-any-return]


async def rotate(world: World, subscription: dict[str, Any], **given: Any) -> str:
    answer = await world.client.post(f"/v1/subscriptions/{subscription['id']}/secret/rotate", json=given)
    assert answer.status_code == 200, answer.text
    return answer.json()["secret"]  # type: ignore[no-any-return]


def takes(secret: str, arrival: Arrival) -> bool:
    """Return whether both libraries take a delivery; they must agree."""
    found = set()
    for library in LIBRARIES:
        try:
            verify(library, secret, arrival.body, arrival.headers)
            found.add(True)
        except Refused:
            found.add(False)
    (agreed,) = found
    return agreed


def ended(path: str) -> Callable[[Arrival], bool]:
    return lambda arrival: arrival.path == path and arrival.event["type"] == "job.succeeded"


async def run_test_job(world: World, **more: Any) -> dict[str, Any]:
    return await world.run(test_mode={"enabled": True}, **more)


@pytest.mark.parametrize("payload", ["full", "thin"])
async def test_every_delivery_is_verified_and_parsed_by_the_official_libraries(
    world: World, receiver: Receiver, payload: str
) -> None:
    subscription = await subscribe(world, f"{receiver.url}/hooks", payload=payload, event_types=["*"])
    secret = await secret_of(world, subscription)
    key = await asyncio.to_thread(fetch_key, world.url, subscription["signing_key_id"])
    job = await run_test_job(world)
    await receiver.until(1, where=ended("/hooks"))
    for arrival in await receiver.until(len(await world.events(job)), "/hooks"):
        assert takes(secret, arrival)
        assert not takes(make_secret(), arrival)
        assert is_genuine(key, arrival.headers, arrival.body)
        check_cloud_event(arrival.event["type"], arrival.body, arrival.headers, source=world.url)


async def test_during_a_rotation_both_secrets_verify_and_without_a_grace_only_the_new_one(
    world: World, receiver: Receiver
) -> None:
    subscription = await subscribe(world, f"{receiver.url}/hooks", event_types=["job.succeeded"])
    first = await secret_of(world, subscription)
    second = await rotate(world, subscription, grace_seconds=3600)
    await run_test_job(world)
    await receiver.until(1)
    third = await rotate(world, subscription, grace_seconds=0)
    await run_test_job(world)
    during, after = await receiver.until(2)
    assert [takes(each, during) for each in (first, second, third)] == [True, True, False]
    assert [takes(each, after) for each in (first, second, third)] == [False, False, True]


async def test_a_jobs_webhook_is_signed_with_the_accounts_secret(world: World, receiver: Receiver) -> None:
    secret = (await world.client.get("/v1/account/webhook-secret")).json()["secret"]
    new = (await world.client.post("/v1/account/webhook-secret/rotate", json={"grace_seconds": 60})).json()["secret"]
    await run_test_job(world, webhook=f"{receiver.url}/own")
    (arrival,) = await receiver.until(1, where=ended("/own"))
    assert [takes(each, arrival) for each in (secret, new, make_secret())] == [True, True, False]
    await world.client.post("/v1/account/webhook-secret/rotate", json={"grace_seconds": 0, "secret": make_secret()})
    await run_test_job(world, webhook=f"{receiver.url}/after")
    (arrival,) = await receiver.until(1, where=ended("/after"))
    assert [takes(each, arrival) for each in (secret, new)] == [False, False]


@pytest.mark.parametrize("file", ["receive.py", "receive.ts"])
async def test_the_receivers_of_the_docs_take_every_delivery_of_the_service(
    world: World, tmp_path: Path, file: str
) -> None:
    secret = make_secret()
    async with running_receiver(file, secret, tmp_path) as running:
        subscription = await subscribe(world, running.url)
        await rotate(world, subscription, grace_seconds=0, secret=secret)
        jobs = [await run_test_job(world) for _ in range(2)]
        events = [event["id"] for job in jobs for event in await world.events(job)]

        async def all_came() -> bool:
            return len(running.inbox()) >= len(events)

        await until(all_came)
        assert sorted(running.inbox()) == sorted(events)
        assert {job: found[1] for job, found in running.jobs().items()} == {job["id"]: "succeeded" for job in jobs}
        tried = (await world.client.post(f"/v1/subscriptions/{subscription['id']}/test")).json()
        assert (tried["ok"], tried["response_status"]) == (True, 204)
        assert len(running.inbox()) == len(events) + 1
        await rotate(world, subscription, grace_seconds=0)
        tried = (await world.client.post(f"/v1/subscriptions/{subscription['id']}/test")).json()
        assert (tried["ok"], tried["response_status"]) == (False, 401)
