"""Running checks: few at a time, one per account, and none for longer than a client waits."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from uuid import UUID

import structlog

from service.engine.context import Context
from service.net.policy import GuardPolicy
from service.providers.contract import TaskStatus
from service.webhook_checks.judging import decide_refused, decide_steps
from service.webhook_checks.probe import probe
from service.webhook_checks.reaching import reach
from service.webhook_checks.report import OF_A_JOB, OF_THE_URL, Report, Step, fill, skipped, weigh
from service.webhook_checks.request import CheckRequest
from service.webhook_checks.trial import begin, watch

log = structlog.get_logger()

LONGEST = 50.0  # seconds
AT_ONCE = 4
_PATIENCE = 30.0  # seconds for a callback
_LITTLE_PATIENCE = 15.0  # when the public URL is known to be bad
_COME_BACK = 5  # seconds; about what a check takes when all is well


class CheckBusyError(Exception):
    """Enough checks are under way. retry_after: seconds until it is worth another try; most checks take no longer."""

    retry_after = _COME_BACK


class WebhookChecks:
    """The checks of one process. patience: seconds that a callback has to come in."""

    def __init__(self, context: Context, *, at_once: int = AT_ONCE, patience: float = _PATIENCE) -> None:
        self._context = context
        self._at_once, self._patience = at_once, patience
        self._running: set[UUID] = set()

    async def check(self, account_id: UUID, asked: CheckRequest) -> Report:
        """Return what became of it within `LONGEST` seconds; raises CheckBusyError."""
        with self._place(account_id):
            began = time.monotonic()
            steps = await self._steps(account_id, asked, began)
            report = Report(
                asked.provider, asked.operation, self._context.settings.public_url, steps, time.monotonic() - began
            )
        failed = [f"{step.step}: {step.code}" for step in steps if step.ok is False]
        log.info(
            "webhook.checked",
            provider=asked.provider,
            operation=asked.operation,
            ok=report.ok,
            failed=failed,
            seconds=round(report.seconds, 3),
        )
        return report

    @contextmanager
    def _place(self, account_id: UUID) -> Iterator[None]:
        if account_id in self._running:
            raise CheckBusyError("a check of this account is under way")
        if len(self._running) >= self._at_once:
            raise CheckBusyError("too many checks are under way")
        self._running.add(account_id)
        try:
            yield
        finally:
            self._running.remove(account_id)

    async def _steps(self, account_id: UUID, asked: CheckRequest, began: float) -> list[Step]:
        of_the_url = await self._look_at_the_url(asked.provider)
        if of_the_url[0].ok is False:
            never = [replace(skipped(name), return_task_status=s) for s in asked.statuses for name in OF_A_JOB]
            return [*of_the_url, *never]
        good = all(step.ok for step in of_the_url)
        patience = min(self._patience if good else min(_LITTLE_PATIENCE, self._patience), _room(began))
        # Tried although the URL looks bad: the provider may see it otherwise.
        trials = await asyncio.gather(*(self._try(account_id, asked, wanted, patience) for wanted in asked.statuses))
        return weigh(of_the_url, [step for steps in trials for step in steps])

    async def _look_at_the_url(self, provider: str) -> list[Step]:
        url = self._context.settings.public_url
        if url is None:
            hint = "Set GENRELAY_PUBLIC_URL to where providers reach this service; without it jobs are polled."
            unset = Step(
                OF_THE_URL[0], False, "not_set", "the service has no public URL, so nothing can call back", hint
            )
            return fill([unset], OF_THE_URL)
        policy = GuardPolicy(tuple(self._context.settings.allowed_private_subnets))
        reached = await reach(url, policy)
        steps = [Step(OF_THE_URL[0], True, None, f"it is {url}"), *reached]
        if reached[1].ok and reached[2].code in {None, "not_https"}:
            steps.append(await probe(self._context, provider))
        return fill(steps, OF_THE_URL)

    async def _try(self, account_id: UUID, asked: CheckRequest, wanted: TaskStatus, patience: float) -> list[Step]:
        job = await begin(self._context, account_id, asked, wanted)
        if isinstance(job, list):
            return decide_refused(wanted, job)
        return decide_steps(await watch(self._context, job, wanted, patience))


def _room(began: float) -> float:
    return max(1.0, LONGEST - 2.0 - (time.monotonic() - began))
