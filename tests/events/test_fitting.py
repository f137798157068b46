"""Who hears of an event is the same in Python, where it is told as it happens, and in SQL, where deliveries are made."""

from __future__ import annotations

import asyncio
import time
from typing import Any
from uuid import UUID

import asyncpg
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from pydantic_core import to_json

from service.db.embedded import EmbeddedServer
from service.events.fitting import Wanted
from tests.database import TEMPLATE, dsn_of

WORDS = st.sampled_from(["novita", "modelslab", "txt2img", "acme", "", "é", "*"])
TYPES = [
    "job.queued",
    "job.succeeded",
    "output.stored",
    "destination.failing",
    "job",
    "subscription.failing",
    "jobs.x",
    "*",
]
PATTERNS = [*TYPES, "job.*", "output.*", "destination.*", "j.*", "*.*"]
METADATA = st.dictionaries(
    st.sampled_from(["team", "order", "é", ""]), st.sampled_from(["blue", "red", "", "7", "ß"]), max_size=3
)
LISTS = st.lists(WORDS, max_size=3)
FILTERS = st.fixed_dictionaries(
    {}, optional={"provider": LISTS, "operation": LISTS, "destination": LISTS, "metadata": METADATA}
)
JOBS = st.none() | st.fixed_dictionaries(
    {
        "test": st.booleans(),
        "provider": WORDS,
        "operation": WORDS,
        "destination": st.none() | WORDS,
        "metadata": METADATA,
    }
)
CASES = st.tuples(
    st.sampled_from(TYPES),
    JOBS,
    st.lists(st.sampled_from(PATTERNS), max_size=3),
    FILTERS,
    st.sampled_from([None, False]),
)
_ASK = """
SELECT event_fits(type, nullif(job, 'null'), ARRAY(SELECT jsonb_array_elements_text(wanted)), filter, test)
FROM unnest($1::text[], $2::jsonb[], $3::jsonb[], $4::jsonb[], $5::boolean[])
    WITH ORDINALITY AS asked (type, job, wanted, filter, test, number)
ORDER BY number
"""


async def _ask(dsn: str, cases: list[Any]) -> list[bool]:
    connection = await asyncpg.connect(dsn)
    try:
        rows = await connection.fetch(
            _ASK,
            [kind for kind, *_ in cases],
            [to_json(job).decode() for _, job, *_ in cases],
            [to_json(types).decode() for _, _, types, *_ in cases],
            [to_json(filtered).decode() for _, _, _, filtered, _ in cases],
            [test is None for *_, test in cases],
        )
    finally:
        await connection.close()
    return [row[0] for row in rows]


def test_python_and_sql_agree_who_wants_an_event(postgres: EmbeddedServer) -> None:
    seen: set[bool] = set()

    # A case that disagrees is small already, and to shrink a list of 150 would take minutes.
    @settings(max_examples=12, phases=[Phase.generate])
    @given(st.lists(CASES, min_size=150, max_size=150))
    def agree(cases: list[Any]) -> None:
        said = asyncio.run(_ask(dsn_of(postgres.dsn, TEMPLATE), cases))
        for answer, (kind, job, types, filtered, test) in zip(said, cases, strict=True):
            assert Wanted(tuple(types), filtered, test).fits(kind, job) == answer, (kind, job, types, filtered, test)
            seen.add(answer)

    agree()
    assert seen == {True, False}


async def test_the_databases_uuids_tell_the_time_like_ours(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        before = time.time()
        found: list[UUID] = [
            row[0] for row in await connection.fetch("SELECT new_uuid7() FROM generate_series(1, 1000)")
        ]
    finally:
        await connection.close()
    assert {each.version for each in found} == {7}
    assert {each.variant for each in found} == {"specified in RFC 4122"}
    assert len(set(found)) == 1000
    moments = [(each.int >> 80) / 1000 for each in found]
    assert moments == sorted(moments)
    assert before - 1 < moments[0] < time.time() + 1
