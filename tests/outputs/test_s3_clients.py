"""Which places S3 clients connect to, and how long they stay open."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from ipaddress import ip_network

import pytest
from botocore.session import Session

from service.aws.auth import AccessKey
from service.aws.aws_session import LeanLoader
from service.demo.s3server import S3Server
from service.net import GuardPolicy
from service.net.resolver import Resolver
from service.outputs.bucket import put_once
from service.outputs.errors import DestinationDenied, DestinationUnavailable
from service.outputs.s3_clients import Buckets
from service.outputs.spec import BucketSpec
from tests.listening import WRITTEN, answering, http_answer, listening
from tests.outputs.conftest import LOCAL

OPENED = GuardPolicy((ip_network("127.0.0.2/32"),))
EMPTY_SHA256 = bytes.fromhex("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")


def resolving(*answers: Sequence[str]) -> Resolver:
    left = list(answers)

    async def resolve(_host: str, _port: int) -> Sequence[str]:
        return left.pop(0) if len(left) > 1 else left[0]

    return resolve


def spec_at(endpoint_url: str | None) -> BucketSpec:
    return BucketSpec("bucket", "us-east-1", AccessKey("id", "secret-key"), endpoint_url=endpoint_url)


async def write(buckets: Buckets, spec: BucketSpec) -> None:
    async with buckets.client(spec) as s3:
        await put_once(s3, spec, "key", b"", sha256=EMPTY_SHA256, media_type="image/png", metadata={})


async def refuse(endpoint_url: str, policy: GuardPolicy, *answers: Sequence[str]) -> str:
    buckets = Buckets(policy, resolver=resolving(*answers or [["127.0.0.1"]]))
    with pytest.raises(DestinationDenied) as denied:
        await write(buckets, spec_at(endpoint_url))
    await buckets.aclose()
    assert "secret" not in f"{denied.value} {denied.value.hint}"
    return denied.value.message


async def test_closed_endpoint_is_denied_and_not_connected_to() -> None:
    async with listening(answering(WRITTEN), address="0.0.0.0") as listener:
        for host in ("127.0.0.1", "2130706433", "inside.example", "user:secret@127.0.0.2"):
            await refuse(f"http://{host}:{listener.port}", OPENED)
        await refuse(f"http://127.0.0.2:{listener.port}?secret=1", OPENED)
        await refuse(f"http://inside.example:{listener.port}", OPENED, ["127.0.0.2", "127.0.0.1"])
        await refuse(f"https://127.0.0.1:{listener.port}", GuardPolicy())
        await refuse("http://public.example", OPENED, ["1.1.1.1"])
        await refuse("https://public.example:9000", OPENED, ["1.1.1.1"])
    assert listener.connections == 0


async def test_literal_address_is_checked_again_when_its_socket_is_made() -> None:
    policy = GuardPolicy((ip_network("127.0.0.0/8"),))
    buckets = Buckets(policy)
    async with listening(answering(WRITTEN), address="0.0.0.0") as listener:
        spec = spec_at(f"http://127.0.0.1:{listener.port}")
        async with buckets.client(spec) as s3:
            object.__setattr__(policy, "allowed_private_subnets", ())
            with pytest.raises(DestinationDenied):
                await put_once(s3, spec, "key", b"", sha256=EMPTY_SHA256, media_type="image/png", metadata={})
    await buckets.aclose()
    assert listener.connections == 0


async def test_opened_endpoint_is_reached_by_name_and_by_address() -> None:
    async with listening(answering(WRITTEN), address="0.0.0.0") as listener:
        buckets = Buckets(OPENED, resolver=resolving(["127.0.0.2"]))
        for host in ("inside.example", "127.0.0.2"):
            await write(buckets, spec_at(f"http://{host}:{listener.port}"))
        await buckets.aclose()
    assert [request.split(b" HTTP")[0] for request in listener.requests] == [b"PUT /bucket/key"] * 2


async def test_redirect_of_an_endpoint_is_not_followed() -> None:
    async with listening(answering(WRITTEN), address="0.0.0.0") as target:
        elsewhere = f"Location: http://127.0.0.2:{target.port}/bucket/key"
        for status in (301, 302, 307, 308):
            async with listening(answering(http_answer(status, b"", elsewhere)), address="0.0.0.0") as listener:
                await refuse(f"http://127.0.0.2:{listener.port}", OPENED)
            assert listener.connections == 1
    assert target.connections == 0


async def test_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async with (
        listening(answering(http_answer(500))) as proxy,
        listening(answering(WRITTEN), address="0.0.0.0") as listener,
    ):
        for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        buckets = Buckets(OPENED)
        await write(buckets, spec_at(f"http://127.0.0.2:{listener.port}"))
        await buckets.aclose()
    assert (proxy.connections, listener.connections) == (0, 1)


async def test_endpoint_of_the_operators_environment_is_used_and_not_guarded(monkeypatch: pytest.MonkeyPatch) -> None:
    async with listening(answering(WRITTEN)) as listener:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{listener.port}")
        buckets = Buckets(GuardPolicy())
        await write(buckets, spec_at(None))
        await buckets.aclose()
    assert listener.connections == 1


async def test_endpoint_that_nobody_serves_or_names_is_a_passing_trouble() -> None:
    async with listening(answering()) as listener:
        pass
    buckets = Buckets(LOCAL)
    for endpoint in (f"http://127.0.0.1:{listener.port}", "https://missing.invalid"):
        with pytest.raises(DestinationUnavailable):
            await write(buckets, spec_at(endpoint))
    with pytest.raises(DestinationUnavailable):
        await buckets.check_endpoint(spec_at("https://missing.invalid"))
    await buckets.aclose()


async def test_clients_are_shared_by_buckets_with_the_same_credentials(buckets: Buckets, spec: BucketSpec) -> None:
    async with buckets.client(spec) as one, buckets.client(replace(spec, bucket="another")) as two:
        assert one is two
    async with (
        buckets.client(spec) as again,
        buckets.client(replace(spec, auth=AccessKey("other", "secret"))) as other,
        buckets.client(replace(spec, region="eu-west-1")) as elsewhere,
    ):
        assert again is one
        assert len({id(again), id(other), id(elsewhere)}) == 3


async def test_clients_beyond_the_limit_are_closed_once_nobody_uses_them(s3_server: S3Server, spec: BucketSpec) -> None:
    buckets = Buckets(LOCAL, max_clients=1)
    other = replace(spec, auth=AccessKey("other", "secret"))
    async with buckets.client(spec) as used:
        async with buckets.client(other) as first:
            pass
        # `first` went, since it alone was unused; `used` still works.
        await used.list_objects_v2(Bucket=spec.bucket)
        async with buckets.client(other) as second:
            assert second is not first
    async with buckets.client(spec) as kept:
        assert kept is used
    await buckets.aclose()
    assert not buckets._clients._open


def test_rules_for_endpoints_do_not_look_at_the_key_that_is_left_out() -> None:
    whole = Session().get_component("data_loader").load_service_model("s3", "endpoint-rule-set-1")
    lean = LeanLoader().load_service_model("s3", "endpoint-rule-set-1")
    assert set(whole["parameters"]) - set(lean["parameters"]) == {"Key"}
    assert lean["rules"] == whole["rules"]
