"""A job's own `webhook`: a subscription of the account, one per URL, made with the job or not at all."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any
from uuid import UUID

import pytest

from service.events.fitting import Wanted
from service.events.types import JOB_TYPES
from service.ids import read
from tests.api.answers import age, count, paths_of, problem, rows_of_jobs
from tests.world import World, job_body, txt2img, until

URL = "https://consumer.example/in?token=7"
NOBODY = "http://127.0.0.1:9/"  # refuses connections at once: who gets what is decided before it is sent
TEST = {"enabled": True, "return_task_status": "TASK_STATUS_SUCCEED"}


async def webhooks(world: World) -> list[dict[str, Any]]:
    """Return the subscriptions that jobs have made, newest first."""
    return (await world.client.get("/v1/subscriptions?origin=job")).json()["data"]  # type: ignore[no-any-return]


async def deliveries(world: World, subscription: dict[str, Any]) -> list[Any]:
    """Return the rows of what is delivered to a subscription, in the order of jobs and events."""
    return await world.service.pool.fetch(
        "SELECT * FROM deliveries WHERE subscription_id = $1 ORDER BY job_id, sequence", read("sub", subscription["id"])
    )


async def subscribe(world: World, **body: Any) -> dict[str, Any]:
    """Make a subscription."""
    answer = await world.client.post("/v1/subscriptions", json={"url": NOBODY, **body})
    assert answer.status_code == 201, answer.text
    return answer.json()  # type: ignore[no-any-return]


async def job_row(world: World, job: dict[str, Any]) -> Any:
    """Return a job's row."""
    return await world.service.pool.fetchrow("SELECT * FROM jobs WHERE id = $1", read("job", job["id"]))


async def test_a_webhook_makes_one_subscription_that_gets_every_event_of_its_job_and_of_no_other(world: World) -> None:
    job = await world.run(webhook=URL)
    await world.run("a harbour")
    [made] = await webhooks(world)
    assert (made["url"], made["event_types"], made["status"], made["include_test"]) == (URL, ["*"], "enabled", True)
    assert read("sub", made["id"]) == (await job_row(world, job))["webhook_id"]
    events = await world.events(job)
    rows = await deliveries(world, made)
    assert [(row["event_id"], row["sequence"], row["type"], row["payload"]) for row in rows] == [
        (read("evt", event["id"]), event["data"]["sequence"], event["type"], "full") for event in events
    ]
    assert events[0]["type"] == "job.queued"


async def test_ten_jobs_at_once_with_the_same_new_webhook_make_one_subscription(world: World) -> None:
    jobs = await asyncio.gather(*(world.submit(webhook=URL, test_mode=TEST) for _ in range(10)))
    [made] = await webhooks(world)
    assert {(await job_row(world, job))["webhook_id"] for job in jobs} == {read("sub", made["id"])}
    assert await count(world, "subscriptions") == 1
    for job in jobs:
        await world.end(job)
    rows = await deliveries(world, made)
    assert {row["job_id"] for row in rows} == {read("job", job["id"]) for job in jobs}
    assert len([row for row in rows if row["type"] == "job.queued"]) == 10


@pytest.mark.parametrize("copied", [False, True])
async def test_one_that_is_purged_at_that_moment_is_made_anew(world: World, copied: bool) -> None:
    first = await world.run(webhook=URL, webhook_events_filter=[])
    [before] = await webhooks(world)
    pool = world.service.pool
    if not copied:
        assert (await world.client.delete(f"/v1/jobs/{first['id']}")).status_code == 204
    # What is copied is as from before there were any: it does not keep its own.
    await pool.execute("UPDATE jobs SET webhook_id = NULL")
    async with pool.acquire() as purge:
        async with purge.transaction():
            await purge.execute("DELETE FROM deliveries")
            assert await purge.execute("DELETE FROM subscriptions") == "DELETE 1"
            path, body = ("/v1/jobs", job_body(webhook=URL))
            if copied:
                path, body = f"/v1/jobs/{first['id']}/copy", {"destination": "acme"}
            submit = asyncio.create_task(world.client.post(path, json=body))
            await until(lambda: pool.fetchval("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"))
        answer = await submit
    assert answer.status_code == 202, answer.text
    [made] = await webhooks(world)
    assert made["id"] != before["id"]
    assert (await job_row(world, answer.json()))["webhook_id"] == read("sub", made["id"])


