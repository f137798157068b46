"""Everybody who hears of a ground's jobs, and a ledger of what came to them: pages, streams, webhooks and a queue."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import httpx
from standardwebhooks import Webhook

from service.ids import show
from tests.aws import Moto
from tests.chaos.ground import TERMINAL, Ground
from tests.chaos.listeners import Heard, Listener, Queue
from tests.receiver import Arrival, Receiver, ReceiverProcess
from tests.world import until

# Tries come soon after one another, and a lease is not much longer than a try may take.
DELIVERY = {
    "GENRELAY_DELIVERY__RETRY_SCHEDULE": "0.2,0.5,0.5,1,1,2,2,2,2,2,2,2,2,2,2,2,2,2,2,2",
    "GENRELAY_DELIVERY__TIMEOUT_SECONDS": "2",
    "GENRELAY_DELIVERY__BREAKER_FIRST_SECONDS": "0.5",
    "GENRELAY_DELIVERY__BREAKER_MAX_SECONDS": "1",
}
SETTLED_SECONDS = 40.0
JOB_HOOK = "/hooks/of-a-job"


@dataclass(frozen=True)
class Asked:
    """A subscription, and which events it is to get, said anew here: `wants` takes an event as the feed shows it."""

    given: dict[str, Any]
    wants: Callable[[dict[str, Any]], bool]


def _job(event: dict[str, Any]) -> dict[str, Any]:
    return event["data"].get("job") or {"test": False, "metadata": {}}


ASKED = {
    "/hooks/all": Asked({"event_types": ["*"]}, lambda event: not _job(event)["test"]),
    "/hooks/tests": Asked({"event_types": ["*"], "include_test": True}, lambda _: True),
    "/hooks/ends": Asked(
        {"event_types": sorted(TERMINAL)}, lambda event: event["type"] in TERMINAL and not _job(event)["test"]
    ),
    "/hooks/blue": Asked(
        {"event_types": ["job.*"], "filter": {"metadata": {"colour": "blue"}}},
        lambda event: event["type"].startswith("job.") and _job(event)["metadata"] == {"colour": "blue"},
    ),
    "/hooks/thin": Asked(
        {"event_types": ["output.*"], "payload": "thin"}, lambda event: event["type"] == "output.stored"
    ),
    "/hooks/nothing": Asked({"filter": {"provider": "modelslab"}}, lambda _: False),
}


@dataclass
class Audience:
    """Everybody who listens to one ground. `hooked`: jobs with a webhook of their own, and the types it wants."""

    on: Ground
    receiver: Receiver | ReceiverProcess
    queue: Queue | None = None
    listeners: list[Listener] = field(default_factory=list)
    hooked: dict[str, set[str] | None] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict)
    _listening: list[asyncio.Task[None]] = field(default_factory=list)

    # --- gathering them --------------------------------------------------------------------------------------------

    async def subscribe(self, moto: Moto | None = None) -> None:
        """Make the subscriptions, once the service runs."""
        async with self.on.client() as client:
            for path, asked in ASKED.items():
                await self._subscribe(client, path, {"url": self.receiver.url + path, **asked.given})
            if self.queue is not None:
                assert moto is not None
                await self._subscribe(client, "", {"sink": self.queue.given(moto), "event_types": ["*"]})
            answer = await client.get("/v1/account/webhook-secret")
            self.secrets[JOB_HOOK] = answer.raise_for_status().json()["secret"]

    async def _subscribe(self, client: httpx.AsyncClient, path: str, given: dict[str, Any]) -> None:
        answer = await client.post("/v1/subscriptions", json=given)
        assert answer.status_code == 201, answer.text
        if path:
            secret = await client.get(f"/v1/subscriptions/{answer.json()['id']}/secret")
            self.secrets[path] = secret.raise_for_status().json()["secret"]

    async def listen(self, *bases: str) -> Listener:
        """Add a listener, and return once it listens."""
        listener = Listener(bases or (self.on.url,))
        self.listeners.append(listener)
        self._listening.append(asyncio.create_task(listener.run()))
        async with asyncio.timeout(20):
            await listener.listening.wait()
        return listener

    async def leave(self) -> None:
        """Let the listeners go."""
        for task in self._listening:
            task.cancel()
        await asyncio.gather(*self._listening, return_exceptions=True)

    def hook(self, *types: str) -> dict[str, Any]:
        """Return what a job says that has a webhook of its own."""
        return {"webhook": self.receiver.url + JOB_HOOK, **({"webhook_events_filter": list(types)} if types else {})}

    def note(self, job: dict[str, Any], *types: str) -> None:
        """Remember that a job was submitted with `hook(*types)`."""
        self.hooked[job["id"]] = set(types) or None

    async def submit(self, prompt: str = "a lighthouse at dawn", **changes: Any) -> dict[str, Any]:
        """Submit a job with a webhook that hears of its end."""
        job = await self.on.submit(prompt, **self.hook(*TERMINAL), **changes)
        self.note(job, *TERMINAL)
        return job

    # --- comparing what they have ----------------------------------------------------------------------------------

    async def check(self, *, once: bool = False) -> list[dict[str, Any]]:
        """Assert that everybody has everything, once it has come to rest.

        once: nothing may have been sent again after it was taken. (A slow machine may let a try time out.)

        Returns the feed.
        """
        await self._settle()
        feed = await self.feed()
        stored = await self._stored()
        assert Counter(event["id"] for event in feed) == Counter(stored), "the feed is what is stored, each event once"
        _check_order(feed)
        bodies = self._check_streams(feed)
        arrivals: dict[str, list[Heard]] = defaultdict(list)
        for each in self._arrivals():
            self._verify(each)
            arrivals[each.path].append(Heard(each.id, each.body))
        for path, asked in ASKED.items():
            wanted = {event["id"] for event in feed if asked.wants(event)}
            thin = asked.given.get("payload") == "thin"
            _check_came(path, arrivals.pop(path, []), wanted, bodies, thin=thin)
        wanted = {event["id"] for event in feed if self._hooked(event)}
        _check_came(JOB_HOOK, arrivals.pop(JOB_HOOK, []), wanted, bodies)
        assert not arrivals, f"nobody asked for {arrivals.keys()}"
        if self.queue is not None:
            wanted = {event["id"] for event in feed if not _job(event)["test"]}
            _check_came("the queue", self.queue.heard, wanted, bodies)
        if once:
            await self._check_once()
        return feed

    async def _check_once(self) -> None:
        """Assert that each try is recorded, and that none followed the one that succeeded."""
        rows = await self.on.fetch(
            "SELECT s.url, d.event_id, d.attempts, count(a.number) AS recorded,"
            " count(*) FILTER (WHERE a.outcome = 'delivered') AS delivered FROM deliveries AS d"
            " JOIN subscriptions AS s ON s.id = d.subscription_id LEFT JOIN delivery_attempts AS a ON a.delivery_id = d.id"
            " GROUP BY s.url, d.event_id, d.attempts"
        )
        assert {row["delivered"] for row in rows} == {1}
        tries = {(row["url"], show("evt", row["event_id"])): row["attempts"] for row in rows}
        assert all(row["recorded"] == row["attempts"] for row in rows)
        came = Counter((self.receiver.url + each.path, each.id) for each in self._arrivals())
        assert not [each for each, count in came.items() if count > tries[each]]

    async def _settle(self) -> None:
        """Wait until nothing is under way any more: no event without a place, no delivery that is due, no stream behind."""

        async def rests() -> bool:
            [left] = await self.on.fetch(
                "SELECT (SELECT count(*) FROM unplaced) AS unplaced, (SELECT count(*) FROM feed) AS placed,"
                " (SELECT count(*) FROM deliveries WHERE status = 'pending') AS pending"
            )
            behind = [listener for listener in self.listeners if len(listener.heard) < left["placed"]]
            return not left["unplaced"] and not left["pending"] and not behind

        try:
            await until(rests, SETTLED_SECONDS)
        except AssertionError:
            raise AssertionError(f"it did not come to rest: {await self._what_is_left()}") from None
        if self.queue is not None:
            await asyncio.to_thread(self.queue.drain)

    async def _what_is_left(self) -> str:
        rows = await self.on.fetch(
            "SELECT s.url, d.type, d.attempts, d.due_at - now() AS due, d.worker_id, s.disabled_reason, s.open_until"
            " FROM deliveries AS d JOIN subscriptions AS s ON s.id = d.subscription_id WHERE d.status = 'pending' LIMIT 20"
        )
        unplaced = await self.on.fetch("SELECT * FROM unplaced LIMIT 5")
        [placed] = await self.on.fetch("SELECT count(*) FROM feed")
        heard = [len(listener.heard) for listener in self.listeners]
        shown = "\n".join(str(dict(row)) for row in rows)
        return f"unplaced {unplaced}, placed {placed[0]}, streams have heard {heard}, pending\n{shown}"

    async def feed(self) -> list[dict[str, Any]]:
        """Return all pages of the feed."""
        events: list[dict[str, Any]] = []
        async with self.on.client() as client:
            while True:
                after = {"after": events[-1]["id"]} if events else {}
                answer = await client.get("/v1/events", params={"limit": 7, **after})
                page = answer.raise_for_status().json()
                events += page["data"]
                if not page["has_more"]:
                    return events

    async def _stored(self) -> list[str]:
        rows = await self.on.fetch("SELECT id FROM events UNION ALL SELECT id FROM account_events")
        return [show("evt", row["id"]) for row in rows]

    def _check_streams(self, feed: list[dict[str, Any]]) -> dict[str, bytes]:
        """Return the bodies by id, as the streams have them: all the same."""
        assert self.listeners, "somebody has to listen"
        for listener in self.listeners:
            assert [heard.id for heard in listener.heard] == [event["id"] for event in feed], (
                "each once, in the feed's order"
            )
            assert [json.loads(heard.body) for heard in listener.heard] == feed
            assert listener.heard == self.listeners[0].heard
        return {heard.id: heard.body for heard in self.listeners[0].heard}

    def _arrivals(self) -> list[Arrival]:
        found = self.receiver.arrivals
        return found if isinstance(found, list) else found()

    def _verify(self, arrival: Arrival) -> None:
        """Raise unless the official library takes it. It looks at the clock: this test is done long before five minutes."""
        Webhook(self.secrets[arrival.path]).verify(arrival.body, arrival.headers)

    def _hooked(self, event: dict[str, Any]) -> bool:
        if event["subject"] not in self.hooked:
            return False
        types = self.hooked[event["subject"]]
        return types is None or event["type"] in types


def _check_order(feed: list[dict[str, Any]]) -> None:
    """Every job's events come in their order, without gaps, and each run ends with its one end."""
    sequences: dict[str, list[int]] = defaultdict(list)
    for event in feed:
        if "sequence" in event["data"]:
            sequences[event["subject"]].append(event["data"]["sequence"])
    for job, found in sequences.items():
        assert found == list(range(1, len(found) + 1)), f"{job}: {found}"


