"""Credentials of customers' roles and of the service itself: how many are asked for, when, and what happens without."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import json
import os
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import botocore.auth
import httpx
import pytest
from aiobotocore.credentials import AioCredentials
from structlog.testing import capture_logs

from service.aws.auth import Ambient, AssumedRole
from service.aws.renewal import Lease
from service.aws.roles import Roles, role_of, session_name
from service.demo.s3server import S3Server
from service.outputs.bucket import S3, put_once
from service.outputs.errors import DestinationDenied, DestinationError, DestinationUnavailable
from service.outputs.s3_clients import Buckets
from service.outputs.spec import BucketSpec
from tests.aws import ACCOUNT, Mood, Moto, StsFront, no_credentials
from tests.faulty_s3 import ACCESS_DENIED, EXPIRED_TOKEN, Error, FaultyS3
from tests.listening import WRITTEN, answering, http_answer, listening
from tests.outputs.conftest import LOCAL
from tests.world import World, destination, free_port, until

ROLE = AssumedRole(f"arn:aws:iam::{ACCOUNT}:role/customers/genrelay", "genrelay-0123456789")


class Clock:
    """A clock that a test turns."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def buckets(clock: Clock) -> AsyncIterator[Buckets]:
    opened = Buckets(LOCAL, roles=Roles(clock=clock))
    yield opened
    await opened.aclose()


@pytest.fixture
def role_spec(spec: BucketSpec) -> BucketSpec:
    return replace(spec, auth=ROLE)


async def write(buckets: Buckets, spec: BucketSpec, key: str = "key", cause: str = "job_1") -> None:
    body = key.encode()
    async with buckets.client(spec, cause=cause) as s3:
        sha256 = hashlib.sha256(body).digest()
        await put_once(s3, spec, key, body, sha256=sha256, media_type="image/png", metadata={})


async def test_role_is_assumed_once_for_a_job_and_writes(
    buckets: Buckets, role_spec: BucketSpec, sts: StsFront, s3_server: S3Server
) -> None:
    await write(buckets, role_spec, "one", cause="job_first")
    await write(buckets, role_spec, "two", cause="job_second")
    assert s3_server.list_keys(role_spec.bucket) == ["one", "two"]
    [call] = sts.assumed
    assert (call.session_name, call.external_id, call.role_arn) == ("job_first", ROLE.external_id, ROLE.role_arn)
    assert (call.seconds, call.region, call.access_key_id) == (3600, role_spec.region, "AKIAOPERATOR")


# --- How often STS is asked -----------------------------------------------------------------------------------------


async def test_two_hundred_clients_at_once_are_one_assume_role(
    buckets: Buckets, role_spec: BucketSpec, sts: StsFront
) -> None:
    sts.be("hang")
    specs = [role_spec, replace(role_spec, bucket="another"), replace(role_spec, endpoint_url="http://127.0.0.1:1")]

    async def use(number: int) -> None:
        async with buckets.client(specs[number % 3], cause=f"job_{number}"):
            pass

    async with asyncio.TaskGroup() as group:
        for number in range(200):
            group.create_task(use(number))
        await sts.came(1)
        sts.release()
    assert len(sts.calls) == 1


async def test_check_and_jobs_have_sessions_of_their_own(
    buckets: Buckets, role_spec: BucketSpec, sts: StsFront
) -> None:
    for cause in ("genrelay-check", "job_1", "genrelay-check", "job_2"):
        await write(buckets, role_spec, cause, cause=cause)
    assert [call.session_name for call in sts.assumed] == ["genrelay-check", "job_1"]


async def test_another_external_id_or_region_is_another_session(
    buckets: Buckets, role_spec: BucketSpec, sts: StsFront
) -> None:
    for spec in (
        role_spec,
        replace(role_spec, auth=replace(ROLE, external_id="genrelay-other")),
        replace(role_spec, region="eu-west-1"),
        role_spec,
    ):
        async with buckets.client(spec):
            pass
    assert [(call.external_id, call.region) for call in sts.assumed] == [
        (ROLE.external_id, "us-east-1"),
        ("genrelay-other", "us-east-1"),
        (ROLE.external_id, "eu-west-1"),
    ]


