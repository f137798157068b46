"""Every route: whom it lets in, whom it does not know, and how it says so."""

from __future__ import annotations

import re

import httpx
from starlette.routing import Route

from handlers.app import make_app
from handlers.problems import EXPLANATIONS, TITLES
from tests.api.answers import problem
from tests.world import STRANGERS_KEY, World, client_for, destination

# What a stranger may see: nothing in them is anybody's.
OPEN = {"/livez", "/readyz", "/metrics", "/problems/{code}", "/.well-known/jwks.json", "/openapi.json", "/docs"}
SHARED = {("GET", "/v1/providers")}
# The token is the key; tests/callbacks has these.
OWN_KEY = {"/v1/callbacks/{provider}/{token}"}
# A stranger gets an answer of his own: his list, his new thing.
LISTS = {("GET", f"/v1/{what}") for what in ("jobs", "events", "destinations", "subscriptions", "deliveries")}
SINKS_ONLY = "/v1/subscriptions/{id}/policy"
MAKES = {("POST", "/v1/jobs"), ("PUT", "/v1/destinations/{name}"), ("POST", "/v1/subscriptions")}
# His own secret and key; tests/api/test_signing.py has these.
MAKES |= {(method, f"/v1/account/{what}") for method, what in (
    ("GET", "webhook-secret"), ("POST", "webhook-secret/rotate"), ("GET", "signing-key"), ("POST", "signing-key/rotate"),
)}  # fmt: skip
CHECKS = ("POST", "/v1/webhook-checks")


def routes(world: World) -> list[tuple[str, str]]:
    """Return every method and pattern of the application."""
    found = []
    for route in make_app(world.service).routes:
        assert isinstance(route, Route)
        found += [(method, route.path) for method in sorted((route.methods or {"POST"}) - {"HEAD"})]
    return found


async def make_things(world: World) -> dict[str, str]:
    """Make one of each thing that has an id; returns the ids by the names of their lists."""
    answer = await world.client.post("/v1/subscriptions", json={"url": "http://127.0.0.1:9/"})
    job = await world.run()
    deliveries = (await world.client.get("/v1/deliveries", params={"limit": 1})).json()["data"]
    return {"jobs": job["id"], "subscriptions": answer.json()["id"], "deliveries": deliveries[0]["id"]}


def fill(pattern: str, ours: dict[str, str]) -> str:
    """Return the path of something that the test's own account has."""
    values = {"name": "acme", "index": "0", "code": "not_found", "provider": "novita", "token": "x"}
    values["id"] = ours.get(pattern.split("/")[2], "")
    return re.sub(r"{(\w+)}", lambda found: values[found[1]], pattern)


async def test_a_strangers_key_finds_nothing_of_ours_on_any_route(world: World) -> None:
    ours = await make_things(world)
    job = (await world.client.get(f"/v1/jobs/{ours['jobs']}")).json()
    for method, pattern in routes(world):
        if pattern in OPEN | OWN_KEY or (method, pattern) in SHARED | MAKES:
            continue
        body = {"provider": "novita"} if (method, pattern) == CHECKS else None
        answer = await world.stranger.request(method, fill(pattern, ours), json=body)
        if (method, pattern) == CHECKS:
            # The jobs of his check are his own; tests/api/test_webhook_checks.py looks at them.
            assert answer.json()["ok"] is True, answer.text
        elif (method, pattern) in LISTS:
            assert answer.json() == {"data": [], "next_cursor": None, "has_more": False}, pattern
        else:
            problem(answer, 404, "not_found")
        assert not [said for said in (*ours.values(), "acme", world.bucket) if said in answer.text], pattern
    found = await world.job(job)
    assert {**found, "deliveries": None} == {**job, "deliveries": None}
    assert (await world.client.get("/v1/destinations/acme")).status_code == 200


async def test_the_stranger_finds_nothing_because_it_is_ours_and_not_because_of_the_path(world: World) -> None:
    ours = await make_things(world)
    for method, pattern in routes(world):
        if method == "GET" and pattern not in OPEN | OWN_KEY:
            answer = await world.client.get(fill(pattern, ours))
            if pattern == SINKS_ONLY:
                problem(answer, 409, "no_sink")
            else:
                assert answer.status_code in {200, 307}, (pattern, answer.text)