async def test_what_is_deleted_under_a_request_makes_it_come_again(world: World) -> None:
    pool = world.service.pool
    assert (await world.stranger.get("/v1/jobs")).status_code == 200
    # Whose keys are remembered for a moment.
    account = await pool.fetchval("SELECT account_id FROM api_keys ORDER BY created_at DESC LIMIT 1")
    await pool.execute("DELETE FROM api_keys WHERE account_id = $1", account)
    assert await pool.execute("DELETE FROM accounts WHERE id = $1", account) == "DELETE 1"
    answer = await world.stranger.post("/v1/jobs", json=job_body(webhook=URL, test_mode=TEST))
    assert "deleted" in problem(answer, 503, "unavailable")["detail"]
    assert int(answer.headers["retry-after"]) >= 1


async def test_each_url_and_each_account_has_its_own(world: World) -> None:
    await world.submit(webhook=URL, test_mode=TEST)
    await world.submit(webhook=URL + "0", test_mode=TEST)
    answer = await world.stranger.post("/v1/jobs", json=job_body(webhook=URL, test_mode=TEST))
    assert answer.status_code == 202, answer.text
    assert [each["url"] for each in await webhooks(world)] == [URL + "0", URL]
    assert await count(world, "subscriptions") == 3


async def test_a_subscription_of_ones_own_with_the_same_url_stays_another(world: World) -> None:
    own = await subscribe(world, url=URL)
    job = await world.run(webhook=URL)
    [made] = await webhooks(world)
    assert made["id"] != own["id"]
    assert len(await deliveries(world, made)) == len(await world.events(job))


@pytest.mark.parametrize("payload", ["full", "thin", "provider"])
async def test_the_payload_that_a_job_asks_for_is_the_deliveries_own(world: World, payload: str) -> None:
    await world.run(webhook=URL, webhook_payload=payload, test_mode=TEST)
    await world.run(webhook=URL, test_mode=TEST)
    rows = await deliveries(world, (await webhooks(world))[0])
    by_job = {job: {row["payload"] for row in each} for job, each in itertools.groupby(rows, lambda row: row["job_id"])}
    assert list(by_job.values()) == [{payload}, {"full"}]


async def test_a_filter_of_a_job_lets_through_what_it_names(world: World) -> None:
    for wanted in (["job.succeeded"], ["job.queued", "job.succeeded"], ["job.*"], ["*"], [], None):
        job = await world.run(webhook=URL, webhook_events_filter=wanted, test_mode=TEST)
        types = [event["type"] for event in await world.events(job)]
        rows = [
            row
            for row in await deliveries(world, (await webhooks(world))[0])
            if row["job_id"] == read("job", job["id"])
        ]
        fits = Wanted(tuple(["*"] if wanted is None else wanted))
        assert [row["type"] for row in rows] == [each for each in types if fits.fits(each, {"test": True})], wanted


async def test_a_wrong_filter_is_told_with_the_nearest_name(world: World) -> None:
    wrong = job_body(webhook=URL, webhook_events_filter=["job.succeded"], webhook_payload="providers")
    answer = await world.client.post("/v1/jobs", json=wrong)
    assert paths_of(answer) == {"webhook_events_filter.0", "webhook_payload"}
    assert "did you mean `job.succeeded`?" in answer.text
    assert "did you mean `provider`?" in answer.text
    for kind in JOB_TYPES:
        await world.submit(webhook=URL, webhook_events_filter=[kind], test_mode=TEST)


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"webhook": "https://10.0.0.1/?s3cret"}, "webhook"),
        ({"webhook": "https://consumer.example:99999/?s3cret"}, "webhook"),
        ({"webhook": "https://me:s3cret@consumer.example/"}, "webhook"),
        ({"webhook": "https://0x7f.1/?s3cret"}, "webhook"),
        (
            {"input": txt2img(extra={"webhook": {"url": "https://169.254.169.254/?s3cret"}})},
            "input.extra.webhook.url",
        ),
        (
            {"input": txt2img(extra={"webhook": {"url": "https://consumer.example/" + "s3cret" * 1000}})},
            "input.extra.webhook.url",
        ),
    ],
)
async def test_a_webhook_that_the_guard_refuses_is_a_mistake_where_it_stands(
    world: World, body: dict[str, Any], path: str
) -> None:
    before = await rows_of_jobs(world)
    for more, paths in (({}, set()), ({"destination": "nowhere"}, {"destination"}), ({"metadata": 1}, {"metadata"})):
        answer = await world.client.post("/v1/jobs", json={**job_body(), **body, **more})
        assert paths_of(answer) == {path, *paths}
        assert "s3cret" not in answer.text
    answer = await world.client.post("/v1/jobs", json={**job_body(), **body, "test_mode": TEST})
    assert path in paths_of(answer)
    assert await rows_of_jobs(world) == before
    assert await count(world, "subscriptions") == 0


