"""`Idempotency-Key`: one key, one job, whoever asks twice and however fast."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import asyncpg
import pytest

from config.loading import load_settings
from handlers.app import make_app
from service.app import running_service
from service.demo.s3server import S3Server
from service.ids import new_uuid
from tests.api.answers import age, count, problem
from tests.serving import serving
from tests.world import World, client_for, job_body, running_world, until

TEST = {"enabled": True}


def key(text: str) -> dict[str, bytes]:
    """Return the header."""
    return {"Idempotency-Key": text.encode()}


async def test_the_same_key_and_body_give_the_same_job_and_say_that_it_is_a_replay(world: World) -> None:
    first = await world.client.post("/v1/jobs", json=job_body(), headers=key("order 42 ✓"))
    assert first.status_code == 202
    assert "idempotency-replayed" not in first.headers
    await world.end(first.json())
    again = await world.client.post("/v1/jobs", json=job_body(), headers=key("order 42 ✓"))
    assert again.status_code == 202
    assert again.headers["idempotency-replayed"] == "true"
    assert again.headers["location"] == first.headers["location"]
    assert again.json()["id"] == first.json()["id"]
    assert again.json()["status"] == "succeeded"
    assert await count(world, "jobs") == 1
    assert len(world.sandbox.submits) == 1


async def test_equal_json_in_another_order_and_spelling_is_the_same_request(world: World) -> None:
    body = job_body(test_mode=TEST, metadata={"a": "1", "b": "ü"})
    body["input"]["request"]["guidance_scale"] = 7.0
    first = await world.client.post("/v1/jobs", json=body, headers=key("spelling"))
    assert first.status_code == 202, first.text
    turned = json.dumps(_turn(body), indent=3, ensure_ascii=True).replace("7.0", "70e-1")
    body["input"]["request"]["guidance_scale"] = 7
    for text in (turned, json.dumps(body, ensure_ascii=False)):
        again = await world.client.post("/v1/jobs", content=text.encode(), headers=key("spelling"))
        assert again.status_code == 202, again.text
        assert again.json()["id"] == first.json()["id"]


def _turn(value: object) -> object:
    return {name: _turn(value[name]) for name in reversed(value)} if isinstance(value, dict) else value


async def test_another_body_is_refused_also_one_that_differs_in_null_only(world: World) -> None:
    first = await world.client.post("/v1/jobs", json=job_body(test_mode=TEST), headers=key("taken"))
    assert first.status_code == 202
    for body in (
        job_body("another lighthouse", test_mode=TEST),
        job_body(test_mode=TEST, webhook=None),
        job_body(test_mode={"enabled": True, "return_task_status": "TASK_STATUS_SUCCEED"}),
    ):
        answer = await world.client.post("/v1/jobs", json=body, headers=key("taken"))
        problem(answer, 422, "idempotency_key_reused")
    assert await count(world, "jobs") == 1


async def test_twenty_twins_at_once_make_one_job(world: World) -> None:
    answers = await asyncio.gather(
        *(world.client.post("/v1/jobs", json=job_body(), headers=key("twins")) for _ in range(20))
    )
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert sum("idempotency-replayed" in answer.headers for answer in answers) == 19
    await world.end(answers[0].json())
    assert await count(world, "jobs") == 1
    assert len(world.sandbox.submits) == 1


async def test_refusals_are_not_kept_and_other_accounts_have_keys_of_their_own(world: World) -> None:
    for body in (b"{", json.dumps(job_body(destination="nowhere")).encode(), b"{}"):
        answer = await world.client.post("/v1/jobs", content=body, headers=key("mine"))
        assert answer.status_code in {400, 422}
    assert await count(world, "idempotency_keys") == 0
    ours = await world.client.post("/v1/jobs", json=job_body(test_mode=TEST), headers=key("mine"))
    theirs = await world.stranger.post("/v1/jobs", json=job_body(test_mode=TEST), headers=key("mine"))
    assert (ours.status_code, theirs.status_code) == (202, 202)
    assert ours.json()["id"] != theirs.json()["id"]
    assert "idempotency-replayed" not in theirs.headers


async def test_a_key_is_free_again_after_a_day(world: World) -> None:
    first = await world.client.post("/v1/jobs", json=job_body(test_mode=TEST), headers=key("daily"))
    await age(world, "UPDATE idempotency_keys SET created_at = now() - interval '23 hours 59 minutes'")
    again = await world.client.post("/v1/jobs", json=job_body(test_mode=TEST), headers=key("daily"))
    assert again.json()["id"] == first.json()["id"]
    await age(world, "UPDATE idempotency_keys SET created_at = now() - interval '24 hours 1 second'")
    fresh = await world.client.post("/v1/jobs", json=job_body("another", test_mode=TEST), headers=key("daily"))
    assert fresh.status_code == 202
    assert "idempotency-replayed" not in fresh.headers
    assert fresh.json()["id"] != first.json()["id"]


async def test_a_key_that_is_empty_or_endless_is_refused(world: World) -> None:
    for text in ("", "k" * 256):
        answer = await world.client.post("/v1/jobs", json=job_body(), headers=key(text))
        assert problem(answer, 422, "invalid_request")["errors"][0]["path"] == "Idempotency-Key"
    assert (await world.client.post("/v1/jobs", json=job_body(), headers=key("k" * 255))).status_code == 202


@pytest.fixture
async def hasty(database_url: str, s3_server: S3Server, bucket: str) -> AsyncIterator[World]:
    """A world whose service does not wait long for a twin."""
    async with running_world(database_url, s3_server, bucket, GENRELAY_HTTP__IDEMPOTENCY_WAIT_SECONDS="0.1") as world:
        yield world


async def test_a_twin_that_takes_too_long_is_a_conflict_and_its_job_a_replay_later(hasty: World) -> None:
    account = await hasty.service.pool.fetchval("SELECT id FROM accounts WHERE name = 'default'")
    twin = await asyncpg.connect(hasty.service.dsn)
    try:
        under_way = twin.transaction()
        await under_way.start()
        await twin.execute(
            "INSERT INTO idempotency_keys (account_id, key, request_digest, job_id) VALUES ($1, 'slow', $2, $3)",
            account, b"digest", new_uuid(),
        )  # fmt: skip
        answer = await hasty.client.post("/v1/jobs", json=job_body(), headers=key("slow"))
        problem(answer, 409, "idempotency_key_busy")
        assert int(answer.headers["retry-after"]) >= 1
        assert await count(hasty, "jobs") == 0
        await under_way.rollback()
    finally:
        await twin.close()
    # The twin was rolled back, so that the key is free for the next one.
    assert (await hasty.client.post("/v1/jobs", json=job_body(), headers=key("slow"))).status_code == 202


async def test_a_twin_on_another_replica_is_waited_for(world: World) -> None:
    account = await world.service.pool.fetchval("SELECT id FROM accounts WHERE name = 'default'")
    body = job_body(test_mode=TEST)
    async with running_service(load_settings(world.settings), "api") as replica, serving(make_app(replica)) as url:
        holder = await asyncpg.connect(world.service.dsn)
        try:
            # Whoever comes first waits for this row lock, and the other one for the first.
            await holder.execute(
                "INSERT INTO idempotency_keys (account_id, key, request_digest, job_id, created_at)"
                " VALUES ($1, 'both', 'old', $2, now() - interval '2 days')",
                account, new_uuid(),
            )  # fmt: skip
            held = holder.transaction()
            await held.start()
            await holder.execute("SELECT 1 FROM idempotency_keys WHERE key = 'both' FOR UPDATE")
            async with client_for(url) as elsewhere:
                both = asyncio.gather(
                    world.client.post("/v1/jobs", json=body, headers=key("both")),
                    elsewhere.post("/v1/jobs", json=body, headers=key("both")),
                )

                async def both_wait() -> bool:
                    waiting = await world.service.pool.fetchval(
                        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
                        " AND datname = current_database()"
                    )
                    return bool(waiting == 2)

                await until(both_wait)
                await held.rollback()
                answers = await both
        finally:
            await holder.close()
    assert {answer.status_code for answer in answers} == {202}
    assert answers[0].json()["id"] == answers[1].json()["id"]
    assert sum("idempotency-replayed" in answer.headers for answer in answers) == 1
    assert await count(world, "jobs") == 1
