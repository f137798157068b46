"""An erased account is gone at once for its own, and soon for good; nobody else notices."""

from __future__ import annotations

import asyncio
import math
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from structlog.testing import capture_logs

from service import metrics
from service.accounts import AccountErasedError
from service.engine.erasing import TABLES, erase, erase_accounts
from service.engine.housekeeping import keep_house
from service.engine.spooling import spool_rest
from service.events.feed import StoppingError
from service.events.fitting import Wanted
from service.ids import new_uuid
from tests.engine.driven import Driven, uuid
from tests.world import API_KEY, destination, job_body, until

_COLUMNS = """
SELECT table_name, column_name FROM information_schema.columns JOIN information_schema.tables USING (table_schema, table_name)
WHERE table_schema = 'public' AND table_type = 'BASE TABLE' AND data_type IN ('uuid', 'text', 'jsonb', 'ARRAY')
"""
_NEVER = {"pgqueuer", "pgqueuer_log", "pgqueuer_statistics", "pgqueuer_schedules", "_pogo_migration", "_pogo_version"}
_PAST = "UPDATE accounts SET erased_at = erased_at - interval '2 minutes' WHERE erased_at IS NOT NULL"


async def _account(driven: Driven, name: str = "default") -> UUID:
    [row] = await driven.sql("SELECT id FROM accounts WHERE name = $1", name)
    return UUID(str(row["id"]))


async def _rows(driven: Driven) -> dict[str, list[str]]:
    """Return every row of every table of ours, as text."""
    tables = {row["table_name"] for row in await driven.sql(_COLUMNS)} - _NEVER
    return {
        table: sorted(row["text"] for row in await driven.sql(f"SELECT {table}::text AS text FROM {table}"))
        for table in tables
    }


async def _have_everything(driven: Driven, client: Any) -> dict[str, Any]:
    """Let an account have something of each kind: an ended job, an open one, subscriptions, deliveries, keys."""
    place = await client.put("/v1/destinations/acme?check=false", json=destination(driven.s3, driven.bucket))
    assert place.status_code in {200, 201}, place.text
    other = await client.put("/v1/destinations/spare?check=false", json=destination(driven.s3, driven.bucket))
    assert other.status_code == 201
    hook = {"url": "http://127.0.0.1:9/hook?token=hidden", "headers": {"X-Token": "hidden"}, "include_test": True}
    assert (await client.post("/v1/subscriptions", json=hook)).status_code == 201
    assert (await client.get("/v1/account/webhook-secret")).status_code == 200
    assert (await client.get("/v1/account/signing-key")).status_code == 200
    made = []
    for n in range(3):
        body = job_body(webhook=f"http://127.0.0.1:9/{n}")
        answer = await client.post("/v1/jobs", json=body, headers={"Idempotency-Key": f"key {n}"})
        assert answer.status_code == 202, answer.text
        made.append(answer.json())
    return {"jobs": made}


async def _finish(driven: Driven) -> None:
    """Let housekeeping run until nobody is being erased any more."""
    await driven.sql(_PAST)
    for _ in range(4):
        await keep_house(driven.context)
        await driven.service.feed._placer.place()
    assert not await driven.sql("SELECT FROM accounts WHERE erased_at IS NOT NULL")


