"""What happens to a destination is an event of the account: in its feed, and on its way to whoever subscribed to it."""

from __future__ import annotations

from typing import Any

from service.db.sql import queries
from service.ids import new_uuid, read
from service.outputs.errors import DestinationDenied
from service.outputs.health import note_failure, note_success, record_check
from service.outputs.steps import Step
from tests.world import World, destination, until

DENIED = DestinationDenied("S3 answered AccessDenied", "Allow s3:PutObject.", s3_code="AccessDenied")


async def row_of(world: World) -> Any:
    return await world.service.pool.fetchrow(
        "SELECT destinations.*, accounts.name AS account_name, accounts.external_id FROM destinations"
        " JOIN accounts ON accounts.id = account_id WHERE destinations.name = 'acme'"
    )


async def own_events(world: World) -> list[dict[str, Any]]:
    answer = await world.client.get("/v1/destinations/acme/events")
    return answer.json()["data"]  # type: ignore[no-any-return]


async def in_the_feed(world: World, kind: str = "destination.*") -> list[dict[str, Any]]:
    answer = await world.client.get("/v1/events", params={"type": kind})
    assert answer.status_code == 200, answer.text
    return answer.json()["data"]  # type: ignore[no-any-return]


async def deliveries(world: World) -> list[tuple[str, str]]:
    rows = await world.service.pool.fetch("SELECT subscription_id, type FROM deliveries ORDER BY id")
    return [(str(row["subscription_id"]), row["type"]) for row in rows]


async def subscribe(world: World, *types: str, **more: Any) -> str:
    given = {"url": "http://127.0.0.1:9/hooks", "event_types": list(types), **more}
    answer = await world.client.post("/v1/subscriptions", json=given)
    assert answer.status_code == 201, answer.text
    return str(read("sub", answer.json()["id"]))


async def test_a_destination_that_fails_and_recovers_is_told_in_the_feed_with_the_same_ids_and_bodies(
    world: World,
) -> None:
    row = await row_of(world)
    assert await note_failure(world.service.pool, row["id"], DENIED)
    assert not await note_failure(world.service.pool, row["id"], DENIED)
    assert await note_success(world.service.pool, row["id"])

    async def both() -> list[dict[str, Any]]:
        found = await in_the_feed(world)
        return found if len(found) == 2 else []

    told = await until(both)
    assert told == await own_events(world)
    assert [event["type"] for event in told] == ["destination.failing", "destination.recovered"]
    assert [event["subject"] for event in told] == ["acme", "acme"]
    assert {event["source"] for event in told} == {world.url}
    assert told[0]["data"]["destination"]["failure"]["code"] == "AccessDenied"
    assert told[0]["data"]["destination"]["failing_since"].endswith("Z")
    assert told[1]["data"]["destination"]["failing_since"] is None
    shown = (await world.client.get("/v1/destinations/acme")).json()
    assert set(told[1]["data"]["destination"]) == set(shown)


async def test_subscriptions_to_destinations_or_to_everything_get_them_and_others_do_not(world: World) -> None:
    kind, everything = await subscribe(world, "destination.*"), await subscribe(world, "*")
    await subscribe(world, "job.*")
    await subscribe(world, "*", filter={"provider": "novita"})
    await note_failure(world.service.pool, (await row_of(world))["id"], DENIED)
    assert sorted(await deliveries(world)) == sorted((each, "destination.failing") for each in (kind, everything))


async def test_mark_and_event_are_kept_together_or_not_at_all(world: World) -> None:
    row = await row_of(world)
    async with world.service.pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        await note_failure(connection, row["id"], DENIED)
        assert await connection.fetchval("SELECT count(*) FROM account_events") == 1
        await transaction.rollback()
    assert await world.service.pool.fetchval("SELECT count(*) FROM account_events") == 0
    assert (await row_of(world))["failing_since"] is None


async def test_a_job_that_the_bucket_refuses_and_a_check_tell_everybody_at_once(world: World) -> None:
    given = destination(world.s3, world.bucket)
    given["auth"]["secret_access_key"] = "wrong"
    await world.client.put("/v1/destinations/acme?check=false", json=given)
    failed = await world.run()
    assert failed["error"]["code"] == "destination_denied"
    kinds = [event["type"] for event in await in_the_feed(world, "*")]
    assert kinds.index("destination.failing") < kinds.index("job.failed")
    await world.client.put("/v1/destinations/acme", json=destination(world.s3, world.bucket))

    async def recovered() -> bool:
        return "destination.recovered" in [event["type"] for event in await in_the_feed(world)]

    await until(recovered)


async def test_whoever_gives_events_their_places_is_woken_once_for_each_that_is_news(world: World) -> None:
    woken: list[str] = []
    world.service.context.nearby.on_events.append(lambda: woken.append("check"))
    given = destination(world.s3, world.bucket)
    given["auth"]["secret_access_key"] = "wrong"
    for _ in range(2):
        assert (await world.client.put("/v1/destinations/acme?check=false", json=given)).status_code == 200
        assert (await world.client.post("/v1/destinations/acme/check")).json()["ok"] is False
        assert (await world.client.post("/v1/destinations/acme/check")).json()["ok"] is False
    # The second one was told of already, and put again it fails all the same.
    assert woken == ["check"] * len(await own_events(world))
    assert woken


async def test_a_check_that_finds_the_same_again_tells_nobody(world: World) -> None:
    row = await row_of(world)
    steps = [Step("put", ok=False, code="AccessDenied", message="no", hint=None)]
    first = await record_check(world.service.pool, row, steps)
    again = await record_check(world.service.pool, await row_of(world), steps)
    assert (first["event"], again["event"]) == ("destination.failing", None)
    assert len(await own_events(world)) == 1


async def test_events_from_before_there_was_a_feed_are_shown_as_ever(world: World) -> None:
    row = await row_of(world)
    await note_failure(world.service.pool, row["id"], DENIED)
    [event] = await own_events(world)
    old = new_uuid()
    await world.service.pool.execute(
        "INSERT INTO destination_events (id, account_id, destination_id, type, time, data)"
        " SELECT $1, account_id, destination_id, type, time, data FROM destination_events",
        old,
    )
    rows = [
        each
        async for each in queries().list_destination_events(
            world.service.pool, destination_id=row["id"], after=read("evt", event["id"]), limit=2
        )
    ]
    assert [(each["id"], each["source"], each["told"]) for each in rows] == [(old, None, None)]
    shown = (await own_events(world))[1]
    assert {**shown, "id": event["id"]} == event