async def test_credentials_are_renewed_before_they_end_while_everybody_goes_on_with_the_old_ones(
    sts: StsFront, clock: Clock
) -> None:
    sts.identity = None
    roles = Roles(clock=clock)
    shared = roles.credentials(ROLE, "us-east-1")
    old = await shared.get("job_1")
    clock.now += 2999
    assert await shared.get() is old
    assert len(sts.calls) == 1
    clock.now += 2
    sts.be("hang")
    assert {await shared.get(f"job_{number}") for number in range(100)} == {old}
    await sts.came(2)
    assert {await shared.get() for _ in range(100)} == {old}
    sts.release()
    await asyncio.gather(*roles._tasks)
    new = await shared.get()
    assert new.access_key != old.access_key
    assert [call.session_name for call in sts.assumed] == ["job_1", "job_99"]
    await roles.aclose()


async def test_close_to_the_end_everybody_waits_for_one_renewal(sts: StsFront, clock: Clock) -> None:
    sts.identity = None
    roles = Roles(clock=clock)
    shared = roles.credentials(ROLE, "us-east-1")
    old = await shared.get()
    clock.now += 3481
    new = await asyncio.gather(*(shared.get() for _ in range(100)))
    assert len(set(new)) == 1
    assert new[0] is not old
    assert len(sts.calls) == 2
    await roles.aclose()


async def test_renewal_that_fails_too_early_to_matter_is_tried_again_half_a_minute_later(
    sts: StsFront, clock: Clock
) -> None:
    roles = Roles(clock=clock)
    shared = roles.credentials(ROLE, "us-east-1")
    old = await shared.get()
    sts.be("deny")
    clock.now += 3001
    with capture_logs() as logs:
        for _ in range(10):
            assert await shared.get() is old
            await asyncio.gather(*roles._tasks)
    assert len(sts.calls) == 2
    [entry] = logs
    assert entry["event"] == "credentials.not_renewed"
    assert entry["usable"]
    assert "exc_info" not in entry
    clock.now += 31
    assert await shared.get() is old
    await asyncio.gather(*roles._tasks)
    assert len(sts.calls) == 3
    clock.now += 600
    with pytest.raises(DestinationDenied):
        await shared.get()
    sts.be("answer")
    assert await shared.get() is not old
    await roles.aclose()


async def test_canceling_who_began_a_renewal_fails_nobody_else(sts: StsFront, clock: Clock) -> None:
    sts.be("hang")
    roles = Roles(clock=clock)
    shared = roles.credentials(ROLE, "us-east-1")
    first = asyncio.create_task(shared.get("job_first"))
    await sts.came(1)
    second = asyncio.create_task(shared.get("job_second"))
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    sts.release()
    assert (await second).access_key
    assert len(sts.calls) == 1
    await roles.aclose()


async def test_how_long_credentials_are_good_is_told_by_the_clock_of_sts(
    buckets: Buckets, role_spec: BucketSpec, sts: StsFront
) -> None:
    for hours in (-3, 3):
        sts.ahead = hours * 3600
        spec = replace(role_spec, region=f"eu-west-{abs(hours)}")
        for _ in range(2):
            async with buckets.client(replace(spec, auth=replace(ROLE, external_id=f"genrelay-{hours}"))):
                pass
    assert len(sts.calls) == 2


async def test_credentials_that_have_ended_already_are_a_passing_trouble_and_asked_for_once(
    buckets: Buckets, role_spec: BucketSpec, sts: StsFront
) -> None:
    sts.lifetime = -5
    with pytest.raises(DestinationUnavailable):
        await write(buckets, role_spec)
    assert len(sts.calls) == 1


