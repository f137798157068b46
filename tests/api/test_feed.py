"""`GET /v1/events` and `GET /v1/jobs/{id}/events` as pages: order, cursors, filters, and what they refuse."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from service.demo.s3server import S3Server
from service.events.types import PATTERNS
from service.ids import new_uuid, show
from tests.api.answers import paths_of, problem
from tests.engine.driven import Driven, driven_world
from tests.sse import feed
from tests.world import World, destination, until

TEST = {"enabled": True}


@pytest.fixture
async def driven(database_url: str, s3_server: S3Server, bucket: str) -> AsyncIterator[Driven]:
    """A world in which nothing happens by itself."""
    async with driven_world(database_url, s3_server, bucket) as running:
        yield running


async def placed(driven: Driven, count: int) -> list[dict[str, Any]]:
    """Return the account's feed once it has so many events."""

    async def there() -> list[dict[str, Any]]:
        found = await feed(driven.client)
        return found if len(found) == count else []

    return await until(there)


def ids(events: list[dict[str, Any]]) -> list[str]:
    return [event["id"] for event in events]


async def test_the_feed_has_every_jobs_events_as_the_jobs_own_lists_have_them(world: World) -> None:
    jobs = [await world.run(), await world.run(test_mode=TEST)]
    own = [event for job in jobs for event in await world.events(job)]

    async def complete() -> list[dict[str, Any]]:
        found = await feed(world.client)
        return found if len(found) == len(own) else []

    events = await until(complete)
    assert {event["id"]: event for event in events} == {event["id"]: event for event in own}
    for job in jobs:
        numbers = [event["data"]["sequence"] for event in events if event["subject"] == job["id"]]
        assert numbers == list(range(1, len(numbers) + 1))
    assert await feed(world.stranger) == []


async def test_pages_of_the_feed_have_no_gaps_and_no_repeats(driven: Driven) -> None:
    for _ in range(3):
        await driven.cancel(await driven.submit())
    events = await placed(driven, 6)
    for limit in (1, 4, 6, 100):
        assert await feed(driven.client, limit=limit) == events
    for number, event in enumerate(events, 1):
        assert await feed(driven.client, after=event["id"], limit=2) == events[number:]
    assert await feed(driven.client, after="start") == events
    page = (await driven.client.get("/v1/events", params={"limit": 2})).json()
    assert (page["next_cursor"], page["has_more"]) == (events[1]["id"], True)
    # Whoever pages on by `cursor` leaves the rest of the query as it was.
    query = {"after": events[0]["id"], "cursor": events[2]["id"]}
    assert (await driven.client.get("/v1/events", params=query)).json()["data"] == events[3:]
    last = (await driven.client.get("/v1/events", params={"after": events[-1]["id"]})).json()
    assert last == {"data": [], "next_cursor": None, "has_more": False}


async def test_each_filter_finds_what_it_says_and_nothing_else(driven: Driven) -> None:
    await driven.client.put("/v1/destinations/other?check=false", json=destination(driven.s3, driven.bucket))
    plain = await driven.submit(metadata={"order": "42", "tenant": "blue"})
    elsewhere = await driven.submit(destination="other", metadata={"order": "42"})
    test = await driven.submit(test_mode=TEST)
    # What gets its place at the same time is ordered by job.
    await placed(driven, 3)
    await driven.cancel(plain)
    await placed(driven, 4)

    async def found(**query: str) -> list[tuple[str, str]]:
        return [(event["subject"], event["type"]) for event in await feed(driven.client, **query)]

    first, ended = (plain["id"], "job.queued"), (plain["id"], "job.canceled")
    other, mock = (elsewhere["id"], "job.queued"), (test["id"], "job.queued")
    everything = [first, other, mock, ended]
    for query, expected in (
        ({"type": "job.canceled"}, [ended]),
        ({"type": "job.canceled,job.failed,job.queued"}, everything),
        ({"type": "job.*"}, everything),
        ({"type": "*"}, everything),
        ({"type": "output.*,destination.*"}, []),
        ({"provider": "novita"}, everything),
        ({"provider": "modelslab"}, []),
        ({"provider": "modelslab,novita"}, everything),
        ({"operation": "txt2img"}, everything),
        ({"operation": "img2img"}, []),
        ({"destination": "other"}, [other]),
        ({"test": "true"}, [mock]),
        ({"test": "false"}, [first, other, ended]),
        ({"metadata[order]": "42"}, [first, other, ended]),
        ({"metadata[order]": "42", "metadata[tenant]": "blue"}, [first, ended]),
        ({"metadata[order]": "43"}, []),
        ({"metadata[order]": "42", "type": "job.queued", "destination": "acme"}, [first]),
    ):
        assert await found(**query) == expected, query
        assert await found(**query, limit="1") == expected, query


