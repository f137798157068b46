"""How much disk a job takes, as docs/operating.md has it for who sizes the database."""

from __future__ import annotations

import re
import sys

from tests.operating.job_sizes import KINDS, measure
from tests.operating.rules import ROOT
from tests.receiver import serving_receiver
from tests.world import World

JOBS = 200
PAGE = (ROOT / "docs/operating.md").read_text(encoding="utf-8")


def documented(kind: str) -> float:
    """Return the kilobytes per job that the page names."""
    [found] = re.findall(rf"^\| {kind} \| [^|]* \| ([\d.]+) kB \|", PAGE, re.MULTILINE)
    return float(found)


async def test_a_job_takes_about_as_much_disk_as_the_page_says(world: World) -> None:
    async with serving_receiver() as receiver:
        grown = await measure(world, JOBS, webhook=f"{receiver.url}/hooks")
    sys.stdout.write(f"bytes per job: {dict(grown.most_common())}\n")
    known = {table for tables in KINDS.values() for table in tables}
    # What is needed only for a while, and the queue's own tables, are emptied while the service runs.
    assert {table for table, size in grown.items() if size > 300} <= known
    for kind, tables in KINDS.items():
        found = sum(grown[table] for table in tables) / 1000
        # Pages of 8 kB, which a small measurement does not fill.
        assert documented(kind) / 2 < found < documented(kind) * 2, kind
