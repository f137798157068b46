"""Destinations: secrets go in and never come out, and a check says what the bucket really does."""

from __future__ import annotations

import json
from typing import Any

import pytest

from config.loading import load_settings
from handlers.app import make_app
from service.app import running_service
from service.configured import make_keyring
from service.demo.s3server import S3Server
from tests.api.answers import paths_of, problem
from tests.serving import serving
from tests.world import SECRET_KEY, World, client_for, destination, free_port, running_world

STEPS = ["endpoint", "put", "conditional_put", "head", "get", "multipart", "abort", "delete"]
ROLE = "arn:aws:iam::123456789012:role/customers/genrelay"


async def _check(world: World, name: str = "acme") -> dict[str, Any]:
    answer = await world.client.post(f"/v1/destinations/{name}/check")
    assert answer.status_code == 200, answer.text
    report: dict[str, Any] = answer.json()
    assert set(report) == {"ok", "steps"}
    for step in report["steps"]:
        assert set(step) == {"step", "ok", "code", "message", "hint"}
    assert report["ok"] is all(step["ok"] for step in report["steps"])
    return report


def _first_failure(report: dict[str, Any]) -> dict[str, Any]:
    return next(step for step in report["steps"] if not step["ok"])


async def test_a_destination_is_made_replaced_shown_and_deleted(world: World) -> None:
    given = destination(world.s3, "acme-renders", path="/a//b/")
    made = await world.client.put("/v1/destinations/new", json=given)
    assert made.status_code == 201
    shown = made.json()
    del shown["check"]
    assert shown["object"] == "destination"
    assert shown["name"] == "new"
    assert shown["auth"] == {"type": "access_key", "access_key_id": world.s3.access_key_id}
    expected = {
        "bucket": "acme-renders",
        "region": world.s3.region,
        "path": "a/b",
        "save_to_path_directly": False,
        "endpoint_url": world.s3.endpoint_url,
        "expected_bucket_owner": None,
        "encryption": None,
        "storage_class": None,
        "tags": {},
        "acl": None,
        "key_template": None,
        "manifest": False,
    }
    assert {name: shown[name] for name in expected} == expected
    assert (await world.client.get("/v1/destinations/new")).json() == shown
    full = {
        **given,
        "save_to_path_directly": True,
        "expected_bucket_owner": "123456789012",
        "encryption": {"type": "aws:kms", "key_id": "alias/renders", "bucket_key": True},
        "storage_class": "STANDARD_IA",
        "tags": {"team": "grün"},
        "acl": "bucket-owner-full-control",
        "key_template": None,
        "manifest": True,
    }
    replaced = await world.client.put("/v1/destinations/new", json=full)
    assert replaced.status_code == 200
    for name in full.keys() - expected.keys() - {"auth"} | {"encryption", "storage_class", "tags", "acl", "manifest"}:
        assert replaced.json()[name] == full[name]
    assert replaced.json()["created_at"] == shown["created_at"] < replaced.json()["updated_at"]
    assert [found["name"] for found in (await world.client.get("/v1/destinations")).json()["data"]] == ["acme", "new"]
    assert (await world.client.delete("/v1/destinations/new")).status_code == 204
    for method in ("GET", "DELETE"):
        problem(await world.client.request(method, "/v1/destinations/new"), 404, "not_found")
    problem(await world.client.post("/v1/destinations/new/check"), 404, "not_found")
    assert (await world.client.put("/v1/destinations/new", json=given)).status_code == 201


async def test_a_replaced_destination_is_unchecked_until_it_is_checked(world: World) -> None:
    good = destination(world.s3, world.bucket)
    bad = destination(world.s3, "no-such-bucket-anywhere")
    for given in (good, bad):
        checked = (await world.client.put("/v1/destinations/new", json=given)).json()
        assert checked["status"] == ("ok" if given is good else "failing")
        assert checked["checked_at"] is not None
        answer = await world.client.put("/v1/destinations/new", params={"check": "false"}, json=given)
        replaced = answer.json()
        unknown = {name: replaced[name] for name in ("status", "checked_at", "failing_since", "failure", "check")}
        assert unknown == {**dict.fromkeys(unknown), "status": "unchecked"}
        assert (await world.client.get("/v1/destinations/new")).json()["status"] == "unchecked"


