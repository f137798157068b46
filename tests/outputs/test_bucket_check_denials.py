"""The check of a bucket whose policy denies one action: that one step fails, and no other is hidden by it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

import httpx
import pytest

from service.aws.auth import AccessKey
from service.outputs.bucket_check import check_bucket
from service.outputs.s3_clients import Buckets
from service.outputs.spec import BucketSpec, Encryption
from tests.aws import REGION, Moto
from tests.outputs.test_bucket_check import outcomes, told

STEPS = ["endpoint", "put", "conditional_put", "head", "get", "multipart", "abort", "kms", "tags", "delete"]


@contextmanager
def denying(moto: Moto, *actions: str) -> Iterator[BucketSpec]:
    """Describe a bucket, with everything that can be asked for, as a user sees it to whom these actions are denied."""
    iam, name = moto.client("iam"), f"user-{uuid4().hex}"
    iam.create_user(UserName=name)
    key = iam.create_access_key(UserName=name)["AccessKey"]
    allow = {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}
    deny = [{"Effect": "Deny", "Action": list(actions), "Resource": "*"}] if actions else []
    policy = json.dumps({"Version": "2012-10-17", "Statement": [allow, *deny]})
    iam.put_user_policy(UserName=name, PolicyName="denying", PolicyDocument=policy)
    spec = BucketSpec(
        moto.make_bucket(),
        REGION,
        AccessKey(key["AccessKeyId"], key["SecretAccessKey"]),
        endpoint_url=moto.url,
        encryption=Encryption("aws:kms", moto.make_key(), bucket_key=True),
        tags={"team": "acme renders"},
    )
    _look_at_policies(moto, after=0)
    try:
        yield spec
    finally:
        _look_at_policies(moto, after=10**9)


def _look_at_policies(moto: Moto, after: int) -> None:
    """Let moto check signatures and policies after so many requests."""
    httpx.post(f"{moto.url}/moto-api/reset-auth", content=str(after), trust_env=False).raise_for_status()


def left_in(moto: Moto, bucket: str) -> tuple[int, int]:
    s3 = moto.client("s3")
    objects = s3.list_objects_v2(Bucket=bucket).get("Contents", [])
    return len(objects), len(s3.list_multipart_uploads(Bucket=bucket).get("Uploads", []))


async def test_who_may_do_everything_passes_every_step(buckets: Buckets, moto: Moto) -> None:
    with denying(moto) as spec:
        assert outcomes(await check_bucket(buckets, spec, "renders")) == dict.fromkeys(STEPS)
    assert left_in(moto, spec.bucket) == (0, 0)


@pytest.mark.parametrize(
    ("action", "failed", "left"),
    [
        ("s3:GetObject", {"head": "403", "get": "AccessDenied"}, (0, 0)),
        ("s3:AbortMultipartUpload", {"abort": "AccessDenied"}, (0, 1)),
        ("s3:DeleteObject", {"delete": "AccessDenied"}, (1, 0)),
    ],
)
async def test_denied_action_fails_its_own_step_only_and_is_named(
    buckets: Buckets, moto: Moto, action: str, failed: dict[str, str], left: tuple[int, int]
) -> None:
    with denying(moto, action) as spec:
        steps = await check_bucket(buckets, spec, "renders")
    assert outcomes(steps) == {**dict.fromkeys(STEPS), **failed}
    assert all(action in (told(steps, name).hint or "") for name in failed)
    assert left_in(moto, spec.bucket) == left


async def test_what_stays_is_named_where_it_can_not_be_tidied_up(buckets: Buckets, moto: Moto) -> None:
    with denying(moto, "s3:AbortMultipartUpload", "s3:DeleteObject") as spec:
        steps = await check_bucket(buckets, spec, "renders")
    for name in ("abort", "delete"):
        assert "renders/genrelay-probe-" in (told(steps, name).hint or "")


async def test_denied_write_leaves_nothing_to_try(buckets: Buckets, moto: Moto) -> None:
    with denying(moto, "s3:PutObject") as spec:
        found = outcomes(await check_bucket(buckets, spec, "renders"))
    assert found == {**dict.fromkeys(STEPS, "skipped"), "endpoint": None, "put": "AccessDenied"}


async def test_listing_is_needed_for_nothing(buckets: Buckets, moto: Moto) -> None:
    with denying(moto, "s3:ListBucket", "s3:ListBucketMultipartUploads", "s3:ListMultipartUploadParts") as spec:
        assert outcomes(await check_bucket(buckets, spec, "")) == dict.fromkeys(STEPS)


async def test_tags_that_can_not_be_read_back_are_taken_for_written(buckets: Buckets, moto: Moto) -> None:
    with denying(moto, "s3:GetObjectTagging") as spec:
        steps = await check_bucket(buckets, spec, "renders")
    assert outcomes(steps) == dict.fromkeys(STEPS)
    assert "s3:GetObjectTagging" in (told(steps, "tags").message or "")
