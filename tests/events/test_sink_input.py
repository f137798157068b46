"""What a subscription's `sink` takes: where the queue, topic or bus is, whether that is one, and which mistakes are told."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from service.events.sinks import read_sink, sink_json
from service.net import GuardPolicy

SECRET = "wJalrXUtnFEMI-the-customers-secret-key"
KEY = {"type": "access_key", "access_key_id": "AKIACUSTOMER", "secret_access_key": SECRET}
ROLE = {"type": "assume_role", "role_arn": "arn:aws:iam::123456789012:role/genrelay"}
QUEUE_URL = "https://sqs.eu-central-1.amazonaws.com/123456789012/events"
TOPIC_ARN = "arn:aws:sns:eu-central-1:123456789012:events"
SQS = {"type": "sqs", "queue_url": QUEUE_URL, "auth": KEY}
SNS = {"type": "sns", "topic_arn": TOPIC_ARN, "auth": ROLE}
BUS = {"type": "eventbridge", "event_bus": "events", "region": "eu-central-1", "auth": ROLE}


def read(given: Any, *ambient: str) -> tuple[dict[str, Any], dict[str, Any] | None]:
    found = read_sink(given, "acme", ambient, GuardPolicy())
    assert isinstance(found, tuple), found
    return found


def mistakes(given: Any) -> dict[str, str]:
    found = read_sink(given, "acme", [], GuardPolicy())
    assert isinstance(found, list), found
    assert SECRET not in repr(found)
    assert len({each.path for each in found}) == len(found)
    return {each.path: each.rule for each in found}


def test_a_queue_is_read_with_its_region_and_its_secret_apart() -> None:
    shown, secret = read(SQS)
    assert shown == {
        "type": "sqs",
        "queue_url": QUEUE_URL,
        "region": "eu-central-1",
        "fifo": False,
        "endpoint_url": None,
        "auth": {"type": "access_key", "access_key_id": "AKIACUSTOMER"},
    }
    assert secret == {"secret_access_key": SECRET}
    assert SECRET not in json.dumps(sink_json(shown))


def test_a_topic_and_a_bus_are_read_with_their_regions() -> None:
    shown, secret = read(SNS)
    assert (shown["region"], shown["fifo"], secret) == ("eu-central-1", False, None)
    assert read(BUS)[0] == {
        "type": "eventbridge",
        "event_bus": "events",
        "region": "eu-central-1",
        "endpoint_url": None,
        "auth": ROLE,
    }
    arn = "arn:aws-cn:events:cn-north-1:123456789012:event-bus/events"
    assert read({"type": "eventbridge", "event_bus": arn, "auth": ROLE})[0]["region"] == "cn-north-1"


def test_fifo_is_what_the_name_says() -> None:
    assert read({**SQS, "queue_url": f"{QUEUE_URL}.fifo"})[0]["fifo"]
    assert read({**SNS, "topic_arn": f"{TOPIC_ARN}.fifo"})[0]["fifo"]


@pytest.mark.parametrize(
    ("queue_url", "region"),
    [
        ("https://sqs.us-east-1.amazonaws.com/123456789012/events", "us-east-1"),
        ("https://sqs-fips.us-gov-west-1.amazonaws.com/123456789012/events", "us-gov-west-1"),
        ("https://sqs.cn-north-1.amazonaws.com.cn/123456789012/events.fifo", "cn-north-1"),
        ("https://sqs.ap-southeast-2.api.aws/123456789012/events", "ap-southeast-2"),
        ("https://eu-west-1.queue.amazonaws.com/123456789012/events", "eu-west-1"),
        ("https://queue.amazonaws.com/123456789012/events", "us-east-1"),
    ],
)
def test_every_form_of_awss_queue_urls_tells_its_region(queue_url: str, region: str) -> None:
    assert read({**SQS, "queue_url": queue_url})[0]["region"] == region


@pytest.mark.parametrize(
    "queue_url",
    [
        "http://sqs.eu-central-1.amazonaws.com/123456789012/events",
        "https://sqs.eu-central-1.amazonaws.com:8443/123456789012/events",
        "https://sqs.eu-central-1.amazonaws.com/events",
        "https://sqs.eu-central-1.amazonaws.com/123456789012/events/more",
        "https://sqs.eu-central-1.amazonaws.com/123456789012/",
        "https://sqs.eu-central-1.amazonaws.com/123456789012/events?x=1",
        "https://sqs.eu-central-1.amazonaws.com.evil.example/123456789012/events",
        "https://evil-sqs.eu-central-1.amazonaws.com/123456789012/events",
        "https://user@sqs.eu-central-1.amazonaws.com/123456789012/events",
        "https://queue.example/123456789012/events",
        "https://169.254.169.254/latest/meta-data",
        "arn:aws:sqs:eu-central-1:123456789012:events",
        "https://[",
        "https://xn--a/123456789012/events",
        "events",
    ],
)
def test_what_is_no_queue_of_awss_is_a_mistake(queue_url: str) -> None:
    assert list(mistakes({**SQS, "queue_url": queue_url})) == ["sink.queue_url"]


def test_a_queue_may_be_at_the_sinks_own_endpoint_which_has_to_be_public() -> None:
    own = {**SQS, "queue_url": "https://queues.example:8443/acme/events", "region": "eu-central-1"}
    shown, _secret = read({**own, "endpoint_url": "https://queues.example:8443"})
    assert (shown["endpoint_url"], shown["region"]) == ("https://queues.example:8443", "eu-central-1")
    assert list(mistakes({**own, "endpoint_url": "https://others.example:8443"})) == ["sink.queue_url"]
    assert list(mistakes({**own, "endpoint_url": "https://queues.example:8443", "region": None})) == ["sink.region"]
    for hostile in (
        "http://queues.example",
        "https://169.254.169.254",
        "https://10.0.0.1",
        "https://x@queues.example",
        "https://xn--a",
    ):
        assert list(mistakes({**SQS, "endpoint_url": hostile})) == ["sink.endpoint_url"], hostile
    # An interface of AWS's within a VPC: the queue keeps its usual URL.
    assert read({**SQS, "endpoint_url": "https://vpce-0-x.sqs.eu-central-1.vpce.amazonaws.com"})


@pytest.mark.parametrize(
    "sink", [SQS, SNS, {**BUS, "event_bus": "arn:aws:events:eu-central-1:123456789012:event-bus/x"}]
)
def test_a_region_that_contradicts_the_name_is_a_mistake(sink: dict[str, Any]) -> None:
    assert read({**sink, "region": "eu-central-1"})[0]["region"] == "eu-central-1"
    assert "contradicts" in mistakes({**sink, "region": "us-east-1"})["sink.region"]


def test_every_mistake_is_told_at_once() -> None:
    found = mistakes(
        {"type": "sqs", "topic_arn": "x", "region": "EU", "auth": {"type": "access_key"}, "endpoint_url": 7}
    )
    assert set(found) == {
        *("sink.queue_url", "sink.topic_arn", "sink.region", "sink.endpoint_url"),
        *("sink.auth.access_key_id", "sink.auth.secret_access_key"),
    }
    assert mistakes({**SNS, "topic_arn": "arn:aws:sns:eu-central-1:1:events"}).keys() == {"sink.topic_arn"}
    assert mistakes({**BUS, "event_bus": "arn:aws:sns:eu-central-1:123456789012:x"}).keys() == {"sink.event_bus"}
    assert mistakes({**BUS, "region": None}).keys() == {"sink.region"}


@pytest.mark.parametrize(
    ("auth", "path"),
    [
        (None, "sink.auth"),
        ("x", "sink.auth"),
        ({}, "sink.auth.type"),
        ({"type": "magic", "secret_access_key": SECRET}, "sink.auth.type"),
        ({"type": ["x"]}, "sink.auth.type"),
        ({**KEY, "session_token": "x"}, "sink.auth.session_token"),
        ({**KEY, "secret_access_key": SECRET + "\n"}, "sink.auth.secret_access_key"),
        ({**ROLE, "role_arn": "genrelay"}, "sink.auth.role_arn"),
        ({**ROLE, "external_id": "chosen"}, "sink.auth.external_id"),
        ({"type": "ambient"}, "sink.auth.type"),
    ],
)
def test_credentials_follow_the_rules_of_destinations(auth: Any, path: str) -> None:
    assert list(mistakes({**SQS, "auth": auth})) == [path]


def test_the_services_own_credentials_are_for_accounts_that_the_operator_named() -> None:
    assert read({**SQS, "auth": {"type": "ambient"}}, "acme") == ({**read(SQS)[0], "auth": {"type": "ambient"}}, None)


@pytest.mark.parametrize("given", [None, 7, "x", [], {}, {"type": None}, {"type": "kafka", "auth": KEY}, {"type": {}}])
def test_what_is_no_sink_is_one_mistake(given: Any) -> None:
    assert len(mistakes(given)) == 1


def test_the_sinks_that_the_page_shows_are_taken_as_they_stand() -> None:
    shown = re.findall(r"```json\n(.*?)\n```", (Path(__file__).parents[2] / "docs/sinks.md").read_text(), re.DOTALL)
    given = [json.loads(text.replace("…", "x")) for text in shown if '"type"' in text]
    assert [read(sink)[0]["type"] for sink in given] == ["sqs", "sns", "eventbridge"]
