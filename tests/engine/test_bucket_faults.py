"""A bucket that refuses: each refusal ends in the right error with what to do, and in no object and no open upload."""

from __future__ import annotations

import pytest

from service.demo.s3server import Identity
from tests.aws import Moto, StsFront
from tests.engine.shaky import SIZES, Shaky, Storm, admin
from tests.faulty_s3 import (
    ACCESS_DENIED,
    EXPIRED_TOKEN,
    INTERNAL_ERROR,
    KMS_DISABLED,
    NO_SUCH_BUCKET,
    SKEWED,
    SLOW_DOWN,
    Act,
    Alter,
    Error,
)

KMS_DENIED = Error(
    403,
    "AccessDenied",
    "User: arn:aws:iam::123456789012:user/acme is not authorized to perform: kms:GenerateDataKey on this resource",
)
WRITES = [("small", "PutObject", None), ("large", "CreateMultipartUpload", None), ("large", "UploadPart", 2)]
FINAL_WRITES = [*WRITES, ("large", "CompleteMultipartUpload", None)]


@pytest.mark.parametrize("size", SIZES)
async def test_without_trouble_each_request_is_made_once(shaky: Shaky, size: str) -> None:
    shaky.check_stored(await shaky.run(size), size)
    wanted = (
        ["PutObject"] if size == "small" else ["CreateMultipartUpload", *["UploadPart"] * 3, "CompleteMultipartUpload"]
    )
    assert shaky.proxy.operations() == wanted


# --- What the server itself refuses ---------------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
async def test_wrong_keys_are_denied(shaky: Shaky, size: str) -> None:
    await shaky.settle_with(Identity(shaky.driven.s3.access_key_id, "wrong" * 8))
    shaky.check_failed(await shaky.run(size), "destination_denied", "secret access key")
    await shaky.settle_with(Identity("nobody", "wrong" * 8))
    shaky.check_failed(await shaky.run(size), "destination_denied", "access key id")
    assert len(shaky.proxy.seen) == 1


@pytest.mark.parametrize("size", SIZES)
async def test_who_may_only_read_is_denied(shaky: Shaky, size: str) -> None:
    await shaky.settle_with(shaky.driven.s3.reader)
    shaky.check_failed(await shaky.run(size), "destination_denied", "s3:PutObject")


@pytest.mark.parametrize("size", SIZES)
async def test_who_may_only_write_gets_everything_stored(shaky: Shaky, size: str) -> None:
    await shaky.settle_with(shaky.driven.s3.writer)
    shaky.check_stored(await shaky.run(size), size)


@pytest.mark.parametrize("size", SIZES)
async def test_a_bucket_that_is_missing_is_denied_and_taken_once_it_appears(shaky: Shaky, size: str) -> None:
    await shaky.settle_with(bucket="is-not-there-yet")
    job = await shaky.run(size)
    shaky.check_failed(job, "destination_denied", "Create the bucket")
    await shaky.settle_with()
    assert (await shaky.driven.retry(job)).status_code == 202
    ended = await shaky.drive(await shaky.driven.job(job))
    assert ended["status"] == "succeeded"
    assert len(shaky.driven.keys()) == 1


async def test_a_bucket_that_is_deleted_under_an_upload_and_made_again_takes_the_file_at_the_retry(
    shaky: Shaky,
) -> None:
    job = await shaky.copying("large")
    gone = shaky.proxy.inject(NO_SUCH_BUCKET, "UploadPart", part=2)
    ended = await shaky.drive(job)
    shaky.check_failed(ended, "destination_denied", "Create the bucket")
    assert gone.hits == 1
    assert (await shaky.driven.retry(ended)).status_code == 202
    again = await shaky.drive(await shaky.driven.job(ended))
    assert again["status"] == "succeeded"
    assert len(shaky.driven.keys()) == 1


async def test_a_real_bucket_may_go_and_come_back(shaky: Shaky) -> None:
    client, bucket = admin(shaky.driven.s3), shaky.driven.bucket
    job = await shaky.copying("small")
    client.delete_bucket(Bucket=bucket)
    ended = await shaky.driven.drive(job)
    assert (ended["status"], ended["error"]["code"]) == ("failed", "destination_denied")
    client.create_bucket(Bucket=bucket)
    assert (await shaky.driven.retry(ended)).status_code == 202
    assert (await shaky.drive(await shaky.driven.job(ended)))["status"] == "succeeded"
    assert len(shaky.driven.keys()) == 1


# --- What only AWS refuses ------------------------------------------------------------------------------------------


REFUSALS = [
    (ACCESS_DENIED, "Allow s3:PutObject"),
    (KMS_DISABLED, "KMS key exists"),
    (KMS_DENIED, "kms:GenerateDataKey"),
    (NO_SUCH_BUCKET, "Create the bucket"),
    (Error(400, "AuthorizationHeaderMalformed"), "region"),
]


