"""Where a sink is: what its URL or ARN says of the region and of the order, and whether it is one."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

import httpx

_REGION = r"[a-z]{2,6}(?:-[a-z]+){1,2}-[0-9]{1,2}"
# https://docs.aws.amazon.com/general/latest/gr/sqs-service.html (checked 2026-11), the legacy endpoints included.
_SQS_HOSTS = re.compile(
    rf"(?:sqs(?:-fips)?\.(?P<now>{_REGION})\.(?:amazonaws\.com(?:\.cn)?|api\.aws|api\.amazonwebservices\.com\.cn)"
    rf"|(?P<legacy>{_REGION})\.queue\.amazonaws\.com(?:\.cn)?|queue\.amazonaws\.com)"
)
_QUEUE = re.compile(r"/[0-9]{12}/[A-Za-z0-9_-]{1,80}(?:\.fifo)?")
_OTHER_QUEUE = re.compile(
    r"(?:/[A-Za-z0-9_.-]{1,128}){1,4}"
)  # of other servers, which have names for accounts of their own
_TOPIC = re.compile(rf"arn:aws(?:-[a-z]+)*:sns:(?P<region>{_REGION}):[0-9]{{12}}:[A-Za-z0-9_-]{{1,256}}(?:\.fifo)?")
_BUS_NAME = r"[A-Za-z0-9_/.-]{1,256}"
_BUS = re.compile(rf"arn:aws(?:-[a-z]+)*:events:(?P<region>{_REGION}):[0-9]{{12}}:event-bus/{_BUS_NAME}")


@dataclass(frozen=True, slots=True)
class Located:
    """region: None where the name does not tell. fifo: whether order is kept and a message taken once."""

    region: str | None
    fifo: bool = False


def read_queue_url(text: str, endpoint_url: str | None) -> Located | str:
    """Return where a queue is, or the rule that its URL breaks.

    The URL only names the queue: requests go to the endpoint, AWS's own of the region unless there is another one.
    """
    try:
        url = httpx.URL(text)
        host = url.host  # decoded here, which fails for some names
    except (httpx.InvalidURL, ValueError):
        return "must be a queue's URL"
    if url.userinfo or url.query or url.fragment:
        return "must not have user information, a query or a fragment"
    fifo = url.path.endswith(".fifo")
    found = _SQS_HOSTS.fullmatch(host)
    if found is not None:
        if url.scheme != "https" or url.port is not None or not _QUEUE.fullmatch(url.path):
            return "must be as in https://sqs.eu-central-1.amazonaws.com/123456789012/name"
        return Located(found["now"] or found["legacy"] or "us-east-1", fifo)
    if _origin(text) not in {_origin(endpoint_url), _origin(_operators_endpoint())}:
        return "must be at AWS (https://sqs.{region}.amazonaws.com/…), or at the sink's own endpoint_url"
    return Located(None, fifo) if _OTHER_QUEUE.fullmatch(url.path) else "must be a queue's URL"


def read_topic_arn(text: str) -> Located | str:
    """Return where a topic is, or the rule that its ARN breaks."""
    found = _TOPIC.fullmatch(text)
    if found is None:
        return "must be the ARN of a topic, as in arn:aws:sns:eu-central-1:123456789012:name"
    return Located(found["region"], text.endswith(".fifo"))


def read_event_bus(text: str) -> Located | str:
    """Return where a bus is, or the rule that its name or ARN breaks."""
    found = _BUS.fullmatch(text)
    if found is not None:
        return Located(found["region"])
    if text.startswith("arn:") or not re.fullmatch(_BUS_NAME, text):
        return "must be a bus's name, or its ARN, as in arn:aws:events:eu-central-1:123456789012:event-bus/name"
    return Located(None)


def _operators_endpoint() -> str | None:
    """Return what the operator put in AWS's place, in botocore's own variables."""
    return os.environ.get("AWS_ENDPOINT_URL_SQS") or os.environ.get("AWS_ENDPOINT_URL")


def _origin(url: str | None) -> tuple[str, str, int | None] | None:
    if not url:
        return None
    try:
        read = httpx.URL(url)
        host = read.host
    except (httpx.InvalidURL, ValueError):
        return None
    return read.scheme, host, read.port