async def test_a_stranger_neither_replaces_nor_writes_to_our_destination(world: World) -> None:
    answer = await world.stranger.put("/v1/destinations/acme?check=false", json=destination(world.s3, "somewhere-else"))
    assert answer.status_code == 201, answer.text
    assert (await world.client.get("/v1/destinations/acme")).json()["bucket"] == world.bucket
    assert (await world.stranger.delete("/v1/destinations/acme")).status_code == 204
    assert (await world.client.get("/v1/destinations/acme")).status_code == 200


async def test_no_route_but_health_and_callbacks_answers_without_a_key_that_holds(world: World) -> None:
    ours = await make_things(world)
    revoked_id, revoked = await world.service.accounts.create_key("default")
    assert await world.service.accounts.revoke_key(revoked_id)
    headers: list[dict[str, str]] = [
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Bearer"},
        {"Authorization": f"Basic {STRANGERS_KEY}"},
        {"Authorization": STRANGERS_KEY},
        {"Authorization": f"Bearer {revoked}"},
        {"Authorization": "Bearer " + "x" * 4000},
    ]
    async with httpx.AsyncClient(base_url=world.url, trust_env=False) as nobody:
        for method, pattern in routes(world):
            if pattern in OPEN | OWN_KEY:
                continue
            for given in headers:
                answer = await nobody.request(method, fill(pattern, ours), headers=given)
                problem(answer, 401, "unauthorized")
                assert answer.headers["www-authenticate"].startswith("Bearer ")


async def test_a_key_that_was_just_used_is_worthless_once_it_is_revoked(world: World) -> None:
    key_id, key = await world.service.accounts.create_key("default")
    async with client_for(world.url, key) as client:
        assert (await client.get("/v1/jobs")).status_code == 200
        await world.service.accounts.revoke_key(key_id)
        problem(await client.get("/v1/jobs"), 401, "unauthorized")


async def test_unknown_routes_and_methods_are_problems_too(world: World) -> None:
    for path in (
        "/",
        "/v1",
        "/v2/jobs",
        "/v1/jobs/",
        "/v1//jobs",
        "/openapi.yaml",
        "/docs/",
        "/favicon.ico",
    ):
        problem(await world.client.get(path), 404, "not_found")
    for method, path, allowed in (
        ("DELETE", "/v1/jobs", "GET, HEAD, POST"),
        ("PATCH", "/v1/destinations/acme", "DELETE, GET, HEAD, PUT"),
        ("POST", "/v1/providers", "GET, HEAD"),
        ("POST", "/livez", "GET, HEAD"),
        ("GET", "/v1/callbacks/novita/token", "POST"),
        ("OPTIONS", "/v1/jobs", "GET, HEAD, POST"),
    ):
        answer = await world.client.request(method, path)
        problem(answer, 405, "method_not_allowed")
        assert answer.headers["allow"] == allowed, path


async def test_every_problem_points_to_a_page_that_explains_it(world: World) -> None:
    assert set(EXPLANATIONS) == set(TITLES)
    for code, title in TITLES.items():
        page = await world.client.get(f"/problems/{code}")
        assert page.status_code == 200
        assert title in page.text
    problem(await world.client.get("/problems/nonsense"), 404, "not_found")


async def test_a_request_id_is_echoed_when_it_is_sound_and_made_when_it_is_not(world: World) -> None:
    for given in ("abc-123", "a" * 128, "trace:01.x_y"):
        answer = await world.client.get("/v1/jobs", headers={"X-Request-Id": given})
        assert answer.headers["x-request-id"] == given
    seen = set()
    for given in ("", "a" * 129, "two words", "<script>", "käse".encode("latin-1").decode("latin-1")):
        answer = await world.client.get("/nowhere", headers={"X-Request-Id": given.encode("latin-1")})
        assert re.fullmatch(r"[0-9a-f]{32}", answer.headers["x-request-id"]), given
        seen.add(answer.headers["x-request-id"])
    assert len(seen) == 5


async def test_health_says_what_works_and_metrics_count_by_pattern(world: World) -> None:
    async with httpx.AsyncClient(base_url=world.url, trust_env=False) as anyone:
        assert (await anyone.get("/livez")).json() == {"ok": True}
        ready = await anyone.get("/readyz")
        assert ready.status_code == 200, ready.text
        assert ready.json()["checks"] == {"database": True, "migrations": True, "listener": True, "workers": True}
        job = await world.submit()
        await world.job(job)
        metrics = (await anyone.get("/metrics")).text
    assert 'route="/v1/jobs/{id}"' in metrics
    assert job["id"] not in metrics
