"""What is told of events that are not kept any more: that they are gone, not that they never were."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from service.db.sql import queries
from service.demo.s3server import S3Server
from service.engine.housekeeping import keep_house
from service.events.placing import Placer
from service.ids import new_uuid, show
from tests.engine.aging import DAY, age_job, id_of_age
from tests.engine.driven import Driven, driven_world, uuid

STREAM = {"Accept": "text/event-stream"}


@pytest.fixture
async def driven(database_url: str, s3_server: S3Server, bucket: str) -> AsyncIterator[Driven]:
    """A world without workers, whose account has a subscription."""
    async with driven_world(database_url, s3_server, bucket) as running:
        made = await running.client.post("/v1/subscriptions", json={"url": "http://127.0.0.1:9/hook"})
        assert made.status_code == 201
        yield running


async def _old_job(driven: Driven, days: float) -> tuple[str, str]:
    """Let a job be so old; returns the ids of it and of its first event."""
    job = await driven.drive(await driven.called_back())
    await driven.service.feed._placer.place()
    await driven.sql(
        "UPDATE deliveries SET status = 'failed', due_at = NULL, ended_at = now() WHERE due_at IS NOT NULL"
    )
    async with driven.service.pool.acquire() as connection:
        aged = await age_job(connection, uuid(job), days * DAY)
    [row] = await driven.sql("SELECT id FROM events WHERE job_id = $1 AND sequence = 1", aged)
    return show("job", aged), show("evt", row["id"])


async def _stream(driven: Driven, path: str, event: str) -> Any:
    return await driven.client.get(path, headers={**STREAM, "Last-Event-ID": event})


async def test_who_goes_on_behind_an_event_that_is_gone_is_told_so(driven: Driven) -> None:
    _, gone = await _old_job(driven, 91)
    young = await driven.drive(await driven.called_back())
    await driven.service.feed._placer.place()
    assert (await driven.client.get("/v1/events", params={"after": gone})).status_code == 200
    await keep_house(driven.context)
    answers = [
        await driven.client.get("/v1/events", params={"after": gone}),
        await driven.client.get("/v1/events", params={"cursor": gone}),
        await _stream(driven, "/v1/events", gone),
    ]
    for answer in answers:
        assert (answer.status_code, answer.json()["code"]) == (410, "event_gone"), answer.text
    explained = await driven.client.get("/problems/event_gone")
    assert "after=start" in explained.text
    feed = await driven.client.get("/v1/events", params={"after": "start", "limit": 100})
    assert {event["subject"] for event in feed.json()["data"]} == {young["id"]}


async def _told_after(driven: Driven, event: str) -> list[str]:
    """Return what comes behind an event, after a page and a stream have told the same."""
    page = await driven.client.get("/v1/events", params={"after": event, "limit": 100})
    assert page.status_code == 200, page.text
    told = [each["id"] for each in page.json()["data"]]
    headers = {**STREAM, "Last-Event-ID": event}
    async with asyncio.timeout(20), driven.client.stream("GET", "/v1/events", headers=headers) as answer:
        assert answer.status_code == 200
        lines = (line.partition(" ")[2] async for line in answer.aiter_lines() if line.startswith("id: "))
        assert [await anext(lines) for _ in told] == told
    return told


async def test_a_consumer_goes_on_behind_the_event_of_a_job_that_it_has_deleted(driven: Driven) -> None:
    first, deleted, last = [await driven.drive(await driven.called_back()) for _ in range(3)]
    await driven.service.feed._placer.place()
    events = {
        job["id"]: [each["id"] for each in (await driven.client.get(f"/v1/jobs/{job['id']}/events")).json()["data"]]
        for job in (first, deleted, last)
    }
    assert (await driven.client.delete(f"/v1/jobs/{deleted['id']}")).status_code == 204
    assert await _told_after(driven, events[deleted["id"]][0]) == events[last["id"]]
    assert await _told_after(driven, events[first["id"]][-2]) == [events[first["id"]][-1], *events[last["id"]]]
    size = len(events[last["id"]])
    page = await driven.client.get("/v1/events", params={"after": events[deleted["id"]][-1], "limit": size})
    assert (len(page.json()["data"]), page.json()["has_more"]) == (size, False)


async def test_the_end_of_a_feed_may_be_the_event_of_a_deleted_job(driven: Driven) -> None:
    kept, deleted = [await driven.drive(await driven.called_back()) for _ in range(2)]
    await driven.service.feed._placer.place()
    [*_, last] = (await driven.client.get(f"/v1/jobs/{deleted['id']}/events")).json()["data"]
    assert (await driven.client.delete(f"/v1/jobs/{deleted['id']}")).status_code == 204
    assert await _told_after(driven, last["id"]) == []
    whole = (await driven.client.get("/v1/events", params={"after": "start"})).json()
    assert whole["has_more"] is False
    size = len(whole["data"])
    assert {event["subject"] for event in whole["data"]} == {kept["id"]}
    page = await driven.client.get("/v1/events", params={"after": "start", "limit": size})
    assert (len(page.json()["data"]), page.json()["has_more"]) == (size, False)
    assert await _recover(driven) == 0


async def test_the_event_of_a_job_deleted_before_it_had_its_place_gets_one(
    database_url: str, s3_server: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Placer, "kick", lambda self: None)
    monkeypatch.setattr(Placer, "start", lambda self: None)
    async with driven_world(database_url, s3_server, bucket) as driven:
        job = await driven.drive(await driven.called_back())
        [*_, last] = (await driven.client.get(f"/v1/jobs/{job['id']}/events")).json()["data"]
        assert (await driven.client.delete(f"/v1/jobs/{job['id']}")).status_code == 204
        assert await driven.sql("SELECT FROM unplaced")
        assert await _told_after(driven, last["id"]) == []


async def test_retention_of_jobs_leaves_their_places_to_retention_of_events(
    database_url: str, s3_server: S3Server, bucket: str
) -> None:
    keep: dict[str, Any] = {
        "GENRELAY_RETENTION__JOBS_SECONDS": str(10 * DAY),
        "GENRELAY_RETENTION__EVENTS_SECONDS": str(20 * DAY),
    }
    async with driven_world(database_url, s3_server, bucket, **keep) as driven:
        older, old = await _old_job(driven, 21), await _old_job(driven, 11)
        open_job = await driven.called_back()
        async with driven.service.pool.acquire() as connection:
            oldest = await age_job(connection, uuid(open_job), 30 * DAY)
        await driven.service.feed._placer.place()
        await driven.sql(
            "INSERT INTO feed (account_id, event_id) SELECT account_id, $1 FROM jobs LIMIT 1", id_of_age(21 * DAY)
        )
        await keep_house(driven.context)
        assert [row["id"] for row in await driven.sql("SELECT id FROM jobs")] == [oldest]
        places = await driven.sql("SELECT job_id FROM feed WHERE job_id IS DISTINCT FROM $1", oldest)
        assert {show("job", row["job_id"]) for row in places} == {old[0]}
        assert (await driven.client.get("/v1/events", params={"after": old[1]})).status_code == 200
        for answer in (
            await driven.client.get("/v1/events", params={"after": older[1]}),
            await _stream(driven, "/v1/events", older[1]),
        ):
            # Younger than the oldest one that is kept, and gone nevertheless.
            assert (answer.status_code, answer.json()["code"]) == (410, "event_gone")


async def test_an_event_that_never_was_is_still_a_mistake(driven: Driven) -> None:
    await driven.drive(await driven.called_back())
    await driven.service.feed._placer.place()
    # Older than any that is kept, and too young to have been deleted.
    unknown = show("evt", id_of_age(1800))
    for answer in (
        await driven.client.get("/v1/events", params={"after": unknown}),
        await _stream(driven, "/v1/events", unknown),
    ):
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")


async def test_an_account_whose_events_are_all_gone_is_told_the_same(driven: Driven) -> None:
    _, gone = await _old_job(driven, 91)
    await keep_house(driven.context)
    assert not await driven.sql("SELECT FROM feed")
    answer = await driven.client.get("/v1/events", params={"after": gone})
    assert (answer.status_code, answer.json()["code"]) == (410, "event_gone")


async def test_the_stream_of_a_job_without_its_events_ends_at_once_and_its_list_is_empty(driven: Driven) -> None:
    job, gone = await _old_job(driven, 91)
    await keep_house(driven.context)
    path = f"/v1/jobs/{job}/events"
    assert (await driven.client.get(path)).json() == {"data": [], "next_cursor": None, "has_more": False}
    assert (await driven.client.get(path, params={"after": 1})).json()["data"] == []
    assert (await driven.client.get(path, headers=STREAM)).status_code == 204
    for answer in (await driven.client.get(path, params={"after": gone}), await _stream(driven, path, gone)):
        assert (answer.status_code, answer.json()["code"]) == (410, "event_gone")
    # One of another job, younger than this one, was never its own.
    answer = await driven.client.get(path, params={"after": show("evt", new_uuid())})
    assert answer.status_code == 422


async def test_a_delivery_whose_event_is_gone_is_not_sent_again(driven: Driven) -> None:
    job, _ = await _old_job(driven, 91)
    await driven.sql("UPDATE deliveries SET ended_at = now(), created_at = now()")  # failed for long, and is kept
    await keep_house(driven.context)
    [first, *_] = (await driven.client.get("/v1/deliveries")).json()["data"]
    assert first["job_id"] == job
    answer = await driven.client.post(f"/v1/deliveries/{first['id']}/resend")
    assert (answer.status_code, answer.json()["code"]) == (410, "event_gone")
    assert (await driven.client.get(f"/v1/deliveries/{first['id']}")).json()["status"] == "failed"
    assert await _recover(driven) == 0


async def _recover(driven: Driven) -> int:
    [subscription] = (await driven.client.get("/v1/subscriptions")).json()["data"]
    since = (datetime.now(UTC) - timedelta(days=1000)).isoformat()
    path = f"/v1/subscriptions/{subscription['id']}/recover"
    answer = await driven.client.post(path, json={"since": since})
    assert answer.status_code == 202, answer.text
    return int(answer.json()["recovered"])


async def test_recover_does_not_send_again_what_was_delivered_before_deliveries_are_kept(driven: Driven) -> None:
    await _old_job(driven, 60)  # its deliveries are gone, its events are kept
    await driven.sql("UPDATE deliveries SET status = 'delivered'")
    await keep_house(driven.context)
    assert not await driven.sql("SELECT FROM deliveries")
    assert await driven.sql("SELECT FROM events")
    assert await _recover(driven) == 0
    await driven.drive(await driven.called_back())
    missed = await driven.sql("DELETE FROM deliveries RETURNING id")
    assert await _recover(driven) == len(missed) > 0


async def test_events_of_the_account_itself_go_with_their_places(driven: Driven) -> None:
    old, young = id_of_age(91 * DAY), id_of_age(89 * DAY)
    for event_id in (old, young):
        await queries().tell_of_trouble(
            driven.service.pool,
            id=event_id,
            account_id=(await driven.sql("SELECT account_id FROM destinations"))[0]["account_id"],
            type="destination.failing",
            subject="acme",
            subscription_id=None,
            data={},
        )
    await driven.service.feed._placer.place()
    await driven.sql("UPDATE deliveries SET status = 'delivered', due_at = NULL, ended_at = now()")
    await keep_house(driven.context)
    assert [row["id"] for row in await driven.sql("SELECT id FROM account_events")] == [young]
    assert [row["event_id"] for row in await driven.sql("SELECT event_id FROM feed")] == [young]
