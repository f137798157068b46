"""Outputs whose URLs lead to places that are not public: refused without a connection, at once and for good."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from ipaddress import ip_network
from typing import Any
from urllib.parse import urlsplit

import pytest
from structlog.testing import capture_logs

from service.engine.context import Context
from service.engine.copying import copy
from service.ids import new_uuid, show
from service.net import GuardPolicy, Refused, check_url, guarded_client
from service.net.resolver import Resolver, ask_dns
from service.outputs.s3_clients import Buckets
from service.providers.replies import read_url
from tests.engine.driven import Driven, uuid
from tests.listening import answering, http_answer, listening, ok
from tests.net.hostile_urls import ADDRESSES, ANSWERS, PUBLIC, URLS, literal
from tests.outgoing import Outgoing, watching_outgoing
from tests.world import destination

SECRET = "X-Amz-Signature=query-secret"
CLOSED = GuardPolicy()
# One address of this machine stands for the public internet; its neighbours would show whoever is let through.
OPENED = ip_network("127.0.0.2/32")
OPEN = "127.0.0.2"
REDIRECTS = [
    "http://127.0.0.1/", "https://169.254.169.254/latest/meta-data/", "//10.0.0.1/", "/elsewhere", "file:///etc/passwd",
    *(f"https://{literal(address)}/" for address in PUBLIC),
]  # fmt: skip
ANY_ADDRESS = "0.0.0.0"  # to see connections to every address of this machine


@pytest.fixture
def outgoing(driven: Driven, monkeypatch: pytest.MonkeyPatch) -> Iterator[Outgoing]:
    """What leaves this process for anywhere but the sandbox, the S3 server and the service itself."""
    with watching_outgoing(monkeypatch) as seen:
        urls = (driven.url, driven.sandbox_url, driven.s3.endpoint_url, driven.settings["GENRELAY_DATABASE_URL"])
        seen.belongs(*(urlsplit(url).port or 0 for url in urls))
        yield seen


def resolving(*answers: Sequence[str]) -> Resolver:
    """Answer the n-th question with the n-th of these, the last one for ever."""
    left = list(answers)

    async def resolve(_host: str, _port: int) -> Sequence[str]:
        return left.pop(0) if len(left) > 1 else left[0]

    return resolve


async def no_dns(host: str, _port: int) -> Sequence[str]:
    """Fail: a URL that is refused for what it says is not worth a question."""
    raise AssertionError(f"DNS was asked for {host}")


@asynccontextmanager
async def guarded(driven: Driven, resolver: Resolver, *opened: Any) -> AsyncIterator[Context]:
    """Lend what the tasks work with, where downloads may reach public addresses and these subnets only."""
    given = driven.context.settings
    anywhere = given.providers.novita.model_copy(update={"output_hosts": ["*"]})
    settings = given.model_copy(
        update={
            "allowed_private_subnets": list(opened),
            "providers": given.providers.model_copy(update={"novita": anywhere}),
        }
    )
    policy = GuardPolicy(tuple(opened))
    # The world's bucket is on this machine; it stays within reach, so that only the guard keeps things out of it.
    async with guarded_client(policy, resolver=resolver) as client:
        yield replace(driven.context, settings=settings, download_client=client)


async def refused(driven: Driven, context: Context, job: dict[str, Any]) -> dict[str, Any]:
    """Copy once, and return the job's error, which is final."""
    await driven.make_due(job)
    await copy(context, uuid(job))
    ended = await driven.job(job)
    assert (ended["status"], ended["error"]["code"]) == ("failed", "output_rejected"), ended
    assert ended["error"]["hint"]
    assert "secret" not in str(ended)
    return ended["error"]  # type: ignore[no-any-return]


def with_secret(url: str) -> str:
    """Return the URL with a signature that nobody may ever see."""
    return url if "#" in url or not url else f"{url}{'&' if '?' in url else '?'}{SECRET}"


_JOBS = """
INSERT INTO jobs SELECT (jsonb_populate_record(jobs, jsonb_build_object('id', made.id, 'provider_task_id', made.id))).*
FROM jobs CROSS JOIN unnest($2::uuid[]) AS made (id) WHERE jobs.id = $1
"""
_OUTPUTS = """
INSERT INTO outputs SELECT (jsonb_populate_record(outputs, jsonb_build_object('job_id', made.id, 'source_url', made.url))).*
FROM outputs CROSS JOIN unnest($2::uuid[], $3::text[]) AS made (id, url) WHERE outputs.job_id = $1
"""