async def test_roles_beyond_the_limit_are_forgotten(sts: StsFront) -> None:
    roles = Roles(max_roles=2)
    for number in (1, 2, 3, 3, 2, 1):
        await roles.credentials(replace(ROLE, external_id=f"genrelay-{number}"), "us-east-1").get()
    assert [call.external_id for call in sts.calls] == [f"genrelay-{number}" for number in (1, 2, 3, 1)]
    await roles.aclose()


@pytest.mark.parametrize(
    ("cause", "name"),
    [
        ("job_0192f0c1a2b3", "job_0192f0c1a2b3"),
        ("genrelay", "genrelay"),
        ("a job/of: mine", "a-job-of--mine"),
        ("ümläut", "-ml-ut"),
        ("", "genrelay"),
        ("x", "genrelay"),
        ("x" * 100, "x" * 64),
    ],
)
def test_session_name_is_one_that_sts_takes(cause: str, name: str) -> None:
    assert session_name(cause) == name


# --- When STS does not give any -------------------------------------------------------------------------------------


async def failure(buckets: Buckets, spec: BucketSpec) -> DestinationError:
    with pytest.raises(DestinationError) as failed:
        await write(buckets, spec)
    return failed.value


async def test_role_that_asks_for_another_external_id_says_what_to_change(
    buckets: Buckets, role_spec: BucketSpec, sts: StsFront
) -> None:
    sts.external_id = "genrelay-of-another-account"
    denied = await failure(buckets, role_spec)
    assert isinstance(denied, DestinationDenied)
    assert denied.s3_code == "AccessDenied"
    assert "sts:AssumeRole" in denied.message
    assert "trust policy" in denied.hint
    assert "external id" in denied.hint
    sts.external_id = ROLE.external_id
    await write(buckets, role_spec)


@pytest.mark.parametrize(
    ("mood", "code"),
    [
        *[("throttle", "Throttling"), ("fail", "InternalFailure"), ("expired", "ExpiredToken"), ("cut", None)],
        ("bad_key", "InvalidClientTokenId"),
    ],
)
async def test_sts_that_can_not_answer_is_a_passing_trouble(
    buckets: Buckets, role_spec: BucketSpec, sts: StsFront, mood: Mood, code: str | None
) -> None:
    sts.be(mood)
    passing = await failure(buckets, role_spec)
    assert isinstance(passing, DestinationUnavailable)
    assert passing.s3_code == code
    sts.be("answer")
    await write(buckets, role_spec)


@pytest.mark.parametrize("mood", ["expired", "bad_key", "skewed"])
async def test_what_is_wrong_with_our_own_key_is_not_the_roles_fault(
    buckets: Buckets, role_spec: BucketSpec, sts: StsFront, mood: Mood
) -> None:
    sts.be(mood)
    passing = await failure(buckets, role_spec)
    assert isinstance(passing, DestinationUnavailable)
    assert passing.ours
    assert "operator" in passing.hint
    sts.be("deny")
    denied = await failure(buckets, role_spec)
    assert isinstance(denied, DestinationDenied)
    assert not denied.ours


@pytest.mark.parametrize("mood", ["expired", "bad_key"])
async def test_credentials_of_our_own_that_are_no_good_any_more_are_looked_up_anew(
    buckets: Buckets, role_spec: BucketSpec, sts: StsFront, mood: Mood
) -> None:
    sts.be(mood, times=1)
    await write(buckets, role_spec)
    assert len(sts.assumed) == 2


