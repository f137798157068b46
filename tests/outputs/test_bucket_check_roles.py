"""The check of a bucket that is written to as a role."""

from __future__ import annotations

from dataclasses import replace

from service.aws.auth import AssumedRole
from service.outputs.bucket_check import check_bucket
from service.outputs.s3_clients import Buckets
from service.outputs.spec import BucketSpec
from tests.aws import Moto, StsFront
from tests.outputs.test_bucket_check import STEPS, outcomes, told

WITH_ROLE = [STEPS[0], "assume_role", *STEPS[1:]]


def as_role(spec: BucketSpec, moto: Moto) -> BucketSpec:
    return replace(spec, auth=AssumedRole(moto.make_role(), "genrelay-ours"))


async def test_role_that_asks_for_our_external_id_passes(
    buckets: Buckets, spec: BucketSpec, moto: Moto, sts: StsFront
) -> None:
    sts.external_id = "genrelay-ours"
    steps = await check_bucket(buckets, as_role(spec, moto), "renders")
    assert outcomes(steps) == dict.fromkeys(WITH_ROLE)
    assert told(steps, "assume_role").message is None


async def test_role_that_lets_in_whoever_knows_it_passes_with_a_warning(
    buckets: Buckets, spec: BucketSpec, moto: Moto, sts: StsFront
) -> None:
    steps = await check_bucket(buckets, as_role(spec, moto), "renders")
    assert outcomes(steps) == dict.fromkeys(WITH_ROLE)
    assert "without the external id" in (told(steps, "assume_role").message or "")
    assert "trust policy" in (told(steps, "assume_role").hint or "")
    assert None in [call.external_id for call in sts.assumed]


async def test_role_that_does_not_let_us_in_fails_its_step_and_skips_the_rest(
    buckets: Buckets, spec: BucketSpec, moto: Moto, sts: StsFront
) -> None:
    sts.external_id = "genrelay-of-another-account"
    steps = await check_bucket(buckets, as_role(spec, moto), "renders")
    assert outcomes(steps) == {
        **dict.fromkeys(WITH_ROLE, "skipped"),
        "endpoint": None,
        "assume_role": "AccessDenied",
    }
    assert "external id" in (told(steps, "assume_role").hint or "")


async def test_role_is_assumed_anew_so_that_a_change_of_its_policy_shows(
    buckets: Buckets, spec: BucketSpec, moto: Moto, sts: StsFront
) -> None:
    role = as_role(spec, moto)
    assert outcomes(await check_bucket(buckets, role, ""))["assume_role"] is None
    sts.be("deny")
    assert outcomes(await check_bucket(buckets, role, ""))["assume_role"] == "AccessDenied"
