"""`/v1/subscriptions`: made, shown, changed, stopped, tried; secrets go in and stay in."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import asyncpg
import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.demo.s3server import S3Server
from service.events.signing import make_secret
from tests.api.answers import age, count, paths_of, problem
from tests.api.test_fuzz import BOUNDED, JSON, _is_no_accident, _places, _put
from tests.receiver import serving_receiver
from tests.world import World, job_body, running_world

URL = "https://consumer.example/hooks?token=the-consumers-token"
SECRET = "Bearer the-value-of-a-header-that-nobody-sees"
FULL: dict[str, Any] = {
    "url": URL,
    "event_types": ["job.succeeded", "output.*"],
    "filter": {"provider": ["novita"], "metadata": {"order": "42"}},
    "payload": "thin",
    "include_test": True,
    "headers": {"Authorization": SECRET, "X-Team": "renders"},
    "rate_limit": 10,
    "description": "the shop",
}
ACTIONS = [
    ("GET", ""), ("PATCH", ""), ("DELETE", ""), ("POST", "/enable"), ("POST", "/disable"), ("GET", "/secret"),
    ("POST", "/secret/rotate"), ("POST", "/test"), ("GET", "/deliveries"), ("POST", "/recover"),
]  # fmt: skip


async def make(world: World, **body: Any) -> dict[str, Any]:
    """Make a subscription and return it as it was answered."""
    answer = await world.client.post("/v1/subscriptions", json={"url": URL, **body})
    assert answer.status_code == 201, answer.text
    return answer.json()  # type: ignore[no-any-return]


async def of_a_job(world: World, url: str = URL) -> dict[str, Any]:
    """Return the subscription that a job's webhook has made."""
    await world.submit(webhook=url)
    listed = (await world.client.get("/v1/subscriptions?origin=job")).json()["data"]
    return next(each for each in listed if each["url"] == url)


def path_of(subscription: dict[str, Any], action: str = "") -> str:
    """Return the path of a subscription, or of something that is done to it."""
    return f"/v1/subscriptions/{subscription['id']}{action}"


async def row_of(world: World, subscription: dict[str, Any]) -> Any:
    """Return the newest row of the table; tests make few."""
    shown = subscription["created_at"]
    return await world.service.pool.fetchrow(
        "SELECT * FROM subscriptions WHERE date_trunc('milliseconds', created_at) = $1::text::timestamptz", shown
    )


async def fail(world: World) -> None:
    """Make every subscription one that has failed for a while."""
    await age(
        world,
        "UPDATE subscriptions SET failures = 7, failing_since = now(), warned_at = now(), open_until = now() + interval '1 h'",
    )


async def test_what_is_made_is_shown_with_its_links_and_without_its_secrets(world: World) -> None:
    answer = await world.client.post("/v1/subscriptions", json=FULL)
    assert answer.status_code == 201, answer.text
    made = answer.json()
    assert answer.headers["location"] == path_of(made) == made["links"]["self"]
    wanted = {name: value for name, value in FULL.items() if name != "headers"}
    assert {name: made[name] for name in wanted} == wanted
    assert made["header_names"] == ["Authorization", "X-Team"]
    assert made["object"] == "subscription"
    assert (made["status"], made["sink"], made["disabled_at"], made["failing_since"]) == ("enabled", None, None, None)
    assert made["signing_key_id"].startswith("key_")
    assert (await world.client.get(path_of(made))).json() == made
    assert (await world.client.get("/v1/subscriptions")).json()["data"] == [made]
    for link in made["links"].values():
        assert link.startswith(path_of(made))


async def test_a_url_alone_gets_every_event_of_every_paid_job(world: World) -> None:
    made = await make(world)
    assert (made["event_types"], made["filter"], made["payload"]) == (["job.*"], {}, "full")
    assert (made["include_test"], made["rate_limit"], made["header_names"]) == (False, None, [])