async def test_sts_that_nobody_serves_is_a_passing_trouble(
    buckets: Buckets, role_spec: BucketSpec, sts: StsFront, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", f"http://127.0.0.1:{free_port()}")
    assert isinstance(await failure(buckets, role_spec), DestinationUnavailable)


async def test_sts_that_never_answers_is_given_up_by_all_who_wait(role_spec: BucketSpec, sts: StsFront) -> None:
    buckets = Buckets(LOCAL, roles=Roles(seconds=0.5))
    await buckets.whoami()
    sts.be("hang")
    failures = await asyncio.gather(*(failure(buckets, role_spec) for _ in range(20)))
    assert {type(each) for each in failures} == {DestinationUnavailable}
    assert len({id(each) for each in failures}) == 20
    assert len(sts.assumed) == 1
    await buckets.aclose()


async def test_wrong_clock_is_told_as_what_it_is(buckets: Buckets, role_spec: BucketSpec, sts: StsFront) -> None:
    sts.be("skewed")
    passing = await failure(buckets, role_spec)
    assert isinstance(passing, DestinationUnavailable)
    assert "clock" in passing.hint


async def test_role_whose_arn_is_none_is_denied(buckets: Buckets, role_spec: BucketSpec, sts: StsFront) -> None:
    denied = await failure(buckets, replace(role_spec, auth=AssumedRole("role", ROLE.external_id)))
    assert isinstance(denied, DestinationDenied)
    assert sts.calls == []


async def test_region_that_can_not_be_one_is_denied(buckets: Buckets, role_spec: BucketSpec, sts: StsFront) -> None:
    denied = await failure(buckets, replace(role_spec, region="evil.example/#"))
    assert isinstance(denied, DestinationDenied)
    assert sts.calls == []


@pytest.mark.parametrize("asks", [True, False])
async def test_role_without_a_condition_on_the_external_id_is_found_out(
    buckets: Buckets, sts: StsFront, asks: bool
) -> None:
    sts.external_id = ROLE.external_id if asks else None
    assert await buckets.asks_for_external_id(ROLE, "us-east-1") is asks


# --- When S3 refuses them -------------------------------------------------------------------------------------------

OPERATIONS: dict[str, dict[str, Any]] = {
    "PutObject": {"Body": b"body"},
    "HeadObject": {},
    "GetObject": {},
    "DeleteObject": {},
    "CreateMultipartUpload": {},
    "UploadPart": {"Body": b"part", "PartNumber": 1},
    "CompleteMultipartUpload": {},
    "AbortMultipartUpload": {},
}


async def call(s3: S3, spec: BucketSpec, operation: str) -> None:
    """Do one operation, with what it needs done before it."""
    given = {**spec.place("key"), **OPERATIONS[operation]}
    await s3.put_object(**spec.place("key"), Body=b"body")
    if operation in {"UploadPart", "CompleteMultipartUpload", "AbortMultipartUpload"}:
        given["UploadId"] = (await s3.create_multipart_upload(**spec.place("key")))["UploadId"]
    if operation == "CompleteMultipartUpload":
        part = await s3.upload_part(**{**given, **OPERATIONS["UploadPart"]})
        given["MultipartUpload"] = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
    await getattr(s3, re.sub(r"(?<!^)(?=[A-Z])", "_", operation).lower())(**given)


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_credentials_that_expire_in_the_middle_are_renewed_and_the_request_sent_again(
    buckets: Buckets, role_spec: BucketSpec, sts: StsFront, faulty_s3: FaultyS3, clock: Clock, operation: str
) -> None:
    spec = replace(role_spec, endpoint_url=faulty_s3.endpoint_url)
    async with buckets.client(spec, cause="job_1") as s3:
        clock.now += 100
        rule = faulty_s3.inject(EXPIRED_TOKEN, operation, skip=operation == "PutObject")
        await call(s3, spec, operation)
        if operation == "PutObject":
            await s3.put_object(**spec.place("key"), Body=b"body")
    assert rule.hits == 1
    assert len(sts.assumed) == 2


async def test_series_of_writes_outlives_its_credentials(
    buckets: Buckets, role_spec: BucketSpec, sts: StsFront, s3_server: S3Server, faulty_s3: FaultyS3, clock: Clock
) -> None:
    """The first ones are revoked, the second ones end: the server takes neither, whatever we think of them."""
    spec = replace(role_spec, endpoint_url=faulty_s3.endpoint_url)
    for number in range(30):
        if number == 10:
            faulty_s3.inject(EXPIRED_TOKEN, "PutObject")
        if number == 20:
            clock.now += 4000
        await write(buckets, spec, f"key-{number:02}", cause=f"job_{number}")
    assert len(s3_server.list_keys(spec.bucket)) == 30
    assert [each.session_name for each in sts.assumed] == ["job_0", "job_10", "job_20"]


async def test_many_requests_that_are_refused_at_once_are_one_renewal(
    buckets: Buckets, role_spec: BucketSpec, sts: StsFront, s3_server: S3Server, faulty_s3: FaultyS3
) -> None:
    spec = replace(role_spec, endpoint_url=faulty_s3.endpoint_url)
    await write(buckets, spec, "first")
    sts.be("hang")
    faulty_s3.inject(EXPIRED_TOKEN, "PutObject", times=20)
    async with asyncio.TaskGroup() as group:
        for number in range(20):
            group.create_task(write(buckets, spec, f"key-{number:02}"))
        await until(lambda: answered(faulty_s3, 21))
        sts.release()
    assert len(s3_server.list_keys(spec.bucket)) == 21
    assert len(sts.assumed) == 2


async def answered(faulty: FaultyS3, count: int) -> bool:
    return len([request for request in faulty.seen if request.status is not None]) >= count


async def test_endpoint_that_calls_everything_expired_does_not_make_us_ask_sts_all_day(
    buckets: Buckets, role_spec: BucketSpec, sts: StsFront, faulty_s3: FaultyS3
) -> None:
    spec = replace(role_spec, endpoint_url=faulty_s3.endpoint_url)
    faulty_s3.inject(EXPIRED_TOKEN, times=None)
    for _ in range(5):
        passing = await failure(buckets, spec)
        assert isinstance(passing, DestinationUnavailable)
        assert passing.s3_code == "ExpiredToken"
    assert len(sts.assumed) == 2
    assert faulty_s3.count("PutObject") == 6


async def test_request_is_sent_once_more_and_not_for_ever(
    role_spec: BucketSpec, sts: StsFront, faulty_s3: FaultyS3
) -> None:
    clock = itertools.count(1000, 20)
    buckets = Buckets(LOCAL, roles=Roles(clock=lambda: next(clock)))
    faulty_s3.inject(EXPIRED_TOKEN, times=None)
    await failure(buckets, replace(role_spec, endpoint_url=faulty_s3.endpoint_url))
    assert faulty_s3.count("PutObject") == 2
    await buckets.aclose()


async def test_access_key_is_not_tried_again(
    buckets: Buckets, spec: BucketSpec, sts: StsFront, faulty_s3: FaultyS3
) -> None:
    faulty_s3.inject(Error(400, "InvalidToken"), "PutObject")
    assert isinstance(await failure(buckets, replace(spec, endpoint_url=faulty_s3.endpoint_url)), DestinationDenied)
    assert faulty_s3.count("PutObject") == 1
    assert sts.calls == []


async def test_session_that_was_revoked_is_replaced_but_a_new_one_is_believed_to_be_denied(
    buckets: Buckets, role_spec: BucketSpec, sts: StsFront, faulty_s3: FaultyS3, clock: Clock
) -> None:
    spec = replace(role_spec, endpoint_url=faulty_s3.endpoint_url)
    faulty_s3.inject(ACCESS_DENIED, "PutObject")
    assert isinstance(await failure(buckets, spec), DestinationDenied)
    assert len(sts.assumed) == 1
    clock.now += 61
    faulty_s3.inject(ACCESS_DENIED, "PutObject")
    await write(buckets, spec)
    assert len(sts.assumed) == 2


async def test_signed_link_of_a_role_reads_the_object(buckets: Buckets, role_spec: BucketSpec, sts: StsFront) -> None:
    await write(buckets, role_spec)
    async with buckets.client(role_spec, cause="job_2") as s3, httpx.AsyncClient(trust_env=False) as anybody:
        url = await s3.generate_presigned_url("get_object", Params=role_spec.place("key"), ExpiresIn=60)
        assert (await anybody.get(url)).content == b"key"
    assert len(sts.assumed) == 1


async def test_what_a_role_signs_lasts_no_longer_than_its_session(
    buckets: Buckets, spec: BucketSpec, role_spec: BucketSpec, sts: StsFront, clock: Clock
) -> None:
    sts.lifetime = 1800
    await write(buckets, role_spec)
    assert buckets.seconds_left(role_spec) == pytest.approx(1800, abs=5)
    clock.now += 1000
    assert buckets.seconds_left(role_spec) == pytest.approx(800, abs=5)
    assert buckets.seconds_left(spec) is None


async def test_session_token_is_sent_and_signed(
    buckets: Buckets, role_spec: BucketSpec, sts: StsFront, moto: Moto
) -> None:
    sts.identity = None
    async with listening(answering(WRITTEN)) as listener:
        await write(buckets, replace(role_spec, endpoint_url=f"http://127.0.0.1:{listener.port}"))
    [head] = listener.requests
    [token] = re.findall(rb"X-Amz-Security-Token: (\S+)", head, re.IGNORECASE)
    assert token.decode() in sts.handed_out
    assert b"x-amz-security-token" in head.partition(b"SignedHeaders=")[2].partition(b",")[0]


async def test_wrong_clock_of_ours_is_told_as_what_it_is_by_s3_too(
    buckets: Buckets, role_spec: BucketSpec, sts: StsFront, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda: datetime.now(UTC) + timedelta(hours=2))
    passing = await failure(buckets, role_spec)
    assert isinstance(passing, DestinationUnavailable)
    assert passing.s3_code == "RequestTimeTooSkewed"
    assert "clock" in passing.hint


async def test_owner_that_is_expected_is_told_at_every_request(
    buckets: Buckets, role_spec: BucketSpec, sts: StsFront, faulty_s3: FaultyS3
) -> None:
    spec = replace(role_spec, endpoint_url=faulty_s3.endpoint_url, expected_bucket_owner=ACCOUNT)
    for _ in range(2):
        await write(buckets, spec)
    assert faulty_s3.operations() == ["PutObject", "PutObject", "HeadObject"]
    assert {request.headers["x-amz-expected-bucket-owner"] for request in faulty_s3.seen} == {ACCOUNT}


# --- The service's own credentials ----------------------------------------------------------------------------------


@pytest.fixture
def ambient(spec: BucketSpec, monkeypatch: pytest.MonkeyPatch) -> BucketSpec:
    """A bucket for the service's own credentials, of which there are none."""
    for name in list(os.environ):
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    for name, value in no_credentials().items():
        monkeypatch.setenv(name, value)
    return replace(spec, auth=Ambient())


async def test_credentials_of_the_environment_write(
    buckets: Buckets, ambient: BucketSpec, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3_server.access_key_id)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3_server.secret_access_key)
    await write(buckets, ambient)
    assert s3_server.list_keys(ambient.bucket) == ["key"]
    assert buckets.seconds_left(ambient) is None