async def test_every_mistake_in_a_destination_is_told_at_once_without_its_secret(world: World) -> None:
    given = destination(
        world.s3, "No_Bucket", region="US East", path="a/../b", endpoint_url="http://192.168.1.1", tags={"": 1}, typo=1
    )
    given["auth"]["secret_access_key"] = "secret with spaces that is no secret access key"
    answer = await world.client.put("/v1/destinations/acme", json=given)
    paths = paths_of(answer)
    assert {"bucket", "region", "path", "endpoint_url", "auth.secret_access_key", "typo"} <= paths
    assert "with spaces" not in answer.text
    assert (await world.client.get("/v1/destinations/acme")).json()["bucket"] == world.bucket


async def test_each_rule_of_a_destination_names_its_path(world: World) -> None:
    good = destination(world.s3, world.bucket)
    key, role = good["auth"], {"type": "assume_role", "role_arn": ROLE}
    cases: list[tuple[Any, set[str]]] = [
        ([], {"body"}),
        ("secret-in-a-string", {"body"}),
        ({}, {"bucket", "region", "auth"}),
        ({**good, "auth": "secret-in-a-string"}, {"auth"}),
        ({**good, "auth": {**key, "secret_access_key": None}}, {"auth.secret_access_key"}),
        ({**good, "auth": {"type": "password"}}, {"auth.type"}),
        ({**good, "auth": {"type": ["assume_role"]}}, {"auth.type"}),
        ({**good, "auth": {"role_arn": ROLE}}, {"auth.type"}),
        ({**good, "auth": {"type": "assume_role"}}, {"auth.role_arn"}),
        ({**good, "auth": {"type": "assume_role", "role_arn": ROLE.replace("role", "user")}}, {"auth.role_arn"}),
        ({**good, "auth": {**role, "access_key_id": "AKIA"}}, {"auth.access_key_id"}),
        ({**good, "auth": {**role, "external_id": "chosen"}}, {"auth.external_id"}),
        ({**good, "auth": {**role, "external_id": ""}, "bucket": "B"}, {"auth.external_id", "bucket"}),
        ({**good, "auth": {**key, "role_arn": ROLE}}, {"auth.role_arn"}),
        ({**good, "auth": {"type": "ambient"}, "bucket": "B"}, {"auth.type", "bucket"}),
        ({**good, "auth": {"type": "ambient", "role_arn": ROLE}}, {"auth.type", "auth.role_arn"}),
        ({**good, "external_id": "chosen"}, {"external_id"}),
        ({**good, "key_template": "{job_id}.{ext}"}, {"key_template"}),
        ({**good, "key_template": "{job_id.hex}/{index}"}, {"key_template"}),
        ({**good, "key_template": ["{job_id}/{index}"]}, {"key_template"}),
        ({**good, "key_template": "{job_id}/{index}", "save_to_path_directly": True}, {"key_template"}),
        (
            {**good, "key_template": "{job_id}/{index}?", "path": "..", "bucket": "B"},
            {"key_template", "path", "bucket"},
        ),
        ({**good, "manifest": "yes"}, {"manifest"}),
        ({**good, "manifest": 0}, {"manifest"}),
        ({**good, "acl": "public-read"}, {"acl"}),
        ({**good, "encryption": {"type": "aws:kms", "kid": "x"}}, {"encryption.kid"}),
        ({**good, "encryption": {"type": "AES256", "key_id": "x"}}, {"encryption"}),
        ({**good, "expected_bucket_owner": "12345678901"}, {"expected_bucket_owner"}),
        ({**good, "storage_class": "glacier"}, {"storage_class"}),
        ({**good, "tags": {f"t{n}": "" for n in range(11)}}, {"tags"}),
        ({**good, "bucket": "with\nnewline"}, {"bucket"}),
        ({**good, "region": "us-east-1\n"}, {"region"}),
        ({**good, "path": "a\u0000b"}, {"path"}),
        ({**good, "path": "x" * 513}, {"path"}),
        ({**good, "path": "a/genrelay-probe-b"}, {"path"}),
        ({**good, "key_template": "genrelay-probe-{job_id}-{index}"}, {"key_template"}),
        ({**good, "endpoint_url": None, "bucket": "a..b", "tags": {"aws:a": ""}}, {"bucket", "tags"}),
        ({**good, "endpoint_url": None, "storage_class": "COLD"}, {"storage_class"}),
    ]
    for given, paths in cases:
        answer = await world.client.put("/v1/destinations/other", content=json.dumps(given))
        assert paths_of(answer) == paths, (given, answer.text)
        assert "secret-in-a-string" not in answer.text
    problem(await world.client.put("/v1/destinations/other", content=b"{"), 400, "invalid_json")
    problem(await world.client.get("/v1/destinations/other"), 404, "not_found")


