"""`genrelay subscriptions` and `genrelay deliveries`, against a running service."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.cli.command import CommandLine
from tests.receiver import Receiver, serving_receiver
from tests.world import World, job_body, until

OWN = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """A customer's receiver."""
    async with serving_receiver() as running:
        yield running


async def test_a_subscription_is_made_shown_listed_changed_and_deleted(
    genrelay: CommandLine, receiver: Receiver
) -> None:
    options = (
        *("--url", f"{receiver.url}/hooks", "--type", "job.succeeded", "--type", "output.*", "--payload", "thin"),
        *("--include-test", "--header", "Authorization: Bearer of-the-customer", "--rate-limit", "50"),
        *("--description", "our shop", "--provider", "novita", "--metadata", "shop=7"),
    )
    made = await genrelay.json("subscriptions", "create", *options)
    assert made["event_types"] == ["job.succeeded", "output.*"]
    assert made["filter"] == {"provider": ["novita"], "metadata": {"shop": "7"}}
    assert (made["payload"], made["include_test"], made["rate_limit"]) == ("thin", True, 50)
    assert [name.lower() for name in made["header_names"]] == ["authorization"]
    shown, got, table, page = ran = await asyncio.gather(
        genrelay("subscriptions", "get", made["id"]),
        genrelay("subscriptions", "get", made["id"], "--json"),
        genrelay("subscriptions", "list"),
        genrelay("subscriptions", "list", "--json"),
    )
    assert [one.status for one in ran] == [0] * 4
    assert "our shop" in shown.out
    assert got.json == made
    assert made["id"] in table.out
    assert [one["id"] for one in page.json["data"]] == [made["id"]]
    assert not any("of-the-customer" in one.out + one.err for one in ran)

    changed = await genrelay.json("subscriptions", "update", made["id"], "--payload", "full", "--no-include-test")
    assert (changed["payload"], changed["include_test"], changed["rate_limit"]) == ("full", False, 50)
    nothing, gone, twice = [
        await genrelay("subscriptions", *what, made["id"]) for what in (("update",), ("delete",), ("delete",))
    ]
    assert [one.status for one in (nothing, gone, twice)] == [2, 0, 1]
    assert "nothing to change" in nothing.err
    assert "there is no such subscription" in twice.err


async def test_what_options_say_wins_over_the_file(genrelay: CommandLine, receiver: Receiver) -> None:
    body = {"url": f"{receiver.url}/file", "filter": {"provider": ["novita"]}, "description": "from the file"}
    options = ("--file", "-", "--url", f"{receiver.url}/options", "--operation", "txt2img")
    made = await genrelay.json("subscriptions", "create", *options, given=json.dumps(body))
    assert (made["url"], made["description"]) == (f"{receiver.url}/options", "from the file")
    assert made["filter"] == {"provider": ["novita"], "operation": ["txt2img"]}
    wrong, unknown = await asyncio.gather(
        genrelay("subscriptions", "create", "--url", receiver.url, "--type", "job.exploded"),
        genrelay("subscriptions", "create", "--url", receiver.url, "--header", "no colon"),
    )
    assert (wrong.status, unknown.status) == (1, 2)
    assert "event_types" in wrong.err + wrong.out
    assert "NAME: VALUE" in unknown.err


async def test_its_secret_is_printed_alone_and_rotated(genrelay: CommandLine, receiver: Receiver) -> None:
    made = await genrelay.json("subscriptions", "create", "--url", receiver.url)
    first = await genrelay("subscriptions", "secret", made["id"])
    assert (first.status, first.out.count("\n"), first.out.startswith("whsec_")) == (0, 1, True)
    made_anew = await genrelay.json("subscriptions", "rotate", made["id"], "--grace-seconds", "60")
    assert made_anew["secret"] != first.out.strip()
    assert len(made_anew["previous"]) == 1
    own = await genrelay("subscriptions", "rotate", made["id"], "--secret-file", "-", given=OWN)
    assert own.out.strip() == OWN