async def test_a_webhook_in_a_modelslab_body_is_a_mistake_where_it_stands_and_works_where_it_is_right(
    world: World,
) -> None:
    given = {"prompt": "a lighthouse at dawn", "width": "512", "height": "512", "samples": "1", "model_id": "flux"}
    body = {"provider": "modelslab", "operation": "text2img", "test_mode": TEST}
    answer = await world.client.post("/v1/jobs", json={**body, "input": {**given, "webhook": "https://10.0.0.1/"}})
    assert "input.webhook" in paths_of(answer)
    answer = await world.client.post("/v1/jobs", json={**body, "input": {**given, "webhook": URL}})
    assert answer.status_code == 202, answer.text
    assert [each["url"] for each in await webhooks(world)] == [URL]


async def test_a_job_that_is_refused_leaves_no_subscription(world: World) -> None:
    answer = await world.client.post("/v1/jobs", json=job_body(webhook=URL, destination="nowhere"))
    problem(answer, 422, "invalid_request")
    headers = {"Idempotency-Key": "one"}
    first = await world.client.post("/v1/jobs", json=job_body(webhook=URL, test_mode=TEST), headers=headers)
    other = job_body("a harbour", webhook="https://other.example/", test_mode=TEST)
    problem(await world.client.post("/v1/jobs", json=other, headers=headers), 422, "idempotency_key_reused")
    assert first.status_code == 202
    assert [each["url"] for each in await webhooks(world)] == [URL]


async def test_a_job_that_names_a_disabled_one_enables_it_and_forgets_its_failures(world: World) -> None:
    await world.run(webhook=URL, test_mode=TEST)
    [made] = await webhooks(world)
    await world.client.post(f"/v1/subscriptions/{made['id']}/disable")
    await age(
        world, "UPDATE subscriptions SET failures = 9, failing_since = now(), warned_at = now(), open_until = now()"
    )
    silent = await world.run(test_mode=TEST)
    job = await world.run(webhook=URL, test_mode=TEST)
    [again] = await webhooks(world)
    assert (again["id"], again["status"], again["disabled_reason"]) == (made["id"], "enabled", None)
    told = {row["job_id"] for row in await deliveries(world, again)}
    assert read("job", job["id"]) in told
    assert read("job", silent["id"]) not in told


async def test_one_that_works_is_not_written_to_by_further_jobs(world: World) -> None:
    await world.run(webhook=URL, test_mode=TEST)
    [made] = await webhooks(world)
    select = "SELECT xmin::text FROM subscriptions WHERE id = $1"
    connection = await world.service.pool.acquire()
    try:
        # Whoever holds the row, as a claim of deliveries does, holds up no job.
        async with connection.transaction():
            await connection.execute("SELECT FROM subscriptions FOR NO KEY UPDATE")
            before = await connection.fetchval(select, read("sub", made["id"]))
            async with asyncio.timeout(10):
                await world.submit(webhook=URL, test_mode=TEST)
            assert await connection.fetchval(select, read("sub", made["id"])) == before
    finally:
        await world.service.pool.release(connection)


async def test_a_deleted_one_is_made_anew_by_the_next_job(world: World) -> None:
    await world.run(webhook=URL, test_mode=TEST)
    [made] = await webhooks(world)
    assert (await world.client.delete(f"/v1/subscriptions/{made['id']}")).status_code == 204
    assert await webhooks(world) == []
    job = await world.run(webhook=URL, test_mode=TEST)
    [other] = await webhooks(world)
    assert other["id"] != made["id"]
    assert {row["job_id"] for row in await deliveries(world, other)} == {read("job", job["id"])}


async def test_a_copied_job_keeps_its_webhook_and_what_it_wants(world: World) -> None:
    job = await world.run(webhook=URL, webhook_payload="thin", webhook_events_filter=["job.succeeded"])
    copied = await world.client.post(f"/v1/jobs/{job['id']}/copy", json={"destination": "acme"})
    assert copied.status_code == 202, copied.text
    await world.end(copied.json())
    [made] = await webhooks(world)
    rows = await deliveries(world, made)
    assert [(row["type"], row["payload"]) for row in rows] == [("job.succeeded", "thin")] * 2
    assert {row["job_id"] for row in rows} == {read("job", each["id"]) for each in (job, copied.json())}


