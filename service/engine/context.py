"""What the tasks work with; made once by the composition root."""

from __future__ import annotations

import random
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

import httpx

from config.providers import ProviderSettings
from config.settings import Settings
from service.callbacks import tokens
from service.crypto import Keyring
from service.db.pool import Connection, Pool
from service.engine.calls import Calls
from service.engine.gates import Gates
from service.engine.nearby import Nearby, transaction
from service.engine.pulse import Pulse
from service.events.endings import Endings
from service.jobs.model import Job
from service.outputs.memory import MemoryBudget
from service.outputs.s3_clients import Buckets
from service.outputs.spool import Spool
from service.providers.contract import Operation, Provider, ProviderAccess

# Bytes from which reading or writing JSON, which holds up every other job of the process, is done in a thread.
BIG = 256 * 1024


@dataclass(frozen=True, slots=True)
class Context:
    """The outside as the tasks see it."""

    settings: Settings
    pool: Pool
    keyring: Keyring
    worker_id: UUID
    provider_client: httpx.AsyncClient
    download_client: httpx.AsyncClient
    buckets: Buckets
    budget: MemoryBudget
    providers: Mapping[str, Provider]
    endings: Endings
    calls: Calls
    pulse: Pulse
    gates: Gates
    nearby: Nearby = field(default_factory=Nearby)
    spool: Spool | None = None
    erasures_said: dict[UUID, float] = field(default_factory=dict)  # that an account's erasure waits, and until when

    def transaction(self) -> AbstractAsyncContextManager[Connection]:
        """Run a block in one transaction; what it hints at begins once it has committed."""
        return transaction(self.pool, self.nearby)

    @property
    def silence(self) -> float:
        """Return the seconds after which a silent worker is taken for dead."""
        return self.settings.engine.heartbeat_seconds

    @property
    def lease(self) -> float:
        """Return the seconds for which a task has its job to itself; a longer one renews it."""
        return self.silence * 1.25

    @property
    def grace(self) -> float:
        """Return the seconds that a hint has to be taken up before the sweep gives another."""
        return self.silence * 0.8

    def provider(self, name: str) -> Provider:
        """Return a provider's module."""
        return self.providers[name]

    def operation(self, job: Job) -> Operation | None:
        """Return what a job asks for; None when the operator has taken it away since."""
        return self.provider(job.provider).operations.get(job.operation)

    def answers_with_the_result(self, job: Job) -> bool:
        """Whether the provider's answer to the job's submit, minutes later, is the result itself."""
        operation = self.operation(job)
        return operation is not None and operation.answers == "result" and not job.test

    def mocks(self, job: Job) -> bool:
        """Whether this service makes the job's mock itself, because the provider has no test mode for it."""
        operation = self.operation(job)
        return job.test and operation is not None and not operation.native_test_mode

    def submit_timeout(self, job: Job) -> float:
        """Return the seconds that a submit of the job may take."""
        return self.timeout(job.provider, is_call=self.answers_with_the_result(job))

    def timeout(self, provider: str, *, is_call: bool) -> float:
        """Return the seconds that a submit to a provider may take. is_call: its answer is the result itself."""
        settings = self.provider_settings(provider)
        return settings.call_timeout_seconds if is_call else settings.submit_timeout_seconds

    def provider_settings(self, name: str) -> ProviderSettings:
        """Return a provider's settings."""
        return getattr(self.settings.providers, name)  # type: ignore[no-any-return]

    def remembered(self, job: Job) -> Operation | None:
        """Return what a job asks for, also if the operator has switched it off since: the job goes on all the same."""
        return self.operation(job) or self.provider(job.provider).taken_away.get(job.operation)

    def knows(self, provider: str, operation: str) -> bool:
        """Whether the settings of this process name an operation, be it switched off; those of others may name more."""
        known = self.providers.get(provider)
        return known is not None and (operation in known.operations or operation in known.taken_away)

    def can_look_up(self, job: Job) -> bool:
        """Whether we know where to ask about the job's task.

        Where a task's place depends on its operation, which the settings may have lost since, another task of the same
        number may be found elsewhere; only an echo of our URL would tell.
        """
        return self.provider(job.provider).echoes_callback_url or self.remembered(job) is not None

    def output_hosts(self, job: Job) -> list[str]:
        """Return the hosts that the job's outputs may come from."""
        settings = self.provider_settings(job.provider)
        if "output_hosts" in settings.model_fields_set:
            return settings.output_hosts
        operation = self.remembered(job)
        return ["*"] if operation is None or operation.outputs_anywhere else settings.output_hosts

    def access(self, name: str) -> ProviderAccess | None:
        """Return how to reach a provider; None without a key."""
        settings = self.provider_settings(name)
        if settings.api_key is None:
            return None
        return ProviderAccess(settings.base_url, settings.api_key.get_secret_value())

    def callback_url(self, provider: str, job_id: UUID, attempt: int) -> str | None:
        """Return the URL that the provider shall post to; None when we can't be reached."""
        if self.settings.public_url is None:
            return None
        token = tokens.mint(self.keyring, provider, job_id, attempt)
        return f"{self.settings.public_url}/v1/callbacks/{provider}/{token}"


def backoff(tries: int, first: float, longest: float) -> timedelta:
    """Return the pause before the next try: doubling from `first` to `longest` seconds, with a fifth of jitter."""
    pause = min(longest, first * 2.0 ** min(tries, 30))
    return timedelta(seconds=pause * random.uniform(0.8, 1.0))  # noqa: S311 - jitter, not a secret
