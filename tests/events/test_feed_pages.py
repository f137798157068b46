"""Pages of a feed in which next to nothing is wanted, and those who follow it: both get to its end."""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import UUID

import pytest

from service.demo.s3server import S3Server
from service.events.feed import Told
from service.events.fitting import Wanted
from service.ids import show
from tests.engine.driven import driven_world
from tests.events.writing import EVERYTHING, Process, feed_process, ids, take
from tests.world import until

RARE = Wanted(filter={"metadata": {"order": "42"}})
_FILL = """INSERT INTO account_events (id, account_id, type, subject, data)
SELECT gen_random_uuid(), $1, 'destination.failing', 'acme', '{}' FROM generate_series(1, $2)"""


@pytest.fixture
async def process(database_url: str) -> AsyncIterator[Process]:
    """A process that runs nothing but its part of the feed."""
    async with feed_process(database_url) as running:
        yield running


async def _rare(process: Process, account: UUID, count: int = 1200) -> UUID:
    """Write an event that is wanted between so many that are not on either side."""
    await process.pool.execute(_FILL, account, count)
    await process.until_placed()
    event = await process.write(await process.job(account), metadata={"order": "42"})
    await process.until_placed()
    await process.pool.execute(_FILL, account, count)
    await process.until_placed()
    return event


async def test_a_page_whose_time_is_over_says_where_to_go_on(process: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    account = await process.account()
    rare = await _rare(process, account)
    order = await process.order(account)
    monkeypatch.setattr("service.events.feed._LOOK_SECONDS", 0.0)  # what one read looks at, and no more
    page = await process.feed.page(account, RARE, None, 99)
    found, cursors = page.events, [page.cursor]
    while page.cursor is not None:
        page = await process.feed.page(account, RARE, page.cursor, 99)
        found += page.events
        cursors.append(page.cursor)
    assert [event["id"] for event in found] == [show("evt", rare)]
    assert cursors == [*order[99::100], None]


async def test_a_page_has_no_cursor_where_the_feed_ends(process: Process) -> None:
    account = await process.account()
    job = await process.job(account)
    written = [await process.write(job) for _ in range(4)]
    await process.until_placed()
    for limit, cursor in ((3, written[2]), (4, None), (5, None)):
        page = await process.feed.page(account, EVERYTHING, None, limit)
        assert [event["id"] for event in page.events] == [show("evt", each) for each in written[:limit]]
        assert page.cursor == cursor
    nothing = await process.feed.page(account, RARE, None, 2)
    assert (nothing.events, nothing.cursor) == ([], None)


async def test_a_page_that_finds_nothing_in_its_time_is_no_error(
    database_url: str, s3_server: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.events.feed._LOOK_SECONDS", 0.0)
    async with driven_world(database_url, s3_server, bucket) as driven:
        for order in ("1", "2", "3", "42"):
            await driven.submit(metadata={"order": order})

        async def placed() -> list[str]:
            found = [event["id"] for event in (await driven.client.get("/v1/events")).json()["data"]]
            return found if len(found) == 4 else []

        _, second, _, wanted = await until(placed)
        query = {"metadata[order]": "42", "limit": "1"}
        seen = []
        while True:
            page = (await driven.client.get("/v1/events", params=query)).json()
            seen.append(([event["id"] for event in page["data"]], page["next_cursor"], page["has_more"]))
            if not page["has_more"]:
                break
            query["cursor"] = page["next_cursor"]
        assert seen == [([], second, True), ([wanted], wanted, True), ([], None, False)]


async def test_a_follower_who_catches_up_with_little_that_is_wanted_gets_on_with_every_look(process: Process) -> None:
    account = await process.account()
    rare = await _rare(process, account)
    async with process.feed.follow(account, RARE, from_start=True) as follower:
        told, looks = list[Told](), 0
        # A stream writes a comment line whenever nothing came within its time.
        while not told:
            told = await follower.next(0)
            looks += 1
            assert looks <= 40
        assert ids(told) == [rare]
        assert looks > 2
        later = await process.write(await process.job(account), metadata={"order": "42"})
        assert ids(await take(follower, 1)) == [later]
