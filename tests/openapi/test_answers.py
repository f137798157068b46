"""What every route has in common, as the document says it; the tests' client holds every other answer against it."""

from __future__ import annotations

import copy
import re

import httpx
import pytest

from handlers.openapi.operations import OPERATIONS
from tests.api.answers import paths_of
from tests.contract import check_answer, document
from tests.world import World

_VALUES = {"name": "acme", "index": "0", "code": "not_found", "provider": "novita", "token": "x"}


def fill(path: str, job: str) -> str:
    """Return a path with something in each place."""
    return re.sub(r"{(\w+)}", lambda found: {**_VALUES, "id": job}[found[1]], path)


async def test_every_route_with_a_key_refuses_parameters_that_it_does_not_know(world: World) -> None:
    job = (await world.run())["id"]
    answer = await world.client.post("/v1/subscriptions", json={"url": "http://127.0.0.1:9/"})
    deliveries = await world.client.get("/v1/deliveries")
    while not deliveries.json()["data"]:
        await world.run()
        deliveries = await world.client.get("/v1/deliveries")
    ids = {"jobs": job, "subscriptions": answer.json()["id"], "deliveries": deliveries.json()["data"][0]["id"]}
    tried = 0
    for (method, path), operation in OPERATIONS.items():
        if operation.open:
            continue
        thing = ids.get(path.split("/")[2], "")
        answer = await world.client.request(method, fill(path, thing), params={"no_such": "1"}, json={})
        if path == "/v1/subscriptions/{id}/policy":
            assert answer.status_code == 422
        assert "no_such" in paths_of(answer), (method, path)
        tried += 1
    assert tried > 30


async def test_the_check_of_answers_notices_what_the_document_does_not_say(world: World) -> None:
    job = await world.run()
    answer = await world.client.get(f"/v1/jobs/{job['id']}")
    await check_answer(answer)
    for change in ({"extra": 1}, {"status": "unheard-of"}, {"created_at": None}, {"id": "job_x"}, {"outputs": [{}]}):
        changed = httpx.Response(200, json={**job, **change}, headers=answer.headers, request=answer.request)
        with pytest.raises(AssertionError, match=re.escape("GET /v1/jobs/{id} answers 200")):
            await check_answer(changed)
    with pytest.raises(AssertionError, match="does not know"):
        await check_answer(httpx.Response(202, json=job, request=answer.request))
    with pytest.raises(AssertionError, match="without X-Request-Id"):
        await check_answer(httpx.Response(200, json=job, request=answer.request))
    headers = {"x-request-id": "1"}
    with pytest.raises(AssertionError, match="text/plain"):
        await check_answer(httpx.Response(200, text="{}", headers=headers, request=answer.request))


async def test_what_is_optional_may_be_missing_and_nothing_else(world: World) -> None:
    job = await world.run()
    answer = await world.client.get(f"/v1/jobs/{job['id']}")
    optional = set(job) - set(document()["components"]["schemas"]["Job"]["required"])
    assert optional <= {"deliveries"}
    for name in job:
        less = copy.deepcopy(job)
        less.pop(name)
        headers = {"x-request-id": "1"}
        made = httpx.Response(200, json=less, headers=headers, request=answer.request)
        if name in optional:
            await check_answer(made)
        else:
            with pytest.raises(AssertionError, match=name):
                await check_answer(made)
