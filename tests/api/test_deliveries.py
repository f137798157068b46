"""`/v1/deliveries`, and what a job says of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.receiver import Receiver, serving_receiver
from tests.world import World, until

TEST = {"test_mode": {"enabled": True, "return_task_status": "TASK_STATUS_SUCCEED"}}


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with serving_receiver() as running:
        yield running


async def _settled(world: World, job: dict[str, Any]) -> dict[str, Any]:
    async def look() -> dict[str, Any] | None:
        found = await world.job(job)
        return found if found["completed_at"] and found["deliveries"]["pending"] == 0 else None

    return await until(look)  # type: ignore[return-value]


async def test_a_jobs_webhook_hears_everything_and_the_job_says_so(world: World, receiver: Receiver) -> None:
    job = await _settled(world, await world.submit(webhook=receiver.url + "/hooks", **TEST))
    events = await world.events(job)
    assert job["deliveries"] == {"pending": 0, "delivered": len(events), "failed": 0, "canceled": 0}
    assert {each.id: each.event for each in receiver.arrivals} == {event["id"]: event for event in events}
    assert all("deliveries" not in each.event["data"]["job"] for each in receiver.arrivals)
    listed = (await world.client.get(job["links"]["deliveries"], params={"limit": 100})).json()["data"]
    assert sorted(each["event_id"] for each in listed) == sorted(event["id"] for event in events)
    assert {each["job_id"] for each in listed} == {job["id"]}


async def test_a_delivery_shows_its_attempts(world: World, receiver: Receiver) -> None:
    url = receiver.plan("/gone", then=410, body="not here")
    job = await _settled(world, await world.submit(webhook=url, webhook_events_filter=["job.succeeded"], **TEST))
    [listed] = (await world.client.get("/v1/deliveries", params={"status": "failed"})).json()["data"]
    assert "attempts" not in listed
    found = (await world.client.get(f"/v1/deliveries/{listed['id']}")).json()
    [attempt] = found.pop("attempts")
    assert found == listed
    assert (found["object"], found["status"], found["reason"]) == ("delivery", "failed", "gone")
    assert (found["attempt_count"], found["response_status"], found["next_attempt_at"]) == (1, 410, None)
    assert (found["event_type"], found["job_id"], found["payload"]) == ("job.succeeded", job["id"], "full")
    assert (attempt["number"], attempt["outcome"], attempt["response_status"]) == (1, "failed", 410)
    assert (attempt["error"], attempt["response"]) == ("answered 410", "not here")
    assert attempt["duration_ms"] >= 0


async def test_resending_asks_for_a_subscription_that_takes_something(world: World, receiver: Receiver) -> None:
    job = await _settled(
        world, await world.submit(webhook=receiver.url + "/hooks", webhook_events_filter=["job.succeeded"], **TEST)
    )
    [listed] = (await world.client.get(job["links"]["deliveries"])).json()["data"]
    answer = await world.client.post(f"/v1/deliveries/{listed['id']}/resend")
    assert (answer.status_code, answer.json()["status"]) == (202, "pending")
    assert answer.headers["location"] == f"/v1/deliveries/{listed['id']}"
    first, second = await receiver.until(2)
    assert (first.id, first.body) == (second.id, second.body)
    assert (await world.client.post(f"/v1/subscriptions/{listed['subscription_id']}/disable")).status_code == 200
    answer = await world.client.post(f"/v1/deliveries/{listed['id']}/resend")
    assert (answer.status_code, answer.json()["code"]) == (409, "subscription_stopped")


async def test_lists_are_filtered_paged_and_nobody_elses(world: World, receiver: Receiver) -> None:
    job = await _settled(world, await world.submit(webhook=receiver.url + "/hooks", **TEST))
    listed = (await world.client.get("/v1/deliveries")).json()["data"]
    ids: list[str] = []
    params: dict[str, Any] = {"limit": 1}
    while True:
        answer = (await world.client.get("/v1/deliveries", params=params)).json()
        ids += [each["id"] for each in answer["data"]]
        if not answer["has_more"]:
            break
        params["cursor"] = answer["next_cursor"]
    assert ids == [each["id"] for each in listed] == sorted(ids, reverse=True)
    sub = listed[0]["subscription_id"]
    for given, count in (
        ({"event_type": "job.succeeded"}, 1),
        ({"status": "failed"}, 0),
        ({"subscription": sub}, len(ids)),
        ({"subscription": sub, "job": job["id"], "event_type": "job.queued"}, 1),
        ({"subscription": "sub_" + job["id"].removeprefix("job_")}, 0),
    ):
        found = (await world.client.get("/v1/deliveries", params=given)).json()["data"]
        assert len(found) == count, given
    assert (await world.stranger.get("/v1/deliveries")).json()["data"] == []
    assert (await world.stranger.get("/v1/deliveries", params={"job": job["id"]})).json()["data"] == []
    for path, method in ((f"/v1/deliveries/{ids[0]}", "GET"), (f"/v1/deliveries/{ids[0]}/resend", "POST")):
        assert (await world.stranger.request(method, path)).status_code == 404
    for wrong in ({"job": "evt_1"}, {"status": "lost"}, {"cursor": "x"}, {"colour": "red"}):
        assert (await world.client.get("/v1/deliveries", params=wrong)).status_code == 422


async def test_recover_needs_a_time_that_is_over(world: World, receiver: Receiver) -> None:
    job = await _settled(world, await world.submit(webhook=receiver.url + "/hooks", **TEST))
    [sub] = {each["subscription_id"] for each in (await world.client.get(job["links"]["deliveries"])).json()["data"]}
    path = f"/v1/subscriptions/{sub}/recover"
    for wrong in (
        {},
        {"since": "yesterday"},
        {"since": 5},
        {"since": "2999-01-01T00:00:00Z"},
        {"since": None, "x": 1},
        [],
    ):
        assert (await world.client.post(path, json=wrong)).status_code == 422, wrong
    answer = await world.client.post(path, json={"since": job["created_at"]})
    assert (answer.status_code, answer.json()) == (202, {"recovered": 0})
    for beyond in ("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "9999-12-31T23:59:59Z"):
        assert (await world.client.post(path, json={"since": beyond})).status_code == 422, beyond