def _check_came(who: str, came: list[Heard], wanted: set[str], bodies: dict[str, bytes], *, thin: bool = False) -> None:
    ids = Counter(heard.id for heard in came)
    missed = wanted - ids.keys()
    assert not missed, f"{who} missed {[json.loads(bodies[each])['type'] for each in missed]}"
    assert not ids.keys() - wanted, f"{who} got what it had not asked for: {ids.keys() - wanted}"
    for heard in came:
        if thin:
            _check_thin(json.loads(heard.body), json.loads(bodies[heard.id]))
        else:
            assert heard.body == bodies[heard.id], f"{who}: another body"


def _check_thin(thin: dict[str, Any], full: dict[str, Any]) -> None:
    """The same event, with less of its job."""
    assert {**thin, "data": None} == {**full, "data": None}
    assert thin["data"]["sequence"] == full["data"]["sequence"]
    job, whole = thin["data"]["job"], full["data"]["job"]
    assert job == {name: whole[name] for name in job}
    assert len(job) < len(whole)


@contextlib.asynccontextmanager
async def audience(
    on: Ground, receiver: Receiver | ReceiverProcess, moto: Moto | None = None
) -> AsyncIterator[Audience]:
    """Gather nobody yet; whoever listens is let go at the end. moto: with a queue there."""
    on.settings |= DELIVERY
    gathered = Audience(on, receiver, Queue(moto, f"genrelay-{on.path}") if moto is not None else None)
    try:
        yield gathered
    finally:
        await gathered.leave()
