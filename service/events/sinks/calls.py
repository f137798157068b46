"""What is asked of SQS, SNS and EventBridge for one letter, and what their answers say; without any I/O.

Sources, checked 2026-11: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html,
https://docs.aws.amazon.com/sns/latest/api/API_Publish.html,
https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutEventsRequestEntry.html.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from service.events.letter import Letter

SOURCE = "genrelay"  # of an event on a bus: rules match it, and AWS keeps names that begin with `aws.` for itself
_NOT_IN_GROUPS = re.compile(r"[^!-~]")  # AWS takes letters, digits and punctuation


@dataclass(frozen=True, slots=True)
class SinkCall:
    """One request. service: botocore's name of it; operation: its method."""

    service: str
    operation: str
    parameters: dict[str, Any]


def sink_call(sink: Mapping[str, Any], letter: Letter) -> SinkCall:
    """Return the request that delivers a letter; raises UnicodeDecodeError when its body is not text."""
    match sink["type"]:
        case "sqs":
            return _sqs_call(sink, letter)
        case "sns":
            return _sns_call(sink, letter)
    return _eventbridge_call(sink, letter)


def _sqs_call(sink: Mapping[str, Any], letter: Letter) -> SinkCall:
    parameters = {
        "QueueUrl": sink["queue_url"],
        "MessageBody": letter.body.decode(),
        "MessageAttributes": _attributes(letter),
        **_order(sink, letter),
    }
    return SinkCall("sqs", "send_message", parameters)


def _sns_call(sink: Mapping[str, Any], letter: Letter) -> SinkCall:
    parameters = {
        "TopicArn": sink["topic_arn"],
        "Message": letter.body.decode(),
        "MessageAttributes": _attributes(letter),
        **_order(sink, letter),
    }
    return SinkCall("sns", "publish", parameters)


def _eventbridge_call(sink: Mapping[str, Any], letter: Letter) -> SinkCall:
    entry = {
        "EventBusName": sink["event_bus"],
        "Source": SOURCE,
        "DetailType": letter.type,
        "Detail": letter.body.decode(),
        **_time(letter),
    }
    return SinkCall("events", "put_events", {"Entries": [entry]})


def _attributes(letter: Letter) -> dict[str, Any]:
    """Return what filter policies can look at without reading the body."""
    attributes = {
        "event_id": {"DataType": "String", "StringValue": letter.event_id},
        "event_type": {"DataType": "String", "StringValue": letter.type},
    }
    if letter.sequence is not None:
        attributes["sequence"] = {"DataType": "Number", "StringValue": str(letter.sequence)}
    return attributes


def _order(sink: Mapping[str, Any], letter: Letter) -> dict[str, str]:
    """Return what a FIFO queue or topic needs: a group per job, and the event's id, by which AWS drops duplicates."""
    if not sink["fifo"]:
        return {}
    group = _NOT_IN_GROUPS.sub("-", letter.subject)[:128] or SOURCE
    return {"MessageGroupId": group, "MessageDeduplicationId": letter.event_id}


def _time(letter: Letter) -> dict[str, datetime]:
    """Return the event's own time; a body of a provider's shape has none, and then the bus takes the moment it comes."""
    try:
        return {"Time": datetime.fromisoformat(json.loads(letter.body)["time"])}
    except (ValueError, TypeError, LookupError, RecursionError):
        return {}


def read_message_id(answer: Mapping[str, Any]) -> str | None:
    """Return AWS's own id of what it took; None when the answer does not say that it did."""
    entries = answer.get("Entries")
    entry = entries[0] if isinstance(entries, list) and entries and isinstance(entries[0], dict) else {}
    found = answer.get("MessageId") or entry.get("EventId")
    return found if isinstance(found, str) and not entry.get("ErrorCode") else None


def read_entry_error(answer: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return code and message of an entry that a bus refused although it answered 200; None when there is none."""
    for entry in answer.get("Entries") or ():
        if isinstance(entry, dict) and entry.get("ErrorCode"):
            return str(entry["ErrorCode"]), str(entry.get("ErrorMessage") or "")
    return None
