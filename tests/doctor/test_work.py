"""What the tables tell: secrets, buckets, subscriptions, the queue."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest

from service.doctor import examine
from service.doctor.secret_key import PLACES
from service.rewrapping import PLACES as REWRAPPED
from tests.doctor.looking import look, settings, statuses, told
from tests.world import World, free_port, until


async def _run(database_url: str, *statements: str) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


# --- Keys -----------------------------------------------------------------------------------------------------------


async def test_stored_secrets_open_with_the_present_key_and_with_no_other(world: World) -> None:
    assert told(await look(world.settings, "secret_key"), "secret_key.stored").status == "ok"
    other = {**world.settings, "GENRELAY_SECRET_KEY": "quite another secret - also of 32 characters"}
    lost = [f for f in await look(other, "secret_key") if f.check == "secret_key.stored"]
    assert {f.status for f in lost} == {"failed"}
    assert any("1 of 1 destinations' credentials that were tried can't be decrypted" in f.found for f in lost)
    rotated = {
        **other,
        "GENRELAY_SECRET_KEY": f"{other['GENRELAY_SECRET_KEY']},{world.settings['GENRELAY_SECRET_KEY']}",
    }
    assert told(await look(rotated, "secret_key"), "secret_key.stored").status == "ok"


def test_every_place_with_secrets_is_looked_at() -> None:
    assert {(place.table, place.column) for place in PLACES} == {(place.table, place.column) for place in REWRAPPED}


# --- The queue ------------------------------------------------------------------------------------------------------


async def test_a_running_service_s_queue_is_well(world: World) -> None:
    await world.run()
    findings = await look(world.settings, "queue")
    assert set(statuses(findings).values()) == {"ok"}, findings


async def test_no_worker_alive_is_a_failure(database_url: str) -> None:
    found = told(await look(settings(database_url), "queue"), "queue.workers")
    assert (found.status, found.found) == ("failed", "none is alive, so jobs wait")
    await _run(database_url, f"INSERT INTO workers (id, seen_at) VALUES ('{uuid4()}', now() - interval '1 hour')")
    found = told(await look(settings(database_url), "queue"), "queue.workers")
    assert "the last one was seen 60 min ago" in found.found
    await _run(database_url, f"INSERT INTO workers (id) VALUES ('{uuid4()}')")
    assert told(await look(settings(database_url), "queue"), "queue.workers").status == "ok"


def _job(
    status: str, *, due: str, deadline: str = "now() + interval '1 hour'", starts: int = 0, extra: str = ""
) -> str:
    """Return the statement that makes a job, without anybody who works on it."""
    submit = "'unclear'" if status == "submitting" else "NULL"
    verified = "'token'" if status == "copying" else "NULL"
    test = "NULL" if status == "copying" else "'TASK_STATUS_SUCCEED'"
    destination = "(SELECT id FROM destinations LIMIT 1)" if status == "copying" else "NULL"
    verified = "'readback'" if status == "copying" else verified
    return f"""
        INSERT INTO jobs (id, account_id, provider, operation, status, submit_state, verified_by, test_status, destination_id,
            deadline_at, deadline_seconds, due_at, starts, provider_task_id, source_expires_at)
        SELECT '{uuid4()}', id, 'novita', 'txt2img', '{status}', {submit}, {verified}, {test}, {destination},
            {deadline}, 3600, {due}, {starts}, '{uuid4()}', {extra or "NULL"} FROM accounts LIMIT 1
    """


ACCOUNT = f"INSERT INTO accounts (id, name) VALUES ('{uuid4()}', 'acme')"


@pytest.mark.parametrize(("late", "status"), [("10 seconds", "ok"), ("2 minutes", "warning"), ("1 hour", "failed")])
async def test_overdue_work_is_told_by_its_task(database_url: str, late: str, status: str) -> None:
    await _run(database_url, ACCOUNT, _job("running", due=f"now() - interval '{late}'"))
    found = told(await look(settings(database_url), "queue"), "queue.overdue")
    assert found.status == status
    assert ("look_up: 1 piece of work overdue" in found.found) == (status != "ok")


async def test_a_callback_that_nobody_judges_is_overdue(database_url: str) -> None:
    await _run(
        database_url,
        "INSERT INTO callbacks (id, job_id, attempt, received_at, headers, body, digest)"
        f" VALUES ('{uuid4()}', '{uuid4()}', 1, now() - interval '5 minutes', '', '', '')",
    )
    assert "settle: 1 piece" in told(await look(settings(database_url), "queue"), "queue.overdue").found


async def test_jobs_that_crash_workers_or_outlive_their_deadline_are_told(database_url: str) -> None:
    await _run(
        database_url,
        ACCOUNT,
        _job("running", due="now() + interval '1 hour'", starts=3),
        _job("queued", due="now() + interval '1 hour'", deadline="now() - interval '1 hour'"),
    )
    found = statuses(await look(settings(database_url), "queue"))
    assert (found["queue.crashing"], found["queue.stuck"]) == ("warning", "failed")


async def test_dead_letters_are_counted_until_they_are_tried_again(database_url: str) -> None:
    await _run(
        database_url,
        f"INSERT INTO dead_letters (id, job_id, task, reason) VALUES ('{uuid4()}', '{uuid4()}', 'copy', 'x')",
    )
    found = told(await look(settings(database_url), "queue"), "queue.dead_letters")
    assert (found.status, found.found) == ("warning", "work was given up: 1 of copy")
    await _run(database_url, "UPDATE dead_letters SET retried_at = now()")
    assert told(await look(settings(database_url), "queue"), "queue.dead_letters").status == "ok"


async def test_an_event_without_a_place_for_minutes_is_a_failure(database_url: str) -> None:
    old = "01900000-0000-7000-8000-000000000000"  # a UUIDv7 of 2024
    await _run(database_url, f"INSERT INTO unplaced (event_id, account_id) VALUES ('{old}', '{uuid4()}')")
    assert told(await look(settings(database_url), "queue"), "queue.events").status == "failed"


async def test_a_lane_that_is_left_alone_is_a_warning(database_url: str) -> None:
    await _run(
        database_url,
        "INSERT INTO lanes (provider, operation, paused_until) VALUES ('novita', 'txt2img', now() + interval '1 minute')",
    )
    found = told(await look(settings(database_url), "queue"), "queue.line")
    assert (found.status, "left alone: novita txt2img" in found.found) == ("warning", True)


async def test_outputs_about_to_be_lost_are_a_failure(world: World) -> None:
    assert world.service.engine is not None
    await world.service.engine.stop()
    url = world.settings["GENRELAY_DATABASE_URL"]
    soon = "now() + interval '5 minutes'"
    await _run(url, _job("copying", due="now() + interval '1 hour'", extra=soon))
    found = told(await look(world.settings, "queue"), "queue.expiring")
    assert found.status == "failed"
    assert "1 job about to lose outputs" in found.found


async def test_the_queue_s_missing_tables_are_a_failure(database_url: str) -> None:
    await _run(database_url, "DROP TABLE pgqueuer CASCADE")
    assert told(await look(settings(database_url), "queue"), "queue.tables").status == "failed"


# --- Subscriptions --------------------------------------------------------------------------------------------------


def _subscription(**columns: str) -> str:
    names, values = ", ".join(["", *columns]), ", ".join(["", *columns.values()])
    return f"""
        INSERT INTO subscriptions (id, account_id, url, event_types{names})
        SELECT gen_random_uuid(), id, 'https://hooks.example.com/' || gen_random_uuid(), '{{*}}'{values} FROM accounts LIMIT 1
    """


async def test_failing_and_disabled_subscriptions_are_counted(database_url: str) -> None:
    await _run(
        database_url,
        ACCOUNT,
        _subscription(),
        _subscription(failing_since="now() - interval '3 hours'"),
        _subscription(disabled_at="now()", disabled_reason="'failing'"),
        _subscription(disabled_at="now()", disabled_reason="'asked'"),
    )
    found = told(await look(settings(database_url), "subscriptions"), "subscriptions.health")
    assert found.status == "warning"
    assert found.found == "1 of 4 subscriptions failing, one for 3 h; 1 disabled for that"


@pytest.mark.parametrize(("late", "status"), [("5 minutes", "warning"), ("2 hours", "failed"), ("1 second", "ok")])
async def test_deliveries_that_wait_for_their_turn_are_told(database_url: str, late: str, status: str) -> None:
    await _run(database_url, ACCOUNT, _subscription(look_at=f"now() - interval '{late}'"))
    assert told(await look(settings(database_url), "subscriptions"), "subscriptions.overdue").status == status


# --- Buckets --------------------------------------------------------------------------------------------------------


def _spool(world: World, bucket: str, endpoint: str) -> dict[str, str]:
    return {
        **world.settings,
        "GENRELAY_SPOOL__BUCKET": bucket,
        "GENRELAY_SPOOL__ENDPOINT_URL": endpoint,
        "GENRELAY_SPOOL__ACCESS_KEY_ID": world.s3.access_key_id,
        "GENRELAY_SPOOL__SECRET_ACCESS_KEY": world.s3.secret_access_key,
    }


async def test_the_spool_is_tried_and_nothing_stays_in_it(world: World) -> None:
    before = world.keys()
    given = _spool(world, world.bucket, world.s3.endpoint_url)
    assert told(await look(given, "buckets"), "buckets.spool").status == "ok"
    assert world.keys() == before


async def test_a_spool_that_is_away_or_not_there_is_a_failure(world: World) -> None:
    for given in (
        _spool(world, "no-such-bucket-here", world.s3.endpoint_url),
        _spool(world, world.bucket, f"http://127.0.0.1:{free_port()}"),
    ):
        found = told(await look(given, "buckets"), "buckets.spool")
        assert found.status == "failed"
        assert world.s3.secret_access_key not in str(found)


async def test_customers_buckets_are_judged_by_what_was_last_seen(world: World) -> None:
    url = world.settings["GENRELAY_DATABASE_URL"]
    await _run(
        url,
        "UPDATE destinations SET failing_since = now() - interval '3 hours', failure ="
        """ '{"code": "AccessDenied", "message": "no", "hint": "Allow s3:PutObject."}'""",
    )
    found = told(await look(world.settings, "buckets"), "buckets.failing")
    assert found.status == "warning"
    assert found.found == "acme of account default has been failing for 3 h: AccessDenied"
    assert str(found.hint).startswith("Allow s3:PutObject.")
    assert world.keys() == []


async def test_probes_are_written_to_customers_buckets_only_when_asked_for(world: World) -> None:
    assert "buckets.probe" not in statuses(await look(world.settings, "buckets"))
    assert told(await look(world.settings, "buckets", write_probes=True), "buckets.probe").status == "ok"
    assert world.keys() == []
    await _run(
        world.settings["GENRELAY_DATABASE_URL"],
        """UPDATE destinations SET spec = jsonb_set(spec, '{bucket}', '"no-such-bucket-here"')""",
    )
    assert told(await look(world.settings, "buckets", write_probes=True), "buckets.probe").status == "failed"


# --- The process ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limit", "status"),
    [("max", "ok"), (str(4 * 2**30), "ok"), (str(600 * 2**20), "warning"), (str(400 * 2**20), "failed")],
)
async def test_a_container_s_memory_is_compared_with_what_outputs_take(
    tmp_path: Path, database_url: str, limit: str, status: str
) -> None:
    (tmp_path / "memory.max").write_text(f"{limit}\n")
    found = told(await look(settings(database_url), "process", cgroup=tmp_path), "process.memory")
    assert found.status == status


async def test_streams_beyond_the_limit_of_open_files_are_a_warning(database_url: str) -> None:
    many = settings(database_url, GENRELAY_EVENTS__STREAMS="900000")
    assert told(await look(many, "process"), "process.files").status == "warning"
    few = settings(database_url, GENRELAY_EVENTS__STREAMS="100", GENRELAY_EVENTS__STREAMS_PER_ACCOUNT="100")
    assert told(await look(few, "process"), "process.files").status == "ok"


async def test_a_busy_world_is_not_disturbed(world: World) -> None:
    job = await world.submit("a lighthouse [fault:slow=0.5]")
    findings = await examine(world.settings)
    assert not [f for f in findings if f.status == "failed"], findings
    assert (await world.end(job))["status"] == "succeeded"

    async def gone() -> bool:
        many = await world.service.pool.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'genrelay doctor' AND datname = current_database()"
        )
        return bool(many == 0)

    await until(gone)
