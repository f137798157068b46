"""Novita's callbacks as bodies: which are unreadable, which are hints, and what they hint at."""

from __future__ import annotations

import json
from typing import Any

import pytest

from service.providers.contract import CallbackHint, CallbackUnreadable, StillRunning
from service.providers.novita import PROVIDER

from .test_novita_results import TASK, URL, answer

UNREADABLE = {
    "empty": b"",
    "text": b"hello",
    "not utf-8": b'{"event_type": "\xff"}',
    "utf-16": '{"event_type": "x"}'.encode("utf-16"),
    "array": b"[]",
    "null": b"null",
    "deep array": b"[" * 200_000,
    "deep object": b'{"event_type":' * 100_000,
    "NaN": b'{"event_type": "ASYNC_TASK_RESULT", "payload": {"x": NaN}}',
    "infinity": b'{"event_type": "ASYNC_TASK_RESULT", "payload": {"x": -Infinity}}',
    "huge float": b'{"event_type": "ASYNC_TASK_RESULT", "payload": {"x": 1e999}}',
    "huge integer": b'{"event_type": "ASYNC_TASK_RESULT", "payload": {"x": ' + b"9" * 10_000 + b"}}",
    "no event type": b'{"payload": {}}',
    "event type is a number": b'{"event_type": 5, "payload": {}}',
    "no payload": b'{"event_type": "ASYNC_TASK_RESULT"}',
    "payload is a list": b'{"event_type": "ASYNC_TASK_RESULT", "payload": []}',
    "cut off": b'{"event_type": "ASYNC_TASK_RESULT", "payl',
}


@pytest.mark.parametrize("body", UNREADABLE.values(), ids=UNREADABLE)
def test_body_that_novita_does_not_send_is_unreadable(body: bytes) -> None:
    with pytest.raises(CallbackUnreadable) as caught:
        PROVIDER.read_callback(body)
    assert 0 < len(str(caught.value)) < 60


@pytest.mark.parametrize("payload", [{}, {"task": None}, {"task": []}, {"images": [{"image_url": URL}]}])
def test_event_without_task_is_a_hint_without_state(payload: Any) -> None:
    body = json.dumps({"event_type": "ASYNC_TASK_RESULT", "payload": payload}).encode()
    assert PROVIDER.read_callback(body) == CallbackHint(True, None, None)


@pytest.mark.parametrize("event", ["TASK.STATUS.UPDATE", "async_task_result", "task.finish", ""])
def test_unknown_event_has_no_state_whatever_it_says(event: str) -> None:
    body = json.dumps({"event_type": event, "payload": answer("TASK_STATUS_FAILED")}).encode()
    assert PROVIDER.read_callback(body) == CallbackHint(False, TASK, None)
    assert PROVIDER.read_callback(json.dumps({"event_type": event}).encode()) == CallbackHint(False, None, None)


def test_of_a_duplicate_key_the_last_one_counts() -> None:
    body = (
        b'{"event_type": "x", "event_type": "ASYNC_TASK_RESULT", "payload": {"task": {"task_id": "a", "task_id": "b"}}}'
    )
    assert PROVIDER.read_callback(body) == CallbackHint(True, "b", StillRunning(None, None))


@pytest.mark.parametrize("task_id", ["a/../b", "x" * 129, "ä", 1.5, None])
def test_task_id_that_could_not_be_one_is_left_out(task_id: Any) -> None:
    body = json.dumps({"event_type": "ASYNC_TASK_RESULT", "payload": answer(task_id=task_id)}).encode()
    assert PROVIDER.read_callback(body).task_id is None
