"""The composition root: settings in, a running service out."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from typing import Literal
from uuid import UUID

import structlog

from config.loading import unknown_variables
from config.scrubbing import hide, secrets_of
from config.settings import OutputSettings, Settings
from service import metrics
from service.accounts import Accounts
from service.callbacks.inbox import Inbox
from service.collector import sent_spans
from service.configured import configured_providers, make_keyring
from service.crypto import Keyring
from service.db.opening import check_schema, database
from service.db.pool import Pool, open_pool
from service.db.sql import queries
from service.engine.calls import Calls
from service.engine.context import Context
from service.engine.gates import Gates
from service.engine.ledger import SETTLE, enqueue_all
from service.engine.nearby import transaction
from service.engine.pulse import Pulse
from service.engine.receivers import provider_body
from service.engine.worker import Engine
from service.events.delivering import Deliverer
from service.events.endings import Endings
from service.events.feed import Feed
from service.events.hub import Hub
from service.events.letter import Channel
from service.events.listening import Listener
from service.events.placing import Placer
from service.events.signers import Signers
from service.events.sinks.channel import SinkChannel, sink_clients
from service.events.trying import AT_ONCE, Trials
from service.events.webhooks import WebhookChannel, delivery_client
from service.ids import new_uuid
from service.leaving import Leaving
from service.limits import RequestLimits
from service.net import GuardPolicy, guarded_client
from service.net.calls import provider_client
from service.net.lookups import Lookups
from service.outputs.memory import MemoryBudget
from service.outputs.s3_clients import Buckets
from service.outputs.spool import make_spool
from service.reading import Reading

log = structlog.get_logger()

Role = Literal["all", "api", "worker"]


@dataclass(frozen=True, slots=True)
class Service:
    """A running service: what the HTTP edge and the command line work with."""

    role: Role
    settings: Settings
    pool: Pool
    dsn: str
    keyring: Keyring
    signers: Signers
    trials: Trials
    context: Context
    accounts: Accounts
    inbox: Inbox
    endings: Endings
    listener: Listener
    feed: Feed
    reading: Reading
    engine: Engine | None
    leaving: Leaving = field(default_factory=Leaving)
    limits: RequestLimits = field(default_factory=RequestLimits)


@asynccontextmanager
async def running_service(settings: Settings, role: Role = "all") -> AsyncIterator[Service]:
    """Start everything a role needs and lend it; on leaving, work under way is finished first.

    Raises MigrationsPendingError, EmbeddedUnavailableError, and what asyncpg raises when the database can't be reached.
    """
    hide(secrets_of(settings))
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(sent_spans())
        dsn = await stack.enter_async_context(database(settings))
        await check_schema(settings, dsn)
        pool = await open_pool(dsn, silence=settings.engine.heartbeat_seconds, source=settings.public_url or "genrelay")
        stack.push_async_callback(pool.close)
        service = await _compose(stack, settings, role, pool, dsn)
        metrics.BUILD.labels(version("genrelay")).set(1)
        metrics.ROLE.labels(role).set(1)
        metrics.begin_at_zero({name: provider.operations for name, provider in service.context.providers.items()})
        _say_what_is_missing(settings)
        yield service
        log.info("service.stopping", role=role)


async def _compose(stack: AsyncExitStack, settings: Settings, role: Role, pool: Pool, dsn: str) -> Service:
    endings = Endings()
    policy = GuardPolicy(tuple(settings.allowed_private_subnets))
    buckets = Buckets(policy)
    stack.push_async_callback(buckets.aclose)
    providers, calls, keyring = configured_providers(settings), Calls(), make_keyring(settings)
    gates = Gates(settings, providers, calls)
    context = Context(
        settings=settings,
        pool=pool,
        keyring=keyring,
        worker_id=new_uuid(),
        provider_client=await stack.enter_async_context(provider_client(gates.most_calls)),
        download_client=await stack.enter_async_context(guarded_client(policy)),
        buckets=buckets,
        budget=MemoryBudget(settings.outputs.memory_bytes, watch=metrics.watch_output_memory),
        providers=providers,
        endings=endings,
        calls=calls,
        pulse=Pulse(settings.engine.heartbeat_seconds),
        gates=gates,
        spool=make_spool(settings, keyring),
    )
    if context.spool is not None:
        stack.push_async_callback(context.spool.aclose)
    accounts = Accounts(pool)
    if settings.bootstrap_api_key is not None:
        await accounts.bootstrap(settings.bootstrap_api_key.get_secret_value())
    # Callbacks have connections of their own: whatever else is slow, a provider waits five seconds at most.
    inbox_pool = await open_pool(dsn, size=2, name="genrelay inbox", silence=settings.engine.heartbeat_seconds)
    stack.push_async_callback(inbox_pool.close)
    inbox = Inbox(
        partial(transaction, inbox_pool, context.nearby),
        partial(enqueue_all, SETTLE),
        kept_per_run=settings.callbacks.kept_per_run,
    )
    feed = _start_feed(stack, context)
    signers, source = Signers(pool, context.keyring), settings.public_url or "genrelay"
    trials = Trials(await _open_channels(stack, context, signers, AT_ONCE), source)
    deliverer = None
    if role in {"all", "worker"}:
        channels = await _open_channels(stack, context, signers, settings.delivery.concurrency)
        deliverer = _make_deliverer(context, channels)
    engine = None if deliverer is None else await _start_engine(stack, context, dsn, deliverer)
    listener = _listen(stack, dsn, context, accounts, feed.hub, deliverer)
    inbox.start()
    stack.push_async_callback(inbox.stop)
    return Service(
        role, settings, pool, dsn, context.keyring, signers, trials, context, accounts, inbox, endings, listener,
        feed, Reading(pool, endings, source), engine,
    )  # fmt: skip


def _start_feed(stack: AsyncExitStack, context: Context) -> Feed:
    # Stopped after everything that writes events.
    placer = Placer(context.pool)
    context.nearby.on_events.append(placer.kick)
    placer.start()
    stack.push_async_callback(placer.stop)
    hub = Hub(context.pool)
    hub.start()
    stack.push_async_callback(hub.stop)
    settings = context.settings
    return Feed(context.pool, hub, placer, settings.events.stream_events, settings.retention.places_seconds)


async def _open_channels(
    stack: AsyncExitStack, context: Context, signers: Signers, at_once: int
) -> Mapping[str, Channel]:
    """Open channels with connections and threads of their own. at_once: how many letters are on their way at a time."""
    settings = context.settings
    policy = GuardPolicy(tuple(settings.allowed_private_subnets))
    # Any account may name any host: a name server that never answers must not hold up more than deliveries to its names.
    lookups = Lookups()
    stack.callback(lookups.close)
    client = await stack.enter_async_context(
        delivery_client(policy, settings.delivery, at_once=at_once, resolver=lookups.find)
    )
    sinks = sink_clients(settings, roles=context.buckets.roles, resolver=lookups.find)
    stack.push_async_callback(sinks.aclose)
    return {
        "url": WebhookChannel(client, signers, context.keyring, settings.delivery),
        "sink": SinkChannel(sinks, context.keyring, settings),
    }


def _make_deliverer(context: Context, channels: Mapping[str, Channel]) -> Deliverer:
    return Deliverer(
        context.pool,
        context.worker_id,
        context.settings.delivery,
        channels=channels,
        provider_body=provider_body(context),
        on_trouble=context.nearby.tell_of_events,
    )


def _listen(
    stack: AsyncExitStack, dsn: str, context: Context, accounts: Accounts, hub: Hub, deliverer: Deliverer | None
) -> Listener:
    endings, listener = context.endings, Listener(dsn)

    def heard_of_feed(said: str) -> None:
        newest, _, ended = said.partition(" ")
        hub.heard(int(newest))
        endings.heard(ended)

    def heard_of_revoked(said: str) -> None:
        # First, so that no stream is let in again by what is remembered.
        accounts.forget(UUID(said))
        hub.drop(UUID(said))

    listener.channels = {"genrelay_feed": heard_of_feed, "genrelay_line": context.gates.heard}
    listener.channels["genrelay_erased"] = heard_of_revoked
    listener.on_open = [endings.wake_all, hub.look, context.gates.look_anew]
    if deliverer is not None:
        listener.channels["genrelay_deliveries"] = lambda _: deliverer.kick()
        listener.on_open.append(deliverer.kick)
    hub.on_missed = listener.doubt
    listener.start()
    stack.push_async_callback(listener.stop)
    stack.callback(endings.release)
    return listener


async def _start_engine(stack: AsyncExitStack, context: Context, dsn: str, deliverer: Deliverer) -> Engine:
    engine = Engine(context, dsn, deliverer)
    # Seen before the first intent, so that no one takes this worker's submits for a dead one's.
    await queries().beat(context.pool, id=context.worker_id, alert_seconds=context.settings.outputs.alert_seconds)
    engine.start()

    async def stop() -> None:
        await engine.stop()
        await queries().forget_worker(context.pool, id=context.worker_id)

    stack.push_async_callback(stop)
    return engine


def _say_what_is_missing(settings: Settings) -> None:
    if settings.public_url is None:
        log.warning(
            "service.unreachable",
            reason="GENRELAY_PUBLIC_URL is not set: providers can't call back, so every job is polled",
        )
    _say_if_memory_is_little(settings.outputs)
    for name in unknown_variables():
        log.warning("settings.unknown_variable", variable=name)


def _say_if_memory_is_little(outputs: OutputSettings) -> None:
    one_file = max(outputs.whole_bytes, outputs.part_bytes * (outputs.parts_in_flight + 1))
    if outputs.memory_bytes < one_file:
        log.warning(
            "service.little_memory",
            reason="GENRELAY_OUTPUTS__MEMORY_BYTES is less than one file may take, which is GENRELAY_OUTPUTS__WHOLE_BYTES, or"
            " GENRELAY_OUTPUTS__PART_BYTES * (GENRELAY_OUTPUTS__PARTS_IN_FLIGHT + 1) if that is more: such a file takes it"
            " all the same, alone",
            least_bytes=one_file,
            memory_bytes=outputs.memory_bytes,
        )
