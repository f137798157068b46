"""Each kind of thing goes when its time is up, with all that belongs to it, and what is still needed stays."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from service.db.sql import queries
from service.engine.housekeeping import keep_house
from service.engine.judge import settle
from service.ids import new_uuid, show
from tests.engine.aging import DAY, age_job, id_of_age
from tests.engine.driven import Driven, uuid

# Where something of a job lies, and under which name; idempotency keys have a time of their own.
_OF_A_JOB = """
SELECT table_name FROM information_schema.columns
WHERE table_schema = 'public' AND column_name = 'job_id' AND table_name NOT LIKE 'pgqueuer%'
"""
_SUBSCRIPTION = {"url": "http://127.0.0.1:9/hook", "event_types": ["job.*"]}


async def _aged(driven: Driven, job: dict[str, Any], days: float) -> UUID:
    async with driven.service.pool.acquire() as connection:
        return await age_job(connection, uuid(job), days * DAY)


async def _tables_with(driven: Driven, job_id: UUID) -> set[str]:
    tables = {row["table_name"] for row in await driven.sql(_OF_A_JOB)} | {"jobs"}
    found = set()
    for table in tables:
        column = "id" if table == "jobs" else "job_id"
        if await driven.sql(f"SELECT FROM {table} WHERE {column} = $1", job_id):
            found.add(table)
    return found


async def _house(driven: Driven) -> None:
    """A round in which nothing is remembered of earlier ones."""
    await driven.sql("DELETE FROM housekeeping")
    await keep_house(driven.context)


async def _ended(driven: Driven, **changes: Any) -> dict[str, Any]:
    job = await driven.drive(await driven.called_back(**changes))
    assert job["status"] == "succeeded"
    await driven.service.feed._placer.place()
    await driven.sql(
        "UPDATE deliveries SET status = 'delivered', due_at = NULL, ended_at = now() WHERE due_at IS NOT NULL"
    )
    return job


async def test_a_job_goes_with_everything_about_it_and_its_neighbour_keeps_all(driven: Driven) -> None:
    assert (await driven.client.post("/v1/subscriptions", json=_SUBSCRIPTION)).status_code == 201
    old, young = await _ended(driven), await _ended(driven)
    for job in (old, young):
        await queries().bury(driven.service.pool, id=new_uuid(), job_id=uuid(job), task="copy", reason="a test")
    old_id, young_id = await _aged(driven, old, 181), uuid(young)
    kept = await _tables_with(driven, young_id)
    assert kept >= {"jobs", "attempts", "outputs", "events", "feed", "callbacks", "deliveries", "dead_letters"}
    assert await _tables_with(driven, old_id) == kept
    feed = (await driven.sql("SELECT count(*) AS n FROM feed"))[0]["n"]
    await _house(driven)
    assert await _tables_with(driven, old_id) == set()
    assert await _tables_with(driven, young_id) == kept
    assert (await driven.sql("SELECT count(*) AS n FROM feed"))[0]["n"] == feed / 2
    assert (await driven.client.get(f"/v1/jobs/{show('job', old_id)}")).status_code == 404
    assert len(driven.keys()) == 2  # the objects stay


@pytest.mark.parametrize(
    ("days", "left"),
    [
        (29, {"callbacks", "deliveries", "events", "feed"}),
        (31, {"events", "feed"}),
        (91, set()),
    ],
)
async def test_what_belongs_to_a_job_goes_before_it_each_kind_in_its_time(
    driven: Driven, days: int, left: set[str]
) -> None:
    assert (await driven.client.post("/v1/subscriptions", json=_SUBSCRIPTION)).status_code == 201
    job_id = await _aged(driven, await _ended(driven), days)
    await _house(driven)
    assert await _tables_with(driven, job_id) & {"callbacks", "deliveries", "events", "feed"} == left
    shown = show("job", job_id)
    assert (await driven.client.get(f"/v1/jobs/{shown}")).json()["status"] == "succeeded"
    events = await driven.client.get(f"/v1/jobs/{shown}/events")
    assert (events.status_code, bool(events.json()["data"])) == (200, "events" in left)


async def test_none_keeps_everything_for_ever(limited: Any) -> None:
    forever = {f"GENRELAY_RETENTION__{kind}_SECONDS": "none" for kind in ("CALLBACKS", "DELIVERIES", "EVENTS", "JOBS")}
    async with limited(**forever) as driven:
        assert (await driven.client.post("/v1/subscriptions", json=_SUBSCRIPTION)).status_code == 201
        job_id = await _aged(driven, await _ended(driven), 5000)
        before = await _tables_with(driven, job_id)
        await _house(driven)
        assert await _tables_with(driven, job_id) == before >= {"callbacks", "deliveries", "events", "feed"}


async def test_deliveries_without_a_time_of_their_own_go_with_their_event(limited: Any) -> None:
    async with limited(GENRELAY_RETENTION__DELIVERIES_SECONDS="none") as driven:
        assert (await driven.client.post("/v1/subscriptions", json=_SUBSCRIPTION)).status_code == 201
        job_id = await _aged(driven, await _ended(driven), 91)
        await _house(driven)
        assert not {"events", "deliveries", "feed"} & await _tables_with(driven, job_id)


async def test_an_open_job_stays_whatever_its_age(driven: Driven) -> None:
    job_id = await _aged(driven, await driven.called_back(), 5000)
    before = await _tables_with(driven, job_id)
    await _house(driven)
    assert await _tables_with(driven, job_id) == before >= {"jobs", "events", "attempts", "callbacks", "job_inputs"}


_STILL_NEEDED = {
    "a pending delivery": "UPDATE deliveries SET status = 'pending', due_at = now(), ended_at = NULL"
    " WHERE id = (SELECT id FROM deliveries WHERE job_id = $1 LIMIT 1)",
    "an output in the spool": "UPDATE outputs SET spool_bucket = 'b', spool_key = 'k', spool_secret = 's', spool_bytes = 1,"
    " spooled_until = now() + interval '1 day', status = 'pending' WHERE job_id = $1",
    "an upload": "INSERT INTO uploads (id, job_id, index, destination_id, bucket, key, worker_id)"
    " SELECT gen_random_uuid(), $1, 0, destination_id, 'b', 'k', (SELECT id FROM workers LIMIT 1) FROM jobs WHERE id = $1",
    "an input for a retry": "INSERT INTO job_inputs (job_id, body, purge_at) VALUES ($1, 'x', now() + interval '1 day')",
    "a callback without a verdict": "UPDATE callbacks SET verdict = NULL, judged_at = NULL WHERE job_id = $1",
    "an open copy": "INSERT INTO jobs SELECT (jsonb_populate_record(jobs, jsonb_build_object("
    "'id', gen_random_uuid(), 'copy_of', $1, 'status', 'copying',"
    " 'completed_at', null, 'due_at', now(), 'provider_task_id', null))).*"
    " FROM jobs WHERE id = $1",
}


@pytest.mark.parametrize("what", _STILL_NEEDED)
async def test_a_job_that_is_still_needed_stays_and_goes_when_it_is_not(driven: Driven, what: str) -> None:
    assert (await driven.client.post("/v1/subscriptions", json=_SUBSCRIPTION)).status_code == 201
    needed = await _aged(driven, await _ended(driven), 200)
    free = await _aged(driven, await _ended(driven), 190)  # behind it in the walk
    await driven.sql("DELETE FROM callbacks WHERE job_id = $1", free)
    await driven.sql(_STILL_NEEDED[what].replace("$1", f"'{needed}'::uuid"))
    await _house(driven)
    assert await _tables_with(driven, free) == set()
    assert await _tables_with(driven, needed) >= {"jobs", "outputs"}
    if what == "a pending delivery":
        assert await driven.sql("SELECT FROM deliveries JOIN events ON events.id = event_id WHERE due_at IS NOT NULL")
    await driven.sql(
        "UPDATE deliveries SET status = 'failed', due_at = NULL, ended_at = '2020-01-01' WHERE due_at IS NOT NULL"
    )
    await driven.sql("UPDATE outputs SET spool_bucket = NULL, spool_key = NULL, spool_secret = NULL, spool_bytes = NULL,"
                     " spooled_until = NULL")  # fmt: skip
    await driven.sql("DELETE FROM uploads")
    await driven.sql("DELETE FROM job_inputs")
    await driven.sql("UPDATE callbacks SET verdict = 'late', judged_at = now() WHERE verdict IS NULL")
    await driven.sql("DELETE FROM jobs WHERE copy_of IS NOT NULL")
    await _house(driven)
    assert await _tables_with(driven, needed) == set()


async def test_a_walk_goes_on_where_it_stood_and_looks_again_after_an_hour_at_what_it_passed_over(
    driven: Driven,
) -> None:
    job_id = await _aged(driven, await _ended(driven), 200)
    await driven.sql("UPDATE jobs SET completed_at = now() WHERE id = $1", job_id)  # it has only just ended
    await _house(driven)
    await driven.sql("UPDATE jobs SET completed_at = now() - interval '190 days' WHERE id = $1", job_id)
    await keep_house(driven.context)
    assert "jobs" in await _tables_with(driven, job_id)
    await driven.sql("UPDATE housekeeping SET began_at = now() - interval '61 minutes'")
    await keep_house(driven.context)
    assert await _tables_with(driven, job_id) == set()


async def test_the_letter_of_an_open_job_stays_and_those_of_others_go(driven: Driven) -> None:
    stuck, ended = await driven.called_back(), await _ended(driven)
    for job in (stuck, ended):
        await queries().bury(
            driven.service.pool, id=id_of_age(91 * DAY), job_id=uuid(job), task="copy", reason="a test"
        )
    await queries().bury(
        driven.service.pool, id=id_of_age(89 * DAY), job_id=uuid(ended), task="look_up", reason="a test"
    )
    await _house(driven)
    left = {(row["job_id"], row["task"]) for row in await driven.sql("SELECT job_id, task FROM dead_letters")}
    assert left == {(uuid(stuck), "copy"), (uuid(ended), "look_up")}


async def test_callbacks_of_a_job_that_is_not_there_go_after_a_day(driven: Driven) -> None:
    nobody = {"id": show("job", new_uuid())}
    await driven.post(nobody, b'{"event_type": "ASYNC_TASK_RESULT"}')
    await settle(driven.context, uuid(nobody))
    assert [row["verdict"] for row in await driven.sql("SELECT verdict FROM callbacks")] == ["unknown_job"]
    await driven.sql("UPDATE callbacks SET received_at = now() - interval '23 hours'")
    await _house(driven)
    assert await driven.sql("SELECT FROM callbacks")
    await driven.sql("UPDATE callbacks SET received_at = now() - interval '25 hours'")
    await _house(driven)
    assert not await driven.sql("SELECT FROM callbacks")


async def test_a_late_callback_is_kept_as_long_as_any_other(driven: Driven) -> None:
    job_id = await _aged(driven, await _ended(driven), 31)
    await driven.post({"id": show("job", job_id)}, b"{}")
    await settle(driven.context, job_id)
    await _house(driven)
    assert [row["verdict"] for row in await driven.sql("SELECT verdict FROM callbacks")] == ["late"]


async def test_webhooks_of_jobs_and_deleted_things_go_once_nothing_names_them(driven: Driven) -> None:
    job = await _ended(driven, webhook="http://127.0.0.1:9/hook")
    api = (await driven.client.post("/v1/subscriptions", json=_SUBSCRIPTION)).json()["id"]
    assert (await driven.client.delete(f"/v1/subscriptions/{api}")).status_code == 204
    assert (await driven.client.delete("/v1/destinations/acme")).status_code == 204
    await driven.sql("UPDATE subscriptions SET id = $1 WHERE origin = 'api'", id_of_age(2 * DAY))
    async with driven.service.pool.acquire() as connection, connection.transaction():
        await connection.execute("SET LOCAL session_replication_role = replica")
        for table, columns in {"subscriptions": ("jobs.webhook_id", "deliveries.subscription_id"),
                               "destinations": ("jobs.destination_id",)}.items():  # fmt: skip
            where = "origin = 'job'" if table == "subscriptions" else "true"
            before, after = await connection.fetchval(f"SELECT id FROM {table} WHERE {where}"), id_of_age(2 * DAY)
            await connection.execute(f"UPDATE {table} SET id = $2 WHERE id = $1", before, after)
            for column in columns:
                of, name = column.split(".")
                await connection.execute(f"UPDATE {of} SET {name} = $2 WHERE {name} = $1", before, after)
    await driven.sql("UPDATE destinations SET deleted_at = now() - interval '2 minutes'")
    await _house(driven)
    assert [row["origin"] for row in await driven.sql("SELECT origin FROM subscriptions")] == ["job"]
    assert await driven.sql("SELECT FROM destinations")
    assert (await driven.client.delete(f"/v1/jobs/{job['id']}")).status_code == 204
    await _house(driven)
    assert not await driven.sql("SELECT FROM subscriptions")
    assert not await driven.sql("SELECT FROM destinations")


async def test_one_worker_at_a_time_deletes_and_the_others_do_not_wait(driven: Driven) -> None:
    job_id = await _aged(driven, await _ended(driven), 200)
    async with driven.service.pool.acquire() as connection:
        assert await queries().begin_housekeeping(connection, lock="genrelay housekeeping")
        await _house(driven)
        assert "jobs" in await _tables_with(driven, job_id)
        await queries().end_housekeeping(connection, lock="genrelay housekeeping")
    await _house(driven)
    assert await _tables_with(driven, job_id) == set()


async def test_what_somebody_has_locked_is_passed_over_and_not_waited_for(driven: Driven) -> None:
    locked, free = [await _aged(driven, await _ended(driven), days) for days in (200, 190)]
    async with driven.context.transaction() as connection:
        await queries().lock_job(connection, id=locked)
        await _house(driven)  # waiting would hang here, for good
        assert await _tables_with(driven, free) == set()
    assert "jobs" in await _tables_with(driven, locked)
    await _house(driven)
    assert await _tables_with(driven, locked) == set()
