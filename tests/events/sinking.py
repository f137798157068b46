"""Queues, topics and buses at moto's server, sinks that lead there, and a server in AWS's place that answers as told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from aiohttp import web

from config.loading import load_settings
from config.settings import Settings
from service.aws.clients import Clients
from service.aws.roles import Roles
from service.crypto import Keyring
from service.events.body import encode
from service.events.letter import Letter
from service.events.sinks import SinkChannel, read_sink
from service.events.sinks.channel import sink_clients
from service.events.subscription import Subscription
from service.ids import new_uuid, show
from service.net.resolver import Resolver, ask_dns
from tests.aws import ACCOUNT, REGION, Moto

KEYRING = Keyring(["a secret key for tests - 32 characters or more"])
SECRET = "wJalrXUtnFEMI-the-customers-secret-key"
KEY_AUTH = {"type": "access_key", "access_key_id": "AKIACUSTOMER", "secret_access_key": SECRET}
EXTERNAL_ID = "genrelay-0123456789"


def settings(**more: str) -> Settings:
    """Return settings under which this machine may be delivered to."""
    return load_settings({"GENRELAY_ALLOWED_PRIVATE_SUBNETS": "127.0.0.0/8", **more})


def subscription(sink: dict[str, Any], *, account_name: str = "acme") -> Subscription:
    """Return a subscription with a sink, given as an API's client would."""
    read = read_sink(sink, account_name, [account_name])
    assert isinstance(read, tuple), read
    shown, secret = read
    now = datetime.now(UTC)
    known = {
        "id": new_uuid(),
        "account_id": new_uuid(),
        "account_name": account_name,
        "external_id": EXTERNAL_ID,
        "origin": "api",
        "sink": shown,
        "event_types": ["*"],
        "filter": {},
        "payload": "full",
        "include_test": True,
        "description": "",
        "header_names": [],
        "sink_secret": None if secret is None else KEYRING.encrypt(json.dumps(secret)),
        "failures": 0,
        "created_at": now,
        "updated_at": now,
    }
    return Subscription(**{each.name: known.get(each.name) for each in fields(Subscription)})  # type: ignore[arg-type]


def letter(sequence: int = 1, *, job_id: str | None = None, body: bytes | None = None) -> Letter:
    """Return an event of a job on its way."""
    event_id, job_id = show("evt", new_uuid()), job_id or show("job", new_uuid())
    event = {
        "specversion": "1.0",
        "id": event_id,
        "source": "https://genrelay.example",
        "type": "job.running",
        "subject": job_id,
        "time": "2026-11-21T20:15:00.123Z",
        "datacontenttype": "application/json",
        "data": {
            "sequence": sequence,
            "job": {"id": job_id, "metadata": {"title": "Leuchtturm in der Dämmerung 灯台"}},
        },
    }
    return Letter(
        delivery_id=show("dlv", new_uuid()),
        event_id=event_id,
        type="job.running",
        subject=job_id,
        source="https://genrelay.example",
        sequence=sequence,
        attempt=1,
        body=encode(event) if body is None else body,
    )


@asynccontextmanager
async def sink_channel(
    given: Settings | None = None, *, roles: Roles | None = None, resolver: Resolver = ask_dns
) -> AsyncIterator[SinkChannel]:
    """Lend a channel whose clients are closed afterwards."""
    given = given or settings()
    clients: Clients = sink_clients(given, roles=roles, resolver=resolver)
    try:
        yield SinkChannel(clients, KEYRING, given)
    finally:
        await clients.aclose()


