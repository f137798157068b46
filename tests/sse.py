"""Reading streams of events as a client does: over real HTTP, line by line."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from service.ids import read
from tests.world import World

STREAM = {"Accept": "text/event-stream"}
SECONDS = 20


@dataclass(frozen=True)
class Frame:
    """One event as it came: its id, its type, and its data's bytes."""

    id: str
    event: str
    data: bytes

    @property
    def body(self) -> dict[str, Any]:
        """Return the CloudEvent."""
        return json.loads(self.data)  # type: ignore[no-any-return]


class Stream:
    """An open stream; httpx's own lines would break at every line separator that Unicode has."""

    def __init__(self, answer: httpx.Response) -> None:
        self.answer = answer
        self.retry: int | None = None
        self.comments = 0
        self._pieces = answer.aiter_bytes()
        self._held = b""

    async def next(self) -> Frame | None:
        """Return the next event, None when the stream has ended."""
        async with asyncio.timeout(SECONDS):
            while (block := await self._block()) is not None:
                frame = self._read(block)
                if frame is not None:
                    return frame
        return None

    async def take(self, count: int) -> list[Frame]:
        """Return so many events."""
        found = [await self.next() for _ in range(count)]
        assert None not in found, "the stream has ended"
        return [frame for frame in found if frame is not None]

    async def rest(self) -> list[Frame]:
        """Return everything until the stream ends."""
        found = []
        while (frame := await self.next()) is not None:
            found.append(frame)
        return found

    async def comment(self, count: int = 1) -> None:
        """Return once so many comments have come in all; no event may come before."""
        async with asyncio.timeout(SECONDS):
            while self.comments < count:
                block = await self._block()
                assert block is not None, "the stream has ended"
                assert self._read(block) is None, block

    async def _block(self) -> bytes | None:
        while b"\n\n" not in self._held:
            piece = await anext(self._pieces, None)
            if piece is None:
                assert self._held == b"", "it ended in the middle"
                return None
            self._held += piece
        block, _, self._held = self._held.partition(b"\n\n")
        return block

    def _read(self, block: bytes) -> Frame | None:
        if block.startswith(b":"):
            assert b"\n" not in block
            self.comments += 1
            return None
        fields = dict(line.split(b": ", 1) for line in block.split(b"\n"))
        if set(fields) == {b"retry"}:
            assert self.retry is None, "it was said already"
            self.retry = int(fields[b"retry"])
            return None
        assert list(fields) == [b"id", b"event", b"data"], block
        return Frame(fields[b"id"].decode(), fields[b"event"].decode(), fields[b"data"])


@asynccontextmanager
async def listening(
    client: httpx.AsyncClient, path: str = "/v1/events", *, behind: str | None = None, **query: Any
) -> AsyncIterator[Stream]:
    """Open a stream. behind: the id that the client has come to, as `Last-Event-ID`."""
    headers = STREAM if behind is None else {**STREAM, "Last-Event-ID": behind}
    async with client.stream("GET", path, headers=headers, params=query) as answer:
        if answer.status_code != 200:
            await answer.aread()
        assert answer.status_code == 200, answer.text
        yield Stream(answer)


async def feed(client: httpx.AsyncClient, path: str = "/v1/events", **query: Any) -> list[dict[str, Any]]:
    """Return a list of events page by page, to its end."""
    found: list[dict[str, Any]] = []
    more: dict[str, Any] = {}
    while True:
        answer = await client.get(path, params={"limit": 100, **query, **more})
        assert answer.status_code == 200, answer.text
        page = answer.json()
        found += page["data"]
        if not page["has_more"]:
            return found
        more = {"cursor": page["next_cursor"]}


async def write_events(world: World, job: dict[str, Any], count: int, *, size: int = 1) -> None:
    """Write more events of a job that is there, in one transaction, and give them their places. size: bytes more in each."""
    async with world.service.pool.acquire() as connection:
        await connection.execute(_MORE_EVENTS, read("job", job["id"]), count, size)
        while await connection.fetchval("SELECT place_events(500)"):
            pass


_MORE_EVENTS = """
WITH last AS (
    UPDATE jobs SET last_event = last_event + $2::integer WHERE id = $1 RETURNING id, last_event
)
INSERT INTO events (job_id, sequence, id, account_id, run, type, time, data)
SELECT job_id, sequence + number, new_uuid7(), account_id, run, 'job.progress', now(),
       data || jsonb_build_object('sequence', sequence + number, 'more', repeat('x', $3::integer))
FROM (SELECT * FROM events WHERE job_id = $1 ORDER BY sequence DESC LIMIT 1) newest,
     generate_series(1, $2::integer) number, last
ORDER BY number
"""