async def test_endpoints_that_are_not_public_or_not_plain_are_refused_at_once(world: World) -> None:
    for url in (
        "http://10.0.0.1:9000",
        "https://169.254.169.254",
        "http://[::1]:9000",
        "https://0x7f.1",
        "https://2130706433",
        "https://user:password@s3.example.com",
        "https://s3.example.com/?x=1",
        "https://s3.example.com/#x",
        "ftp://s3.example.com",
        "s3.example.com",
        "",
        "https://",
        "https://exa mple.com",
        "https://xn--a",
        "https://s3.example.com:99999",
    ):
        answer = await world.client.put("/v1/destinations/x", json=destination(world.s3, "bucket", endpoint_url=url))
        assert paths_of(answer) == {"endpoint_url"}, url
        assert "password" not in answer.text
    sound = destination(world.s3, "bucket", endpoint_url="https://s3.example.com")
    assert (await world.client.put("/v1/destinations/x?check=false", json=sound)).status_code == 201


async def test_plain_http_and_odd_ports_are_for_what_the_operator_opened(world: World) -> None:
    closed = {name: value for name, value in world.settings.items() if name != "GENRELAY_ALLOWED_PRIVATE_SUBNETS"}
    async with (
        running_service(load_settings(closed), "api") as replica,
        serving(make_app(replica)) as url,
        client_for(url) as client,
    ):
        for endpoint in ("http://s3.example.com", "https://s3.example.com:22", world.s3.endpoint_url):
            given = destination(world.s3, "bucket", endpoint_url=endpoint)
            assert paths_of(await client.put("/v1/destinations/x", json=given)) == {"endpoint_url"}, endpoint
        # What was let in before is looked at again whenever it is used.
        report = (await client.post("/v1/destinations/acme/check")).json()
        assert (report["ok"], report["steps"][0]["step"], report["steps"][0]["ok"]) == (False, "endpoint", False)


async def test_names_are_short_plain_words(world: World) -> None:
    good = destination(world.s3, world.bucket)
    for name in ("a", "A-b_c.9", "0", "x" * 64):
        assert (await world.client.put(f"/v1/destinations/{name}?check=false", json=good)).status_code == 201, name
    for name in (
        "x" * 65,
        ".hidden",
        "-dash",
        "two%20words",
        "new%0Aline",
        "line%0A",
        "n%C3%BC",
        "a%00",
        "a:b",
        "%F0%9F%98%80",
    ):
        assert paths_of(await world.client.put(f"/v1/destinations/{name}", json=good)) == {"name"}, name
        problem(await world.client.get(f"/v1/destinations/{name}"), 404, "not_found")
        problem(await world.client.delete(f"/v1/destinations/{name}"), 404, "not_found")


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", ""), ("GET", "/policy"), ("GET", "/events"), ("POST", "/check"), ("DELETE", ""), ("PUT", "")],
)
async def test_parameters_that_a_route_does_not_know_are_told(world: World, method: str, path: str) -> None:
    answer = await world.client.request(method, f"/v1/destinations/acme{path}", params={"chekc": "false"})
    assert paths_of(answer) == {"chekc"}
    assert (await world.client.get("/v1/destinations/acme")).json()["status"] == "unchecked"
    stranger = await world.client.request(
        method, f"/v1/destinations/acme{path}", params={"chekc": "false"}, headers={"Authorization": "Bearer wrong"}
    )
    problem(stranger, 401, "unauthorized")


async def test_a_check_of_a_good_bucket_does_every_step_and_leaves_nothing_behind(world: World) -> None:
    report = await _check(world)
    assert report == {
        "ok": True,
        "steps": [{"step": step, "ok": True, "code": None, "message": None, "hint": None} for step in STEPS],
    }
    assert world.keys() == []


