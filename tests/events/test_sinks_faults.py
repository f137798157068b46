"""What becomes of a delivery when AWS, or what stands in its place, refuses, lies, hangs or leads elsewhere."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Sequence

import pytest
import structlog

from service.events.letter import Reply
from service.events.sinks import SinkChannel
from tests.aws import ACCOUNT, REGION
from tests.events.sinking import SECRET, FakeAws, fake_aws, letter, settings, sink_channel, subscription
from tests.listening import answering, listening
from tests.net.hostile_urls import ANSWERS, URLS
from tests.outgoing import watching_outgoing
from tests.world import free_port

KINDS = ["sqs", "sns", "eventbridge"]


@pytest.fixture
async def channel() -> AsyncIterator[SinkChannel]:
    async with sink_channel() as opened:
        yield opened


@pytest.fixture
async def aws() -> AsyncIterator[FakeAws]:
    async with fake_aws() as server:
        yield server


async def send(channel: SinkChannel, aws: FakeAws, kind: str) -> Reply:
    return await channel.send(subscription(aws.sinks()[kind]), letter())


# --- Refusals -------------------------------------------------------------------------------------------------------

# By what is to be done about it: the code as each service has it.
REFUSALS = [
    ("sqs", "AccessDenied", "not authorized to perform: sqs:sendmessage", "Allow sqs:SendMessage on the queue"),
    ("sns", "AuthorizationError", "not authorized to perform: SNS:Publish", "Allow sns:Publish on the topic"),
    ("eventbridge", "AccessDeniedException", "not authorized", "Allow events:PutEvents on the event bus"),
    ("sqs", "QueueDoesNotExist", "The specified queue does not exist.", "Create the queue"),
    ("sns", "NotFound", "Topic does not exist", "Create the topic"),
    ("eventbridge", "ResourceNotFoundException", "Event bus does not exist.", "Create the event bus"),
    ("sqs", "InvalidClientTokenId", "The security token included in the request is invalid", "Check the access key id"),
    ("sns", "SignatureDoesNotMatch", "The request signature does not match.", "Check the access key id"),
    ("eventbridge", "UnrecognizedClientException", "The security token is invalid", "Check the access key id"),
    ("sqs", "KmsAccessDenied", "The ciphertext refers to a key that does not exist", "kms:GenerateDataKey"),
    ("sns", "KMSDisabled", "The key is disabled", "kms:GenerateDataKey"),
]


def refuse(aws: FakeAws, kind: str, code: str, message: str, status: int = 400) -> None:
    (aws.refuse_in_xml if kind == "sns" else aws.refuse)(code, message, status)


@pytest.mark.parametrize(("kind", "code", "message", "hint"), REFUSALS)
async def test_a_refusal_is_told_with_awss_code_and_what_to_change(
    channel: SinkChannel, aws: FakeAws, kind: str, code: str, message: str, hint: str
) -> None:
    refuse(aws, kind, code, message)
    reply = await send(channel, aws, kind)
    assert (reply.outcome, reply.status, reply.final, reply.slow_down) == ("failed", 400, False, False)
    assert reply.error is not None
    assert code in reply.error
    assert message.removesuffix(".") in reply.error
    assert hint in reply.error
    assert len(aws.requests) == 1


@pytest.mark.parametrize(
    ("kind", "code", "status"),
    [
        ("sqs", "RequestThrottled", 403),
        ("sqs", "KmsThrottled", 400),
        ("sns", "Throttling", 400),
        ("sns", "KMSThrottling", 400),
        ("eventbridge", "ThrottlingException", 400),
        ("eventbridge", "SomethingNew", 429),
        ("sqs", "SomethingNew", 503),
    ],
)
async def test_a_throttled_message_slows_the_sink_down_and_is_not_tried_again_by_botocore(
    channel: SinkChannel, aws: FakeAws, kind: str, code: str, status: int
) -> None:
    refuse(aws, kind, code, "Rate exceeded", status)
    reply = await send(channel, aws, kind)
    assert (reply.outcome, reply.slow_down, reply.final) == ("failed", True, False)
    assert len(aws.requests) == 1


@pytest.mark.parametrize(
    ("kind", "code", "message"),
    [
        (
            "sqs",
            "InvalidParameterValue",
            "One or more parameters are invalid. Reason: Message must be shorter than 1048576 bytes.",
        ),
        ("sns", "InvalidParameter", "Invalid parameter: Message too long"),
        ("eventbridge", "ValidationException", "Total size of the entries in the request is over the limit."),
    ],
)
async def test_a_message_that_is_too_large_is_given_up_with_a_way_out(
    channel: SinkChannel, aws: FakeAws, kind: str, code: str, message: str
) -> None:
    refuse(aws, kind, code, message)
    reply = await send(channel, aws, kind)
    assert (reply.outcome, reply.final, reply.this_one) == ("failed", True, True)
    assert '"payload": "thin"' in str(reply.error)


async def test_a_wrong_parameter_is_no_message_that_is_too_large(channel: SinkChannel, aws: FakeAws) -> None:
    aws.refuse("InvalidParameterValue", "The queue URL is not valid.")
    assert not (await send(channel, aws, "sqs")).final


async def test_a_body_that_is_not_text_is_given_up(channel: SinkChannel, aws: FakeAws) -> None:
    reply = await channel.send(subscription(aws.sinks()["sqs"]), letter(body=b"\xff\xfe"))
    assert (reply.outcome, reply.final, reply.this_one, aws.requests) == ("failed", True, True, [])


@pytest.mark.parametrize(
    ("code", "slow_down"), [("ThrottlingException", True), ("InternalFailure", False), ("AccessDeniedException", False)]
)
async def test_an_entry_that_a_bus_refuses_with_200_has_failed(
    channel: SinkChannel, aws: FakeAws, code: str, slow_down: bool
) -> None:
    entry = {"ErrorCode": code, "ErrorMessage": "Told by the bus."}
    aws.body = json.dumps({"FailedEntryCount": 1, "Entries": [entry]})
    reply = await send(channel, aws, "eventbridge")
    assert (reply.outcome, reply.slow_down) == ("failed", slow_down)
    assert f"EventBridge answered {code}: Told by the bus" in str(reply.error)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_stranger_who_says_that_our_clock_is_wrong_is_not_believed(
    channel: SinkChannel, aws: FakeAws, kind: str
) -> None:
    refuse(aws, kind, "RequestExpired", "Signature expired: 20261101T000000Z is now earlier than 20261101T001500Z", 403)
    assert (await send(channel, aws, kind)).outcome == "failed"


@pytest.mark.parametrize("kind", KINDS)
async def test_a_clock_that_aws_calls_wrong_is_our_own_fault(
    channel: SinkChannel, aws: FakeAws, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", aws.url)
    refuse(aws, kind, "InvalidSignatureException", "Signature expired: 20261101T000000Z is now earlier than then", 403)
    reply = await channel.send(subscription({**aws.sinks()[kind], "endpoint_url": None}), letter())
    assert (reply.outcome, len(aws.requests)) == ("ours", 1)
    assert "its operator has to correct it" in str(reply.error)


# --- Answers that are none --------------------------------------------------------------------------------------------

NONSENSE = [
    "",
    "{}",
    "[]",
    "7",
    '"x"',
    "null",
    "<html>Welcome</html>",
    '{"MessageId": 7}',
    '{"MessageId": ""}',
    '{"Entries": 7}',
    '{"Entries": [7]}',
    '{"Entries": [{}]}',
    '{"Entries": {"ErrorCode": 1}}',
    '{"FailedEntryCount": 1}',
    "<PublishResponse></PublishResponse>",
    "<PublishResponse><PublishResult><MessageId/></PublishResult></PublishResponse>",
    "[" * 100_000,
    "<a>" * 5_000,
    "\x00\xff",
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("status", [200, 204, 302, 400, 500])
async def test_an_answer_that_says_nothing_of_a_message_is_no_delivery(
    channel: SinkChannel, aws: FakeAws, kind: str, status: int
) -> None:
    aws.status = status
    for body in NONSENSE:
        aws.body = body
        reply = await send(channel, aws, kind)
        assert (reply.outcome, reply.final) == ("failed", False), (body[:40], reply)
        assert reply.error


@pytest.mark.parametrize("kind", KINDS)
async def test_an_answer_without_end_is_not_read_to_its_end(channel: SinkChannel, aws: FakeAws, kind: str) -> None:
    aws.body = json.dumps({"MessageId": "x" * 3_000_000, "Entries": [{"EventId": "x" * 3_000_000}]})
    assert (await send(channel, aws, kind)).outcome == "failed"


@pytest.mark.parametrize("kind", KINDS)
async def test_a_redirect_is_not_followed(channel: SinkChannel, aws: FakeAws, kind: str) -> None:
    async with fake_aws() as elsewhere:
        for status in (301, 302, 307, 308):
            aws.status, aws.headers = status, {"Location": f"{elsewhere.url}/", "x-amz-bucket-region": "eu-west-1"}
            assert (await send(channel, aws, kind)).outcome == "failed"
        assert not elsewhere.requests
    assert len(aws.requests) == 4


# --- Time and connections -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
async def test_an_endpoint_that_hangs_costs_no_more_than_the_time_that_a_delivery_has(aws: FakeAws, kind: str) -> None:
    async with sink_channel(settings(GENRELAY_DELIVERY__TIMEOUT_SECONDS="0.5")) as channel:
        aws.hangs = True
        # On a busy machine the first client alone may take longer, which is not the endpoint's fault.
        while (reply := await send(channel, aws, kind)).outcome == "ours":
            pass
        assert aws.hanging.is_set()
        assert (reply.outcome, reply.final) == ("failed", False)
        assert "did not answer in time" in str(reply.error) or "ReadTimeoutError" in str(reply.error)


async def test_an_endpoint_that_drips_is_cut_off() -> None:
    dripped = asyncio.Event()

    async def drip(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        while True:
            writer.write(b"{")
            await writer.drain()
            dripped.set()
            await asyncio.sleep(0.01)

    async with listening(drip) as listener, sink_channel(settings(GENRELAY_DELIVERY__TIMEOUT_SECONDS="0.5")) as channel:
        aws = FakeAws(url=f"http://127.0.0.1:{listener.port}")
        # Much more than it takes, but less than it would drip.
        async with asyncio.timeout(30):
            while (reply := await send(channel, aws, "sqs")).outcome == "ours":
                pass
        assert "did not answer in time" in str(reply.error)
        assert dripped.is_set()


async def test_an_endpoint_that_is_not_there_may_come_back(channel: SinkChannel) -> None:
    reply = await send(channel, FakeAws(url=f"http://127.0.0.1:{free_port()}"), "sqs")
    assert (reply.outcome, reply.final, reply.status) == ("failed", False, None)
    assert "the connection to SQS failed" in str(reply.error)


async def test_an_endpoint_that_hangs_up_is_told_as_a_connection(channel: SinkChannel) -> None:
    async with listening(answering(b"")) as listener:
        reply = await send(channel, FakeAws(url=f"http://127.0.0.1:{listener.port}"), "sns")
    assert listener.connections == 1
    assert "the connection to SNS failed" in str(reply.error)


# --- The guard ------------------------------------------------------------------------------------------------------


def sinks_at(endpoint_url: str) -> list[dict[str, object]]:
    # The queue's URL is AWS's own: what it names is never connected to.
    queue_url = f"https://sqs.{REGION}.amazonaws.com/{ACCOUNT}/events"
    made = FakeAws(url=endpoint_url).sinks()
    return [{**made["sqs"], "queue_url": queue_url}, made["sns"], made["eventbridge"]]


@pytest.mark.parametrize("kind", URLS)
async def test_an_endpoint_that_is_not_public_is_refused_for_good_without_a_connection(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def no_dns(host: str, _port: int) -> Sequence[str]:
        raise AssertionError(f"DNS was asked for {host}")

    strict = settings(GENRELAY_ALLOWED_PRIVATE_SUBNETS="")
    async with sink_channel(strict, resolver=no_dns) as channel:
        for url in URLS[kind]:
            for sink in sinks_at("https://public.example"):
                to = subscription(sink)
                assert to.sink is not None
                to.sink["endpoint_url"] = url
                with watching_outgoing(monkeypatch) as outgoing:
                    reply = await channel.send(to, letter())
                assert outgoing.nothing
                assert (reply.outcome, reply.final, reply.this_one) == ("failed", True, False), (url, reply)
                assert "not allowed" in str(reply.error)


async def test_a_name_that_leads_to_a_private_address_is_refused_at_every_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answers = {f"n{number}.aws.example": answer for number, answer in enumerate(ANSWERS.values())}

    async def resolve(host: str, _port: int) -> Sequence[str]:
        return answers[host]

    async with sink_channel(settings(GENRELAY_ALLOWED_PRIVATE_SUBNETS=""), resolver=resolve) as channel:
        for host in answers:
            for sink in sinks_at(f"https://{host}"):
                with watching_outgoing(monkeypatch) as outgoing:
                    reply = await channel.send(subscription(sink), letter())
                assert outgoing.nothing
                assert (reply.outcome, reply.final) == ("failed", True), (answers[host][:3], reply)


# --- Secrets and clients ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
async def test_an_endpoint_that_repeats_our_request_makes_no_secret_show_up(
    channel: SinkChannel, aws: FakeAws, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    await send(channel, aws, kind)
    signature = aws.requests[0][0]["Authorization"].rpartition("Signature=")[2]
    refuse(aws, kind, "Teapot", f"Authorization: {aws.requests[0][0]['Authorization']}")
    with caplog.at_level(logging.DEBUG), structlog.testing.capture_logs() as logs:
        reply = await send(channel, aws, kind)
    told = repr(reply) + repr(logs)
    for secret in (signature, SECRET):
        assert secret not in told
    assert SECRET not in caplog.text


async def test_sinks_of_the_same_customer_share_a_client_and_idle_ones_are_few(
    channel: SinkChannel, aws: FakeAws
) -> None:
    aws.body = '{"MessageId": "x", "Entries": [{"EventId": "x"}]}'
    for _ in range(3):
        await send(channel, aws, "sqs")
    assert len(channel._clients._open) == 1
    for number in range(40):
        key = {"type": "access_key", "access_key_id": f"AKIA{number}", "secret_access_key": SECRET}
        await channel.send(subscription(aws.sinks(auth=key)["sqs"]), letter())
    assert len(channel._clients._open) == 32


async def test_a_hundred_letters_at_once_are_each_sent_once(channel: SinkChannel, aws: FakeAws) -> None:
    aws.body = '{"MessageId": "x"}'
    to = subscription(aws.sinks()["sqs"])
    replies = await asyncio.gather(*(channel.send(to, letter(number)) for number in range(1, 101)))
    assert {reply.outcome for reply in replies} == {"delivered"}
    sent = {json.loads(json.loads(body)["MessageBody"])["data"]["sequence"] for _headers, body in aws.requests}
    assert sent == set(range(1, 101))
    assert len(aws.requests) == 100