async def test_a_copy_of_a_job_from_before_there_were_subscriptions_gets_one(world: World) -> None:
    for url, count_made in ((URL, 1), ("https://consumer.example/" + "".join(map(str, range(2500))), 1)):
        job = await world.run()
        await age(world, "UPDATE jobs SET webhook = $1 WHERE id = $2", url, read("job", job["id"]))
        copied = await world.client.post(f"/v1/jobs/{job['id']}/copy", json={"destination": "acme"})
        assert copied.status_code == 202, copied.text
        assert len(await webhooks(world)) == count_made
        assert (await world.end(copied.json()))["status"] == "succeeded"


SUBSCRIPTIONS: list[dict[str, Any]] = [
    {"event_types": types, "filter": filter_, "include_test": tests}
    for types in (
        ["*"],
        ["job.*"],
        ["output.*"],
        ["job.succeeded", "job.queued"],
        ["destination.*"],
        ["output.stored", "job.*"],
    )
    for filter_ in (
        {},
        {"provider": "novita"},
        {"provider": ["modelslab"]},
        {"operation": ["txt2img", "img2img"]},
        {"operation": "img2img"},
        {"destination": ["acme", "other"]},
        {"destination": "other"},
        {"metadata": {"order": "42"}},
        {"metadata": {"order": "42", "shop": "one"}},
        {"metadata": {"order": "4"}},
        {"provider": "novita", "operation": "txt2img", "destination": "acme", "metadata": {"shop": "one"}},
    )
    for tests in (False, True)
]


async def test_everybody_gets_what_it_asked_for_and_nothing_else(world: World) -> None:
    made = [await subscribe(world, **body) for body in SUBSCRIPTIONS]
    jobs = [
        await world.run(metadata={"order": "42", "shop": "one", "more": "yes"}),
        await world.run(metadata={"order": "42"}, webhook=URL),
        await world.run(test_mode=TEST, metadata={"shop": "one"}),
        await world.run(test_mode=TEST, destination=None, metadata={"order": "42", "shop": "one"}),
        await world.run("a lighthouse [fault:failed]"),
    ]
    events = [event for job in jobs for event in await world.events(job)]
    for subscription in made:
        wanted = Wanted(
            tuple(subscription["event_types"]), subscription["filter"], None if subscription["include_test"] else False
        )
        asked = {read("evt", e["id"]) for e in events if wanted.fits(e["type"], e["data"]["job"])}
        found = [row["event_id"] for row in await deliveries(world, subscription)]
        assert len(found) == len(set(found))
        assert set(found) == asked, subscription
    heard = {id_ for (id_,) in await world.service.pool.fetch("SELECT DISTINCT subscription_id FROM deliveries")}
    assert len(heard) > len(made) / 2


async def test_a_disabled_or_deleted_one_gets_nothing_of_what_happens_then(world: World) -> None:
    disabled, deleted = [await subscribe(world, include_test=True) for _ in range(2)]
    await world.client.post(f"/v1/subscriptions/{disabled['id']}/disable")
    await world.client.delete(f"/v1/subscriptions/{deleted['id']}")
    await world.run(test_mode=TEST)
    assert await count(world, "deliveries") == 0
    await world.client.post(f"/v1/subscriptions/{disabled['id']}/enable")
    job = await world.run(test_mode=TEST)
    assert {row["job_id"] for row in await deliveries(world, disabled)} == {read("job", job["id"])}


async def test_a_strangers_jobs_are_told_to_the_stranger_alone(world: World) -> None:
    ours = await subscribe(world, event_types=["*"], include_test=True)
    answer = await world.stranger.post(
        "/v1/subscriptions", json={"url": URL, "event_types": ["*"], "include_test": True}
    )
    theirs = answer.json()
    job = await world.run(test_mode=TEST)
    other = (await world.stranger.post("/v1/jobs", json=job_body(test_mode=TEST))).json()
    ids: dict[str, set[UUID]] = {
        each["id"]: {row["job_id"] for row in await deliveries(world, each)} for each in (ours, theirs)
    }
    assert ids == {ours["id"]: {read("job", job["id"])}, theirs["id"]: {read("job", other["id"])}}
