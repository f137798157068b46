"""Two ways to hear of events: a stream that is taken up again wherever it was cut, and a queue."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from tests.aws import REGION, Moto
from tests.world import client_for


@dataclass(frozen=True)
class Heard:
    """An event as it came: its id as the way tells it, and the bytes of its body."""

    id: str
    body: bytes


class Listener:
    """A client of Server-Sent Events that comes back with the last id it has, each time to the next of the replicas."""

    def __init__(self, bases: Sequence[str], path: str = "/v1/events") -> None:
        self.path = path
        self.heard: list[Heard] = []
        self.connections = 0
        self.listening = asyncio.Event()
        self._bases = itertools.cycle(bases)

    async def run(self) -> None:
        """Listen until canceled, or until the server says that no more will come."""
        while True:
            with contextlib.suppress(httpx.HTTPError):
                async with client_for(next(self._bases)) as client:
                    await self._listen(client)
            self.listening.clear()
            await asyncio.sleep(0.05)

    async def _listen(self, client: httpx.AsyncClient) -> None:
        headers, params = {"Accept": "text/event-stream"}, {}
        if self.heard:
            headers["Last-Event-ID"] = self.heard[-1].id
        else:
            params["after"] = "start"
        async with client.stream("GET", self.path, headers=headers, params=params) as answer:
            if answer.status_code != 200:
                return
            self.connections += 1
            self.listening.set()
            buffer = b""
            async for chunk in answer.aiter_bytes():
                *blocks, buffer = (buffer + chunk).split(b"\n\n")
                self.heard += [heard for block in blocks if (heard := _read_block(block)) is not None]


def _read_block(block: bytes) -> Heard | None:
    """Read a block of a stream; None when it is a comment or only says how soon to come back."""
    fields = dict(line.split(b": ", 1) for line in block.split(b"\n") if line and not line.startswith(b":"))
    if b"data" not in fields:
        return None
    body = fields[b"data"]
    assert fields[b"event"].decode() == json.loads(body)["type"]
    return Heard(fields[b"id"].decode(), body)


class Queue:
    """A queue of moto's that is a subscription's sink."""

    def __init__(self, moto: Moto, name: str) -> None:
        self._client = moto.client("sqs")
        self.url: str = self._client.create_queue(QueueName=name)["QueueUrl"]
        self.heard: list[Heard] = []

    def given(self, moto: Moto) -> dict[str, Any]:
        """Return it as a subscription names it."""
        auth = {"type": "access_key", "access_key_id": "AKIAEXAMPLE", "secret_access_key": "a-secret-of-moto"}
        return {"type": "sqs", "queue_url": self.url, "region": REGION, "endpoint_url": moto.url, "auth": auth}

    def drain(self) -> None:
        """Take everything that has come; blocks."""
        while messages := self._client.receive_message(
            QueueUrl=self.url, MaxNumberOfMessages=10, MessageAttributeNames=["All"]
        ).get("Messages"):
            for message in messages:
                body = message["Body"].encode()
                self.heard.append(Heard(json.loads(body)["id"], body))
                self._client.delete_message(QueueUrl=self.url, ReceiptHandle=message["ReceiptHandle"])
