"""Answers of a bucket that leave open whether the object is there: the bucket is asked, and is right."""

from __future__ import annotations

from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.engine.shaky import SIZES, Shaky, admin, sound
from tests.faulty_s3 import (
    ACCESS_DENIED,
    CONFLICT,
    NO_SUCH_UPLOAD,
    PRECONDITION_FAILED,
    SLOW_DOWN,
    Act,
    Cut,
    Error,
    Late,
    Raw,
)

WRITE = {"small": "PutObject", "large": "CompleteMultipartUpload"}
DONE: list[Act] = [
    Cut("answer"),
    Cut("answered"),
    Error(500, "InternalError", done=True),
    Error(503, "SlowDown", done=True),
    Error(200, "InternalError", inside=True, done=True),
    Error(200, "SlowDown", inside=True, done=True),
    Error(409, "ConditionalRequestConflict", done=True),
    Error(412, "PreconditionFailed", done=True),
]
NOT_DONE: list[Act] = [
    Cut("before"),
    Cut("body"),
    Error(500, "InternalError"),
    Error(200, "InternalError", inside=True),
    Error(200, "SlowDown", inside=True),
    CONFLICT,
]


@pytest.mark.parametrize("size", SIZES)
async def test_what_was_done_and_not_heard_of_is_not_done_again(shaky: Shaky, size: str) -> None:
    for act in DONE:
        for times in (1, 2):
            shaky.forget()
            shaky.proxy.inject(act, WRITE[size], times=times)
            shaky.check_stored(await shaky.run(size), size)
            done = [
                request for request in shaky.proxy.seen if 200 in request.passed_on and request.operation == WRITE[size]
            ]
            assert len(done) == 1, (act, shaky.proxy.seen)
            assert len(shaky.files.requests) == 1, act


@pytest.mark.parametrize("size", SIZES)
async def test_what_was_not_done_is_done(shaky: Shaky, size: str) -> None:
    for act in NOT_DONE:
        for times in (1, 3):
            shaky.forget()
            rule = shaky.proxy.inject(act, WRITE[size], times=times)
            shaky.check_stored(await shaky.run(size), size)
            assert rule.hits == times


@pytest.mark.parametrize("operation", ["UploadPart", "CompleteMultipartUpload"])
async def test_an_upload_that_is_gone_begins_anew(shaky: Shaky, operation: str) -> None:
    """As after a life-cycle rule, or another try of ours that was done and not heard of."""
    shaky.proxy.inject(NO_SUCH_UPLOAD, operation)
    shaky.check_stored(await shaky.run("large"), "large")
    assert shaky.proxy.count("CreateMultipartUpload") == 2


async def test_a_conflict_that_stays_ends_as_unavailable(shaky: Shaky) -> None:
    for size in SIZES:
        shaky.forget()
        shaky.proxy.inject(CONFLICT, WRITE[size], times=None)
        shaky.check_failed(await shaky.run(size), "destination_unavailable", "")


@pytest.mark.parametrize("size", SIZES)
async def test_a_conflict_where_absent_objects_may_not_be_looked_at_passes(shaky: Shaky, size: str) -> None:
    """The printed policy has no s3:ListBucket, without which S3 answers 403 instead of 404."""
    for times in (1, 3):
        shaky.forget()
        shaky.proxy.inject(CONFLICT, WRITE[size], times=times)
        looked = shaky.proxy.inject(ACCESS_DENIED, "HeadObject", times=None)
        shaky.check_stored(await shaky.run(size), size)
        assert looked.hits >= times


async def test_a_conflict_over_the_manifest_passes_too(shaky: Shaky) -> None:
    await shaky.settle_with(manifest=True)
    shaky.proxy.inject(CONFLICT, "PutObject", skip=1)
    shaky.proxy.inject(ACCESS_DENIED, "HeadObject")
    job = await shaky.run("small")
    assert job["status"] == "succeeded"
    assert shaky.driven.keys() == [f"renders/{job['id']}/{name}" for name in ("00.wav", "manifest.json")]


@pytest.mark.parametrize("size", SIZES)
async def test_an_object_of_somebody_else_is_a_conflict_and_stays_what_it_is(shaky: Shaky, size: str) -> None:
    job = await shaky.copying(size)
    ended = await _with_theirs(shaky, job, b"precious")
    assert (ended["status"], ended["error"]["code"]) == ("failed", "destination_conflict")
    assert "Move or delete" in ended["error"]["hint"]


@pytest.mark.parametrize("size", SIZES)
async def test_an_object_of_somebody_else_of_the_same_length_is_a_conflict_too(shaky: Shaky, size: str) -> None:
    job = await shaky.copying(size)
    ended = await _with_theirs(shaky, job, bytes(len(sound(size))))
    assert (ended["status"], ended["error"]["code"]) == ("failed", "destination_conflict")