async def test_nothing_remains_of_an_erased_account_in_any_table_and_others_keep_every_row(driven: Driven) -> None:
    mine = await _have_everything(driven, driven.client)
    await _have_everything(driven, driven.stranger)
    for job in mine["jobs"][:1]:
        await driven.drive(job)
        await driven.post(job, b"{}")
    await driven.sql("INSERT INTO lanes (provider, operation, turn)"
                     " SELECT 'novita', '', id::text FROM accounts WHERE name = 'default'")  # fmt: skip
    await driven.sql("INSERT INTO account_rates (account_id, tokens) SELECT id, 1 FROM accounts")
    await driven.sql("INSERT INTO account_events (id, account_id, type, subject, data)"
                     " SELECT new_uuid7(), id, 'destination.failing', name, '{}' FROM accounts")  # fmt: skip
    await driven.sql("INSERT INTO destination_events (id, account_id, destination_id, type, data)"
                     " SELECT new_uuid7(), account_id, id, 'destination.failing', '{}' FROM destinations")  # fmt: skip
    await driven.sql("INSERT INTO grants (job_id, provider, operation, account_id, images, at)"
                     " SELECT id, 'novita', 'txt2img', account_id, 1, now() FROM jobs")  # fmt: skip
    await driven.sql(
        "INSERT INTO dead_letters (id, job_id, task, reason) SELECT new_uuid7(), id, 'copy', 'a test' FROM jobs"
    )
    await driven.service.feed._placer.place()
    account, theirs = await _account(driven), await _account(driven, "somebody else")
    jobs = [str(row["id"]) for row in await driven.sql("SELECT id FROM jobs WHERE account_id = $1", account)]
    before = await _rows(driven)
    marks = [str(account), *jobs]
    has = {table for table, rows in before.items() if any(mark in row for row in rows for mark in marks)}
    assert has >= {*TABLES, "jobs", "accounts", "attempts", "outputs", "events", "callbacks", "dead_letters", "lanes"} - {
        "unplaced", "line",
    }  # fmt: skip
    assert await erase(driven.service.pool, "default") is not None
    await _finish(driven)
    after = await _rows(driven)
    left = {table: row for table, rows in after.items() for row in rows if any(mark in row for mark in marks)}
    assert left == {}
    for table, rows in before.items():
        kept = [row for row in rows if str(theirs) in row]
        # What moves by itself: the others' line, and who works.
        if table not in {"workers", "lanes", "api_keys", "housekeeping", "unplaced"}:
            assert [row for row in kept if row not in after[table]] == [], table


async def test_every_table_that_names_an_account_is_emptied_of_it(driven: Driven) -> None:
    named = {row["table_name"] for row in await driven.sql(_COLUMNS) if row["column_name"] == "account_id"}
    assert named - {"jobs", "events"} == set(TABLES)  # these go job by job


async def test_an_erased_account_is_shut_out_at_once_and_has_no_secrets(driven: Driven) -> None:
    await _have_everything(driven, driven.client)
    account = await _account(driven)
    erased = await erase(driven.service.pool, "default")
    assert erased is not None
    assert erased.canceled == 3
    driven.service.accounts._seen.clear()  # two seconds later
    assert (await driven.client.get("/v1/jobs")).status_code == 401
    assert not await driven.sql("SELECT FROM jobs WHERE account_id = $1 AND completed_at IS NULL", account)
    assert not await driven.sql("SELECT FROM signing_keys WHERE account_id = $1", account)
    assert not await driven.sql("SELECT FROM destinations WHERE account_id = $1 AND secret IS NOT NULL", account)
    secret = "headers IS NOT NULL OR signing IS NOT NULL OR sink_secret IS NOT NULL OR url LIKE '%token%'"
    assert not await driven.sql(f"SELECT FROM subscriptions WHERE account_id = $1 AND ({secret})", account)
    assert not await driven.sql("SELECT FROM accounts WHERE id = $1 AND webhook_signing IS NOT NULL", account)
    assert (await driven.stranger.get("/v1/jobs")).status_code == 200


async def test_twice_is_once_and_an_unknown_name_is_none(driven: Driven) -> None:
    assert await erase(driven.service.pool, "nobody") is None
    first, second = await asyncio.gather(*(erase(driven.service.pool, "default") for _ in range(2)))
    assert first is not None
    assert second is not None
    assert first.account_id == second.account_id
    await _finish(driven)