async def test_what_is_wrong_with_a_query_is_told_all_at_once(driven: Driven) -> None:
    wrong = {"type": "job.done", "test": "yes", "limit": "0", "after": "evt_x", "cursor": "5", "colour": "red"}
    answer = await driven.client.get("/v1/events", params={**wrong, "provider": "a\0b"})
    assert paths_of(answer) == {*wrong, "provider"}
    rule = next(error["rule"] for error in answer.json()["errors"] if error["path"] == "type")
    assert all(pattern in rule for pattern in PATTERNS)
    for types in ("", "job.queued,", "job.queued, job.failed", "JOB.*", "subscription.test", "x" * 5000):
        assert paths_of(await driven.client.get("/v1/events", params={"type": types})) == {"type"}
    assert paths_of(await driven.client.get("/v1/events?test=true&test=false")) == {"test"}


async def test_an_event_of_a_stranger_is_as_unknown_as_one_that_never_was(driven: Driven) -> None:
    job = await driven.submit()
    [event] = await placed(driven, 1)
    never = show("evt", new_uuid())
    said = []
    for unknown in (event["id"], never):
        for name in ("after", "cursor"):
            answer = await driven.stranger.get("/v1/events", params={name: unknown})
            assert paths_of(answer) == {name}
            said.append(
                answer.text.replace(unknown, "?").replace(name, "?").replace(answer.headers["x-request-id"], "")
            )
    assert len(set(said)) == 1
    assert paths_of(await driven.client.get("/v1/events", params={"after": never})) == {"after"}
    problem(await driven.stranger.get(f"/v1/jobs/{job['id']}/events"), 404, "not_found")
    problem(await driven.stranger.get(f"/v1/jobs/{job['id']}/events", params={"limit": "x"}), 404, "not_found")


async def test_a_jobs_list_goes_on_behind_a_number_or_an_id(driven: Driven) -> None:
    job, other = await driven.submit(), await driven.submit()
    await driven.cancel(job)
    await driven.retry(job)
    path = f"/v1/jobs/{job['id']}/events"
    events = await feed(driven.client, path)
    assert len(events) == 3
    for number, event in enumerate(events, 1):
        for place in (number, event["id"]):
            assert await feed(driven.client, path, after=place) == events[number:]
            assert await feed(driven.client, path, cursor=place) == events[number:]
    assert await feed(driven.client, path, after=0) == await feed(driven.client, path, after="start") == events
    assert await feed(driven.client, path, after=99) == []
    [elsewhere] = await driven.events(other)
    for wrong in (elsewhere["id"], show("evt", new_uuid()), "evt_x", "-1", "1.5", "9" * 10, "٣"):
        assert paths_of(await driven.client.get(path, params={"after": wrong})) == {"after"}


async def test_json_is_what_everybody_gets_who_does_not_ask_for_a_stream(driven: Driven) -> None:
    job = await driven.submit()
    for path in ("/v1/events", f"/v1/jobs/{job['id']}/events"):
        for accept in (
            "*/*",
            "text/*",
            "text/html, */*;q=0.1",
            "application/json",
            "application/json, text/event-stream;q=0.9",
            "text/event-stream;q=0",
            "text/event-stream; q=0.000",
            "text/event-streams",
        ):
            answer = await driven.client.get(path, headers={"Accept": accept, "Last-Event-ID": "nonsense"})
            assert answer.status_code == 200, (accept, answer.text)
            assert answer.headers["content-type"] == "application/json"
            assert answer.headers["vary"] == "Accept"
