"""Anything in any order, and several things at once: what must always hold of a job holds after every step.

A seeded schedule rather than hypothesis' own machine: the steps run at the same time against a real database, so the
same seed gives the same choices, and what PostgreSQL makes of them is its own affair.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from service.db.sql import queries
from service.engine.sweep import sweep
from service.engine.worker import TASKS, run_task
from tests.engine.driven import Driven, event, uuid

TERMINAL = {"job.succeeded", "job.failed", "job.canceled"}
ENDED = {"succeeded", "failed", "canceled"}
PROMPTS = (
    "a lighthouse [fault:held]",
    "a lighthouse [fault:held] [fault:more_images]",
    "a lighthouse [fault:held] [fault:failed=1]",
    "a lighthouse [fault:held] [fault:500_after] [fault:lookup_500]",
    "a lighthouse [fault:held] [fault:429] [fault:no_outputs_once]",
    "a lighthouse [fault:held] [fault:expired] [fault:not_found]",
    "a lighthouse [fault:stuck]",
)
STEPS = 14


class Schedule:
    """One job, and everything that can happen to it."""

    def __init__(self, driven: Driven, job: dict[str, Any], choice: random.Random) -> None:
        self.driven, self.job, self.choice = driven, job, choice
        self.may_pay = 1
        self.before: dict[str, Any] | None = None

    async def task(self) -> None:
        """A hint comes, right or wrong, in time or not."""
        name = self.choice.choice(sorted(TASKS))
        await run_task(self.driven.context, name, TASKS[name], uuid(self.job))

    async def due_task(self) -> None:
        """The job's time has come."""
        await self.driven.make_due(self.job)
        for name in sorted(TASKS):
            await run_task(self.driven.context, name, TASKS[name], uuid(self.job))

    async def callback(self) -> None:
        """The provider calls back, or somebody who has the URL."""
        row = await self.driven.row(self.job)
        named = self.choice.choice([row.provider_task_id, *self.tasks_of_the_provider(), "somebody-elses"])
        status = self.choice.choice(["TASK_STATUS_SUCCEED", "TASK_STATUS_FAILED", "TASK_STATUS_PROCESSING", "?"])
        body = self.choice.choice([b"", b"garbage", *[event(named, status, n=self.choice.randrange(3))] * 4])
        await self.driven.post(self.job, body, attempt=self.choice.choice([row.attempt, row.attempt, 1, 2]))

    def tasks_of_the_provider(self) -> list[str]:
        return [submit.task_id for submit in self.driven.sandbox.submits]

    async def release(self) -> None:
        """The task ends at the provider, which calls back."""
        for task_id in self.tasks_of_the_provider():
            task = self.driven.sandbox.tasks[task_id]
            if "held" in task.submission.faults:
                self.driven.sandbox.release(task_id)
                await task.called_back.wait()

    async def cancel(self) -> None:
        await self.driven.client.post(f"/v1/jobs/{self.job['id']}/cancel")

    async def retry(self) -> None:
        accept = self.choice.random() < 0.5
        answer = await self.driven.retry(self.job, accept_second_charge=accept)
        if answer.status_code == 202 and answer.json()["status"] == "queued":
            self.may_pay += 1

    async def wait(self) -> None:
        await self.driven.later(self.job, self.choice.choice([1.0, 10.0, 60.0, 900.0, 4000.0]))

    async def sweep(self) -> None:
        await sweep(self.driven.context)

    async def step(self) -> None:
        """Let one to four things happen at once."""
        happenings: list[Callable[[], Awaitable[None]]] = [
            *[self.task] * 4, *[self.due_task] * 5, *[self.callback] * 4, self.release, self.cancel,
            self.retry, self.retry, self.wait, self.sweep,
        ]  # fmt: skip
        chosen = self.choice.choices(happenings, k=self.choice.choice([1, 2, 3, 4]))
        await asyncio.gather(*(happening() for happening in chosen))
        await self.check()

    async def check(self) -> None:
        """Look whether everything is as it always must be."""
        async with (
            self.driven.service.pool.acquire() as connection,
            connection.transaction(isolation="repeatable_read"),
        ):
            job = dict(await queries().peek_job(connection, id=uuid(self.job)))
            events = await connection.fetch("SELECT * FROM events WHERE job_id = $1 ORDER BY sequence", job["id"])
            outputs = await connection.fetch("SELECT * FROM outputs WHERE job_id = $1 ORDER BY index", job["id"])
        _check_events(job, events)
        _check_outputs(job, outputs)
        self._check_progress(job)
        assert len(self.driven.sandbox.paid) <= self.may_pay, "paid without leave"
        self.before = job

    def _check_progress(self, job: dict[str, Any]) -> None:
        before = self.before
        if before is None:
            return
        assert job["version"] >= before["version"]
        assert job["run"] >= before["run"]
        assert job["last_event"] >= before["last_event"]
        if job["status"] != before["status"]:
            assert job["version"] > before["version"]
        if before["status"] in ENDED and job["run"] == before["run"]:
            unchanged = ("status", "error", "completed_at", "verified_by", "provider_task_id", "last_event")
            assert {name: job[name] for name in unchanged} == {name: before[name] for name in unchanged}

    async def finish(self) -> None:
        """Let nothing more happen but what has to, and look at the end."""
        for _ in range(3):
            await self.release()
            await self.driven.drive(self.job)
            await self.check()
        await self._check_bucket()

    async def _check_bucket(self) -> None:
        job = await self.driven.job(self.job)
        stored = {output["key"]: output["sha256"] for output in job["outputs"] if output["status"] == "stored"}
        keys = self.driven.keys()
        found = {key: hashlib.sha256(self.driven.s3.read(self.driven.bucket, key)).hexdigest() for key in keys}
        assert stored.items() <= found.items()
        assert job["status"] != "succeeded" or stored == found != {}


def _check_events(job: dict[str, Any], events: list[Any]) -> None:
    assert [row["sequence"] for row in events] == list(range(1, job["last_event"] + 1))
    assert [row["data"]["sequence"] for row in events] == list(range(1, job["last_event"] + 1))
    runs = [row["run"] for row in events]
    assert runs == sorted(runs)
    assert set(runs) == set(range(1, job["run"] + 1))
    for run in set(runs):
        types = [row["type"] for row in events if row["run"] == run]
        over = run < job["run"] or job["status"] in ENDED
        assert sum(kind in TERMINAL for kind in types) == over, types
        assert not over or types[-1] in TERMINAL, types
    if job["status"] in ENDED:
        assert events[-1]["type"] == f"job.{job['status']}"
        assert events[-1]["data"]["job"]["status"] == job["status"]


def _check_outputs(job: dict[str, Any], outputs: list[Any]) -> None:
    assert [row["index"] for row in outputs] == list(range(len(outputs)))
    if job["status"] == "copying":
        assert outputs
    if job["status"] == "succeeded":
        assert {row["status"] for row in outputs} == {"stored"}


@pytest.mark.parametrize("seed", range(len(PROMPTS) * 2))
async def test_in_any_order_and_at_the_same_time_what_must_hold_holds(driven: Driven, seed: int) -> None:
    choice = random.Random(seed)
    job = await driven.submit(PROMPTS[seed % len(PROMPTS)])
    schedule = Schedule(driven, job, choice)
    for _ in range(STEPS):
        await schedule.step()
    await schedule.finish()