async def test_its_key_from_the_settings_does_not_bring_it_back_while_it_is_being_erased(driven: Driven) -> None:
    await erase(driven.service.pool, "default")
    await driven.service.accounts.bootstrap(API_KEY)
    with pytest.raises(AccountErasedError):
        await driven.service.accounts.create_key("default")
    driven.service.accounts._seen.clear()
    assert await driven.service.accounts.authenticate(API_KEY) is None
    await _finish(driven)
    await driven.service.accounts.bootstrap(API_KEY)
    driven.service.accounts._refused.clear()
    assert await driven.service.accounts.authenticate(API_KEY) is not None
    assert (await driven.client.get("/v1/jobs")).json()["data"] == []


async def test_the_account_stays_for_a_minute_for_what_is_under_way(driven: Driven) -> None:
    await erase(driven.service.pool, "default")
    await erase_accounts(driven.context)
    assert await driven.sql("SELECT FROM accounts WHERE name = 'default'")
    await driven.sql(_PAST)
    await erase_accounts(driven.context)
    assert not await driven.sql("SELECT FROM accounts WHERE name = 'default'")


async def test_what_a_request_under_way_still_makes_is_canceled_and_deleted_too(driven: Driven) -> None:
    async def submit(n: int) -> int:
        return (await driven.client.post("/v1/jobs", json=job_body(f"harbour {n}"))).status_code

    statuses, _ = await asyncio.gather(
        asyncio.gather(*(submit(n) for n in range(8))), erase(driven.service.pool, "default")
    )
    assert set(statuses) <= {202, 401, 422}  # a destination may be gone
    await _finish(driven)
    assert not await driven.sql("SELECT FROM jobs")


async def test_an_account_waits_for_what_it_has_in_the_spool(spooling: Driven) -> None:
    job = await spooling.copying()
    assert await spool_rest(spooling.context, await spooling.row(job)) is not None
    await erase(spooling.service.pool, "default")
    await spooling.sql(_PAST)
    await erase_accounts(spooling.context)
    assert await spooling.sql("SELECT FROM accounts WHERE name = 'default'")
    assert await spooling.sql("SELECT FROM uploads WHERE job_id = $1", uuid(job))
    await _finish(spooling)
    assert not await spooling.sql("SELECT FROM uploads")


async def _stuck(driven: Driven, name: str) -> UUID:
    """Let an account be erased that has something in a spool which is not there any more."""
    await driven.service.accounts.create_key(name)
    account, job = await _account(driven, name), new_uuid()
    await driven.sql(
        "INSERT INTO jobs (id, account_id, provider, operation, status, test_status, deadline_seconds,"
        " deadline_at, completed_at) VALUES ($1, $2, 'novita', 'txt2img', 'canceled', 'TASK_STATUS_SUCCEED', 60, now(), now())",
        job, account,
    )  # fmt: skip
    await driven.sql(
        "INSERT INTO uploads (id, job_id, index, bucket, key, worker_id, due_at) VALUES ($1, $2, 0, 'old', 'k', $1, now())",
        new_uuid(), job,
    )  # fmt: skip
    assert await erase(driven.service.pool, name) is not None
    return account


async def test_erasures_that_can_not_finish_keep_no_later_one_from_its_end(driven: Driven) -> None:
    for n in range(5):
        await _stuck(driven, f"stuck {n}")
    for name in ("clean", "also clean"):
        await driven.service.accounts.create_key(name)
        await erase(driven.service.pool, name)
    await driven.sql(_PAST)
    await erase_accounts(driven.context)
    left = await driven.sql("SELECT name FROM accounts WHERE erased_at IS NOT NULL")
    assert {row["name"] for row in left} == {f"stuck {n}" for n in range(5)}


