"""An event as everybody gets it, whichever way it comes: the same id, the same number, the same bytes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from service.ids import show
from service.jobs.model import moment

# What a thin event keeps of its job.
THIN = ("id", "object", "status", "test", "provider", "operation", "run", "metadata", "links")


def event_json(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row of `events` or `account_events` as a CloudEvent 1.0.

    row: id, type, time, data, source, and `job_id`, or `subject` where that is null.
    https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md
    """
    return {
        "specversion": "1.0",
        "id": show("evt", row["id"]),
        "source": row["source"],
        "type": row["type"],
        "subject": show("job", row["job_id"]) if row["job_id"] is not None else row["subject"],
        "time": moment(row["time"]),
        "datacontenttype": "application/json",
        "data": row["data"],
    }


def thin(event: Mapping[str, Any]) -> dict[str, Any]:
    """Return an event with only what it takes to look the rest up; id, type, time and number are those of the full one."""
    data = event["data"]
    if "job" not in data:
        return dict(event)
    job = {name: data["job"][name] for name in THIN if name in data["job"]}
    return {**event, "data": {"sequence": data["sequence"], "job": job}}


def encode(event: Mapping[str, Any]) -> bytes:
    """Return an event's bytes, the same in the feed's lines, in a webhook's body and in a sink's message."""
    return json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode()
