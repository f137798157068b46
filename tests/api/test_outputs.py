"""What belongs to a job: its outputs behind signed links, and its callbacks without what they say."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from tests.api.answers import paths_of, problem
from tests.aws import ACCOUNT, StsFront
from tests.world import World, destination, txt2img


async def _fetch(url: str) -> httpx.Response:
    async with httpx.AsyncClient(trust_env=False) as anybody:
        return await anybody.get(url)


async def test_an_output_is_behind_a_signed_link_that_works_for_a_while(world: World) -> None:
    job = await world.run(input=txt2img(image_num=2))
    for output in job["outputs"]:
        answer = await world.client.get(f"/v1/jobs/{job['id']}/outputs/{output['index']}")
        assert answer.status_code == 307
        assert answer.headers["cache-control"] == "no-store"
        url = answer.headers["location"]
        found = await _fetch(url)
        assert found.status_code == 200
        assert hashlib.sha256(found.content).hexdigest() == output["sha256"]
        assert found.headers["content-type"] == output["media_type"] == "image/jpeg"
        query = parse_qs(urlsplit(url).query)
        assert 0 < int(query["X-Amz-Expires"][0]) <= 900
        # Nobody gets further with it than to this object.
        assert (
            await _fetch(url.replace("/00.jpeg", "/01.jpeg") if output["index"] == 0 else url + "0")
        ).status_code == 403


async def test_a_link_leads_to_where_the_object_was_put_also_when_the_destination_has_moved_on(world: World) -> None:
    job = await world.run()
    world.s3.create_bucket(f"{world.bucket[:40]}-next")
    moved = destination(world.s3, f"{world.bucket[:40]}-next", path="elsewhere")
    assert (await world.client.put("/v1/destinations/acme?check=false", json=moved)).status_code == 200
    answer = await world.client.get(f"/v1/jobs/{job['id']}/outputs/0")
    assert (await _fetch(answer.headers["location"])).status_code == 200


async def test_there_is_no_link_to_what_is_not_stored(world: World) -> None:
    done = await world.run()
    for index in ("1", "00", "-1", "0x0", "%30", "9" * 50, "a", "%00", "٠"):
        answer = await world.client.get(f"/v1/jobs/{done['id']}/outputs/{index}")
        if index == "%30":  # another spelling of the same address
            assert answer.status_code == 307
        else:
            problem(answer, 404, "not_found")
    mock = await world.run(test_mode={"enabled": True})
    assert mock["outputs"][0]["status"] == "mock"
    assert {mock["outputs"][0][name] for name in ("bucket", "key", "url", "sha256", "bytes")} == {None}
    problem(await world.client.get(f"/v1/jobs/{mock['id']}/outputs/0"), 409, "not_stored")
    failed = await world.run("a lighthouse [fault:wrong_type]")
    problem(await world.client.get(f"/v1/jobs/{failed['id']}/outputs/0"), 409, "not_stored")


@pytest.mark.parametrize("seconds", [60, 3600, 604_800])
async def test_a_link_lives_for_as_long_as_it_is_asked_to(world: World, seconds: int) -> None:
    job = await world.run()
    path, before = f"/v1/jobs/{job['id']}/outputs/0", datetime.now(UTC).replace(microsecond=0)
    answer = await world.client.get(path, params={"expires_in": seconds}, headers={"Accept": "application/json"})
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
    link = answer.json()
    assert set(link) == {"url", "expires_at"}
    query = parse_qs(urlsplit(link["url"]).query)
    signed = datetime.strptime(query["X-Amz-Date"][0], "%Y%m%dT%H%M%S%z")
    end = signed + timedelta(seconds=int(query["X-Amz-Expires"][0]))
    told = datetime.fromisoformat(link["expires_at"])
    assert before + timedelta(seconds=seconds) <= told <= end <= told + timedelta(seconds=2)
    assert (await _fetch(link["url"])).status_code == 200
    redirect = await world.client.get(path, params={"expires_in": seconds})
    assert redirect.status_code == 307
    assert parse_qs(urlsplit(redirect.headers["location"]).query)["X-Amz-Expires"] == [str(seconds)]


async def test_a_link_ends_with_the_credentials_that_sign_it(world: World, sts: StsFront) -> None:
    sts.lifetime = 2000
    job = await world.run()
    auth = {"type": "assume_role", "role_arn": f"arn:aws:iam::{ACCOUNT}:role/customers/genrelay"}
    put = await world.client.put("/v1/destinations/acme", json=destination(world.s3, world.bucket, auth=auth))
    assert put.status_code == 200, put.text
    for wanted, most in ((604_800, 2000), (3600, 2000), (60, 60)):
        answer = await world.client.get(
            f"/v1/jobs/{job['id']}/outputs/0", params={"expires_in": wanted}, headers={"Accept": "application/json"}
        )
        link = answer.json()
        lives = int(parse_qs(urlsplit(link["url"]).query)["X-Amz-Expires"][0])
        assert most - 30 < lives <= most
        told = datetime.fromisoformat(link["expires_at"]) - datetime.now(UTC)
        assert lives - 5 < told.total_seconds() <= lives
        assert (await _fetch(link["url"])).status_code == 200


async def test_a_link_has_no_other_life(world: World) -> None:
    job = await world.run()
    path = f"/v1/jobs/{job['id']}/outputs/0"
    for wrong in ("59", "604801", "0", "-60", "60.0", "1e3", "", "an hour", "٦٠", "9" * 30):
        answer = await world.client.get(path, params={"expires_in": wrong})
        assert paths_of(answer) == {"expires_in"}
        assert "from 60 to 604800" in answer.json()["errors"][0]["rule"]
    assert paths_of(await world.client.get(path, params={"expires": "60"})) == {"expires"}


async def test_only_who_asks_for_json_gets_it(world: World) -> None:
    job = await world.run()
    path = f"/v1/jobs/{job['id']}/outputs/0"
    for accept, status in (
        ("application/json", 200),
        ("text/html;q=0.5, Application/JSON; q=0.9", 200),
        ("text/html, application/json;q=0.001", 200),
        ("text/html, application/json;q=0", 307),
        ("text/html, application/json; Q=0.000 , image/*", 307),
        ("application/json;q=0;charset=utf-8", 307),
        ("application/json;q=0, application/json", 200),
        ("*/*", 307),
        ("image/*, application/json-seq", 307),
        ("", 307),
    ):
        assert (await world.client.get(path, headers={"Accept": accept})).status_code == status, accept


async def test_a_link_is_in_no_log(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    job = await world.run()
    for accept in ("application/json", "*/*"):
        answer = await world.client.get(f"/v1/jobs/{job['id']}/outputs/0", headers={"Accept": accept})
        url = answer.json()["url"] if answer.status_code == 200 else answer.headers["location"]
        said = capsys.readouterr()
        assert "request.handled" in said.out + said.err
        assert parse_qs(urlsplit(url).query)["X-Amz-Signature"][0] not in said.out + said.err


async def test_callbacks_are_listed_with_verdict_size_and_digest_and_nothing_that_they_say(world: World) -> None:
    job = await world.run("a lighthouse [fault:malformed]")
    url = world.callback_url(job)
    body = b'{"event_type": "ASYNC_TASK_RESULT", "payload": {"task": "a very secret remark"}}'
    async with httpx.AsyncClient(trust_env=False) as provider:
        assert (await provider.post(url, content=body)).status_code == 200
    answer = await world.client.get(f"/v1/jobs/{job['id']}/callbacks")
    assert answer.status_code == 200
    for callback in answer.json()["data"]:
        assert set(callback) - {"claimed"} == {
            "id",
            "object",
            "attempt",
            "received_at",
            "bytes",
            "sha256",
            "verdict",
            "judged_at",
        }
        assert callback["id"].startswith("cb_")
    last = answer.json()["data"][-1]
    assert (last["bytes"], last["sha256"]) == (len(body), hashlib.sha256(body).hexdigest())
    token = url.rpartition("/")[2]
    for text in (answer.text, str(await world.events(job))):
        assert token not in text
        assert "secret remark" not in text