async def test_rounds_go_on_behind_the_account_that_was_last_looked_at(
    driven: Driven, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.engine.erasing._LOOKED_AT", 2)
    for n in range(3):
        await _stuck(driven, f"stuck {n}")
    await driven.service.accounts.create_key("clean")
    await erase(driven.service.pool, "clean")
    await driven.sql(_PAST)
    for _ in range(2):
        await erase_accounts(driven.context)
    left = await driven.sql("SELECT name FROM accounts WHERE erased_at IS NOT NULL")
    assert {row["name"] for row in left} == {f"stuck {n}" for n in range(3)}


async def test_one_that_fails_does_not_come_first_again(driven: Driven) -> None:
    broken = await _stuck(driven, "broken")
    await driven.service.accounts.create_key("clean")
    await erase(driven.service.pool, "clean")
    await driven.sql(_PAST)
    await driven.sql("ALTER TABLE uploads RENAME TO uploads_away")
    with pytest.raises(asyncpg.UndefinedTableError):
        await erase_accounts(driven.context)
    await driven.sql("ALTER TABLE uploads_away RENAME TO uploads")
    [row] = await driven.sql("SELECT after FROM housekeeping WHERE kind = 'erasure'")
    assert row["after"] == broken


async def test_an_erasure_that_waits_says_why_once_an_hour_and_how_long(driven: Driven) -> None:
    await _stuck(driven, "stuck")
    with capture_logs() as logs:
        await erase_accounts(driven.context)  # too early
        await driven.sql("UPDATE accounts SET erased_at = now() - interval '2 days' WHERE erased_at IS NOT NULL")
        await erase_accounts(driven.context)
        await erase_accounts(driven.context)
        ((account, until),) = driven.context.erasures_said.items()
        driven.context.erasures_said[account] = until - 3601
        await erase_accounts(driven.context)
    said = [line for line in logs if line["event"] == "account.erasure_waits"]
    assert [(line["account"], line["reason"], line["seconds"] // 86_400) for line in said] == [
        ("stuck", "no_spool", 2)
    ] * 2
    assert metrics.ERASURE_AGE._value.get() >= 2 * 86_400
    await driven.sql("DELETE FROM uploads")
    await erase_accounts(driven.context)
    assert metrics.ERASURE_AGE._value.get() == 0


async def test_a_client_that_comes_back_at_once_is_not_let_in_by_what_is_remembered(driven: Driven) -> None:
    assert (await driven.client.get("/v1/jobs")).status_code == 200
    assert (await driven.stranger.get("/v1/jobs")).status_code == 200
    accounts = driven.service.accounts
    mine = await _account(driven)
    for digest, (holder, _) in tuple(accounts._seen.items()):
        accounts._seen[digest] = (holder, math.inf)  # two seconds may be short
    await erase(driven.service.pool, "default")

    async def forgotten() -> bool:
        return all(holder.account_id != mine for holder, _ in accounts._seen.values())

    await until(forgotten)
    assert (await driven.client.get("/v1/jobs")).status_code == 401
    assert accounts._seen  # the others' are still trusted


async def test_every_round_ends_streams_that_were_let_in_meanwhile(driven: Driven) -> None:
    # As one whose key was just looked up when the account was erased.
    await driven.sql("UPDATE accounts SET erased_at = now()  WHERE name = 'default'")
    account = await _account(driven)
    async with driven.service.feed.follow(account, Wanted()) as follower:
        await erase_accounts(driven.context)
        with pytest.raises(StoppingError):
            await follower.next(10)


async def test_a_stream_of_an_erased_account_ends_and_others_go_on(driven: Driven) -> None:
    headers = {"Accept": "text/event-stream"}
    async with (
        driven.client.stream("GET", "/v1/events", headers=headers) as mine,
        driven.stranger.stream("GET", "/v1/events", headers=headers) as theirs,
    ):
        assert mine.status_code == theirs.status_code == 200
        lines, others = mine.aiter_lines(), theirs.aiter_lines()
        assert (await anext(lines)).startswith("retry:")
        assert (await anext(others)).startswith("retry:")
        await erase(driven.service.pool, "default")
        async with asyncio.timeout(10):
            assert [line async for line in lines if line.startswith("event:")] in ([], ["event: job.canceled"])
        waiting = asyncio.create_task(anext(others))  # the line behind the first one
        assert not (await waiting).startswith("event")
