"""An account with subscriptions and jobs whose events are written by the test, and the deliverers that send them."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from ipaddress import ip_network
from typing import Any
from uuid import UUID

from config.settings import DeliverySettings
from service.crypto import Keyring
from service.db.pool import DATABASE_AWAY, Pool, open_pool
from service.events.delivering import Deliverer
from service.events.letter import Channel
from service.events.signers import Signers
from service.events.signing_secrets import seal_new_secret
from service.events.subscription import Subscription, read_subscription
from service.events.webhooks import WebhookChannel, delivery_client
from service.ids import new_uuid, show
from service.net import GuardPolicy, Resolver
from service.net.resolver import ask_dns
from tests.world import SECRET_KEY, until

OPEN = GuardPolicy((ip_network("127.0.0.0/8"),))
# Small numbers, so that tests need not wait.
FAST: Mapping[str, Any] = {
    "retry_schedule": [0.02, 0.03, 0.04],
    "timeout_seconds": 2,
    "breaker_failures": 100,
    "breaker_first_seconds": 0.05,
    "breaker_max_seconds": 0.1,
}
_JOB = """
INSERT INTO jobs (id, account_id, provider, operation, status, test_status, submit_state, deadline_seconds, deadline_at, due_at,
                  webhook_id, webhook_payload)
VALUES ($1, $2, 'novita', 'txt2img', 'queued', 'TASK_STATUS_SUCCEED', NULL, 60, now() + interval '1 hour',
        now() + interval '1 hour', $3, $4)
"""


class Ground:
    """One account. Deliverers of it are started by `delivering`."""

    def __init__(self, pool: Pool, account_id: UUID) -> None:
        self.pool, self.account_id = pool, account_id
        self.keyring = Keyring([SECRET_KEY])
        self.deliverers: list[Deliverer] = []

    async def subscribe(self, url: str | None, **columns: Any) -> UUID:
        """Make a subscription; `columns` are further ones of the table."""
        given = {
            "id": new_uuid(),
            "account_id": self.account_id,
            "url": url,
            "event_types": ["job.*"],
            "include_test": True,
            "signing": seal_new_secret(self.keyring),
            **columns,
        }
        names = ", ".join(given)
        places = ", ".join(f"${n}" for n in range(1, len(given) + 1))
        await self.pool.execute(f"INSERT INTO subscriptions ({names}) VALUES ({places})", *given.values())
        return given["id"]  # type: ignore[no-any-return]

    async def subscription(self, subscription_id: UUID) -> Subscription:
        """Return a subscription as it is."""
        row = await self.pool.fetchrow(
            "SELECT s.*, a.name AS account_name, a.external_id FROM subscriptions s JOIN accounts a ON a.id = account_id"
            " WHERE s.id = $1",
            subscription_id,
        )
        assert row is not None
        return read_subscription(row)

    async def job(self, webhook_id: UUID | None = None, payload: str = "full") -> UUID:
        """Make a job."""
        job_id = new_uuid()
        await self.pool.execute(_JOB, job_id, self.account_id, webhook_id, payload)
        return job_id

    async def write(self, job_id: UUID, *sequences: int, kind: str = "job.progress") -> list[UUID]:
        """Write events of a job in one transaction, and say so to the deliverers."""
        shown = {"id": show("job", job_id), "test": True, "provider": "novita", "operation": "txt2img", "metadata": {}}
        ids = [new_uuid() for _ in sequences]
        data = [json.dumps({"sequence": sequence, "job": shown}) for sequence in sequences]
        await self.pool.execute(
            "INSERT INTO events (job_id, sequence, id, account_id, run, type, time, data)"
            " SELECT $1, sequence, id, $2, 1, $3, now(), data::jsonb"
            " FROM unnest($4::integer[], $5::uuid[], $6::text[]) AS given (sequence, id, data)",
            job_id, self.account_id, kind, list(sequences), ids, data,
        )  # fmt: skip
        self.kick()
        return ids

    async def events(self, count: int) -> list[UUID]:
        """Write so many events of a new job."""
        return await self.write(await self.job(), *range(1, count + 1))

    async def make_due(self) -> None:
        """Make everything pending due now, as if its time had come, and have it looked at."""
        await self.pool.execute("UPDATE deliveries SET due_at = now() WHERE status = 'pending'")
        await self.pool.execute("UPDATE subscriptions SET look_at = now()")
        self.kick()

    def kick(self) -> None:
        """Have every deliverer look."""
        for deliverer in self.deliverers:
            deliverer.kick()

    async def sql(self, query: str, *values: Any) -> list[Any]:
        """Run a query and return its rows."""
        return await self.pool.fetch(query, *values)

    async def one(self, query: str = "SELECT * FROM deliveries", *values: Any) -> Any:
        """Return the only row of a query."""
        [row] = await self.pool.fetch(query, *values)
        return row

    async def attempts(self) -> list[Any]:
        """Return all attempts in their order."""
        return await self.sql("SELECT * FROM delivery_attempts ORDER BY started_at, number")

    async def until_count(self, count: int, where: str) -> None:
        """Wait until there are so many deliveries of a kind (SQL)."""

        async def look() -> bool:
            return bool(await self.pool.fetchval(f"SELECT count(*) FROM deliveries WHERE {where}") >= count)

        await until(look)

    async def until_ended(self) -> None:
        """Wait until nothing is pending."""

        async def look() -> bool:
            return not await self.pool.fetchval("SELECT count(*) FROM deliveries WHERE status = 'pending'")

        await until(look)

    async def account_events(self) -> list[Any]:
        """Return the account's own events, oldest first."""
        return await self.sql("SELECT * FROM account_events ORDER BY id")

    @contextlib.asynccontextmanager
    async def delivering(
        self,
        *,
        pool: Pool | None = None,
        policy: GuardPolicy = OPEN,
        resolver: Resolver = ask_dns,
        channels: Mapping[str, Channel] | None = None,
        provider_body: Any = None,
        **settings: Any,
    ) -> AsyncIterator[Deliverer]:
        """Run a deliverer; `settings` are some of DeliverySettings."""
        given = DeliverySettings(**{**FAST, **settings})
        pool = pool or self.pool

        async def no_body(_job_id: UUID, _event: Any) -> None:
            return None

        async with delivery_client(policy, given, resolver=resolver) as client:
            webhooks = WebhookChannel(client, Signers(pool, self.keyring), self.keyring, given)
            deliverer = Deliverer(
                pool,
                new_uuid(),
                given,
                channels=channels or {"url": webhooks},
                provider_body=provider_body or no_body,
                on_trouble=self.kick,
            )
            self.deliverers.append(deliverer)
            running = asyncio.create_task(supervised(deliverer))
            try:
                yield deliverer
            finally:
                self.deliverers.remove(deliverer)
                deliverer.stop()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(0.5):
                        await asyncio.shield(running)
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)


async def supervised(deliverer: Deliverer) -> None:
    """Run a deliverer as the engine does: again when the database was away."""
    while True:
        try:
            await deliverer.run()
        except DATABASE_AWAY:
            await asyncio.sleep(0.05)
        else:
            return


@contextlib.asynccontextmanager
async def delivery_ground(database_url: str) -> AsyncIterator[Ground]:
    """Lend a ground with an account of its own."""
    pool = await open_pool(database_url, size=8, source="https://relay.example")
    try:
        account_id = new_uuid()
        await pool.execute("INSERT INTO accounts (id, name) VALUES ($1, 'default')", account_id)
        yield Ground(pool, account_id)
    finally:
        await pool.close()
