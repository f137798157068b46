"""Anything in any order, under limits: whoever waits is queued, and whoever has left its provider holds no slot."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator

import pytest

from service.engine.dispatch import Dispatcher
from tests.engine.conftest import Limited
from tests.engine.driven import Driven, uuid
from tests.engine.lining import TXT2IMG
from tests.engine.test_schedule import PROMPTS, STEPS, Schedule


class LimitedSchedule(Schedule):
    """One job in a lane for one at a time."""

    async def due_task(self) -> None:
        """The job's time has come, or its turn."""
        await self.sweep()
        await super().due_task()

    async def sweep(self) -> None:
        """The sweep, and a dispatcher."""
        await super().sweep()
        self.driven.context.gates.look_anew()
        await Dispatcher(self.driven.context).round()

    async def wait(self) -> None:
        """Time passes, for the lane too."""
        await super().wait()
        await self.driven.sql("UPDATE lanes SET paused_until = now()")
        await self.driven.sql("UPDATE line SET not_before = now() WHERE not_before IS NOT NULL")

    async def check(self) -> None:
        """Look at the place in line beside everything else."""
        await super().check()
        rows = await self.driven.sql(
            "SELECT status, granted_at IS NOT NULL AS granted FROM line JOIN jobs ON jobs.id = job_id WHERE job_id = $1",
            uuid(self.job),
        )
        for row in rows:
            assert row["status"] in ({"queued", "submitting", "running"} if row["granted"] else {"queued"})


@pytest.fixture
async def one_at_a_time(limited: Limited) -> AsyncIterator[Driven]:
    """A world without workers where the provider may have one txt2img job at a time."""
    async with limited(**{TXT2IMG + "CONCURRENCY": "1"}) as driven:
        yield driven


@pytest.mark.parametrize("seed", range(100, 100 + len(PROMPTS)))
async def test_in_any_order_and_at_the_same_time_the_line_tells_the_truth(one_at_a_time: Driven, seed: int) -> None:
    schedule = LimitedSchedule(
        one_at_a_time, await one_at_a_time.submit(PROMPTS[seed % len(PROMPTS)]), random.Random(seed)
    )
    for _ in range(STEPS):
        await schedule.step()
    await schedule.finish()