async def test_a_test_is_really_sent_and_one_that_is_refused_is_exit_status_1(
    genrelay: CommandLine, receiver: Receiver
) -> None:
    made = await genrelay.json("subscriptions", "create", "--url", receiver.plan("/hooks", 200, 500, body="come in"))
    good, bad = [await genrelay("subscriptions", "test", made["id"]) for _ in range(2)]
    assert (good.status, bad.status) == (0, 1)
    assert "ok: HTTP 200" in good.out
    assert "come in" in good.out
    assert "failed: HTTP 500" in bad.out
    assert [arrival.event["type"] for arrival in receiver.of("/hooks")] == ["subscription.test"] * 2


async def test_deliveries_are_listed_shown_and_sent_again(
    genrelay: CommandLine, world: World, receiver: Receiver
) -> None:
    options = ("--url", receiver.plan("/hooks", then=200), "--type", "job.succeeded")
    made = await genrelay.json("subscriptions", "create", *options)
    job = await world.run()
    await receiver.until(path="/hooks")

    async def delivered() -> list[dict[str, Any]]:
        page = await genrelay.json("deliveries", "list", "--job", job["id"], "--status", "delivered")
        return page["data"]  # type: ignore[no-any-return]

    [delivery] = await until(delivered)
    assert (delivery["subscription_id"], delivery["event_type"]) == (made["id"], "job.succeeded")
    table, none, shown, got = await asyncio.gather(
        genrelay("deliveries", "list", "--subscription", made["id"], "--type", "job.succeeded"),
        genrelay("deliveries", "list", "--status", "failed"),
        genrelay("deliveries", "get", delivery["id"]),
        genrelay.json("deliveries", "get", delivery["id"]),
    )
    assert delivery["id"] in table.out
    assert "no deliveries" in none.out
    assert "delivered" in shown.out
    assert [attempt["response_status"] for attempt in got["attempts"]] == [200]

    again = await genrelay("deliveries", "resend", delivery["id"])
    assert again.status == 0, again.err
    twice = await receiver.until(2, "/hooks")
    assert twice[0].body == twice[1].body
    assert (await genrelay("deliveries", "get", "dlv_nothing")).status == 1


async def test_what_a_disabled_one_missed_is_recovered(genrelay: CommandLine, world: World, receiver: Receiver) -> None:
    options = ("--url", receiver.plan("/hooks", then=200), "--type", "job.succeeded")
    made = await genrelay.json("subscriptions", "create", *options)
    off = await genrelay.json("subscriptions", "disable", made["id"])
    job = await world.run()
    on = await genrelay("subscriptions", "enable", made["id"])
    assert (off["status"], off["disabled_reason"], on.status) == ("disabled", "asked", 0)
    assert "enabled" in on.out
    assert receiver.arrivals == []
    done = await genrelay.json("subscriptions", "recover", made["id"], "--since", job["created_at"])
    assert done == {"recovered": 1}
    [arrival] = await receiver.until(path="/hooks")
    assert arrival.event["subject"] == job["id"]


async def test_submit_says_what_the_jobs_webhook_gets(genrelay: CommandLine, world: World, receiver: Receiver) -> None:
    options = (
        "--webhook",
        f"{receiver.url}/provider",
        "--webhook-payload",
        "provider",
        "--webhook-event",
        "job.succeeded",
    )
    submit = ("jobs", "submit", "--file", "-", "--wait")
    job = await genrelay.json(*submit, *options, given=json.dumps(job_body()))
    [arrival] = await receiver.until(path="/provider")
    assert arrival.event["event_type"] == "ASYNC_TASK_RESULT"
    assert arrival.event["payload"]["task"]["task_id"] == job["provider_task_id"]
    assert arrival.headers["content-type"] == "application/json"
    wrong = await genrelay(
        *submit, "--webhook", receiver.url, "--webhook-payload", "wordy", given=json.dumps(job_body())
    )
    assert wrong.status == 1
    assert "webhook_payload" in wrong.err
