"""Answers as they look: of one job and what belongs to it, made by the functions that make real ones."""

from __future__ import annotations

from dataclasses import fields
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from handlers.query import page
from service.events.body import event_json, thin
from service.events.deliveries import STATUSES, attempt_json, delivery_json
from service.ids import show
from service.jobs.lifecycle import Status
from service.jobs.model import Job, Output, job_json
from service.outputs.destinations import destination_json

_AT = datetime(2026, 11, 20, 9, 30, 0, 250_000, tzinfo=UTC)
_JOB, _TASK = UUID("019aa0f2-7a00-7c3e-8d41-2f6b9c0d1e2f"), "6f0f2c1e-5a4b-4a58-9f0e-3b7d2c1a9e84"
_EVENT, _DELIVERY = UUID("019aa0f2-9c40-7b1a-a6c5-4d3e2f1a0b9c"), UUID("019aa0f2-9c41-7d2b-b7d6-5e4f3a2b1c0d")
_SUBSCRIPTION = UUID("019a9fd0-1111-7abc-9def-0123456789ab")
SOURCE = "https://relay.example"


def _job() -> dict[str, Any]:
    # What is not said is null.
    said: dict[str, Any] = {
        "id": _JOB,
        "provider": "novita",
        "operation": "txt2img",
        "status": Status.SUCCEEDED,
        "destination": "acme",
        "run": 1,
        "provider_task_id": _TASK,
        "provider_status": "TASK_STATUS_SUCCEED",
        "progress": 100,
        "verified_by": "readback",
        "metadata": {"order": "42"},
        "created_at": _AT,
        "submitted_at": _AT + timedelta(seconds=0.4),
        "completed_at": _AT + timedelta(seconds=9.1),
        "deadline_at": _AT + timedelta(hours=1),
    }
    values: dict[str, Any] = {each.name: said.get(each.name) for each in fields(Job)}
    return job_json(Job(**values), [_output()])


def _output() -> Output:
    said: dict[str, Any] = {
        "job_id": _JOB,
        "index": 0,
        "kind": "image",
        "status": "stored",
        "media_type": "image/jpeg",
        "bytes": 183_204,
        "width": 512,
        "height": 384,
        "frames": 1,
        "sha256": bytes.fromhex("9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"),
        "bucket": "acme-renders",
        "key": f"renders/{show('job', _JOB)}/00.jpeg",
        "source_expires_at": _AT + timedelta(hours=1),
    }
    values: dict[str, Any] = {each.name: said.get(each.name) for each in fields(Output)}
    return Output(**values)


def _event() -> dict[str, Any]:
    row = {
        "id": _EVENT,
        "source": SOURCE,
        "type": "job.succeeded",
        "job_id": _JOB,
        "subject": None,
        "time": _AT + timedelta(seconds=9.1),
        "data": {"sequence": 6, "job": _job()},
    }
    return event_json(row)


def _delivery() -> dict[str, Any]:
    return delivery_json(
        {
            "id": _DELIVERY,
            "event_id": _EVENT,
            "subscription_id": _SUBSCRIPTION,
            "job_id": _JOB,
            "type": "job.succeeded",
            "payload": "full",
            "status": "delivered",
            "reason": None,
            "attempts": 1,
            "response_status": 204,
            "due_at": None,
            "created_at": _AT + timedelta(seconds=9.1),
            "ended_at": _AT + timedelta(seconds=9.3),
        }
    )


def _attempt() -> dict[str, Any]:
    return attempt_json(
        {
            "number": 1,
            "started_at": _AT + timedelta(seconds=9.2),
            "seconds": 0.087,
            "outcome": "delivered",
            "status": 204,
            "error": None,
            "response": None,
        }
    )


def _destination() -> dict[str, Any]:
    spec = {
        "bucket": "acme-renders",
        "region": "eu-central-1",
        "endpoint_url": None,
        "path": "renders",
        "save_to_path_directly": False,
        "auth": {"type": "assume_role", "role_arn": "arn:aws:iam::123456789012:role/genrelay"},
        "expected_bucket_owner": None,
        "encryption": None,
        "storage_class": None,
        "tags": {},
        "acl": None,
        "key_template": None,
        "manifest": False,
    }
    times = {"checked_at": _AT, "failing_since": None, "created_at": _AT, "updated_at": _AT}
    return destination_json({"name": "acme", "spec": spec, "external_id": "7d9a1c5e", "failure": None, **times})


def _page(thing: dict[str, Any]) -> dict[str, Any]:
    return page([(str(thing.get("id")), thing)], 20)


FULL_EVENT = _event()
THIN_EVENT = thin(FULL_EVENT)
_SHOWN = _job() | {"deliveries": {status: int(status == "delivered") for status in STATUSES}}
EXAMPLES: dict[str, Any] = {
    "Job": _SHOWN,
    "JobPage": _page(_SHOWN),
    "JobEventPage": _page(FULL_EVENT),
    "EventPage": _page(FULL_EVENT),
    "Delivery": _delivery(),
    "DeliveryPage": _page(_delivery()),
    "DeliveryWithAttempts": {**_delivery(), "attempts": [_attempt()]},
    "Destination": _destination(),
    "DestinationWithCheck": {**_destination(), "check": None},
    "DestinationPage": _page(_destination()),
}
