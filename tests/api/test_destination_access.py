"""Roles and the service's own credentials: who may use them, the external id that nobody chooses, policies to paste."""

from __future__ import annotations

import json
from typing import Any

import pytest

from config.loading import load_settings
from handlers.app import make_app
from service.app import running_service
from service.demo.s3server import S3Server
from tests.api.answers import paths_of, problem
from tests.aws import StsFront, no_credentials
from tests.serving import serving
from tests.world import World, client_for, destination, running_world

ROLE = "arn:aws:iam::123456789012:role/customers/genrelay"
ASSUME_ROLE = {"type": "assume_role", "role_arn": ROLE}
AMBIENT = {"type": "ambient"}
PRINCIPAL = "arn:aws:iam::999999999999:role/the-service"


def role_at_amazon(**changes: Any) -> dict[str, Any]:
    """Return the body of a PUT for a role's bucket that nobody will ask."""
    return {"bucket": "acme-renders", "region": "eu-central-1", "path": "renders", "auth": ASSUME_ROLE, **changes}


async def _put(world: World, given: dict[str, Any], name: str = "theirs", *, stranger: bool = False) -> dict[str, Any]:
    client = world.stranger if stranger else world.client
    answer = await client.put(f"/v1/destinations/{name}", params={"check": "false"}, json=given)
    assert answer.status_code in {200, 201}, answer.text
    return answer.json()  # type: ignore[no-any-return]


async def _policy(world: World, name: str = "theirs") -> dict[str, Any]:
    answer = await world.client.get(f"/v1/destinations/{name}/policy")
    assert answer.status_code == 200, answer.text
    made: dict[str, Any] = answer.json()
    assert set(made) == {
        *("object", "principal", "external_id", "trust_policy", "permission_policy", "terraform", "notes"),
    }
    assert made["object"] == "destination_policy"
    return made


async def test_an_external_id_is_made_per_account_shown_everywhere_and_never_changes(world: World) -> None:
    made = await _put(world, role_at_amazon())
    external_id = made["auth"]["external_id"]
    assert made["auth"] == {**ASSUME_ROLE, "external_id": external_id}
    again = await _put(world, role_at_amazon(path="other"))
    second = await _put(world, role_at_amazon(), "second")
    got = (await world.client.get("/v1/destinations/theirs")).json()
    listed = (await world.client.get("/v1/destinations")).json()["data"]
    shown = [again, second, got, *(one for one in listed if one["name"] in {"theirs", "second"})]
    assert {one["auth"]["external_id"] for one in shown} == {external_id}
    assert (await _policy(world))["external_id"] == external_id
    theirs = await _put(world, role_at_amazon(), stranger=True)
    assert theirs["auth"]["external_id"] != external_id
    kept = await world.service.pool.fetchval("SELECT spec::text FROM destinations WHERE name = 'theirs' LIMIT 1")
    assert external_id not in kept


async def test_an_external_id_that_somebody_chose_is_refused_with_the_reason(world: World) -> None:
    for auth in ({**ASSUME_ROLE, "external_id": "mine"}, {**ASSUME_ROLE, "external_id": {"a": 1}}):
        answer = await world.client.put("/v1/destinations/theirs", json=role_at_amazon(auth=auth))
        assert paths_of(answer) == {"auth.external_id"}
        assert "never chosen" in answer.text
    problem(await world.client.get("/v1/destinations/theirs"), 404, "not_found")


async def test_the_service_takes_the_role_with_the_external_id_that_it_shows(sts: StsFront, world: World) -> None:
    given = destination(world.s3, world.bucket, auth=ASSUME_ROLE)
    made = await _put(world, given, "acme")
    sts.external_id = made["auth"]["external_id"]
    job = await world.run()
    assert job["status"] == "succeeded", job["error"]
    assert {(call.role_arn, call.external_id) for call in sts.assumed} == {(ROLE, made["auth"]["external_id"])}
    answer = await world.client.get(f"/v1/jobs/{job['id']}/outputs/0")
    assert answer.status_code == 307
    assert world.keys() == [job["outputs"][0]["key"]]


