"""Everything that lies encrypted in the database: under which key, and how it gets to the first one.

A key is taken out of GENRELAY_SECRET_KEY once nothing is encrypted with it and no open job's callback URL was made with it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from service.crypto import Keyring
from service.db.pool import Pool, transaction
from service.db.sql import queries

_BATCH = 200
_MOST_PASSES = 5


@dataclass(frozen=True, slots=True)
class Place:
    """A column that `Keyring.encrypt` writes. keys: what tells its rows apart, in the order of an index."""

    table: str
    column: str
    keys: tuple[str, ...] = ("id",)

    @property
    def name(self) -> str:
        """Return how it is told to people."""
        return f"{self.table}.{self.column}"


# All of them: tests/accounts/test_rewrapping.py looks at the schema.
PLACES = (
    Place("accounts", "webhook_signing"),
    Place("destinations", "secret"),
    Place("subscriptions", "headers"),
    Place("subscriptions", "signing"),
    Place("subscriptions", "sink_secret"),
    Place("signing_keys", "secret"),
    Place("outputs", "spool_secret", ("job_id", "index")),
)


@dataclass(slots=True)
class Found:
    """What a pass over all places has come across. by_key: stored secrets by the number of their key, from 1 on.

    unreadable: by place, those that no key of ours opens. rewrapped: how many were encrypted anew.
    """

    by_key: Counter[int] = field(default_factory=Counter)
    unreadable: Counter[str] = field(default_factory=Counter)
    rewrapped: int = 0


@dataclass(frozen=True, slots=True)
class KeyUse:
    """How one key is used. number: its place in GENRELAY_SECRET_KEY, from 1 on."""

    number: int
    stored_secrets: int
    open_jobs: int


@dataclass(frozen=True, slots=True)
class KeysStatus:
    """Who still needs which key. strange_jobs: open jobs whose URLs were made with a key that is not ours, or nobody knows."""

    keys: list[KeyUse]
    unreadable: dict[str, int]
    strange_jobs: int

    @property
    def last_is_needed(self) -> bool:
        """Whether anything needs the last key. What nobody knows may need it."""
        last = self.keys[-1]
        return len(self.keys) == 1 or bool(last.stored_secrets or last.open_jobs or self.strange_jobs)


async def read_status(pool: Pool, keyring: Keyring) -> KeysStatus:
    """Return how every key is used right now."""
    found = Found()
    for place in PLACES:
        async for rows in _batches(pool, place):
            for row in rows:
                _count(found, place, keyring.number_of(row[place.column]))
    jobs = {row["token_key"]: row["jobs"] async for row in queries().count_jobs_by_token_key(pool)}
    keys = [
        KeyUse(number, found.by_key[number], jobs.pop(fingerprint, 0))
        for number, fingerprint in enumerate(keyring.fingerprints, 1)
    ]
    return KeysStatus(keys, dict(found.unreadable), sum(jobs.values()))


async def rewrap(pool: Pool, keyring: Keyring) -> Found:
    """Encrypt everything with the first key that is encrypted with a later one.

    Safe beside a running service, and more than once at a time: a value that somebody has replaced meanwhile stays as it is.
    Passes are repeated until one finds nothing to do, for values may be written behind its back.
    """
    rewrapped = 0
    for _ in range(_MOST_PASSES):
        found = await _rewrap_once(pool, keyring)
        rewrapped += found.rewrapped
        if not found.rewrapped:
            break
    found.rewrapped = rewrapped
    return found


async def _rewrap_once(pool: Pool, keyring: Keyring) -> Found:
    found = Found()
    for place in PLACES:
        async for rows in _batches(pool, place):
            changes = []
            for row in rows:
                number = keyring.number_of(row[place.column])
                _count(found, place, number)
                if number is not None and number > 1:
                    changes.append(row)
            if changes:
                found.rewrapped += await _replace(pool, keyring, place, changes)
    return found


def _count(found: Found, place: Place, number: int | None) -> None:
    if number is None:
        found.unreadable[place.name] += 1
    else:
        found.by_key[number] += 1


async def _batches(pool: Pool, place: Place) -> AsyncIterator[Sequence[Any]]:
    """Yield the rows of a place that hold something, batch by batch in the order of their keys."""
    keys = ", ".join(place.keys)
    filled = f"{place.column} IS NOT NULL"
    select = f"SELECT {keys}, {place.column} FROM {place.table} WHERE {filled}"  # noqa: S608 - all from PLACES
    order = f"ORDER BY {keys} LIMIT {_BATCH}"
    marks = ", ".join(f"${number}" for number in range(1, len(place.keys) + 1))
    rows = await pool.fetch(f"{select} {order}")
    while rows:
        yield rows
        if len(rows) < _BATCH:
            return
        last = [rows[-1][key] for key in place.keys]
        rows = await pool.fetch(f"{select} AND ({keys}) > ({marks}) {order}", *last)


async def _replace(pool: Pool, keyring: Keyring, place: Place, rows: Sequence[Any]) -> int:
    """Encrypt some values anew, each only if it still is what was read; returns how many were."""
    marks = " AND ".join(f"{key} = ${number}" for number, key in enumerate(place.keys, 3))
    update = f"UPDATE {place.table} SET {place.column} = $1 WHERE {place.column} = $2 AND {marks}"  # noqa: S608 - as above
    replaced = 0
    async with transaction(pool) as connection:
        for row in rows:
            old = row[place.column]
            new = keyring.encrypt(keyring.decrypt(old))
            done = await connection.execute(update, new, old, *(row[key] for key in place.keys))
            replaced += done == "UPDATE 1"
    return replaced
