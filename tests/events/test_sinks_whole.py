"""Sinks through the whole service: subscribed over HTTP, a job, and what lies in the queue afterwards."""

from __future__ import annotations

import json
from typing import Any

import pytest

from service.demo.s3server import S3Server
from service.events.body import encode, thin
from tests.aws import Moto, StsFront, operators_environment, sts_front
from tests.events.sinking import SECRET, Cloud
from tests.world import World, running_world, until

ROLE = "arn:aws:iam::123456789012:role/customers/genrelay"


@pytest.fixture
def cloud(moto: Moto) -> Cloud:
    return Cloud(moto)


async def subscribe(world: World, sink: dict[str, Any], **more: Any) -> dict[str, Any]:
    answer = await world.client.post("/v1/subscriptions", json={"sink": sink, **more})
    assert answer.status_code == 201, answer.text
    assert SECRET not in answer.text
    return answer.json()  # type: ignore[no-any-return]


async def delivered(world: World, job: dict[str, Any]) -> list[dict[str, Any]]:
    """Wait until every delivery of an ended job has been made; returns the job's events."""
    events = await world.events(job)

    async def all_of_them() -> bool:
        counts = (await world.job(job))["deliveries"]
        assert counts["failed"] == 0, counts
        return bool(counts["pending"] == 0 and counts["delivered"] == len(events))

    await until(all_of_them)
    return events


async def test_a_fifo_queue_gets_every_event_of_a_job_in_order_with_the_feeds_bytes(world: World, cloud: Cloud) -> None:
    queue_url = cloud.make_queue(fifo=True)
    await subscribe(world, cloud.sqs_sink(queue_url), event_types=["job.*", "output.*"])
    jobs = [await world.run(f"a lighthouse at dawn {number}") for number in range(3)]
    told = {job["id"]: [encode(event) for event in await delivered(world, job)] for job in jobs}
    got: dict[str, list[bytes]] = {}
    for message in cloud.receive(queue_url):
        got.setdefault(message["Attributes"]["MessageGroupId"], []).append(message["Body"].encode())
    assert got == told


async def test_a_topic_and_a_bus_get_what_they_asked_for(world: World, cloud: Cloud) -> None:
    topics, buses = cloud.make_queue("topics"), cloud.make_queue("buses")
    topic_arn, bus = cloud.make_topic(topics), cloud.make_bus(buses, {"source": ["genrelay"]})
    await subscribe(world, cloud.sns_sink(topic_arn), event_types=["job.succeeded"])
    await subscribe(world, cloud.bus_sink(bus), event_types=["job.succeeded"], payload="thin")
    job = await world.run()
    *_others, last = await world.events(job)
    assert last["type"] == "job.succeeded"

    async def both() -> bool:
        return bool((await world.job(job))["deliveries"]["delivered"] == 2)

    await until(both)
    assert [message["Body"].encode() for message in cloud.receive(topics)] == [encode(last)]
    assert [json.loads(message["Body"])["detail"] for message in cloud.receive(buses)] == [thin(last)]


async def test_a_test_of_a_sink_says_what_aws_says(world: World, cloud: Cloud) -> None:
    queue_url = cloud.make_queue()
    made = await subscribe(world, cloud.sqs_sink(queue_url))
    answer = (await world.client.post(made["links"]["test"])).json()
    assert (answer["ok"], answer["error"]) == (True, None)
    [message] = cloud.receive(queue_url)
    assert json.loads(message["Body"]) == answer["event"]
    assert json.loads(answer["response"])["MessageId"] == message["MessageId"]
    gone = await subscribe(world, cloud.sqs_sink(queue_url + "x"))
    answer = (await world.client.post(gone["links"]["test"])).json()
    assert (answer["ok"], answer["response_status"]) == (False, 400)
    assert "Create the queue" in answer["error"]


async def test_a_role_of_a_sink_shows_the_external_id_that_it_asks_for(
    database_url: str, s3_server: S3Server, bucket: str, cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with sts_front(cloud.moto.url) as front:
        for name, value in operators_environment(front.url).items():
            monkeypatch.setenv(name, value)
        async with running_world(database_url, s3_server, bucket) as world:
            queue_url = cloud.make_queue()
            sink = cloud.sqs_sink(queue_url, auth={"type": "assume_role", "role_arn": ROLE})
            made = await subscribe(world, sink, event_types=["job.succeeded"])
            front.external_id = made["sink"]["auth"]["external_id"]
            job = await world.run()
            await until(lambda: _count(world, job))
        await _check_role(front, cloud, queue_url, job)


async def _count(world: World, job: dict[str, Any]) -> int:
    return int((await world.job(job))["deliveries"]["delivered"])


async def _check_role(front: StsFront, cloud: Cloud, queue_url: str, job: dict[str, Any]) -> None:
    assert [(call.session_name, call.external_id) for call in front.assumed] == [(job["id"], front.external_id)]
    assert len(cloud.receive(queue_url)) == 1


async def test_mistakes_in_a_sink_are_told_where_they_are(world: World, cloud: Cloud) -> None:
    sink = cloud.sqs_sink("https://queue.example/123456789012/events", auth={"type": "ambient"})
    answer = await world.client.post("/v1/subscriptions", json={"sink": sink, "url": "https://consumer.example/hooks"})
    assert answer.status_code == 422
    assert {each["path"] for each in answer.json()["errors"]} >= {"url", "sink.auth.type"}
    private = cloud.sqs_sink(cloud.make_queue(), endpoint_url="http://10.0.0.1")
    answer = await world.client.post("/v1/subscriptions", json={"sink": private})
    assert [each["path"] for each in answer.json()["errors"]] == ["sink.endpoint_url"]


async def test_the_policies_of_a_sink_allow_what_it_needs_and_no_more(world: World, cloud: Cloud) -> None:
    role = {"type": "assume_role", "role_arn": ROLE}
    queue_url = cloud.make_queue()
    queue_arn, topic_arn = cloud.arn_of(queue_url), cloud.make_topic(queue_url)
    wanted = [
        (cloud.sqs_sink(queue_url, auth=role), "sqs:SendMessage", queue_arn),
        (cloud.sns_sink(topic_arn, auth=role), "sns:Publish", topic_arn),
        (cloud.bus_sink("bus", auth=role), "events:PutEvents", "arn:aws:events:us-east-1:123456789012:event-bus/bus"),
    ]
    for sink, action, arn in wanted:
        made = await subscribe(world, sink)
        policy = (await world.client.get(f"{made['links']['self']}/policy")).json()
        [statement] = policy["permission_policy"]["Statement"]
        assert (statement["Effect"], statement["Action"], statement["Resource"]) == ("Allow", [action], arn)
        [trust] = policy["trust_policy"]["Statement"]
        assert trust["Condition"] == {"StringEquals": {"sts:ExternalId": made["sink"]["auth"]["external_id"]}}
        assert policy["external_id"] == made["sink"]["auth"]["external_id"]


async def test_the_policies_of_a_key_need_no_trust_and_webhooks_have_none(world: World, cloud: Cloud) -> None:
    made = await subscribe(world, cloud.sqs_sink(cloud.make_queue()))
    policy = (await world.client.get(f"{made['links']['self']}/policy")).json()
    assert (policy["trust_policy"], policy["principal"], policy["external_id"]) == (None, None, None)
    assert "AKIACUSTOMER" in policy["notes"][0]
    webhook = (await world.client.post("/v1/subscriptions", json={"url": "http://127.0.0.1:9/"})).json()
    answer = await world.client.get(f"{webhook['links']['self']}/policy")
    assert (answer.status_code, answer.json()["code"]) == (409, "no_sink")