@pytest.mark.parametrize(("size", "operation", "part"), FINAL_WRITES)
async def test_a_refusal_of_any_write_ends_the_job_at_once(
    shaky: Shaky, size: str, operation: str, part: int | None
) -> None:
    for act, hint in REFUSALS:
        shaky.forget()
        rule = shaky.proxy.inject(act, operation, part=part, times=None)
        job = await shaky.run(size)
        shaky.check_failed(job, "destination_denied", hint)
        assert act.code in job["error"]["message"]
        assert (rule.hits, len(shaky.files.requests)) == (1, 1)


# --- What passes, and what does not pass in time --------------------------------------------------------------------

PASSING = [
    SLOW_DOWN,
    INTERNAL_ERROR,
    SKEWED,
    Error(400, "RequestTimeout"),
    Error(409, "OperationAborted"),
    Error(503, "ServiceUnavailable"),
    Error(429, "TooManyRequests"),
    Error(400, "KMS.ThrottlingException"),
]


@pytest.mark.parametrize(("size", "operation", "part"), FINAL_WRITES)
async def test_a_trouble_that_passes_ends_in_one_object(
    shaky: Shaky, size: str, operation: str, part: int | None
) -> None:
    times = 3 if size == "small" else 2
    for act in PASSING if size == "small" else PASSING[:5]:
        shaky.forget()
        rule = shaky.proxy.inject(act, operation, part=part, times=times)
        shaky.check_stored(await shaky.run(size), size)
        assert rule.hits == times, act


@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize("size", SIZES)
async def test_a_storm_that_takes_every_request_several_times_passes(shaky: Shaky, size: str, times: int) -> None:
    for act in (SLOW_DOWN, INTERNAL_ERROR):
        shaky.forget()
        storm = Storm(act, times=times)
        shaky.proxy.rules.append(storm)
        shaky.check_stored(await shaky.run(size), size)
        assert storm.hits >= times


LASTING: list[tuple[Act, str]] = [
    (SLOW_DOWN, "S3 takes no more requests"),
    (INTERNAL_ERROR, "retry the job"),
    (SKEWED, "clock"),
    (Alter({"x-amz-date": "20200101T000000Z"}), "clock"),
]


@pytest.mark.parametrize(("size", "operation", "part"), WRITES)
async def test_a_trouble_that_stays_ends_the_job_as_unavailable(
    shaky: Shaky, size: str, operation: str, part: int | None
) -> None:
    for act, hint in LASTING:
        shaky.forget()
        shaky.proxy.inject(act, operation, part=part, times=None)
        shaky.check_failed(await shaky.run(size), "destination_unavailable", hint)


# --- Sessions of roles ----------------------------------------------------------------------------------------------


@pytest.fixture
async def role_shaky(sts: StsFront, moto: Moto, shaky: Shaky) -> Shaky:
    """The same world with a destination that is written to as a role."""
    await shaky.settle_with(auth={"type": "assume_role", "role_arn": moto.make_role()})
    sts.calls.clear()
    return shaky


async def test_a_session_that_ends_in_the_middle_is_renewed_and_the_object_whole(
    role_shaky: Shaky, sts: StsFront
) -> None:
    for size, operation, part in FINAL_WRITES:
        role_shaky.forget()
        rule = role_shaky.proxy.inject(EXPIRED_TOKEN, operation, part=part)
        role_shaky.check_stored(await role_shaky.run(size), size)
        assert rule.hits == 1
    assert len(sts.assumed) > 1


@pytest.mark.parametrize(("size", "operation", "part"), WRITES)
async def test_sessions_that_all_count_as_ended_end_the_job_as_unavailable(
    role_shaky: Shaky, size: str, operation: str, part: int | None
) -> None:
    role_shaky.proxy.inject(EXPIRED_TOKEN, operation, part=part, times=None)
    role_shaky.check_failed(await role_shaky.run(size), "destination_unavailable", "renewed by itself")


@pytest.mark.parametrize("size", SIZES)
async def test_a_role_that_lets_nobody_in_any_more_is_denied(role_shaky: Shaky, sts: StsFront, size: str) -> None:
    sts.be("deny")
    role_shaky.check_failed(await role_shaky.run(size), "destination_denied", "role")
    assert role_shaky.proxy.seen == []


async def test_one_output_that_is_refused_leaves_the_other_one_stored(shaky: Shaky) -> None:
    job = await shaky.copying("large", count=2)
    shaky.proxy.inject(ACCESS_DENIED, "UploadPart", part=3, key=f"renders/{job['id']}/01.wav", times=None)
    ended = await shaky.drive(job)
    assert (ended["status"], ended["error"]["code"]) == ("failed", "destination_denied")
    assert [output["status"] for output in ended["outputs"]] == ["stored", "pending"]
    assert shaky.driven.keys() == [f"renders/{job['id']}/00.wav"]
    shaky.check_no_upload_is_open()
