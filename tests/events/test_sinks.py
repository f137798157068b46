"""What a queue, a topic and a bus get: the same bytes as everybody, in order, once, with what filters look at."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import datetime

import pytest

from service.aws.roles import Roles
from service.events.sinks import SinkChannel, sink_json
from tests.aws import Moto, StsFront, operators_environment, sts_front
from tests.events.sinking import EXTERNAL_ID, SECRET, Cloud, letter, settings, sink_channel, subscription

ROLE = "arn:aws:iam::123456789012:role/customers/genrelay"


@pytest.fixture
def cloud(moto: Moto) -> Cloud:
    return Cloud(moto)


@pytest.fixture
async def channel() -> AsyncIterator[SinkChannel]:
    async with sink_channel() as opened:
        yield opened


@pytest.fixture
async def front(moto: Moto, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[StsFront]:
    async with sts_front(moto.url) as front:
        for name, value in operators_environment(front.url).items():
            monkeypatch.setenv(name, value)
        yield front


async def deliver(channel: SinkChannel, sink: dict[str, object], count: int = 1) -> list[bytes]:
    """Deliver events of one job, one after the other; returns their bodies."""
    to, bodies, job_id = subscription(sink), [], letter().subject
    for sequence in range(1, count + 1):
        sent = letter(sequence, job_id=job_id)
        reply = await channel.send(to, sent)
        assert (reply.outcome, reply.status, reply.error) == ("delivered", 200, None)
        assert json.loads(reply.response)["MessageId"]
        bodies.append(sent.body)
    return bodies


# --- Messages -------------------------------------------------------------------------------------------------------


async def test_a_queue_gets_the_letters_bytes_and_what_filters_look_at(cloud: Cloud, channel: SinkChannel) -> None:
    queue_url, sent = cloud.make_queue(), letter(7)
    assert (await channel.send(subscription(cloud.sqs_sink(queue_url)), sent)).outcome == "delivered"
    [message] = cloud.receive(queue_url)
    assert message["Body"].encode() == sent.body
    assert {name: (each["DataType"], each["StringValue"]) for name, each in message["MessageAttributes"].items()} == {
        "event_id": ("String", sent.event_id),
        "event_type": ("String", "job.running"),
        "sequence": ("Number", "7"),
    }
    assert "MessageGroupId" not in message["Attributes"]


async def test_a_fifo_queue_keeps_the_order_of_a_job_and_is_told_the_events_ids(
    cloud: Cloud, channel: SinkChannel
) -> None:
    queue_url = cloud.make_queue(fifo=True)
    bodies = await deliver(channel, cloud.sqs_sink(queue_url), 5)
    messages = cloud.receive(queue_url)
    assert [message["Body"].encode() for message in messages] == bodies
    for message in messages:
        event = json.loads(message["Body"])
        assert message["Attributes"]["MessageGroupId"] == event["subject"]
        assert message["Attributes"]["MessageDeduplicationId"] == event["id"]


async def test_an_event_that_is_sent_again_comes_out_of_a_fifo_queue_once(cloud: Cloud, channel: SinkChannel) -> None:
    queue_url, sent = cloud.make_queue(fifo=True), letter()
    to = subscription(cloud.sqs_sink(queue_url))
    for _ in range(3):
        assert (await channel.send(to, sent)).outcome == "delivered"
    assert len(cloud.receive(queue_url)) == 1


@pytest.mark.parametrize("fifo", [False, True])
async def test_a_topics_subscribers_get_the_letters_bytes(cloud: Cloud, channel: SinkChannel, fifo: bool) -> None:
    queue_url = cloud.make_queue(fifo=fifo)
    bodies = await deliver(channel, cloud.sns_sink(cloud.make_topic(queue_url)), 3)
    messages = cloud.receive(queue_url)
    assert [message["Body"].encode() for message in messages] == bodies
    if fifo:
        assert [each["Attributes"]["MessageGroupId"] for each in messages] == [json.loads(bodies[0])["subject"]] * 3


async def test_a_filter_policy_of_a_topic_can_tell_types_apart(cloud: Cloud, channel: SinkChannel) -> None:
    wanted, unwanted = cloud.make_queue(), cloud.make_queue()
    await deliver(channel, cloud.sns_sink(cloud.make_topic(wanted, filter_policy={"event_type": ["job.running"]})))
    await deliver(channel, cloud.sns_sink(cloud.make_topic(unwanted, filter_policy={"event_type": ["job.failed"]})))
    assert (len(cloud.receive(wanted)), len(cloud.receive(unwanted))) == (1, 0)


async def test_a_rule_of_a_bus_gets_the_event_as_its_detail(cloud: Cloud, channel: SinkChannel) -> None:
    queue_url = cloud.make_queue()
    bus = cloud.make_bus(queue_url, {"source": ["genrelay"], "detail-type": ["job.running"]})
    [body] = await deliver(channel, cloud.bus_sink(bus))
    event = json.loads(cloud.receive(queue_url)[0]["Body"])
    assert event["detail"] == json.loads(body)
    assert (event["source"], event["detail-type"]) == ("genrelay", "job.running")
    assert datetime.fromisoformat(event["time"]) == datetime.fromisoformat("2026-11-21T20:15:00Z")


async def test_a_body_of_a_providers_own_shape_goes_out_as_it_is(cloud: Cloud, channel: SinkChannel) -> None:
    queue_url, body = cloud.make_queue(), b'{"status": "success", "id": 7, "time": "soon"}'
    for sink in (cloud.sqs_sink(queue_url), cloud.bus_sink(cloud.make_bus(queue_url, {"source": ["genrelay"]}))):
        assert (await channel.send(subscription(sink), letter(body=body))).outcome == "delivered"
    first, second = (message["Body"] for message in cloud.receive(queue_url))
    assert (first.encode(), json.loads(second)["detail"]) == (body, json.loads(body))


async def test_a_queue_that_is_not_there_is_told_with_awss_code_and_what_to_do(
    cloud: Cloud, channel: SinkChannel
) -> None:
    reply = await channel.send(subscription(cloud.sqs_sink(cloud.make_queue() + "x")), letter())
    assert (reply.outcome, reply.status, reply.final, reply.slow_down) == ("failed", 400, False, False)
    assert reply.error is not None
    assert "NonExistentQueue" in reply.error
    assert "Create the queue" in reply.error


async def test_a_topic_that_is_not_there_is_told_so(cloud: Cloud, channel: SinkChannel) -> None:
    topic_arn = cloud.make_topic(cloud.make_queue()) + "x"
    reply = await channel.send(subscription(cloud.sns_sink(topic_arn)), letter())
    assert (reply.outcome, reply.status) == ("failed", 404)
    assert "Create the topic" in str(reply.error)


# --- Credentials ----------------------------------------------------------------------------------------------------


async def test_a_role_is_assumed_for_the_job_with_the_accounts_external_id(cloud: Cloud, front: StsFront) -> None:
    front.external_id = EXTERNAL_ID
    queue_url = cloud.make_queue()
    sent = letter()
    async with sink_channel() as channel:
        to = subscription(cloud.sqs_sink(queue_url, auth={"type": "assume_role", "role_arn": ROLE}))
        assert (await channel.send(to, sent)).outcome == "delivered"
        assert (await channel.send(to, letter())).outcome == "delivered"
    [call] = front.assumed
    assert (call.role_arn, call.external_id, call.session_name) == (ROLE, EXTERNAL_ID, sent.subject)
    assert len(cloud.receive(queue_url)) == 2


async def test_a_role_that_does_not_let_us_in_is_the_sinks_own_fault(cloud: Cloud, front: StsFront) -> None:
    front.external_id = "somebody else's"
    to = subscription(cloud.sqs_sink(cloud.make_queue(), auth={"type": "assume_role", "role_arn": ROLE}))
    async with sink_channel() as channel:
        reply = await channel.send(to, letter())
    assert (reply.outcome, reply.final) == ("failed", False)
    assert "external id" in str(reply.error)


async def test_a_role_that_takes_too_long_is_not_waited_for(cloud: Cloud, front: StsFront) -> None:
    to = subscription(cloud.sqs_sink(cloud.make_queue(), auth={"type": "assume_role", "role_arn": ROLE}))
    async with sink_channel(settings(GENRELAY_DELIVERY__TIMEOUT_SECONDS="0.5")) as channel:
        front.be("hang")
        reply = await channel.send(to, letter())
        assert (reply.outcome, reply.error) == ("failed", "asking for the role timed out")


@pytest.mark.parametrize("mood", ["bad_key", "throttle", "skewed", "fail"])
async def test_what_sts_holds_against_the_service_is_not_charged_to_the_sink(
    cloud: Cloud, front: StsFront, mood: str
) -> None:
    front.be(mood)  # type: ignore[arg-type]
    to = subscription(cloud.sqs_sink(cloud.make_queue(), auth={"type": "assume_role", "role_arn": ROLE}))
    async with sink_channel() as channel:
        assert (await channel.send(to, letter())).outcome == "ours"


async def test_the_services_own_credentials_are_for_accounts_that_the_operator_named(
    cloud: Cloud, front: StsFront
) -> None:
    queue_url = cloud.make_queue()
    to = subscription(cloud.sqs_sink(queue_url, auth={"type": "ambient"}))
    async with sink_channel(settings(GENRELAY_OUTPUTS__AMBIENT_ACCOUNTS="acme")) as channel:
        assert (await channel.send(to, letter())).outcome == "delivered"
    async with sink_channel(settings(GENRELAY_OUTPUTS__AMBIENT_ACCOUNTS="another")) as channel:
        reply = await channel.send(to, letter())
    assert "AMBIENT_ACCOUNTS" in str(reply.error)
    assert len(cloud.receive(queue_url)) == 1


async def test_credentials_that_are_not_there_are_our_own_fault(
    cloud: Cloud, front: StsFront, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    to = subscription(cloud.sqs_sink(cloud.make_queue(), auth={"type": "ambient"}))
    async with sink_channel(settings(GENRELAY_OUTPUTS__AMBIENT_ACCOUNTS="acme")) as channel:
        reply = await channel.send(to, letter())
    assert (reply.outcome, reply.final) == ("ours", False)


async def test_a_role_that_serves_buckets_too_is_assumed_once(cloud: Cloud, front: StsFront) -> None:
    roles = Roles()
    to = subscription(cloud.sqs_sink(cloud.make_queue(), auth={"type": "assume_role", "role_arn": ROLE}))
    for _ in range(2):
        async with sink_channel(roles=roles) as channel:
            assert (await channel.send(to, letter())).outcome == "delivered"
    assert len(front.assumed) == 1


async def test_the_operators_own_endpoint_is_used_where_a_sink_has_none(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not guarded: no subnet is opened here."""
    for service in ("SQS", "SNS", "EVENTBRIDGE"):
        monkeypatch.setenv(f"AWS_ENDPOINT_URL_{service}", cloud.moto.url)
    queue_url = cloud.make_queue()
    bus = cloud.make_bus(queue_url, {"source": ["genrelay"]})
    async with sink_channel(settings(GENRELAY_ALLOWED_PRIVATE_SUBNETS="")) as channel:
        for sink in (cloud.sqs_sink(queue_url), cloud.sns_sink(cloud.make_topic(queue_url)), cloud.bus_sink(bus)):
            reply = await channel.send(subscription({**sink, "endpoint_url": None}), letter())
            assert reply.outcome == "delivered", reply
    assert len(cloud.receive(queue_url)) == 3


async def test_a_sink_is_shown_without_its_secret(cloud: Cloud) -> None:
    to = subscription(cloud.sqs_sink(cloud.make_queue()))
    assert to.sink is not None
    shown = sink_json(to.sink, EXTERNAL_ID)
    assert shown["auth"] == {"type": "access_key", "access_key_id": "AKIACUSTOMER"}
    assert SECRET not in json.dumps(shown) + repr(to)
    role = subscription(cloud.sqs_sink(cloud.make_queue(), auth={"type": "assume_role", "role_arn": ROLE}))
    assert role.sink is not None
    assert sink_json(role.sink, EXTERNAL_ID)["auth"]["external_id"] == EXTERNAL_ID