async def test_a_check_says_what_is_wrong_in_s3s_own_words(world: World) -> None:
    good = destination(world.s3, world.bucket)
    key = good["auth"]
    reader = {
        **key,
        "access_key_id": world.s3.reader.access_key_id,
        "secret_access_key": world.s3.reader.secret_access_key,
    }
    for given, step, codes in (
        ({**good, "auth": {**key, "secret_access_key": "wrong"}}, "put", {"SignatureDoesNotMatch"}),
        ({**good, "auth": {**key, "access_key_id": "AKIAUNKNOWN"}}, "put", {"InvalidAccessKeyId"}),
        ({**good, "auth": reader}, "put", {"AccessDenied"}),
        ({**good, "bucket": "no-such-bucket-anywhere"}, "put", {"NoSuchBucket"}),
        ({**good, "endpoint_url": f"http://127.0.0.1:{free_port()}"}, "put", {"destination_unavailable"}),
        ({**good, "endpoint_url": "https://nowhere.invalid"}, "endpoint", {"destination_unavailable"}),
    ):
        # The bucket can't be written yet: the destination is made all the same.
        assert (await world.client.put("/v1/destinations/bad?check=false", json=given)).status_code in {200, 201}
        report = await _check(world, "bad")
        assert report["ok"] is False
        failure = _first_failure(report)
        assert (failure["step"], failure["code"] in codes) == (step, True), failure
        assert failure["message"]
        assert failure["hint"]
        after = report["steps"][report["steps"].index(failure) + 1 :]
        assert {later["code"] for later in after} == {"skipped"}
        assert [each["step"] for each in report["steps"]] == STEPS
    assert world.keys() == []


async def test_a_secret_is_in_no_answer_no_row_and_no_log(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    secret = "a-secret-access-key-to-be-found/nowhere+at+all"
    given = destination(world.s3, world.bucket)
    given["auth"]["secret_access_key"] = secret
    answers = [await world.client.put("/v1/destinations/acme", json=given) for _ in range(2)]
    answers += [await world.client.get(path) for path in ("/v1/destinations/acme", "/v1/destinations")]
    answers.append(await world.client.post("/v1/destinations/acme/check"))
    answers.append(await world.client.get("/v1/destinations/acme/events"))
    assert answers[-1].json()["data"], "a wrong secret makes the destination fail"
    job = await world.run()
    assert (job["status"], job["error"]["code"]) == ("failed", "destination_denied")
    answers += [
        await world.client.get(f"/v1/jobs/{job['id']}{more}") for more in ("", "/events", "/callbacks", "/outputs/0")
    ]
    for answer in answers:
        assert secret not in answer.text, answer.request.url
    for table in ("destinations", "destination_events", "jobs", "events", "outputs", "dead_letters", "pgqueuer_log"):
        for row in await world.service.pool.fetch(f"SELECT t::text AS text FROM {table} t"):
            assert secret not in row["text"]
            assert secret.encode().hex() not in row["text"]
    logged = capsys.readouterr()
    assert "request.handled" in logged.out + logged.err
    assert secret not in logged.out + logged.err


async def test_the_secret_is_encrypted_and_read_with_any_of_the_operators_keys(
    world: World, database_url: str, s3_server: S3Server, bucket: str
) -> None:
    new_key = "another secret key of the operator which is newer"
    rotated = {**world.settings, "GENRELAY_SECRET_KEY": f"{new_key},{SECRET_KEY}"}
    async with running_service(load_settings(rotated), "api") as service:
        row = await service.pool.fetchrow("SELECT secret FROM destinations WHERE name = 'acme'")
        assert row is not None
        assert s3_server.secret_access_key in service.keyring.decrypt(row["secret"])
    only_new = make_keyring(load_settings({**world.settings, "GENRELAY_SECRET_KEY": new_key}))
    assert only_new.decrypt(only_new.encrypt("text")) == "text"


async def test_a_secret_of_a_lost_key_is_told_by_the_check_and_by_the_jobs_error(
    database_url: str, s3_server: S3Server, bucket: str
) -> None:
    async with running_world(database_url, s3_server, bucket) as world:
        job = await world.run()
        await world.service.pool.execute("UPDATE destinations SET secret = 'gAAAAA-of-another-key'::bytea")
        report = await _check(world)
        assert _first_failure(report)["code"] == "destination_denied"
        assert "Put the destination again" in _first_failure(report)["hint"]
        problem(await world.client.get(f"/v1/jobs/{job['id']}/outputs/0"), 409, "destination_trouble")
        assert (await world.run())["error"]["code"] == "destination_denied"
        assert (await world.client.put("/v1/destinations/acme", json=destination(s3_server, bucket))).status_code == 200
        assert (await _check(world))["ok"]