async def copying(driven: Driven, urls: Iterable[str]) -> list[dict[str, Any]]:
    """Return jobs that are to fetch their outputs from there: one real job, and its likes."""
    job = await driven.copying()
    given = list(urls)
    ids = [new_uuid() for _ in given]
    await driven.sql(_JOBS, uuid(job), ids)
    await driven.sql(_OUTPUTS, uuid(job), ids, given)
    return [{"id": show("job", each)} for each in ids]


@pytest.mark.parametrize("kind", URLS)
async def test_a_url_that_says_where_it_leads_is_refused_without_dns_or_a_connection(
    kind: str, driven: Driven, outgoing: Outgoing
) -> None:
    # PostgreSQL has no text with a NUL in it, so that no output's URL has one either.
    urls = [with_secret(url) for url in URLS[kind] if "\0" not in url]
    jobs = await copying(driven, urls)
    with capture_logs() as logs:
        async with guarded(driven, no_dns) as context:
            for job, url in zip(jobs, urls, strict=True):
                error = await refused(driven, context, job)
                with pytest.raises(Refused) as told:
                    check_url(url, CLOSED)
                assert str(told.value) in error["message"]
    assert outgoing.nothing
    assert driven.keys() == []
    assert [entry["outcome"] for entry in logs if entry["event"] == "output.not_stored"] == ["failed"] * len(jobs)
    assert "query-secret" not in str(logs)


async def test_a_name_that_leads_there_is_refused_without_a_connection(driven: Driven, outgoing: Outgoing) -> None:
    answers = {f"n{number}.files.example": answer for number, answer in enumerate(ANSWERS.values())}

    async def resolve(host: str, _port: int) -> Sequence[str]:
        return answers[host]

    jobs = await copying(driven, [f"https://{host}/00.png?{SECRET}" for host in answers])
    with capture_logs() as logs:
        async with guarded(driven, resolve) as context:
            for job, (host, answer) in zip(jobs, answers.items(), strict=True):
                error = await refused(driven, context, job)
                assert "not public" in error["message"], (host, answer)
    assert outgoing.nothing
    assert driven.keys() == []
    assert "query-secret" not in str(logs)


async def test_the_systems_own_names_of_this_machine_are_refused_without_a_connection(
    driven: Driven, outgoing: Outgoing
) -> None:
    jobs = await copying(driven, [f"https://localhost:8443/?{SECRET}", f"https://LOCALHOST/?{SECRET}"])
    async with guarded(driven, ask_dns) as context:
        for job in jobs:
            await refused(driven, context, job)
    assert outgoing.connected == []
    assert outgoing.resolved == ["localhost", "localhost"]


def _handed_out() -> Iterator[str]:
    """Take one of every kind."""
    for addresses in ADDRESSES.values():
        yield f"https://{literal(addresses[-1])}"
    for kind, urls in URLS.items():
        if kind != "literals":
            yield from (url.rstrip("/") for url in list(urls)[::9] if len(url) < 2000 and "\0" not in url)


async def test_a_provider_that_hands_out_such_urls_gets_nothing_stored(driven: Driven, outgoing: Outgoing) -> None:
    ends = set()
    async with guarded(driven, no_dns) as context:
        for url in _handed_out():
            driven.sandbox.public_url = url
            job = await driven.settle(await driven.called_back())
            if job["status"] == "running":
                # What is no URL at all is not even taken down: to us, the provider has shown no output yet.
                assert read_url(f"{url}/prod/0.png") is None
                ends.add("not read")
                continue
            assert job["status"] == "copying", (url, job)
            await refused(driven, context, job)
            ends.add("refused")
    assert ends == {"not read", "refused"}
    assert outgoing.nothing
    assert driven.keys() == []


# --- What a real socket would see -----------------------------------------------------------------------------------


async def test_the_watch_sees_a_connection_that_is_allowed(driven: Driven, outgoing: Outgoing) -> None:
    async with listening(answering(ok(b"no picture")), address=ANY_ADDRESS) as listener:
        [job] = await copying(driven, [f"http://files.example:{listener.port}/?{SECRET}"])
        async with guarded(driven, resolving([OPEN]), OPENED) as context:
            error = await refused(driven, context, job)
    assert "not allowed" not in error["message"]
    assert (outgoing.connected, listener.connections) == ([(OPEN, listener.port)], 1)


