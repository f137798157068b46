"""For how long what somebody's credentials sign is good: links end with them."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from service.aws.auth import Ambient, AssumedRole
from service.outputs.s3_clients import Buckets
from service.outputs.spec import BucketSpec
from tests.aws import ACCOUNT, StsFront, no_credentials
from tests.listening import answering, http_answer, listening
from tests.outputs.conftest import LOCAL


@pytest.fixture
async def buckets() -> AsyncIterator[Buckets]:
    opened = Buckets(LOCAL)
    yield opened
    await opened.aclose()


@pytest.fixture
def ambient(spec: BucketSpec, monkeypatch: pytest.MonkeyPatch) -> BucketSpec:
    """A bucket for the service's own credentials: an IAM user's."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in no_credentials().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAOPERATOR")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "operators-secret-key")
    return replace(spec, auth=Ambient())


async def _left(buckets: Buckets, spec: BucketSpec) -> float | None:
    async with buckets.client(spec, cause="job_1"):
        return buckets.seconds_left(spec)


async def test_an_access_key_does_not_end(buckets: Buckets, spec: BucketSpec, ambient: BucketSpec) -> None:
    assert await _left(buckets, spec) is None
    assert await _left(buckets, ambient) is None


async def test_a_roles_session_ends_when_sts_said_so(buckets: Buckets, spec: BucketSpec, sts: StsFront) -> None:
    sts.lifetime, sts.ahead = 1800, 500  # by STS's clock, which is not ours
    role = AssumedRole(f"arn:aws:iam::{ACCOUNT}:role/customers/genrelay", "genrelay-0123456789")
    left = await _left(buckets, replace(spec, auth=role))
    assert left is not None
    assert 1770 < left <= 1800


async def test_a_token_of_which_nobody_says_when_it_ends_is_taken_to_end_soon(
    buckets: Buckets, ambient: BucketSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SESSION_TOKEN", "a-token")
    assert await _left(buckets, ambient) == 900


async def test_a_pods_credentials_end_when_the_agent_said_so(
    buckets: Buckets, ambient: BucketSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends = (datetime.now(UTC) + timedelta(hours=6)).strftime("%Y-%m-%dT%H:%M:%SZ")
    given = {"AccessKeyId": "ASIAPOD", "SecretAccessKey": "pods-secret", "Token": "pods-token", "Expiration": ends}
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    async with listening(answering(http_answer(200, json.dumps(given).encode()))) as agent:
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"http://127.0.0.1:{agent.port}/v1/credentials")
        left = await _left(buckets, ambient)
    assert left is not None
    assert 6 * 3600 - 30 < left <= 6 * 3600
