"""`DELETE /v1/jobs/{id}`: a job that has ended goes, with everything about it, whatever happens to it at that moment."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

from service.engine.housekeeping import keep_house
from service.engine.judge import settle
from service.engine.spooling import spool_rest
from service.events.claims import claim
from service.ids import new_uuid, show
from tests.engine.driven import Driven, uuid
from tests.world import job_body

_OF_A_JOB = """
SELECT table_name FROM information_schema.columns
WHERE table_schema = 'public' AND column_name = 'job_id' AND table_name NOT LIKE 'pgqueuer%'
"""


async def _delete(driven: Driven, job: dict[str, Any]) -> Any:
    return await driven.client.delete(f"/v1/jobs/{job['id']}")


async def _tables_with(driven: Driven, job: dict[str, Any]) -> set[str]:
    tables = [row["table_name"] for row in await driven.sql(_OF_A_JOB)]
    found = {table for table in tables if await driven.sql(f"SELECT FROM {table} WHERE job_id = $1", uuid(job))}
    return found - {"feed", "unplaced"}  # a consumer may stand there


async def _succeeded(driven: Driven, **changes: Any) -> dict[str, Any]:
    return await driven.drive(await driven.called_back(**changes))


async def test_a_deleted_job_is_gone_from_everywhere_and_its_object_stays(driven: Driven) -> None:
    subscribed = await driven.client.post("/v1/subscriptions", json={"url": "http://127.0.0.1:9/hook"})
    assert subscribed.status_code == 201
    job, other = await _succeeded(driven), await _succeeded(driven)
    assert await driven.sql("SELECT FROM deliveries WHERE job_id = $1 AND status = 'pending'", uuid(job))
    answer = await _delete(driven, job)
    assert (answer.status_code, answer.content) == (204, b"")
    assert await _tables_with(driven, job) == set()
    assert await _tables_with(driven, other) >= {"events", "deliveries", "callbacks", "outputs", "attempts"}
    for path in ("", "/events", "/callbacks", "/outputs/0"):
        assert (await driven.client.get(f"/v1/jobs/{job['id']}{path}")).status_code == 404
    feed = (await driven.client.get("/v1/events", params={"limit": 100})).json()["data"]
    assert {event["subject"] for event in feed} == {other["id"]}
    assert len(driven.keys()) == 2


async def test_a_second_time_a_stranger_and_an_unknown_job_are_not_found(driven: Driven) -> None:
    job = await _succeeded(driven)
    assert (await driven.stranger.delete(f"/v1/jobs/{job['id']}")).status_code == 404
    assert (await driven.job(job))["status"] == "succeeded"
    assert (await _delete(driven, job)).status_code == 204
    for answer in (await _delete(driven, job), await _delete(driven, {"id": show("job", new_uuid())})):
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


async def test_an_open_job_is_not_deleted_and_a_canceled_one_is(driven: Driven) -> None:
    job = await driven.called_back()
    answer = await _delete(driven, job)
    assert (answer.status_code, answer.json()["code"]) == (409, "not_ended")
    assert "cancel" in answer.json()["detail"]
    await driven.cancel(job)
    assert (await _delete(driven, job)).status_code == 204


async def test_a_job_is_not_deleted_while_a_copy_may_take_its_outputs(driven: Driven) -> None:
    job = await _succeeded(driven)
    copied = await driven.client.post(f"/v1/jobs/{job['id']}/copy", json={"destination": "acme"})
    assert copied.status_code == 202
    answer = await _delete(driven, job)
    assert (answer.status_code, answer.json()["code"]) == (409, "being_copied")
    copy = await driven.drive(copied.json())
    assert (await _delete(driven, job)).status_code == 204
    assert (await driven.job(copy))["copy_of"] is None


async def test_a_late_callback_of_a_deleted_job_is_acknowledged_and_belongs_to_nobody(driven: Driven) -> None:
    job = await _succeeded(driven)
    assert (await _delete(driven, job)).status_code == 204
    await driven.post(job, b'{"event_type": "ASYNC_TASK_RESULT"}')
    await settle(driven.context, uuid(job))
    assert [row["verdict"] for row in await driven.sql("SELECT verdict FROM callbacks")] == ["unknown_job"]
    assert not await driven.sql("SELECT FROM jobs")


async def test_the_idempotency_key_of_a_deleted_job_makes_no_second_one(driven: Driven) -> None:
    key = {"Idempotency-Key": "once"}
    first = (await driven.client.post("/v1/jobs", json=job_body(), headers=key)).json()
    await driven.cancel(first)
    assert (await _delete(driven, first)).status_code == 204
    again = await driven.client.post("/v1/jobs", json=job_body(), headers=key)
    assert (again.status_code, again.json()["code"]) == (410, "job_deleted")
    assert not await driven.sql("SELECT FROM jobs")
    other = await driven.client.post("/v1/jobs", json=job_body("a harbour"), headers=key)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    await driven.sql("UPDATE idempotency_keys SET created_at = now() - interval '25 hours'")
    assert (await driven.client.post("/v1/jobs", json=job_body(), headers=key)).status_code == 202


async def test_deletes_at_once_delete_once(driven: Driven) -> None:
    job = await _succeeded(driven)
    statuses = [answer.status_code for answer in await asyncio.gather(*(_delete(driven, job) for _ in range(8)))]
    assert sorted(statuses) == [204] + [404] * 7


async def test_of_delete_and_retry_at_once_one_wins(driven: Driven) -> None:
    for _ in range(10):
        job = await driven.called_back()
        await driven.cancel(job)
        deleted, retried = await asyncio.gather(_delete(driven, job), driven.retry(job))
        assert (deleted.status_code, retried.status_code) in {(204, 404), (409, 202)}
        shown = await driven.client.get(f"/v1/jobs/{job['id']}")
        assert shown.status_code == (404 if deleted.status_code == 204 else 200)
        if deleted.status_code == 204:
            assert await _tables_with(driven, job) <= {"callbacks"}  # one that came meanwhile


async def test_callbacks_and_deletes_at_once_leave_nothing_but_callbacks_of_nobody(driven: Driven) -> None:
    for _ in range(5):
        job = await _succeeded(driven)
        callbacks = [driven.post(job, b'{"n": %d}' % n) for n in range(4)]
        judged = [settle(driven.context, uuid(job)) for _ in range(3)]
        deleted, *_ = await asyncio.gather(_delete(driven, job), *callbacks, *judged)
        assert deleted.status_code == 204
        await settle(driven.context, uuid(job))
        rows = await driven.sql("SELECT verdict FROM callbacks WHERE job_id = $1", uuid(job))
        assert {row["verdict"] for row in rows} <= {"unknown_job", "late"}
        assert await _tables_with(driven, job) <= {"callbacks"}


async def test_a_copy_and_a_delete_at_once_never_fail_on_our_side(driven: Driven) -> None:
    for _ in range(10):
        job = await _succeeded(driven)
        copied, deleted = await asyncio.gather(
            driven.client.post(f"/v1/jobs/{job['id']}/copy", json={"destination": "acme"}), _delete(driven, job)
        )
        assert (copied.status_code, deleted.status_code) in {(202, 409), (404, 204)}


async def test_a_delivery_under_way_goes_with_its_job_and_its_outcome_is_nobodys(driven: Driven) -> None:
    subscribed = await driven.client.post("/v1/subscriptions", json={"url": "http://127.0.0.1:9/hook"})
    assert subscribed.status_code == 201
    job = await _succeeded(driven)
    claimed = await claim(driven.service.pool, driven.context.worker_id, Counter(), driven.context.settings.delivery)
    assert claimed.deliveries
    assert (await _delete(driven, job)).status_code == 204
    assert not await driven.sql("SELECT FROM deliveries")
    assert not await driven.sql("SELECT FROM delivery_attempts")
    again = await claim(driven.service.pool, driven.context.worker_id, Counter(), driven.context.settings.delivery)
    assert again.deliveries == []


async def test_what_a_deleted_job_has_in_the_spool_is_deleted_there(spooling: Driven) -> None:
    job = await spooling.copying()
    key = await _put_in_spool(spooling, job)
    await spooling.cancel(job)
    assert (await _delete(spooling, job)).status_code == 204
    assert [row["key"] for row in await spooling.sql("SELECT key FROM uploads")] == [key]
    await keep_house(spooling.context)
    assert not await spooling.sql("SELECT FROM uploads")


async def _put_in_spool(spooling: Driven, job: dict[str, Any]) -> str:
    """Let the job's output wait in the spool."""
    assert await spool_rest(spooling.context, await spooling.row(job)) is not None
    [row] = await spooling.sql("SELECT spool_key FROM outputs WHERE job_id = $1", uuid(job))
    return str(row["spool_key"])