async def test_the_principal_is_who_aws_says_we_are(sts: StsFront, world: World) -> None:
    await _put(world, role_at_amazon())
    made = await _policy(world)
    assert made["principal"].startswith("arn:aws:")
    assert made["trust_policy"]["Statement"][0]["Principal"] == {"AWS": made["principal"]}
    assert {call.action for call in sts.calls} == {"GetCallerIdentity"}


async def test_a_service_without_aws_credentials_leaves_a_gap_that_shows(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in no_credentials().items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    await _put(world, role_at_amazon())
    made = await _policy(world)
    assert made["principal"] is None
    assert "REPLACE" in made["trust_policy"]["Statement"][0]["Principal"]["AWS"]
    assert any("GENRELAY_AWS_PRINCIPAL" in note for note in made["notes"])


async def test_the_operator_can_say_who_we_are(database_url: str, s3_server: S3Server, bucket: str) -> None:
    async with running_world(database_url, s3_server, bucket, GENRELAY_AWS_PRINCIPAL=PRINCIPAL) as world:
        await _put(world, role_at_amazon())
        assert (await _policy(world))["trust_policy"]["Statement"][0]["Principal"] == {"AWS": PRINCIPAL}
        of_a_key = await _policy(world, "acme")
        assert [of_a_key[name] for name in ("principal", "external_id", "trust_policy")] == [None, None, None]
        assert world.s3.secret_access_key not in json.dumps(of_a_key)
        problem(await world.client.get("/v1/destinations/nowhere/policy"), 404, "not_found")


async def test_our_own_credentials_are_for_accounts_that_the_operator_named(
    database_url: str, s3_server: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3_server.admin.access_key_id)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3_server.admin.secret_access_key)
    named: dict[str, Any] = {"GENRELAY_OUTPUTS__AMBIENT_ACCOUNTS": "acme,default", "GENRELAY_AWS_PRINCIPAL": PRINCIPAL}
    async with running_world(database_url, s3_server, bucket, **named) as world:
        given = destination(s3_server, bucket, auth=AMBIENT)
        assert (await _put(world, given, "acme"))["auth"] == AMBIENT
        answer = await world.stranger.put("/v1/destinations/acme", json={**given, "region": "No Region"})
        assert paths_of(answer) == {"auth.type", "region"}
        assert "GENRELAY_OUTPUTS__AMBIENT_ACCOUNTS" in answer.text
        assert "'somebody else'" in answer.text
        job = await world.run()
        assert job["status"] == "succeeded", job["error"]
        made = await _policy(world, "acme")
        assert [made[name] for name in ("principal", "external_id", "trust_policy")] == [PRINCIPAL, None, None]
        await _is_denied_once_the_operator_takes_it_off_the_list(world, job, given)


async def _is_denied_once_the_operator_takes_it_off_the_list(
    world: World, job: dict[str, Any], given: dict[str, Any]
) -> None:
    later = {**world.settings, "GENRELAY_OUTPUTS__AMBIENT_ACCOUNTS": "acme"}
    async with (
        running_service(load_settings(later), "api") as replica,
        serving(make_app(replica)) as url,
        client_for(url) as client,
    ):
        assert paths_of(await client.put("/v1/destinations/acme", json=given)) == {"auth.type"}
        report = (await client.post("/v1/destinations/acme/check")).json()
        [step] = report["steps"]
        assert (report["ok"], step["code"]) == (False, "destination_denied")
        assert "GENRELAY_OUTPUTS__AMBIENT_ACCOUNTS" in step["hint"]
        problem(await client.get(f"/v1/jobs/{job['id']}/outputs/0"), 409, "destination_trouble")
        assert (await client.get("/v1/destinations/acme/policy")).status_code == 200


async def test_outputs_lie_under_the_keys_that_the_template_makes(world: World) -> None:
    await _put(
        world, destination(world.s3, world.bucket, key_template="{operation}/{year}/{job_id}_{index:03}.{ext}"), "acme"
    )
    job = await world.run()
    assert job["status"] == "succeeded", job["error"]
    key = f"renders/txt2img/{job['created_at'][:4]}/{job['id']}_000.jpeg"
    assert job["outputs"][0]["key"] == key
    assert world.keys() == [key]
