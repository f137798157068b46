"""A real S3 server, open clients to it, and buckets of the tests' own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from ipaddress import ip_network

import pytest

from service.aws.auth import AccessKey
from service.demo.s3server import Identity, S3Server
from service.net import GuardPolicy
from service.outputs.s3_clients import Buckets
from service.outputs.spec import BucketSpec

LOCAL = GuardPolicy((ip_network("127.0.0.0/8"),))


def spec_for(server: S3Server, bucket: str, who: Identity | None = None) -> BucketSpec:
    """Describe a bucket of the test server, seen by one of its identities (the administrator unless told)."""
    who = who or server.admin
    return BucketSpec(
        bucket=bucket,
        region=server.region,
        auth=AccessKey(who.access_key_id, who.secret_access_key),
        endpoint_url=server.endpoint_url,
    )


@pytest.fixture
def spec(s3_server: S3Server, bucket: str) -> BucketSpec:
    return spec_for(s3_server, bucket)


@pytest.fixture
async def buckets() -> AsyncIterator[Buckets]:
    opened = Buckets(LOCAL)
    yield opened
    await opened.aclose()
