"""Custom S3 endpoints pass the same guard as sources: no form of a URL that is not public gets a connection."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from service.aws.auth import AccessKey
from service.net import GuardPolicy
from service.net.resolver import Resolver
from service.outputs.bucket import put_once
from service.outputs.errors import DestinationDenied
from service.outputs.s3_clients import Buckets
from service.outputs.spec import BucketSpec
from tests.net.hostile_urls import ANSWERS, HOSTILE, URLS
from tests.outgoing import Outgoing, watching_outgoing

SPEC = BucketSpec("acme-renders", "eu-central-1", AccessKey("an-id", "a-secret-key"))
BODY = b"a lighthouse at dawn"


@pytest.fixture
def outgoing(monkeypatch: pytest.MonkeyPatch) -> Iterator[Outgoing]:
    with watching_outgoing(monkeypatch) as seen:
        yield seen


@asynccontextmanager
async def buckets(resolver: Resolver) -> AsyncIterator[Buckets]:
    """Lend clients that may reach public addresses only."""
    opened = Buckets(GuardPolicy(), resolver=resolver)
    try:
        yield opened
    finally:
        await opened.aclose()


async def no_dns(host: str, _port: int) -> Sequence[str]:
    """Fail: an endpoint that is refused for what it says is not worth a question."""
    raise AssertionError(f"DNS was asked for {host}")


async def denial(opened: Buckets, endpoint_url: str) -> DestinationDenied:
    """Try to write to an endpoint, and return why that was denied for good."""
    there = replace(SPEC, endpoint_url=endpoint_url)
    with pytest.raises(DestinationDenied) as denied:
        async with opened.client(there) as s3:
            await put_once(s3, there, "key", BODY, sha256=bytes(32), media_type="image/png", metadata={})
    with pytest.raises(DestinationDenied):
        await opened.check_endpoint(there)
    assert denied.value.final
    assert denied.value.hint
    return denied.value


@pytest.mark.parametrize("kind", URLS)
async def test_an_endpoint_that_says_where_it_leads_is_denied_without_dns_or_a_connection(
    kind: str, outgoing: Outgoing
) -> None:
    async with buckets(no_dns) as opened:
        for url in URLS[kind]:
            assert "not allowed" in (await denial(opened, url)).message
    assert outgoing.nothing


async def test_an_endpoint_whose_name_leads_there_is_denied_without_a_connection(outgoing: Outgoing) -> None:
    answers = {f"n{number}.s3.example": answer for number, answer in enumerate(ANSWERS.values())}

    async def resolve(host: str, _port: int) -> Sequence[str]:
        return answers[host]

    async with buckets(resolve) as opened:
        for host in answers:
            assert "not public" in (await denial(opened, f"https://{host}")).message, answers[host][:3]
    assert outgoing.nothing


async def test_an_endpoint_that_turns_private_is_denied_at_its_next_connection(outgoing: Outgoing) -> None:
    asked = []

    async def rebinding(host: str, _port: int) -> Sequence[str]:
        asked.append(host)
        return ["1.1.1.1"] if len(asked) == 1 else ["127.0.0.1"]

    there = replace(SPEC, endpoint_url="https://rebinding.example")
    async with buckets(rebinding) as opened:
        await opened.check_endpoint(there)
        assert "not public" in (await denial(opened, "https://rebinding.example")).message
    assert len(asked) > 1
    assert outgoing.nothing


def test_the_corpus_holds_what_it_says() -> None:
    assert len(HOSTILE) == sum(map(len, URLS.values()))
