"""Everything that is encrypted gets to the first key, whatever happens meanwhile, and nothing is forgotten."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import pytest

from service import rewrapping
from service.crypto import Keyring
from service.db.pool import Pool, open_pool
from service.doctor import secret_key
from service.ids import new_uuid
from service.rewrapping import PLACES, read_status, rewrap

ROOT = Path(__file__).parents[2]
OLD_SECRET, NEW_SECRET = "the old secret of 32 characters or more", "the new secret of 32 characters or more"
OLD, BOTH, NEW = Keyring([OLD_SECRET]), Keyring([NEW_SECRET, OLD_SECRET]), Keyring([NEW_SECRET])
# Columns of bytes that hold something else than what `Keyring.encrypt` makes.
PLAIN = {
    "api_keys.digest",
    "attempts.token_key",
    "callbacks.headers",
    "callbacks.body",
    "callbacks.digest",
    "delivery_attempts.response",
    "idempotency_keys.request_digest",
    "inline_outputs.body",
    "job_inputs.body",
    "jobs.input_sha256",
    "outputs.sha256",
    "signing_keys.public",
}
FILL = """
INSERT INTO destinations (id, account_id, name, spec, secret)
SELECT gen_random_uuid(), $1, n::text, '{}', $2 FROM generate_series(1, $3::integer) n
"""


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    opened = await open_pool(database_url)
    yield opened
    await opened.close()


async def make_account(pool: Pool) -> UUID:
    account = new_uuid()
    await pool.execute("INSERT INTO accounts (id, name) VALUES ($1, 'acme')", account)
    return account


async def fill_every_place(pool: Pool, keyring: Keyring) -> None:
    """Put one secret into every place."""
    account, job = await make_account(pool), new_uuid()
    sealed = keyring.encrypt("a secret")
    await pool.execute("UPDATE accounts SET webhook_signing = $1", sealed)
    await pool.execute(FILL, account, sealed, 1)
    await pool.execute(
        "INSERT INTO subscriptions (id, account_id, origin, url, event_types, headers, signing, sink_secret)"
        " VALUES ($1, $2, 'api', 'https://consumer.example', '{*}', $3, $3, NULL)",
        new_uuid(),
        account,
        sealed,
    )
    await pool.execute(
        "INSERT INTO subscriptions (id, account_id, origin, event_types, sink, sink_secret)"
        " VALUES ($1, $2, 'api', '{*}', '{}', $3)",
        new_uuid(),
        account,
        sealed,
    )
    await pool.execute(
        "INSERT INTO signing_keys (id, account_id, public, secret) VALUES ($1, $2, $3, $4)",
        new_uuid(),
        account,
        bytes(32),
        sealed,
    )
    await pool.execute(
        "INSERT INTO jobs (id, account_id, provider, operation, status, test_status, deadline_at, due_at, deadline_seconds)"
        " VALUES ($1, $2, 'novita', 'txt2img', 'queued', 'TASK_STATUS_SUCCEED', now(), now(), 1)",
        job,
        account,
    )
    await pool.execute(
        "INSERT INTO outputs (job_id, index, kind, status, spool_bucket, spool_key, spool_secret, spool_bytes, spooled_until)"
        " VALUES ($1, 0, 'image', 'pending', 'b', 'k', $2, 1, now())",
        job,
        sealed,
    )


async def test_every_column_of_bytes_is_either_rewrapped_or_known_to_be_plain(pool: Pool) -> None:
    rows = await pool.fetch(
        "SELECT table_name || '.' || column_name AS name FROM information_schema.columns"
        " WHERE table_schema = 'public' AND data_type = 'bytea' AND table_name NOT LIKE 'pgqueuer%'"
    )
    assert {row["name"] for row in rows} - PLAIN == {place.name for place in PLACES}


def test_the_doctor_looks_at_the_same_places() -> None:
    assert {f"{place.table}.{place.column}" for place in secret_key.PLACES} == {place.name for place in PLACES}


def test_nobody_encrypts_but_those_whose_places_are_known() -> None:
    using = re.compile(r"keyring\.encrypt\(")
    found = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "service").rglob("*.py")
        if using.search(path.read_text(encoding="utf-8"))
    }
    assert found == {
        "service/events/signers.py",  # signing_keys.secret
        "service/events/signing_secrets.py",  # accounts.webhook_signing, subscriptions.signing
        "service/events/subscriptions.py",  # subscriptions.headers, subscriptions.sink_secret
        "service/outputs/destinations.py",  # destinations.secret
        "service/outputs/spool.py",  # outputs.spool_secret
        "service/rewrapping.py",
    }, "does service/rewrapping.py know the column that it goes into?"


async def test_everything_is_readable_with_the_new_key_alone(pool: Pool) -> None:
    await fill_every_place(pool, OLD)
    assert (await read_status(pool, BOTH)).keys[1].stored_secrets == len(PLACES)
    assert (await rewrap(pool, BOTH)).rewrapped == len(PLACES)
    for place in PLACES:
        [value] = await pool.fetch(f"SELECT {place.column} FROM {place.table} WHERE {place.column} IS NOT NULL")
        assert NEW.decrypt(value[0]) == "a secret", place.name
    status = await read_status(pool, BOTH)
    assert [key.stored_secrets for key in status.keys] == [len(PLACES), 0]
    assert not status.last_is_needed
    assert (await rewrap(pool, BOTH)).rewrapped == 0, "twice is once"


async def test_many_are_rewrapped_in_batches_also_by_several_at_once(pool: Pool) -> None:
    account = await make_account(pool)
    await pool.execute(FILL, account, OLD.encrypt("a secret"), 3 * rewrapping._BATCH + 1)
    found = await asyncio.gather(*(rewrap(pool, BOTH) for _ in range(4)))
    assert sum(each.rewrapped for each in found) == 3 * rewrapping._BATCH + 1, "each by one of them"
    assert (await read_status(pool, NEW)).unreadable == {}


async def test_a_value_that_is_put_meanwhile_stays(pool: Pool) -> None:
    account = await make_account(pool)
    await pool.execute(FILL, account, OLD.encrypt("a secret"), 1)
    fresh = OLD.encrypt("a fresh secret")
    rows = await pool.fetch("SELECT id, secret FROM destinations")
    await pool.execute("UPDATE destinations SET secret = $1", fresh)
    [place] = [place for place in PLACES if place.name == "destinations.secret"]
    assert await rewrapping._replace(pool, BOTH, place, rows) == 0
    assert BOTH.decrypt(await pool.fetchval("SELECT secret FROM destinations")) == "a fresh secret"
    assert (await rewrap(pool, BOTH)).rewrapped == 1
    assert NEW.decrypt(await pool.fetchval("SELECT secret FROM destinations")) == "a fresh secret"


async def test_what_no_key_opens_is_named_and_stays_as_it_is(pool: Pool) -> None:
    account = await make_account(pool)
    strange = Keyring(["a secret that nobody remembers any more"]).encrypt("lost")
    await pool.execute(FILL, account, strange, 2)
    await pool.execute("UPDATE accounts SET webhook_signing = $1", OLD.encrypt("a secret"))
    found = await rewrap(pool, BOTH)
    assert (found.rewrapped, found.unreadable) == (1, {"destinations.secret": 2})
    assert await pool.fetchval("SELECT count(*) FROM destinations WHERE secret = $1", strange) == 2
    assert (await read_status(pool, BOTH)).unreadable == {"destinations.secret": 2}


async def test_open_jobs_need_the_key_that_their_callback_urls_were_made_with(pool: Pool) -> None:
    await fill_every_place(pool, NEW)
    status = await read_status(pool, BOTH)
    assert not status.last_is_needed, "a job that was never sent has no URL"
    for key, jobs, strange in ((OLD.fingerprints[0], [0, 1], 0), (NEW.fingerprints[0], [1, 0], 0), (None, [0, 0], 1)):
        await pool.execute("DELETE FROM attempts")
        await pool.execute(
            "INSERT INTO attempts (job_id, number, run, worker_id, token_key) SELECT id, 1, 1, id, $1 FROM jobs", key
        )
        status = await read_status(pool, BOTH)
        assert ([use.open_jobs for use in status.keys], status.strange_jobs) == (jobs, strange)
        assert status.last_is_needed == (jobs[1] + strange > 0)


async def test_the_only_key_is_needed(pool: Pool) -> None:
    assert (await read_status(pool, NEW)).last_is_needed
