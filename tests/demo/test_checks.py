"""The demo's checks notice what they are there for: each test spoils one thing in evidence that is right."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from service.demo.checks import check_all
from service.demo.evidence import Evidence, Played
from service.demo.receiver import Received
from tests.demo.right_evidence import TOKEN, find, right_evidence, submit_of

SECRET = "a-secret-of-the-demo"
KEY = "renders/job_novita_txt2img_lighthouse/00.jpeg"
FIRST = "novita txt2img lighthouse"
ANSWERED = "novita seedream-4.0 lighthouse"
FIRST_EVENT = "job.queued evt_job_novita_txt2img_lighthouse_1"
OTHER = "modelslab text2img lighthouse"
REFUSED = "novita txt2img castle"
TWICE = "novita txt2img bridge"
MOCKED_BY_US = "modelslab text2img garden"

Spoil = Callable[[Evidence], None]


def mistakes(evidence: Evidence) -> list[str]:
    """Return everything that the checks find."""
    return [mistake for check in check_all(evidence, (SECRET,)) for mistake in check.mistakes]


def test_right_evidence_passes_every_check() -> None:
    assert mistakes(right_evidence()) == []


def _pay(label: str) -> Spoil:
    def spoil(evidence: Evidence) -> None:
        evidence.submits.append(submit_of(find(evidence, label).scenario))

    return spoil


def _pay_for(**changes: Any) -> Spoil:
    def spoil(evidence: Evidence) -> None:
        evidence.submits.append({**submit_of(find(evidence, FIRST).scenario), **changes})

    return spoil


def _pay_for_a_webhook_check(evidence: Evidence) -> None:
    evidence.submits[-1]["test"] = False


def _change_submit(**changes: Any) -> Spoil:
    return lambda evidence: evidence.submits[0].update(changes)


def _change_job(label: str, **changes: Any) -> Spoil:
    return lambda evidence: _job(find(evidence, label)).update(changes)


def _job(one: Played) -> dict[str, Any]:
    assert one.job is not None
    return one.job


def _events(evidence: Evidence) -> list[dict[str, Any]]:
    events = find(evidence, FIRST).events
    assert events is not None
    return events


def _lose_the_object(evidence: Evidence) -> None:
    del evidence.objects[KEY]


def _change_the_object(evidence: Evidence) -> None:
    evidence.objects[KEY] += b"\0"


def _swap_the_object(evidence: Evidence) -> None:
    evidence.objects[KEY] = b"<html></html>"


def _leave_something(evidence: Evidence) -> None:
    evidence.objects["renders/genrelay-probe"] = b"left behind"


def _copy_a_mock(evidence: Evidence) -> None:
    _job(find(evidence, MOCKED_BY_US))["outputs"][0].update(_job(find(evidence, FIRST))["outputs"][0])


def _copy_a_mock_of_a_check(evidence: Evidence) -> None:
    evidence.objects["renders/job_modelslab_TASK_STATUS_SUCCEED/00.png"] = b"a mock"


def _leave_an_operation_out(evidence: Evidence) -> None:
    evidence.played[:] = [one for one in evidence.played if one.scenario.operation.name != "inpaint"]


def _store_too_little(evidence: Evidence) -> None:
    _job(find(evidence, ANSWERED))["outputs"][1]["status"] = "pending"


def _skip_a_number(evidence: Evidence) -> None:
    del _events(evidence)[1]


def _end_twice(evidence: Evidence) -> None:
    _events(evidence)[1]["type"] = "job.failed"


def _tell_another_story(evidence: Evidence) -> None:
    _events(evidence)[-1]["data"]["job"]["status"] = "failed"


def _lose_a_delivery(evidence: Evidence) -> None:
    del evidence.received[0]


def _deliver_another_body(evidence: Evidence) -> None:
    evidence.received[0].event["data"]["sequence"] = 99


def _invent_a_delivery(evidence: Evidence) -> None:
    evidence.received.append(Received("evt_nobody", {}, True))


def _forge_a_delivery(evidence: Evidence) -> None:
    evidence.received[0] = replace(evidence.received[0], verified=False)


def _list_an_event_twice(evidence: Evidence) -> None:
    evidence.feed.append(evidence.feed[0])


def _leave_an_event_out_of_the_feed(evidence: Evidence) -> None:
    del evidence.feed[0], evidence.received[0]


def _misjudge(label: str, *verdicts: str | None) -> Spoil:
    return lambda evidence: setattr(find(evidence, label), "verdicts", list(verdicts))


def _refuse_for_another_reason(evidence: Evidence) -> None:
    find(evidence, REFUSED).refusal = {"code": "internal"}


def _make_another_job(evidence: Evidence) -> None:
    find(evidence, TWICE).replayed_as = None


def _fail_a_step(evidence: Evidence) -> None:
    evidence.webhook_checks[1].report["steps"][5].update(ok=False, code="no_callback")


def _check_one_provider_less(evidence: Evidence) -> None:
    evidence.webhook_checks.pop()


def _say_no_without_a_reason(evidence: Evidence) -> None:
    evidence.webhook_checks[0].report["ok"] = False


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_pay(FIRST), f"{FIRST}: 2 paid submits instead of 1"),
        (_pay(ANSWERED), f"{ANSWERED}: 2 paid submits instead of 1"),
        (_pay(OTHER), f"{OTHER}: 2 paid submits instead of 1"),
        (_pay("novita upscale lighthouse"), "novita upscale lighthouse: 2 paid submits instead of 1"),
        (_pay(REFUSED), f"{REFUSED}: 1 paid submits instead of 0"),
        (_pay(MOCKED_BY_US), f"{MOCKED_BY_US}: a test job was paid for"),
        (_pay_for(prompt="a job that nobody asked for"), "1 submits belong to no job"),
        (_pay_for(provider="modelslab"), "1 submits belong to no job"),
        (_pay_for(endpoint="img2img"), "1 submits belong to no job"),
        (_pay_for_a_webhook_check, "1 submits belong to no job"),
        (_change_submit(test=True), f"{FIRST}: 0 paid submits instead of 1"),
        (_change_submit(task_id="t9"), f"{FIRST}: the task is not the one that was paid for"),
        (_lose_the_object, f"{KEY} is not in the bucket"),
        (_change_the_object, f"{KEY}: the digest is another one"),
        (_swap_the_object, f"{KEY}: it is no picture"),
        (_leave_something, "renders/genrelay-probe belongs to no job"),
        (_copy_a_mock, "job_modelslab_text2img_garden: a test job has copied something"),
        (_copy_a_mock_of_a_check, "job_modelslab_TASK_STATUS_SUCCEED: a test job has copied something"),
        (_leave_an_operation_out, "modelslab inpaint: no job of it has come to a stored object"),
        (_store_too_little, "novita seedream-4.0: no job of it has come to a stored object"),
        (_skip_a_number, f"{FIRST}: the numbers have gaps"),
        (_end_twice, f"{FIRST}: events [2, 3] of 3 are ends"),
        (_tell_another_story, f"{FIRST}: the last event shows another job than the API"),
        (_change_job(FIRST, status="failed"), f"{FIRST}: failed instead of succeeded"),
        (_change_job(FIRST, verified_by="token"), f"{FIRST}: verified_by is token instead of readback"),
        (_change_job(ANSWERED, verified_by="readback"), f"{ANSWERED}: verified_by is readback instead of sync"),
        (_change_job(ANSWERED, outputs=[]), f"{ANSWERED}: outputs is 0 instead of 3"),
        (_misjudge(FIRST, "contradicted"), f"{FIRST}: verdicts on callbacks are ['contradicted']"),
        (_misjudge(ANSWERED, "confirmed"), f"{ANSWERED}: verdicts on callbacks are ['confirmed']"),
        (_misjudge(MOCKED_BY_US), f"{MOCKED_BY_US}: verdicts on callbacks are []"),
        (_refuse_for_another_reason, f"{REFUSED}: refused for another reason"),
        (_make_another_job, f"{TWICE}: the second submit made another job"),
        (_lose_a_delivery, f"{FIRST_EVENT}: in the feed, and never delivered"),
        (_deliver_another_body, f"{FIRST_EVENT}: delivered with another body than the feed's"),
        (_invent_a_delivery, "evt_nobody: delivered, and not in the feed"),
        (_forge_a_delivery, "1 deliveries have a signature that does not verify"),
        (_list_an_event_twice, "the feed has 1 events twice"),
        (_leave_an_event_out_of_the_feed, f"{FIRST}: {FIRST_EVENT} is not in the feed as it is in the job's own list"),
        (_fail_a_step, "modelslab: callback_arrived failed: no_callback"),
        (_check_one_provider_less, "modelslab: not checked"),
        (_say_no_without_a_reason, "novita: not ok, and no step says why"),
    ],
)
def test_a_spoiled_thing_is_noticed(spoil: Spoil, said: str) -> None:
    evidence = right_evidence()
    spoil(evidence)
    assert said in mistakes(evidence)


@pytest.mark.parametrize("leak", [SECRET, TOKEN, "https://host/x.jpeg?X-Amz-Signature=abc"])
def test_a_secret_in_the_log_is_noticed(leak: str) -> None:
    right = right_evidence()
    log = f"something printed {leak}\n"
    found = mistakes(replace(right, log=log))
    assert len(found) == 1
    assert found[0].endswith("in the log")
