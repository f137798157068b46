"""The routes of what deliveries are signed with: whose they are, what they show, and that nobody keeps it."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from service.events.signing import make_secret
from tests.api.answers import problem
from tests.world import World

SECRET, KEY = "/v1/account/webhook-secret", "/v1/account/signing-key"


async def test_an_accounts_secret_is_made_once_and_is_its_own(world: World) -> None:
    answers = [await world.client.get(SECRET) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].json() == answers[1].json()
    assert answers[0].json() == {"secret": answers[0].json()["secret"], "expires_at": None, "previous": []}
    assert answers[0].json()["secret"].startswith("whsec_")
    assert (await world.stranger.get(SECRET)).json()["secret"] != answers[0].json()["secret"]


async def test_a_secret_is_kept_by_nobody_on_its_way(world: World) -> None:
    for answer in (await world.client.get(SECRET), await world.client.post(f"{SECRET}/rotate")):
        assert answer.headers["cache-control"] == "no-store"


async def test_a_rotation_shows_the_new_secret_and_when_the_old_one_ends(world: World) -> None:
    old = (await world.client.get(SECRET)).json()["secret"]
    rotated = (await world.client.post(f"{SECRET}/rotate", json={"grace_seconds": 604_800})).json()
    assert rotated["secret"] != old
    assert [set(each) for each in rotated["previous"]] == [{"expires_at"}]
    assert (await world.client.get(SECRET)).json() == rotated
    own = make_secret()
    at_once = await world.client.post(f"{SECRET}/rotate", json={"grace_seconds": 0, "secret": own})
    assert at_once.json() == {"secret": own, "expires_at": None, "previous": []}


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ({"grace_seconds": -1}, "grace_seconds"),
        ({"grace_seconds": 604_801}, "grace_seconds"),
        ({"grace_seconds": True}, "grace_seconds"),
        ({"grace_seconds": 1.5}, "grace_seconds"),
        ({"grace_seconds": None}, "grace_seconds"),
        ({"secret": "whsec_dG9vIHNob3J0"}, "secret"),
        ({"secret": "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}, "secret"),
        ({"secret": 7}, "secret"),
        ({"grace": 7}, "grace"),
        ([], "body"),
    ],
)
async def test_a_wrong_rotation_changes_nothing_and_its_secret_is_not_repeated(
    world: World, given: Any, path: str
) -> None:
    before = (await world.client.get(SECRET)).json()
    answer = await world.client.post(f"{SECRET}/rotate", json=given)
    found = problem(answer, 422, "invalid_request")
    assert [each["path"] for each in found["errors"]] == [path]
    assert "dG9vIHNob3J0" not in answer.text
    assert "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw" not in answer.text
    assert (await world.client.get(SECRET)).json() == before


async def test_the_key_set_is_everybodys_to_read_and_to_cache(world: World) -> None:
    ours, theirs = (await world.client.get(KEY)).json(), (await world.stranger.get(KEY)).json()
    async with httpx.AsyncClient(base_url=world.url, trust_env=False) as anyone:
        answer = await anyone.get("/.well-known/jwks.json")
        one = await anyone.get("/.well-known/jwks.json", params={"kid": ours["id"]})
        none = await anyone.get("/.well-known/jwks.json", params={"kid": "key_01kc0000000000000000000000"})
        problem(await anyone.get("/.well-known/jwks.json", params={"kid": "other"}), 422, "invalid_request")
    assert answer.headers["content-type"] == "application/jwk-set+json"
    assert answer.headers["cache-control"] == "public, max-age=60"
    assert {each["kid"] for each in answer.json()["keys"]} == {ours["id"], theirs["id"]}
    (key,) = one.json()["keys"]
    assert key in answer.json()["keys"]
    assert set(key) == {"kty", "crv", "x", "kid", "use", "alg"}
    assert (key["kty"], key["crv"], key["kid"]) == ("OKP", "Ed25519", ours["id"])
    assert none.json() == {"keys": []}


async def test_a_rotated_key_stays_in_the_key_set_for_its_grace_and_no_longer(world: World) -> None:
    first = (await world.client.get(KEY)).json()
    second = (await world.client.post(f"{KEY}/rotate", json={"grace_seconds": 3600})).json()
    assert [each["id"] for each in second["previous"]] == [first["id"]]
    assert await kids(world, first["id"], second["id"]) == {first["id"], second["id"]}
    third = (await world.client.post(f"{KEY}/rotate", json={"grace_seconds": 0})).json()
    assert third["previous"] == []
    assert await kids(world, first["id"], second["id"], third["id"]) == {third["id"]}
    problem(await world.client.post(f"{KEY}/rotate", json={"secret": make_secret()}), 422, "invalid_request")


async def kids(world: World, *wanted: str) -> set[str]:
    """Return which of these keys the key set has."""
    answers = [await world.client.get("/.well-known/jwks.json", params={"kid": each}) for each in wanted]
    return {key["kid"] for answer in answers for key in answer.json()["keys"]}
