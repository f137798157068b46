"""The policy that is printed is the policy that is needed: what really goes to S3 is compared with it."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.faulty_s3 import FaultyS3, Request
from tests.outputs.test_policy import allows
from tests.world import World, destination

_ACTIONS = {
    "AbortMultipartUpload": "s3:AbortMultipartUpload",
    "DeleteObject": "s3:DeleteObject",
    "ListMultipartUploads": "s3:ListBucketMultipartUploads",
    "HeadObject": "s3:GetObject",
    "GetObject": "s3:GetObject",
    "PutObject": "s3:PutObject",
    "UploadPart": "s3:PutObject",
    "CreateMultipartUpload": "s3:PutObject",
    "CompleteMultipartUpload": "s3:PutObject",
}
# Only a crash makes it: tests of the sweep see it.
SWEEP = "s3:ListBucketMultipartUploads"


def needed(request: Request) -> set[str]:
    """Return the actions that S3 asks for when it gets such a request; an operation that is not listed here fails."""
    if "tagging" in request.query:
        assert request.method == "GET"
        return {"s3:GetObjectTagging"}
    more = {"x-amz-tagging": "s3:PutObjectTagging", "x-amz-acl": "s3:PutObjectAcl"}
    return {_ACTIONS[request.operation], *(action for name, action in more.items() if name in request.headers)}


def given(policy: dict[str, Any], action: str, resource: str) -> bool:
    """Tell whether a permission policy allows something."""
    return any(action in one["Action"] and allows(one["Resource"], resource) for one in policy["Statement"])


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"tags": {"team": "renders"}, "manifest": True},
        {"path": "a b/*?/${x}", "key_template": "{date}/{job_id}-{index}.{ext}"},
        {"path": "", "save_to_path_directly": True, "manifest": True},
    ],
)
async def test_everything_that_goes_to_s3_is_allowed_and_nothing_else_is(
    world: World, faulty_s3: FaultyS3, changes: dict[str, Any]
) -> None:
    body = {**destination(world.s3, world.bucket), "endpoint_url": faulty_s3.endpoint_url, **changes}
    made = await world.client.put("/v1/destinations/acme", json=body)
    assert made.json()["check"]["ok"] is True, made.text
    job = await world.run()
    assert job["status"] == "succeeded", job["error"]
    link = await world.client.get(f"/v1/jobs/{job['id']}/outputs/0")
    async with httpx.AsyncClient(trust_env=False) as anybody:
        assert (await anybody.get(link.headers["location"])).status_code == 200
    policy = (await world.client.get("/v1/destinations/acme/policy")).json()["permission_policy"]
    _compare(faulty_s3, policy, world.bucket)


def _compare(proxy: FaultyS3, policy: dict[str, Any], bucket: str) -> None:
    used: set[str] = set()
    for request in proxy.seen:
        resource = f"arn:aws:s3:::{bucket}" + (f"/{request.key}" if request.key else "")
        for action in needed(request):
            assert given(policy, action, resource), (action, resource)
            used.add(action)
    allowed = {action for one in policy["Statement"] for action in one["Action"]}
    assert allowed - used == {SWEEP}
