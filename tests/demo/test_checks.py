"""The demo's checks notice what they are there for: each test spoils one thing in evidence that is right."""

from __future__ import annotations

import copy
import hashlib
import io
from collections.abc import Callable
from typing import Any

import pytest
from PIL import Image

from service.demo.checks import check_all
from service.demo.evidence import Evidence, Played
from service.demo.scenarios import make_scenarios

SECRET = "a-secret-of-the-demo"
TOKEN = "token-of-the-callback-url"
KEY = "renders/job_1/00.jpeg"


def right_evidence() -> Evidence:
    """Return the evidence of one job that went well and of one that was refused."""
    scenarios = {scenario.name: scenario for scenario in make_scenarios()}
    file = io.BytesIO()
    Image.new("RGB", (384, 256), "teal").save(file, "JPEG")
    body = file.getvalue()
    output = {
        "index": 0,
        "status": "stored",
        "media_type": "image/jpeg",
        "bytes": len(body),
        "width": 384,
        "height": 256,
        "sha256": hashlib.sha256(body).hexdigest(),
        "key": KEY,
    }
    job = {
        "id": "job_1",
        "status": "succeeded",
        "verified_by": "readback",
        "outputs": [output],
        "error": None,
        "provider_task_id": "t1",
    }
    events = [_event(1, "job.queued"), _event(2, "job.callback"), _event(3, "job.succeeded", copy.deepcopy(job))]
    good = Played(scenarios["lighthouse"], job, events=events, verdicts=["confirmed"])
    refused = Played(scenarios["castle"], None, refusal={"code": "invalid_request", "errors": []})
    return Evidence([good, refused], [_submit(good.scenario.prompt)], {KEY: body}, '{"event": "job.submitted"}\n')


def _event(sequence: int, kind: str, job: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"type": kind, "data": {"sequence": sequence, "job": job}}


def _submit(prompt: str, task_id: str = "t1") -> dict[str, Any]:
    url = f"http://127.0.0.1:1/v1/callbacks/novita/{TOKEN}"
    return {"prompt": prompt, "test": False, "task_id": task_id, "callback_url": url}


def mistakes(evidence: Evidence) -> list[str]:
    """Return everything that the checks find."""
    return [mistake for check in check_all(evidence, (SECRET,)) for mistake in check.mistakes]


def test_right_evidence_passes_every_check() -> None:
    assert mistakes(right_evidence()) == []


def _pay_twice(evidence: Evidence) -> None:
    evidence.submits.append(_submit(evidence.played[0].scenario.prompt, "t2"))


def _pay_for_a_refused_one(evidence: Evidence) -> None:
    evidence.submits.append(_submit(evidence.played[1].scenario.prompt))


def _pay_for_a_stranger(evidence: Evidence) -> None:
    evidence.submits.append(_submit("a job that nobody asked for"))


def _take_another_task(evidence: Evidence) -> None:
    evidence.submits[0]["task_id"] = "t9"


def _lose_the_object(evidence: Evidence) -> None:
    evidence.objects.clear()


def _change_the_object(evidence: Evidence) -> None:
    evidence.objects[KEY] += b"\0"


def _leave_something(evidence: Evidence) -> None:
    evidence.objects["renders/genrelay-probe"] = b"left behind"


def _skip_a_number(evidence: Evidence) -> None:
    del (evidence.played[0].events or [])[1]


def _end_twice(evidence: Evidence) -> None:
    (evidence.played[0].events or [])[1]["type"] = "job.failed"


def _tell_another_story(evidence: Evidence) -> None:
    (evidence.played[0].events or [])[-1]["data"]["job"]["status"] = "failed"


def _fail(evidence: Evidence) -> None:
    assert evidence.played[0].job is not None
    evidence.played[0].job["status"] = "failed"


def _believe_the_callback(evidence: Evidence) -> None:
    assert evidence.played[0].job is not None
    evidence.played[0].job["verified_by"] = "token"


def _misjudge(evidence: Evidence) -> None:
    evidence.played[0].verdicts = ["contradicted"]


def _refuse_for_another_reason(evidence: Evidence) -> None:
    evidence.played[1].refusal = {"code": "internal"}


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_pay_twice, "lighthouse: 2 paid submits instead of 1"),
        (_pay_for_a_refused_one, "castle: 1 paid submits instead of 0"),
        (_pay_for_a_stranger, "1 submits belong to no job"),
        (_take_another_task, "lighthouse: the task is not the one that was paid for"),
        (_lose_the_object, f"{KEY} is not in the bucket"),
        (_change_the_object, f"{KEY}: the digest is another one"),
        (_leave_something, "renders/genrelay-probe belongs to no job"),
        (_skip_a_number, "lighthouse: the numbers have gaps"),
        (_end_twice, "lighthouse: events [2, 3] of 3 are ends"),
        (_tell_another_story, "lighthouse: the last event shows another job than the API"),
        (_fail, "lighthouse: failed instead of succeeded"),
        (_believe_the_callback, "lighthouse: verified_by is token instead of readback"),
        (_misjudge, "lighthouse: verdicts on callbacks are ['contradicted']"),
        (_refuse_for_another_reason, "castle: refused for another reason"),
    ],
)
def test_a_spoiled_thing_is_noticed(spoil: Callable[[Evidence], None], said: str) -> None:
    evidence = right_evidence()
    spoil(evidence)
    assert said in mistakes(evidence)


@pytest.mark.parametrize("leak", [SECRET, TOKEN, "https://host/x.jpeg?X-Amz-Signature=abc"])
def test_a_secret_in_the_log_is_noticed(leak: str) -> None:
    right = right_evidence()
    found = mistakes(Evidence(right.played, right.submits, right.objects, f"something printed {leak}\n"))
    assert len(found) == 1
    assert found[0].endswith("in the log")
