"""What is sent to a webhook, what its answers mean, and what is written down."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from standardwebhooks.webhooks import Webhook

from service.events.signing_secrets import open_secrets
from service.ids import show
from service.net import GuardPolicy
from tests.events.deliveries import Ground
from tests.net.hostile_urls import ADDRESSES
from tests.receiver import Receiver


async def test_an_event_arrives_once_signed_and_as_it_is_everywhere(ground: Ground, receiver: Receiver) -> None:
    sub = await ground.subscribe(receiver.url + "/hooks", headers=ground.keyring.encrypt('{"x-team": "blue"}'))
    async with ground.delivering():
        [event_id] = await ground.events(1)
        await ground.until_ended()
    [arrival] = receiver.arrivals
    assert arrival.method == "POST"
    assert arrival.headers["content-type"] == "application/cloudevents+json"
    assert arrival.headers["x-team"] == "blue"
    assert arrival.headers["user-agent"] == "genrelay"
    assert arrival.headers["accept-encoding"] == "identity"
    assert arrival.headers["webhook-id"] == arrival.event["id"] == show("evt", event_id)
    assert (arrival.event["source"], arrival.event["data"]["sequence"]) == ("https://relay.example", 1)
    sealed = (await ground.subscription(sub)).signing
    assert sealed is not None
    Webhook(open_secrets(ground.keyring, sealed)[0].text).verify(arrival.body, arrival.headers)
    row = await ground.one()
    assert (row["status"], row["attempts"], row["failures"], row["response_status"]) == ("delivered", 1, 0, 200)
    assert (row["worker_id"], row["due_at"]) == (None, None)
    [attempt] = await ground.attempts()
    assert (attempt["outcome"], attempt["status"], attempt["error"]) == ("delivered", 200, None)
    assert (await ground.subscription(sub)).last_success_at is not None


async def test_a_thin_body_has_the_id_of_the_full_one_and_less_in_it(ground: Ground, receiver: Receiver) -> None:
    await ground.subscribe(receiver.url + "/full")
    await ground.subscribe(receiver.url + "/thin", payload="thin")
    async with ground.delivering():
        await ground.events(1)
        await ground.until_ended()
    [full], [thin] = receiver.of("/full"), receiver.of("/thin")
    assert full.id == thin.id == thin.event["id"]
    assert thin.event["data"]["job"]["id"] == full.event["data"]["job"]["id"]


async def test_a_providers_own_body_goes_out_with_its_headers(ground: Ground, receiver: Receiver) -> None:
    hook = await ground.subscribe(receiver.url + "/hooks", origin="job", signing=None)

    async def body(_job: object, event: dict[str, object]) -> tuple[bytes, dict[str, str]] | None:
        if event["type"] != "job.succeeded":
            return None
        return b'{"event_type": "ASYNC_TASK_RESULT"}', {"content-type": "application/json"}

    async with ground.delivering(provider_body=body):
        await ground.write(await ground.job(hook, "provider"), 1, kind="job.failed")
        await ground.until_ended()
        await ground.write(await ground.job(hook, "provider"), 1, kind="job.succeeded")
        await ground.until_ended()
    first, last = receiver.arrivals
    assert first.event["specversion"] == "1.0"
    assert last.event == {"event_type": "ASYNC_TASK_RESULT"}
    assert last.headers["content-type"] == "application/json"
    assert last.id.startswith("evt_")


@pytest.mark.parametrize("status", [300, 301, 302, 307, 308, 400, 401, 404, 429, 500, 502, 503, 504])
async def test_whatever_is_no_2xx_is_a_failure_and_tried_again(ground: Ground, receiver: Receiver, status: int) -> None:
    other = receiver.url + "/elsewhere"
    url = receiver.plan("/hooks", status, headers={"Location": other}, body="what went wrong")
    await ground.subscribe(url)
    async with ground.delivering():
        await ground.events(1)
        await ground.until_ended()
    assert [each.path for each in receiver.arrivals] == ["/hooks", "/hooks"], "redirects are not followed"
    assert len({each.id for each in receiver.arrivals}) == 1
    assert len({each.body for each in receiver.arrivals}) == 1
    first, second = await ground.attempts()
    assert (first["outcome"], first["status"], first["response"]) == ("failed", status, b"what went wrong")
    assert (second["number"], second["outcome"]) == (2, "delivered")
    row = await ground.one()
    assert (row["status"], row["attempts"], row["failures"]) == ("delivered", 2, 1)


@pytest.mark.parametrize("status", [200, 201, 202, 204])
async def test_every_2xx_is_success(ground: Ground, receiver: Receiver, status: int) -> None:
    await ground.subscribe(receiver.plan("/hooks", then=status))
    async with ground.delivering():
        await ground.events(1)
        await ground.until_ended()
    assert (await ground.one())["response_status"] == status


async def test_at_the_end_of_the_schedule_it_has_failed_and_the_others_are_told(
    ground: Ground, receiver: Receiver
) -> None:
    dead = await ground.subscribe(receiver.plan("/dead", then=500), event_types=["*"])
    await ground.subscribe(receiver.url + "/ops", event_types=["delivery.*", "subscription.*"])
    async with ground.delivering():
        await ground.events(1)
        await ground.until_ended()
        arrivals = await receiver.until(1, "/ops")
        await ground.until_ended()
    assert len(receiver.of("/dead")) == 4, "one, and one for each pause; and never of its own trouble"
    row = await ground.one("SELECT * FROM deliveries WHERE subscription_id = $1", dead)
    assert (row["status"], row["reason"], row["failures"]) == ("failed", "exhausted", 4)
    event = arrivals[0].event
    assert (event["type"], event["subject"]) == ("delivery.failed", show("dlv", row["id"]))
    assert event["data"]["delivery"]["subscription_id"] == show("sub", dead)
    assert event["data"]["delivery"]["response_status"] == 500


async def test_an_account_event_that_can_not_be_delivered_makes_no_further_one(
    ground: Ground, receiver: Receiver
) -> None:
    await ground.subscribe(receiver.plan("/dead", then=500))
    await ground.subscribe(receiver.plan("/ops", then=500), event_types=["*"])
    async with ground.delivering():
        await ground.events(1)
        await ground.until_ended()
    types = [event["type"] for event in await ground.account_events()]
    assert types == ["delivery.failed"] * 2, "of the job's event at both, and none of those"


async def test_retry_after_is_obeyed_within_bounds(ground: Ground, receiver: Receiver) -> None:
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=9000), usegmt=True)
    for path, asked in (("/seconds", "7000"), ("/date", soon), ("/long", "999999"), ("/never", "soon")):
        await ground.subscribe(receiver.plan(path, then=503, headers={"Retry-After": asked}))
    await ground.subscribe(receiver.plan("/other", then=500, headers={"Retry-After": "7000"}))
    async with ground.delivering(retry_schedule=[100], max_retry_after_seconds=10_000):
        await ground.events(1)
        await ground.until_count(5, "failures = 1")
    rows = await ground.sql(
        "SELECT url, extract(epoch FROM due_at - now())::float8 AS pause FROM deliveries"
        " JOIN subscriptions ON subscriptions.id = subscription_id"
    )
    pauses = {row["url"].rpartition("/")[2]: row["pause"] for row in rows}
    assert 6900 < pauses["seconds"] <= 7000
    assert 8900 < pauses["date"] <= 9001
    assert 9900 < pauses["long"] <= 10_000
    assert 90 < pauses["never"] <= 110
    assert 90 < pauses["other"] <= 110, "only who is overloaded is asked when"


async def test_410_disables_the_subscription_and_gives_up_what_waits(ground: Ground, receiver: Receiver) -> None:
    gone = await ground.subscribe(receiver.plan("/gone", then=410), rate_limit=1)
    await ground.subscribe(receiver.url + "/ops", event_types=["subscription.*"])
    async with ground.delivering():
        await ground.events(3)
        arrivals = await receiver.until(1, "/ops")
        await ground.until_ended()
        await ground.events(1)
    assert len(receiver.of("/gone")) == 1
    rows = await ground.sql("SELECT status, reason FROM deliveries WHERE subscription_id = $1 ORDER BY status", gone)
    assert [(row["status"], row["reason"]) for row in rows] == [("canceled", "gone")] * 2 + [("failed", "gone")]
    found = await ground.subscription(gone)
    assert (found.disabled_reason, found.disabled_at is not None) == ("gone", True)
    assert arrivals[0].event["type"] == "subscription.disabled"
    assert arrivals[0].event["data"]["subscription"]["disabled_reason"] == "gone"
    assert arrivals[0].event["subject"] == show("sub", gone)


async def test_an_endless_answer_is_read_up_to_the_cap(ground: Ground, receiver: Receiver) -> None:
    await ground.subscribe(receiver.plan("/endless", body="<html>", body_bytes=10**9))
    async with ground.delivering(response_bytes=100):
        await ground.events(1)
        await ground.until_ended()
    [attempt] = await ground.attempts()
    assert attempt["response"] == b"<html>" + b"x" * 94
    assert attempt["outcome"] == "delivered"


async def test_an_answer_that_dribbles_counts_once_its_status_is_there(ground: Ground, receiver: Receiver) -> None:
    await ground.subscribe(receiver.plan("/slow", then=201, body="." * 1000, dribble=0.5))
    async with ground.delivering(timeout_seconds=20):
        await ground.events(1)
        await ground.until_ended()
    assert (await ground.one())["response_status"] == 201


async def test_no_answer_and_no_connection_are_failures_with_words(ground: Ground, receiver: Receiver) -> None:
    await ground.subscribe(receiver.plan("/hang", hang=True))
    await ground.subscribe(receiver.plan("/reset", reset=True))
    await ground.subscribe("http://127.0.0.1:9/nobody")
    await ground.subscribe("http://no.such.host.invalid/")

    async def resolve(host: str, _port: int) -> list[str]:
        return [host] if host == "127.0.0.1" else []

    async with ground.delivering(timeout_seconds=0.3, retry_schedule=[1000], resolver=resolve):
        await ground.events(1)
        await ground.until_count(4, "failures = 1")
        receiver.release()
    said = {attempt["error"] for attempt in await ground.attempts()}
    assert said == {
        "no answer within 0.3 s",
        "no whole answer came back (ReadError)",
        "no connection could be made, or its certificate is not good",
        "the host name no.such.host.invalid can't be resolved",
    }


@pytest.mark.parametrize("url", ["https://xn--a/?token=secret", "https://xn--a.example:99999/", "https://[::1/secret"])
async def test_a_url_from_before_the_guard_knew_better_fails_for_good(
    ground: Ground, caplog: pytest.LogCaptureFixture, url: str
) -> None:
    await ground.subscribe(url)
    async with ground.delivering(retry_schedule=[1000]):
        await ground.events(1)
        await ground.until_ended()
    delivery, [attempt] = await ground.one(), await ground.attempts()
    assert (delivery["status"], attempt["outcome"]) == ("failed", "failed")
    assert attempt["error"] == "its URL or a header of its own can't be sent"
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


@pytest.mark.parametrize("address", [each[0] for each in ADDRESSES.values()])
async def test_a_name_that_leads_to_a_private_address_is_refused_for_good(ground: Ground, address: str) -> None:
    await ground.subscribe("https://hooks.example/path?token=secret")

    async def resolve(_host: str, _port: int) -> list[str]:
        return ["1.1.1.1", address]

    async with ground.delivering(policy=GuardPolicy(), resolver=resolve):
        await ground.events(1)
        await ground.until_ended()
    row = await ground.one()
    assert (row["status"], row["reason"], row["attempts"]) == ("failed", "refused", 1)
    [attempt] = await ground.attempts()
    assert attempt["error"].startswith("refused by the guard")
    assert "secret" not in attempt["error"]
    [event] = await ground.account_events()
    assert event["type"] == "delivery.failed"
    assert "token" not in json.dumps(event["data"])


async def test_no_event_is_lost_and_none_is_invented(ground: Ground, receiver: Receiver) -> None:
    url = receiver.plan("/flaky", *[500, 200, 503, 200, 200, 302] * 10)
    await ground.subscribe(url)
    async with ground.delivering(retry_schedule=[0.01] * 20), ground.delivering(retry_schedule=[0.01] * 20):
        written = [event for _ in range(10) for event in await ground.events(7)]
        await ground.until_ended()
    accepted = [each.id for each in receiver.arrivals if each.status == 200]
    assert sorted(accepted) == sorted(show("evt", event) for event in written), "each once, when nobody is killed"
    rows = await ground.sql("SELECT attempts, failures FROM deliveries")
    assert sum(row["attempts"] for row in rows) == len(receiver.arrivals) == len(await ground.attempts())
    assert sum(row["failures"] for row in rows) == 30