@dataclass(frozen=True)
class Cloud:
    """A customer's account at moto; its methods block for milliseconds."""

    moto: Moto

    def make_queue(self, name: str = "events", *, fifo: bool = False) -> str:
        """Make an SQS queue; returns its URL."""
        name = f"{name}-{uuid4().hex}" + (".fifo" if fifo else "")
        attributes = {"FifoQueue": "true"} if fifo else {}
        made = self.moto.client("sqs").create_queue(QueueName=name, Attributes=attributes)
        return str(made["QueueUrl"])

    def make_topic(self, queue_url: str, *, filter_policy: dict[str, Any] | None = None) -> str:
        """Make a topic that passes everything on to a queue; FIFO if that is. Returns its ARN."""
        sns, fifo = self.moto.client("sns"), queue_url.endswith(".fifo")
        name = f"events-{uuid4().hex}" + (".fifo" if fifo else "")
        made = sns.create_topic(Name=name, Attributes={"FifoTopic": "true"} if fifo else {})
        policy = {"FilterPolicy": json.dumps(filter_policy)} if filter_policy else {}
        sns.subscribe(
            TopicArn=made["TopicArn"],
            Protocol="sqs",
            Endpoint=self.arn_of(queue_url),
            Attributes={"RawMessageDelivery": "true", **policy},
        )
        return str(made["TopicArn"])

    def make_bus(self, queue_url: str, pattern: dict[str, Any]) -> str:
        """Make a bus with a rule that passes on to a queue what fits a pattern; returns the bus's name."""
        events, name = self.moto.client("events"), f"bus-{uuid4().hex}"
        events.create_event_bus(Name=name)
        events.put_rule(Name=f"rule-{name}", EventBusName=name, EventPattern=json.dumps(pattern))
        targets = [{"Id": "queue", "Arn": self.arn_of(queue_url)}]
        events.put_targets(Rule=f"rule-{name}", EventBusName=name, Targets=targets)
        return name

    @staticmethod
    def arn_of(queue_url: str) -> str:
        """Return a queue's ARN."""
        return f"arn:aws:sqs:{REGION}:{ACCOUNT}:{queue_url.rpartition('/')[2]}"

    def receive(self, queue_url: str) -> list[dict[str, Any]]:
        """Return every message of a queue, with its attributes, in the order in which the queue gives them out."""
        sqs, messages = self.moto.client("sqs"), []
        while found := sqs.receive_message(
            QueueUrl=queue_url, MaxNumberOfMessages=10, AttributeNames=["All"], MessageAttributeNames=["All"]
        ).get("Messages"):
            messages += found
            for each in found:
                sqs.delete_message(QueueUrl=queue_url, ReceiptHandle=each["ReceiptHandle"])
        return messages

    def sqs_sink(self, queue_url: str, **more: Any) -> dict[str, Any]:
        """Return a sink for a queue, as an API's client gives it."""
        return {
            "type": "sqs",
            "queue_url": queue_url,
            "region": REGION,
            "endpoint_url": self.moto.url,
            "auth": KEY_AUTH,
            **more,
        }

    def sns_sink(self, topic_arn: str, **more: Any) -> dict[str, Any]:
        """Return a sink for a topic."""
        return {"type": "sns", "topic_arn": topic_arn, "endpoint_url": self.moto.url, "auth": KEY_AUTH, **more}

    def bus_sink(self, bus: str, **more: Any) -> dict[str, Any]:
        """Return a sink for a bus."""
        given = {"type": "eventbridge", "event_bus": bus, "region": REGION, "endpoint_url": self.moto.url}
        return {**given, "auth": KEY_AUTH, **more}


@dataclass
class FakeAws:
    """A server in the place of SQS, SNS and EventBridge. status, body, headers: what it answers to everything.

    requests: their headers and bodies. hanging: set when one came; answered only after `release`, if `hangs`.
    """

    url: str = ""
    status: int = 200
    body: str = "{}"
    headers: dict[str, str] = field(default_factory=dict)
    hangs: bool = False
    requests: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    hanging: asyncio.Event = field(default_factory=asyncio.Event)
    release: asyncio.Event = field(default_factory=asyncio.Event)

    def refuse(self, code: str, message: str = "Told by AWS.", status: int = 400) -> None:
        """Answer with an error as SQS and EventBridge have it, in JSON."""
        self.status, self.headers = status, {"Content-Type": "application/x-amz-json-1.0"}
        self.body = json.dumps({"__type": f"com.amazonaws.sqs#{code}", "message": message})

    def refuse_in_xml(self, code: str, message: str = "Told by AWS.", status: int = 400) -> None:
        """Answer with an error as SNS has it."""
        self.status, self.headers = status, {"Content-Type": "text/xml"}
        error = f"<Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error>"
        self.body = f"<ErrorResponse>{error}<RequestId>1</RequestId></ErrorResponse>"

    async def handle(self, request: web.Request) -> web.Response:
        """Serve a request."""
        self.requests.append((dict(request.headers), await request.read()))
        if self.hangs:
            self.hanging.set()
            await self.release.wait()
        return web.Response(status=self.status, body=self.body.encode(), headers=self.headers)

    def sinks(self, **more: Any) -> dict[str, dict[str, Any]]:
        """Return a sink of each kind that leads here."""
        shared = {"endpoint_url": self.url, "auth": KEY_AUTH, **more}
        arn = f"arn:aws:sns:{REGION}:{ACCOUNT}:events"
        return {
            "sqs": {"type": "sqs", "queue_url": f"{self.url}/{ACCOUNT}/events", "region": REGION, **shared},
            "sns": {"type": "sns", "topic_arn": arn, **shared},
            "eventbridge": {"type": "eventbridge", "event_bus": "events", "region": REGION, **shared},
        }


@asynccontextmanager
async def fake_aws() -> AsyncIterator[FakeAws]:
    """Serve until the block ends."""
    server = FakeAws()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield server
    finally:
        server.release.set()
        await runner.cleanup()