@pytest.mark.parametrize("answer", [[OPEN, "127.0.0.1"], ["127.0.0.1", OPEN], [OPEN, "1.1.1.1"], [OPEN, "::1"]])
async def test_one_closed_address_of_several_keeps_all_of_them_from_being_connected_to(
    answer: list[str], driven: Driven, outgoing: Outgoing
) -> None:
    async with listening(answering(ok(b"")), address=ANY_ADDRESS) as listener:
        [job] = await copying(driven, [f"http://files.example:{listener.port}/?{SECRET}"])
        async with guarded(driven, resolving(answer), OPENED) as context:
            await refused(driven, context, job)
    assert (outgoing.connected, listener.connections) == ([], 0)


async def test_a_name_that_turns_private_between_two_tries_is_refused_at_the_second(
    driven: Driven, outgoing: Outgoing
) -> None:
    async with listening(answering(http_answer(503)), address=ANY_ADDRESS) as listener:
        [job] = await copying(driven, [f"http://rebinding.example:{listener.port}/?{SECRET}"])
        async with guarded(driven, resolving([OPEN], ["127.0.0.1"]), OPENED) as context:
            await copy(context, uuid(job))
            assert (await driven.job(job))["status"] == "copying"
            error = await refused(driven, context, job)
    assert "not public" in error["message"]
    assert (outgoing.connected, listener.connections) == ([(OPEN, listener.port)], 1)


async def test_dns_is_asked_once_for_a_connection_so_that_a_second_answer_can_not_lead_it_astray(
    driven: Driven, outgoing: Outgoing
) -> None:
    asked = []

    async def rebinding(host: str, _port: int) -> Sequence[str]:
        asked.append(host)
        return [OPEN] if len(asked) == 1 else ["127.0.0.1"]

    async with listening(answering(ok(b"no picture")), address=ANY_ADDRESS) as listener:
        [job] = await copying(driven, [f"http://rebinding.example:{listener.port}/?{SECRET}"])
        async with guarded(driven, rebinding, OPENED) as context:
            await refused(driven, context, job)
    assert asked == ["rebinding.example"]
    assert outgoing.connected == [(OPEN, listener.port)]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed_wherever_it_leads(status: int, driven: Driven, outgoing: Outgoing) -> None:
    async def answer(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(http_answer(status, b"", f"Location: {REDIRECTS[len(listener.requests) - 1]}"))

    async with listening(answer, address=ANY_ADDRESS) as listener:
        jobs = await copying(driven, [f"http://{OPEN}:{listener.port}/?{SECRET}"] * len(REDIRECTS))
        async with guarded(driven, resolving([OPEN]), OPENED) as context:
            for job in jobs:
                assert "redirects" in (await refused(driven, context, job))["message"]
    assert outgoing.connected == [(OPEN, listener.port)] * len(REDIRECTS)
    assert driven.keys() == []


async def test_a_bucket_whose_endpoint_turns_private_after_it_was_registered_is_denied(
    driven: Driven, outgoing: Outgoing
) -> None:
    await driven.sql("UPDATE destinations SET spec = spec || $1", {"endpoint_url": "https://rebinding.example"})
    job = await driven.copying()
    buckets = Buckets(CLOSED, resolver=resolving(["169.254.169.254"]))
    await copy(replace(driven.context, buckets=buckets), uuid(job))
    ended = await driven.job(job)
    assert (ended["status"], ended["error"]["code"]) == ("failed", "destination_denied")
    assert "not public" in ended["error"]["message"]
    assert "endpoint" in ended["error"]["hint"]
    assert outgoing.nothing
    await buckets.aclose()


async def test_an_endpoint_that_says_where_it_leads_is_not_even_registered(driven: Driven, outgoing: Outgoing) -> None:
    # This world's own subnet is opened, and plain http with it, so that names and ports are left to DNS.
    for kind in ("literals", "spellings", "authorities"):
        for url in list(URLS[kind])[::5]:
            if url.startswith("https://127.") or not url.isascii():
                continue
            body = destination(driven.s3, driven.bucket, endpoint_url=url)
            answer = await driven.client.put("/v1/destinations/hostile", json=body)
            assert answer.status_code == 422, (url, answer.text)
    assert outgoing.nothing