@pytest.mark.parametrize("size", SIZES)
async def test_an_object_of_somebody_else_that_an_unclear_answer_hides_is_a_conflict(shaky: Shaky, size: str) -> None:
    for act in (Cut("answer"), Error(500, "InternalError", done=True), SLOW_DOWN):
        shaky.forget()
        shaky.proxy.inject(act, WRITE[size], times=1)
        ended = await _with_theirs(shaky, await shaky.copying(size), b"precious")
        assert ended["error"]["code"] == "destination_conflict"


async def _with_theirs(shaky: Shaky, job: dict[str, Any], theirs: bytes) -> dict[str, Any]:
    """Copy where something of somebody else's is stored; it stays what it is, alone, and no upload is left."""
    key = f"renders/{job['id']}/00.wav"
    admin(shaky.driven.s3).put_object(Bucket=shaky.driven.bucket, Key=key, Body=theirs)
    ended = await shaky.drive(job)
    assert shaky.driven.keys() == [key]
    assert shaky.driven.s3.read(shaky.driven.bucket, key) == theirs
    shaky.check_no_upload_is_open()
    assert ended["outputs"][0]["url"] is None
    return ended


@pytest.mark.parametrize("size", SIZES)
async def test_a_claim_that_something_is_there_where_nothing_is_only_costs_time(shaky: Shaky, size: str) -> None:
    for times in (1, 3):
        shaky.forget()
        shaky.proxy.inject(PRECONDITION_FAILED, WRITE[size], times=times)
        shaky.check_stored(await shaky.run(size), size)


@pytest.mark.parametrize("size", SIZES)
async def test_who_may_not_look_after_an_unclear_write_is_told_to_allow_it(shaky: Shaky, size: str) -> None:
    shaky.proxy.inject(Cut("answer"), WRITE[size], times=2)
    shaky.proxy.inject(ACCESS_DENIED, "HeadObject", times=None)
    ended = await shaky.drive(await shaky.copying(size))
    assert (ended["status"], ended["error"]["code"]) == ("failed", "destination_denied")
    assert "s3:GetObject" in ended["error"]["hint"]
    assert len(shaky.driven.keys()) == 1
    shaky.check_no_upload_is_open()
    # With the permission, the retry finds what is there.
    shaky.proxy.forget()
    assert (await shaky.driven.retry(ended)).status_code == 202
    again = await shaky.drive(await shaky.driven.job(ended))
    assert again["status"] == "succeeded", again
    shaky.check_no_upload_is_open()
    assert len(shaky.driven.keys()) == 1


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("behind", [0, 1, 3])
@pytest.mark.parametrize("size", SIZES)
async def test_a_write_that_arrives_late_makes_no_second_object(
    shaky: Shaky, size: str, behind: int, times: int
) -> None:
    rule = shaky.proxy.inject(Late(behind), WRITE[size], times=times)
    shaky.check_stored(await shaky.run(size), size)
    assert rule.hits > 0


@pytest.mark.parametrize("behind", [0, 1, 2, 3])
async def test_a_part_that_arrives_late_leaves_nothing_behind(shaky: Shaky, behind: int) -> None:
    rule = shaky.proxy.inject(Late(behind), "UploadPart", part=2, times=2)
    shaky.check_stored(await shaky.run("large"), "large")
    assert rule.hits == 2


NONSENSE = [
    Raw(),
    Raw(body=b""),
    Raw(body=b"<Error><Code>"),
    Raw(body=b"<?xml version='1.0'?><Nothing/>", headers="Content-Type: application/xml\r\n"),
    Raw(502),
    Raw(404),
    Raw(301, b"", "Location: http://127.0.0.1:1/\r\n"),
    Raw(200, b"\xff\xfe\x00"),
]


@pytest.mark.parametrize(
    ("size", "operation"),
    [
        ("small", "PutObject"),
        ("large", "CreateMultipartUpload"),
        ("large", "UploadPart"),
        ("large", "CompleteMultipartUpload"),
        ("large", "HeadObject"),
    ],
)
async def test_an_answer_that_is_nonsense_ends_in_an_error_or_in_one_whole_object(
    shaky: Shaky, size: str, operation: str
) -> None:
    """Endpoints are anybody's, and what lies before them is, too."""
    for act, times in [*((act, 2) for act in NONSENSE), (Raw(), None), (Raw(body=b""), None)]:
        shaky.forget()
        rule = shaky.proxy.inject(act, operation, times=times)
        if operation == "HeadObject":
            shaky.proxy.inject(Cut("answer"), WRITE[size], times=2)
        with capture_logs() as logs:
            job = await shaky.drive(await shaky.copying(size))
        assert rule.hits > 0
        assert [entry["reason"] for entry in logs if entry["event"] == "task.raised"] == [], act
        if job["status"] == "succeeded":
            shaky.check_stored(job, size)
        else:
            assert job["error"]["code"] in {"destination_denied", "destination_unavailable", "destination_conflict"}
            assert job["error"]["hint"]
            assert operation == "HeadObject" or shaky.driven.keys() == []