async def test_service_without_credentials_tells_its_operator(
    buckets: Buckets, ambient: BucketSpec, caplog: pytest.LogCaptureFixture
) -> None:
    for auth in (Ambient(), ROLE):
        missing = await failure(buckets, replace(ambient, auth=auth))
        assert isinstance(missing, DestinationUnavailable)
        assert missing.ours
        assert "the service's own AWS credentials" in missing.message
        assert "operator" in missing.hint
    assert "Traceback" not in caplog.text


async def test_bucket_that_does_not_know_our_own_key_is_not_at_fault(
    buckets: Buckets, ambient: BucketSpec, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3_server.access_key_id)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "of-yesterday")
    refused = await failure(buckets, ambient)
    assert isinstance(refused, DestinationUnavailable)
    assert (refused.ours, refused.s3_code) == (True, "SignatureDoesNotMatch")
    assert "operator" in refused.hint


async def test_looking_for_credentials_in_vain_is_not_done_for_every_request(
    buckets: Buckets, ambient: BucketSpec, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_EC2_METADATA_DISABLED")
    async with listening(answering(http_answer(404), http_answer(404))) as metadata:
        monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", f"http://127.0.0.1:{metadata.port}")
        await asyncio.gather(*(failure(buckets, ambient) for _ in range(20)))
        once = metadata.connections
        assert once > 0
        await asyncio.gather(*(failure(buckets, ambient) for _ in range(20)))
        assert metadata.connections == once
        clock.now += 6
        await failure(buckets, ambient)
        assert metadata.connections == 2 * once


async def test_metadata_service_that_hangs_is_given_up(ambient: BucketSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_EC2_METADATA_DISABLED")
    buckets = Buckets(LOCAL, roles=Roles(seconds=1))

    async def hang(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with listening(hang) as metadata:
        monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", f"http://127.0.0.1:{metadata.port}")
        failures = await asyncio.gather(*(failure(buckets, ambient) for _ in range(20)))
        assert {type(each) for each in failures} == {DestinationUnavailable}
        assert metadata.connections == 1
        await buckets.aclose()


async def test_credentials_of_a_pod_identity_are_looked_up_anew_once_they_are_refused(
    buckets: Buckets,
    ambient: BucketSpec,
    s3_server: S3Server,
    faulty_s3: FaultyS3,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given = {
        "AccessKeyId": s3_server.access_key_id,
        "SecretAccessKey": s3_server.secret_access_key,
        "Token": "",
        "Expiration": (datetime.now(UTC) + timedelta(hours=6)).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    (tmp_path / "token").write_text("the-pods-token")
    async with listening(answering(http_answer(200, json.dumps(given).encode()))) as agent:
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"http://127.0.0.1:{agent.port}/v1/credentials")
        monkeypatch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", str(tmp_path / "token"))
        spec = replace(ambient, endpoint_url=faulty_s3.endpoint_url)
        await write(buckets, spec, "one")
        await write(buckets, spec, "two")
        assert agent.connections == 1
        faulty_s3.inject(EXPIRED_TOKEN, "PutObject")
        await write(buckets, spec, "three")
        assert agent.connections == 2
        assert buckets.seconds_left(spec) == pytest.approx(6 * 3600, abs=60)
    assert b"the-pods-token" in agent.requests[0]
    assert s3_server.list_keys(spec.bucket) == ["one", "three", "two"]


async def test_credentials_of_a_service_account_assume_a_customers_role(
    buckets: Buckets, role_spec: BucketSpec, sts: StsFront, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    (tmp_path / "token").write_text("e30.e30.c2ln")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))
    monkeypatch.setenv("AWS_ROLE_ARN", f"arn:aws:iam::{ACCOUNT}:role/genrelay")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    await write(buckets, role_spec)
    await write(buckets, replace(role_spec, auth=Ambient()), "own")
    assert [each.action for each in sts.calls] == ["AssumeRoleWithWebIdentity", "AssumeRole"]
    sts.calls.clear()
    sts.be("expired", times=1)
    await write(buckets, replace(role_spec, auth=replace(ROLE, external_id="genrelay-other")), "another")
    assert [each.action for each in sts.calls] == ["AssumeRole", "AssumeRoleWithWebIdentity", "AssumeRole"]


async def test_service_account_that_sts_does_not_take_is_for_the_operator(
    buckets: Buckets,
    ambient: BucketSpec,
    sts: StsFront,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    (tmp_path / "token").write_text("e30.e30.c2ln")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))
    monkeypatch.setenv("AWS_ROLE_ARN", f"arn:aws:iam::{ACCOUNT}:role/genrelay")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    sts.be("deny")
    missing = await failure(buckets, ambient)
    assert isinstance(missing, DestinationUnavailable)
    assert missing.ours
    assert "operator" in missing.hint


# --- Who we are -----------------------------------------------------------------------------------------------------


async def test_who_we_are_is_asked_once(buckets: Buckets, sts: StsFront, clock: Clock) -> None:
    assert await asyncio.gather(*(buckets.whoami() for _ in range(20))) == [f"arn:aws:sts::{ACCOUNT}:user/moto"] * 20
    assert [each.action for each in sts.calls] == ["GetCallerIdentity"]
    clock.now += 3601
    await buckets.whoami()
    assert len(sts.calls) == 2


async def test_nobody_is_who_we_are_while_sts_does_not_tell(sts: StsFront, clock: Clock) -> None:
    roles = Roles(seconds=1, clock=clock)
    assert await roles.whoami() is not None
    clock.now += 3601
    sts.be("hang")
    assert await asyncio.gather(*(roles.whoami() for _ in range(20))) == [None] * 20
    assert len(sts.calls) == 2
    sts.release()
    assert await roles.whoami() is None
    clock.now += 31
    assert await roles.whoami() is not None
    await roles.aclose()


async def test_nobody_is_who_we_are_without_credentials(buckets: Buckets, ambient: BucketSpec) -> None:
    assert await buckets.whoami() is None


@pytest.mark.parametrize(
    ("arn", "known", "role"),
    [
        ("arn:aws:sts::1:assumed-role/genrelay/i-0abc", "", "arn:aws:iam::1:role/genrelay"),
        ("arn:aws-cn:sts::1:assumed-role/genrelay/x", "", "arn:aws-cn:iam::1:role/genrelay"),
        ("arn:aws:sts::1:assumed-role/a/x", "arn:aws:iam::1:role/pods/a", "arn:aws:iam::1:role/pods/a"),
        ("arn:aws:sts::1:assumed-role/a/x", "arn:aws:iam::1:role/pods/b", "arn:aws:iam::1:role/a"),
        ("arn:aws:sts::1:assumed-role/a/x", "arn:aws:iam::2:role/pods/a", "arn:aws:iam::1:role/a"),
        ("arn:aws:iam::1:user/genrelay", "", "arn:aws:iam::1:user/genrelay"),
        ("arn:aws:iam::1:root", "", "arn:aws:iam::1:root"),
    ],
)
def test_session_is_known_by_its_role(arn: str, known: str, role: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ROLE_ARN", known)
    assert role_of(arn) == role


# --- A job ----------------------------------------------------------------------------------------------------------


async def test_job_with_a_role_names_the_session_after_itself(sts: StsFront, world: World) -> None:
    body = destination(world.s3, world.bucket, auth={"type": "assume_role", "role_arn": ROLE.role_arn})
    answer = await world.client.put("/v1/destinations/acme", json=body)
    assert answer.is_success, answer.text
    sts.calls.clear()
    job = await world.run()
    assert job["status"] == "succeeded", job
    [call] = sts.assumed
    assert call.session_name == job["id"]
    assert call.external_id is not None
    assert call.external_id.startswith("genrelay-")


# --- Secrets --------------------------------------------------------------------------------------------------------


async def test_secrets_are_in_no_log_no_error_and_no_repr(
    role_spec: BucketSpec, sts: StsFront, faulty_s3: FaultyS3, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("WARNING")
    sts.identity = None
    roles = Roles(clock=clock)
    buckets = Buckets(LOCAL, roles=roles)
    spec = replace(role_spec, endpoint_url=faulty_s3.endpoint_url)
    faulty_s3.inject(EXPIRED_TOKEN, times=None)
    with capture_logs() as logs:
        told = [await failure(buckets, spec)]
        sts.be("deny")
        clock.now += 4000
        told.append(await failure(buckets, spec))
        sts.be("throttle")
        told.append(await failure(buckets, spec))
    shared = roles.credentials(ROLE, "us-east-1")
    lease = Lease(AioCredentials("id", "very-secret"), 1)
    text = f"{caplog.text} {logs} {[(e.message, e.hint, repr(e)) for e in told]} {roles!r} {shared!r} {vars(shared)} {lease}"
    assert logs
    for secret in (*sts.handed_out, "operators-secret-key", "very-secret"):
        assert secret not in text
    assert len(sts.handed_out) == 4
    await buckets.aclose()
