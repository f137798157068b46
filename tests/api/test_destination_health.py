"""A destination that begins to fail is marked, once, and an event tells of it; so it is when it takes something again."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from service.db.sql import queries
from service.demo.s3server import S3Server
from service.outputs.errors import DestinationConflict, DestinationDenied, DestinationUnavailable, SourceGone
from service.outputs.health import find_failure, note_failure, note_success, record_check
from service.outputs.steps import Step
from tests.api.answers import paths_of, problem
from tests.outputs.tiny_s3 import tiny_s3
from tests.world import World, destination, running_world, until

FIELDS = ("status", "checked_at", "failing_since", "failure")
DENIED = DestinationDenied("S3 answered AccessDenied", "Allow s3:PutObject.", s3_code="AccessDenied")
NO_BUCKET = DestinationDenied("S3 answered NoSuchBucket", "Create the bucket.", s3_code="NoSuchBucket")


async def shown(world: World, name: str = "acme") -> dict[str, Any]:
    answer = await world.client.get(f"/v1/destinations/{name}")
    return answer.json()  # type: ignore[no-any-return]


async def events(world: World, name: str = "acme", **query: Any) -> list[dict[str, Any]]:
    answer = await world.client.get(f"/v1/destinations/{name}/events", params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()["data"]  # type: ignore[no-any-return]


async def types(world: World, name: str = "acme") -> list[str]:
    return [event["type"].removeprefix("destination.") for event in await events(world, name)]


async def row_of(world: World, name: str = "acme") -> Any:
    return await world.service.pool.fetchrow("SELECT * FROM destinations WHERE name = $1", name)


def wrong_secret(world: World) -> dict[str, Any]:
    given = destination(world.s3, world.bucket)
    given["auth"]["secret_access_key"] = "wrong"
    return given


async def test_putting_a_good_bucket_checks_it_at_once(world: World) -> None:
    made = await world.client.put("/v1/destinations/new", json=destination(world.s3, world.bucket))
    assert made.status_code == 201
    body = made.json()
    assert body["check"]["ok"] is True
    assert [step["step"] for step in body["check"]["steps"]][:3] == ["endpoint", "put", "conditional_put"]
    assert (body["status"], body["failing_since"], body["failure"]) == ("ok", None, None)
    assert body["checked_at"] is not None
    assert await shown(world, "new") == {name: value for name, value in body.items() if name != "check"}
    assert world.keys() == []
    assert await events(world, "new") == []


async def test_putting_a_bad_bucket_makes_the_destination_all_the_same_and_marks_it(world: World) -> None:
    made = await world.client.put("/v1/destinations/new", json=wrong_secret(world))
    assert made.status_code == 201
    body = made.json()
    assert body["check"]["ok"] is False
    assert body["status"] == "failing"
    assert body["failure"]["code"] == "SignatureDoesNotMatch"
    assert body["failure"]["hint"]
    assert await types(world, "new") == ["failing"]
    again = await world.client.put("/v1/destinations/new", json=destination(world.s3, world.bucket))
    assert (again.status_code, again.json()["status"]) == (200, "ok")
    assert await types(world, "new") == ["failing", "recovered"]


async def test_putting_without_a_check_asks_nothing_of_the_bucket(world: World) -> None:
    given = destination(world.s3, world.bucket)
    for body, status in ((wrong_secret(world), 201), (given, 200)):
        answer = await world.client.put("/v1/destinations/new?check=false", json=body)
        assert answer.status_code == status
        assert answer.json()["check"] is None
        assert [answer.json()[name] for name in FIELDS] == ["unchecked", None, None, None]
    assert await events(world, "new") == []
    assert paths_of(await world.client.put("/v1/destinations/new?check=maybe", json=given)) == {"check"}


async def test_putting_a_bucket_that_does_not_answer_ends_in_the_checks_time(
    database_url: str, s3_server: S3Server, bucket: str
) -> None:
    async with (
        tiny_s3() as server,
        running_world(database_url, s3_server, bucket, GENRELAY_OUTPUTS__CHECK_SECONDS="1") as world,
        asyncio.timeout(20),
    ):
        server.hangs_on = "PutObject"
        given = destination(s3_server, bucket, endpoint_url=server.url)
        answer = await world.client.put("/v1/destinations/new", json=given)
    assert answer.status_code == 201
    assert (answer.json()["check"]["ok"], answer.json()["failure"]["code"]) == (False, "destination_unavailable")


async def test_replacing_a_failing_destination_takes_its_mark_away(world: World) -> None:
    assert (await world.client.put("/v1/destinations/acme", json=wrong_secret(world))).json()["status"] == "failing"
    await world.client.put("/v1/destinations/acme?check=false", json=destination(world.s3, world.bucket))
    assert [(await shown(world))[name] for name in FIELDS] == ["unchecked", None, None, None]


async def test_check_on_demand_is_kept_with_the_destination(world: World) -> None:
    assert (await shown(world))["status"] == "unchecked"
    report = (await world.client.post("/v1/destinations/acme/check")).json()
    assert report["ok"] is True
    assert (await shown(world))["status"] == "ok"
    assert (await row_of(world))["check_steps"] == report["steps"]


async def test_bucket_that_can_not_be_read_is_a_failing_one(world: World) -> None:
    """Without reading, nobody can tell whose an object is after a crash."""
    writer = {"access_key_id": world.s3.writer.access_key_id, "secret_access_key": world.s3.writer.secret_access_key}
    given = destination(world.s3, world.bucket, auth={"type": "access_key", **writer})
    body = (await world.client.put("/v1/destinations/new", json=given)).json()
    assert (body["check"]["ok"], body["status"], body["failure"]["code"]) == (False, "failing", "403")


@pytest.mark.parametrize("step", ["abort", "delete"])
async def test_bucket_that_only_can_not_be_tidied_up_is_no_failing_one(world: World, step: str) -> None:
    untidy = [Step("put", ok=True), Step(step, ok=False, code="AccessDenied", message="no", hint="allow it")]
    row = await record_check(world.service.pool, await row_of(world), untidy)
    assert (row["failing_since"], row["check_steps"][1]["code"]) == (None, "AccessDenied")
    assert (await shown(world))["status"] == "ok"


async def test_result_of_a_check_is_dropped_when_the_destination_was_replaced_meanwhile(world: World) -> None:
    before = await row_of(world)
    await world.client.put("/v1/destinations/acme?check=false", json=destination(world.s3, world.bucket, path="other"))
    found = await queries().record_health(
        world.service.pool, id=before["id"], seen=before["updated_at"], failure={"code": "x"}, steps=[], event_id=None
    )
    assert found is None
    assert [(await shown(world))[name] for name in FIELDS] == ["unchecked", None, None, None]


async def test_failures_make_one_event_and_the_next_success_another(world: World) -> None:
    row, pool = await row_of(world), world.service.pool
    for error in (DENIED, DENIED, NO_BUCKET):
        await note_failure(pool, row["id"], error)
    found = await shown(world)
    assert (found["status"], found["failure"]["code"]) == ("failing", "NoSuchBucket")
    since = found["failing_since"]
    await note_failure(pool, row["id"], DENIED)
    assert (await shown(world))["failing_since"] == since
    version = await pool.fetchval("SELECT xmin FROM destinations WHERE id = $1", row["id"])
    await note_failure(pool, row["id"], DENIED)
    assert await pool.fetchval("SELECT xmin FROM destinations WHERE id = $1", row["id"]) == version, (
        "nothing is written"
    )
    for _ in range(2):
        await note_success(pool, row["id"])
    assert (await shown(world))["status"] == "unchecked"
    assert await types(world) == ["failing", "recovered"]
    await note_failure(pool, row["id"], DENIED)
    assert await types(world) == ["failing", "recovered", "failing"]


async def test_events_are_cloudevents_that_show_the_destination_as_it_was(world: World) -> None:
    row = await row_of(world)
    await note_failure(world.service.pool, row["id"], DENIED)
    marked = await shown(world)
    await note_success(world.service.pool, row["id"])
    failing, recovered = await events(world)
    assert failing["specversion"] == "1.0"
    assert failing["id"].startswith("evt_")
    assert failing["source"] == world.settings["GENRELAY_PUBLIC_URL"]
    assert (failing["type"], failing["subject"]) == ("destination.failing", "acme")
    assert failing["datacontenttype"] == "application/json"
    assert failing["data"] == {"destination": marked}
    assert marked["failure"] == {"code": "AccessDenied", "message": DENIED.message, "hint": DENIED.hint}
    assert recovered["data"]["destination"]["status"] != "failing"
    assert world.s3.secret_access_key not in str([failing, recovered])
    assert recovered["time"] >= failing["time"]


async def test_events_come_in_pages_oldest_first(world: World) -> None:
    row = await row_of(world)
    for _ in range(2):
        await note_failure(world.service.pool, row["id"], DENIED)
        await note_success(world.service.pool, row["id"])
    url = "/v1/destinations/acme/events"
    first = (await world.client.get(url, params={"limit": 3})).json()
    second = (await world.client.get(url, params={"limit": 3, "cursor": first["next_cursor"]})).json()
    assert (first["has_more"], second["has_more"], second["next_cursor"]) == (True, False, None)
    assert [*first["data"], *second["data"]] == await events(world)
    assert paths_of(await world.client.get(url, params={"cursor": "evt_x", "page": "2"})) == {"cursor", "page"}
    problem(await world.client.get("/v1/destinations/unknown/events"), 404, "not_found")
    problem(await world.stranger.get(url), 404, "not_found")


async def test_many_who_fail_or_succeed_at_once_make_one_event(world: World) -> None:
    row, pool = await row_of(world), world.service.pool

    async def waiting() -> bool:
        query = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        return bool(await pool.fetchval(query) == 4)

    async def all_at_once(*notes: Any) -> None:
        async with pool.acquire() as connection, connection.transaction():
            await connection.execute("SELECT FROM destinations WHERE id = $1 FOR UPDATE", row["id"])
            tasks = [asyncio.create_task(note) for note in notes]
            await until(waiting)
        await asyncio.gather(*tasks)

    await all_at_once(*(note_failure(pool, row["id"], DENIED) for _ in range(4)))
    assert await types(world) == ["failing"]
    await all_at_once(*(note_success(pool, row["id"]) for _ in range(4)))
    assert await types(world) == ["failing", "recovered"]


async def test_who_used_a_destination_before_it_was_replaced_says_nothing_of_it_now(world: World) -> None:
    before = await row_of(world)
    await world.client.put("/v1/destinations/acme?check=false", json=destination(world.s3, world.bucket, path="other"))
    await note_failure(world.service.pool, before["id"], DENIED, seen=before["updated_at"])
    assert (await shown(world))["status"] == "unchecked"
    now = await row_of(world)
    await note_failure(world.service.pool, now["id"], DENIED, seen=now["updated_at"])
    await note_success(world.service.pool, now["id"], seen=before["updated_at"])
    assert (await shown(world))["status"] == "failing"


async def test_deleted_destination_stays_silent(world: World) -> None:
    row = await row_of(world)
    await world.client.delete("/v1/destinations/acme")
    await note_failure(world.service.pool, row["id"], DENIED)
    assert (await row_of(world))["failing_since"] is None
    assert await world.service.pool.fetchval("SELECT count(*) FROM destination_events") == 0


async def test_beginning_is_logged_and_counted(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    row = await row_of(world)
    before = await _counted(world)
    await note_failure(world.service.pool, row["id"], DENIED)
    await note_failure(world.service.pool, row["id"], NO_BUCKET)
    assert await _counted(world) == before + 1
    said = capsys.readouterr()
    assert (said.out + said.err).count("destination.failing") == 1


async def _counted(world: World) -> float:
    text = (await world.client.get("/metrics")).text
    start = 'genrelay_destination_events_total{type="destination.failing"} '
    return next((float(line[len(start) :]) for line in text.splitlines() if line.startswith(start)), 0.0)


def test_what_is_wrong_with_one_output_is_not_the_destinations_fault() -> None:
    others = [
        DestinationDenied("too large", s3_code="EntityTooLarge"),
        DestinationDenied("too long", s3_code="KeyTooLongError"),
        DestinationUnavailable("our own clock", s3_code="RequestTimeTooSkewed"),
        DestinationConflict("taken"),
        SourceGone("gone"),
    ]
    assert find_failure(others) is None
    for error in (DENIED, DestinationUnavailable("it does not answer")):
        assert find_failure([*others, error]) is error