async def test_neither_headers_nor_secrets_can_be_read_from_the_database_an_answer_or_the_log(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    made = await make(world, **FULL)
    own = make_secret()
    answers = [await world.client.post(path_of(made, "/secret/rotate"), json={"secret": own})]
    assert answers.pop().json()["secret"] == own
    for body in (
        {"headers": {"x": SECRET + "\n"}},
        {"headers": SECRET},
        {"headers": {"host": SECRET}},
        {"secret": own},
    ):
        answers.append(await world.client.patch(path_of(made), json=body))
        problem(answers[-1], 422, "invalid_request")
    answers.append(await world.client.patch(path_of(made), json={"headers": {"X-Key": SECRET}}))
    for method, action in ACTIONS:
        if action not in {"/secret", "/secret/rotate", "/test", "/recover"}:
            answers.append(await world.client.request(method, path_of(made, action), json={}))
    rows = [row["t"] for row in await world.service.pool.fetch("SELECT t::text AS t FROM subscriptions t")]
    said = capsys.readouterr()
    texts = [*(answer.text for answer in answers), *rows, said.out, said.err]
    raw = await world.service.pool.fetch("SELECT headers, signing FROM subscriptions")
    texts += [str(bytes(value)) for row in raw for value in row if value is not None]
    for text in texts:
        assert SECRET not in text
        assert own not in text
        assert SECRET.encode().hex() not in text
    assert "the-consumers-token" not in said.out + said.err


async def test_every_mistake_is_told_at_once_and_nothing_is_kept(world: World) -> None:
    body = {
        **FULL,
        "url": "https://10.0.0.1/",
        "event_types": ["job.succeded"],
        "headers": {"Host": "x"},
        "rate_limit": 0,
    }
    answer = await world.client.post("/v1/subscriptions", json=body)
    assert paths_of(answer) == {"url", "event_types.0", "headers.Host", "rate_limit"}
    assert "did you mean `job.succeeded`?" in answer.text
    for bad in (b"", b"[", b"[]", b"null", b'"x"', b'{"url":1,"url":2}'):
        assert (await world.client.post("/v1/subscriptions", content=bad)).status_code in {400, 422}
    assert await count(world, "subscriptions") == 0


async def test_the_newest_come_first_and_in_pages(world: World) -> None:
    made = [(await make(world, description=str(number)))["id"] for number in range(5)]
    found: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        answer = (await world.client.get("/v1/subscriptions", params={"limit": 2, **cursor})).json()
        found += [each["id"] for each in answer["data"]]
        if not answer["has_more"]:
            break
        cursor = {"cursor": answer["next_cursor"]}
    assert found == made[::-1]
    for wrong in ("cursor=job_x", "limit=0", "origin=all", "nonsense=1"):
        problem(await world.client.get(f"/v1/subscriptions?{wrong}"), 422, "invalid_request")


async def test_a_patch_changes_what_it_names_and_null_resets(world: World) -> None:
    made = await make(world, **FULL)
    answer = await world.client.patch(path_of(made), json={"rate_limit": 20, "description": None})
    assert answer.status_code == 200, answer.text
    changed = answer.json()
    assert changed.pop("updated_at") > made["updated_at"]
    assert changed == {k: v for k, v in made.items() if k != "updated_at"} | {"rate_limit": 20, "description": ""}
    nulls = dict.fromkeys(["event_types", "filter", "payload", "include_test", "headers", "rate_limit", "description"])
    reset = (await world.client.patch(path_of(made), json=nulls)).json()
    plain = await make(world)
    assert {name: reset[name] for name in [*nulls, "header_names"] if name != "headers"} == {
        name: plain[name] for name in [*nulls, "header_names"] if name != "headers"
    }


async def test_headers_and_filters_are_replaced_as_a_whole(world: World) -> None:
    made = await make(world, **FULL)
    body = {"headers": {"X-Other": "1"}, "filter": {"operation": "txt2img"}}
    changed = (await world.client.patch(path_of(made), json=body)).json()
    assert (changed["header_names"], changed["filter"]) == (["X-Other"], {"operation": ["txt2img"]})
    before = (await row_of(world, made))["headers"]
    await world.client.patch(path_of(made), json={"payload": "full"})
    assert (await row_of(world, made))["headers"] == before


async def test_a_wrong_patch_changes_nothing(world: World) -> None:
    made = await make(world, **FULL)
    wrong: list[Any] = [
        {"url": None},
        {"url": "http://169.254.169.254/"},
        {"url": "https://xn--a/"},
        {"url": "https://consumer.example:99999/"},
        {"sink": {"type": "sqs"}},
        {"rate_limit": 5, "payload": "fat"},
        {"id": "sub_x"},
        [],
    ]
    for body in wrong:
        problem(await world.client.patch(path_of(made), json=body), 422, "invalid_request")
        assert (await world.client.get(path_of(made))).json() == made, body


async def test_another_url_forgets_the_failures_of_the_one_before_and_another_filter_does_not(world: World) -> None:
    made = await make(world)
    await fail(world)
    kept = (await world.client.patch(path_of(made), json={"url": URL, "filter": {"provider": "novita"}})).json()
    assert kept["failing_since"]
    assert kept["open_until"]
    moved = (await world.client.patch(path_of(made), json={"url": "https://other.example/"})).json()
    assert (moved["failing_since"], moved["open_until"]) == (None, None)
    row = await row_of(world, made)
    assert (row["failures"], row["warned_at"]) == (0, None)


async def test_disabling_cancels_what_is_pending_and_enabling_begins_anew(world: World) -> None:
    made = await make(world, include_test=True)
    await world.submit(test_mode={"enabled": True})
    await fail(world)
    disabled = (await world.client.post(path_of(made, "/disable"))).json()
    assert (disabled["status"], disabled["disabled_reason"]) == ("disabled", "asked")
    assert disabled["disabled_at"] is not None
    again = (await world.client.post(path_of(made, "/disable"))).json()
    assert again["disabled_at"] == disabled["disabled_at"]
    rows = await world.service.pool.fetch("SELECT status, reason, due_at FROM deliveries")
    assert rows
    assert {tuple(row) for row in rows if row["status"] != "delivered"} <= {("canceled", "disabled", None)}
    enabled = (await world.client.post(path_of(made, "/enable"))).json()
    assert (enabled["status"], enabled["disabled_at"], enabled["disabled_reason"]) == ("enabled", None, None)
    assert enabled["failing_since"] is None
    assert (await row_of(world, made))["failures"] == 0


async def test_a_deleted_one_is_gone_with_its_secrets_and_its_row_stays_for_its_deliveries(world: World) -> None:
    made = await make(world, **FULL)
    await world.submit(test_mode={"enabled": True}, metadata={"order": "42"})
    answer = await world.client.delete(path_of(made))
    assert (answer.status_code, answer.content) == (204, b"")
    for method, action in ACTIONS:
        problem(await world.client.request(method, path_of(made, action), json={}), 404, "not_found")
    assert (await world.client.get("/v1/subscriptions")).json()["data"] == []
    row = await row_of(world, made)
    assert row["deleted_at"] is not None
    assert [row[name] for name in ("headers", "signing", "sink_secret", "header_names")] == [None, None, None, []]
    assert row["url"] == "https://consumer.example"
    assert await world.service.pool.fetchval("SELECT count(*) FROM deliveries WHERE status = 'pending'") == 0


async def test_a_secret_is_shown_and_rotated_by_its_own_routes_only(world: World) -> None:
    made = await make(world)
    first = await world.client.get(path_of(made, "/secret"))
    assert first.headers["cache-control"] == "no-store"
    secret = first.json()["secret"]
    assert first.json() == {"secret": secret, "expires_at": None, "previous": []}
    assert secret.startswith("whsec_")
    rotated = (await world.client.post(path_of(made, "/secret/rotate"), json={"grace_seconds": 60})).json()
    assert rotated["secret"] != secret
    assert len(rotated["previous"]) == 1
    assert (await world.client.get(path_of(made, "/secret"))).json() == rotated
    other = await make(world)
    assert (await world.client.get(path_of(other, "/secret"))).json()["secret"] not in {secret, rotated["secret"]}
    problem(
        await world.client.post(path_of(made, "/secret/rotate"), json={"secret": "whsec_x"}), 422, "invalid_request"
    )


async def test_the_webhook_of_jobs_is_told_apart_and_only_stopped_started_tried_and_deleted(world: World) -> None:
    found = await of_a_job(world)
    assert (await world.client.get("/v1/subscriptions")).json()["data"] == []
    assert (await world.client.get(path_of(found))).json()["url"] == URL
    for method, action in (("GET", "/secret"), ("POST", "/secret/rotate"), ("PATCH", "")):
        answer = await world.client.request(method, path_of(found, action), json={})
        document = problem(answer, 409, "subscription_of_jobs")
        assert action == "" or "/v1/account/webhook-secret" in document["detail"]
    assert (await world.client.post(path_of(found, "/disable"))).json()["status"] == "disabled"
    assert (await world.client.post(path_of(found, "/enable"))).json()["status"] == "enabled"
    assert (await world.client.post(path_of(found, "/test"))).status_code == 200
    assert (await world.client.delete(path_of(found))).status_code == 204


async def test_a_test_is_a_signed_delivery_that_leaves_no_trace(world: World) -> None:
    async with serving_receiver() as receiver:
        url = receiver.plan("/in", 200, 500, body="thank you")
        made = await make(world, url=url, headers={"X-Team": "renders"})
        told = (await world.client.post(path_of(made, "/test"))).json()
        came = receiver.of("/in")[0]
        assert (told["ok"], told["response_status"], told["error"], told["response"]) == (True, 200, None, "thank you")
        assert told["event"] == came.event
        assert came.event["type"] == "subscription.test"
        assert came.event["subject"] == made["id"]
        assert came.id == came.event["id"]
        assert came.headers["x-team"] == "renders"
        assert came.headers["webhook-signature"].startswith("v1")
        again = (await world.client.post(path_of(made, "/test"))).json()
        assert (again["ok"], again["response_status"]) == (False, 500)
        assert again["duration_ms"] >= 0
    gone = (await world.client.post(path_of(made, "/test"))).json()
    assert (gone["ok"], gone["response_status"]) == (False, None)
    assert gone["error"]
    assert await count(world, "deliveries") == 0
    assert (await world.client.get(path_of(made))).json()["failing_since"] is None


def trying(client: httpx.AsyncClient, subscription: dict[str, Any]) -> asyncio.Task[httpx.Response]:
    """Begin a test."""
    return asyncio.create_task(client.post(path_of(subscription, "/test")))


async def test_a_few_tests_are_under_way_at_a_time(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving_receiver() as receiver:
        mine = [await make(world, url=receiver.plan("/hang", hang=True)) for _ in range(5)]
        theirs = (await world.stranger.post("/v1/subscriptions", json={"url": receiver.plan("/theirs")})).json()
        running = [trying(world.client, mine[0])]
        await receiver.until(1, "/hang")
        answer = await world.client.post(path_of(mine[0], "/test"))
        assert "this subscription" in problem(answer, 429, "too_many_tests")["detail"]
        assert int(answer.headers["retry-after"]) > 0
        running += [trying(world.client, each) for each in mine[1:4]]
        await receiver.until(4, "/hang")
        answer = await world.client.post(path_of(mine[4], "/test"))
        assert "4 subscriptions" in problem(answer, 429, "too_many_tests")["detail"]
        assert (await world.stranger.post(path_of(theirs, "/test"))).json()["ok"] is True
        monkeypatch.setattr("service.events.trying.AT_ONCE", 4)
        problem(await world.stranger.post(path_of(theirs, "/test")), 429, "too_many_tests")
        assert len(receiver.arrivals) == 5, "nothing was sent of those that were refused"
        receiver.release()
        assert [(await each).status_code for each in running] == [200] * 4
        assert [(await world.client.post(path_of(each, "/test"))).status_code for each in mine] == [200] * 5
        assert (await world.stranger.post(path_of(theirs, "/test"))).json()["ok"] is True


async def test_tests_take_no_connection_of_deliveries(database_url: str, s3_server: S3Server, bucket: str) -> None:
    running = running_world(database_url, s3_server, bucket, GENRELAY_DELIVERY__CONCURRENCY="1")
    async with running as world, serving_receiver() as receiver:
        quiet = ["destination.*"]  # a job's event would wait there, too
        made = [await make(world, url=receiver.plan("/hang", hang=True), event_types=quiet) for _ in range(2)]
        tests = [trying(world.client, each) for each in made]
        await receiver.until(2, "/hang")
        await world.submit(webhook=receiver.plan("/hook"))
        await receiver.until(1, "/hook", seconds=5)
        assert not any(each.done() for each in tests)
        receiver.release()
        await asyncio.gather(*tests)


async def test_its_deliveries_are_listed_and_what_was_missed_is_brought_back(world: World) -> None:
    async with serving_receiver() as receiver:
        made = await make(world, url=receiver.url + "/in", event_types=["job.queued"], include_test=True)
        other = await make(world, url=receiver.url + "/other", include_test=True)
        await world.client.post(path_of(made, "/disable"))
        job = await world.run(test_mode={"enabled": True})
        body = {"since": made["created_at"]}
        problem(await world.client.post(path_of(made, "/recover"), json=body), 409, "subscription_stopped")
        assert (await world.client.get(path_of(made, "/deliveries"))).json()["data"] == []
        await world.client.post(path_of(made, "/enable"))
        mistakes: list[Any] = [{}, {"since": "yesterday"}, {"since": None}, [], {**body, "until": "x"}]
        for wrong in mistakes:
            problem(await world.client.post(path_of(made, "/recover"), json=wrong), 422, "invalid_request")
        answer = await world.client.post(path_of(made, "/recover"), json=body)
        assert (answer.status_code, answer.json()) == (202, {"recovered": 1})
        for first in ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00-14:00", "1969-12-31T23:59:59Z"):
            answer = await world.client.post(path_of(made, "/recover"), json={"since": first})
            assert (answer.status_code, answer.json()) == (202, {"recovered": 0}), first
        [came] = await receiver.until(1, "/in")
        assert came.event["subject"] == job["id"]
        listed = (await world.client.get(path_of(made, "/deliveries"))).json()["data"]
        assert [(each["event_id"], each["subscription_id"]) for each in listed] == [(came.id, made["id"])]
        assert (await world.client.get(other["links"]["deliveries"])).json()["data"][0]["subscription_id"] == other[
            "id"
        ]


async def test_an_account_may_have_only_so_many_and_those_of_jobs_dont_count(
    database_url: str, s3_server: S3Server, bucket: str
) -> None:
    async with running_world(
        database_url, s3_server, bucket, GENRELAY_DELIVERY__SUBSCRIPTIONS_PER_ACCOUNT="3"
    ) as world:
        await world.submit(webhook="https://one.example/")
        answers = await asyncio.gather(*(world.client.post("/v1/subscriptions", json={"url": URL}) for _ in range(8)))
        made = [answer.json() for answer in answers if answer.status_code == 201]
        assert len(made) == 3
        for answer in answers:
            if answer.status_code != 201:
                problem(answer, 409, "too_many_subscriptions")
        assert (await world.stranger.post("/v1/subscriptions", json={"url": URL})).status_code == 201
        await world.client.delete(path_of(made[0]))
        assert (await world.client.post("/v1/subscriptions", json={"url": URL})).status_code == 201


async def test_a_stranger_finds_nothing_whatever_he_does_and_changes_nothing(world: World) -> None:
    made, of_jobs = await make(world, **FULL), await of_a_job(world)
    before = await _rows(world)
    for ours in (made, of_jobs):
        for method, action in ACTIONS:
            answer = await world.stranger.request(method, path_of(ours, action), json={})
            problem(answer, 404, "not_found")
    for origin in ("api", "job"):
        assert (await world.stranger.get(f"/v1/subscriptions?origin={origin}")).json()["data"] == []
    assert await _rows(world) == before


async def _rows(world: World) -> list[dict[str, Any]]:
    rows = await world.service.pool.fetch(
        "SELECT id, url, headers, signing, disabled_at, deleted_at FROM subscriptions"
    )
    return [dict(row) for row in rows]


async def test_ids_that_are_none_are_not_found(world: World) -> None:
    for wrong in ("x", "job_01h455vb4pex5vsknk084sn02q", "sub_01h455vb4pex5vsknk084sn02q", "sub_", "%00"):
        for method, action in ACTIONS:
            problem(await world.client.request(method, f"/v1/subscriptions/{wrong}{action}", json={}), 404, "not_found")


async def test_a_sink_is_kept_without_its_secret_and_has_nothing_to_sign_with(world: World) -> None:
    auth = {"type": "access_key", "access_key_id": "AKIAEXAMPLE", "secret_access_key": "the-secret-of-the-queue"}
    queue = "https://sqs.eu-west-1.amazonaws.com/123456789012/renders"
    body = {"sink": {"type": "sqs", "queue_url": queue, "auth": auth}}
    answer = await world.client.post("/v1/subscriptions", json=body)
    assert answer.status_code == 201, answer.text
    made = answer.json()
    assert (made["url"], made["signing_key_id"]) == (None, None)
    assert made["sink"]["queue_url"] == queue
    rows = await world.service.pool.fetch("SELECT t::text AS t, sink_secret FROM subscriptions t")
    for text in (answer.text, rows[0]["t"], str(bytes(rows[0]["sink_secret"]))):
        assert "the-secret-of-the-queue" not in text
    problem(await world.client.get(path_of(made, "/secret")), 409, "not_signed")
    problem(await world.client.post(path_of(made, "/secret/rotate")), 409, "not_signed")
    problem(await world.client.patch(path_of(made), json={"url": URL}), 422, "invalid_request")
    other = {**body["sink"], "queue_url": queue + "-2"}
    changed = await world.client.patch(path_of(made), json={"sink": other})
    assert changed.json()["sink"]["queue_url"] == queue + "-2"


@BOUNDED
@given(data=st.data())
async def test_no_body_of_a_subscription_gives_a_500_or_is_half_kept(world: World, data: st.DataObject) -> None:
    body = _put(FULL, data.draw(st.sampled_from(_places(FULL))), data.draw(JSON))
    before = await count(world, "subscriptions")
    answer = await world.client.post("/v1/subscriptions", content=json.dumps(body))
    _is_no_accident(answer)
    assert await count(world, "subscriptions") - before == (answer.status_code == 201)
    if answer.status_code == 201:
        made = answer.json()
        assert (await world.client.get(path_of(made))).json() == made
        change = data.draw(st.dictionaries(st.sampled_from(list(FULL)), JSON, max_size=3))
        _is_no_accident(await world.client.patch(path_of(made), content=json.dumps(change)))
        _is_no_accident(await world.client.post(path_of(made, "/secret/rotate"), content=json.dumps(data.draw(JSON))))
        assert (await world.client.delete(path_of(made))).status_code == 204


async def test_a_body_that_is_too_large_is_refused(world: World) -> None:
    answer: httpx.Response = await world.client.post("/v1/subscriptions", content=b" " * 300_000)
    problem(answer, 413, "body_too_large")


async def test_the_database_refuses_a_subscription_that_can_not_be(world: World) -> None:
    await make(world)
    for wrong in ("url = NULL", "disabled_at = now()", "payload = 'provider'", "rate_limit = 0", "sink = '{}'"):
        with pytest.raises(asyncpg.CheckViolationError):
            await age(world, f"UPDATE subscriptions SET {wrong}")
    assert job_body()["provider"] == "novita"
