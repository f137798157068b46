"""What deliveries are compared with: a loop that posts the same body with httpx, signs nothing and keeps nothing.

Run as a process of its own, `python -m tests.bench.posting PLAN`: PLAN is a JSON file with `urls`, `each` (posts to each),
`at_a_time` and `body`; the seconds from the first post to the last answer go to standard output.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import uvloop


async def _post(clients: Mapping[str, httpx.AsyncClient], urls: Iterator[str], body: bytes) -> None:
    for url in urls:
        answer = await clients[url].post(url, content=body, headers={"Content-Type": "application/json"})
        answer.raise_for_status()


async def run(plan: dict[str, Any]) -> float:
    """Post everything; returns the seconds that took."""
    urls, body, at_a_time = plan["urls"], plan["body"].encode(), plan["at_a_time"]
    async with AsyncExitStack() as stack:
        # A client for each: what httpx spends on a request grows with its pool, and one for all makes a tenth of this.
        clients = {}
        for url in urls:
            client = httpx.AsyncClient(trust_env=False, timeout=30, verify=False)
            clients[url] = await stack.enter_async_context(client)
        await asyncio.gather(*(_post(clients, iter([url]), body) for url in urls))
        shared = iter(urls * plan["each"])  # whoever is free takes the next
        began = time.perf_counter()
        await asyncio.gather(*(_post(clients, shared, body) for _ in range(at_a_time)))
        return time.perf_counter() - began


def main() -> None:
    """Run the plan named on the command line."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        sys.stdout.write(str(runner.run(run(json.loads(Path(sys.argv[1]).read_text())))))


if __name__ == "__main__":
    main()
