"""`custom_storage.aws_s3` inside a provider's body: it means a destination of the account, and where in it."""

from __future__ import annotations

from typing import Any

import httpx

from service.outputs.destinations import read_target
from tests.api.answers import paths_of
from tests.world import World, destination, job_body, txt2img

BUCKET = "input.extra.custom_storage.aws_s3.bucket"


def storage(world: World, **changes: Any) -> dict[str, Any]:
    """Return an `extra` that names the world's bucket."""
    said = {"region": world.s3.region, "bucket": world.bucket, "path": "of/the/body", **changes}
    return {"custom_storage": {"aws_s3": said}}


async def put(world: World, name: str, **changes: Any) -> None:
    """Make or replace a destination."""
    given = {**destination(world.s3, world.bucket), **changes}
    answer = await world.client.put(f"/v1/destinations/{name}", params={"check": "false"}, json=given)
    assert answer.status_code in {200, 201}, answer.text


async def submit(world: World, name: str | None, **changes: Any) -> httpx.Response:
    """Submit a job that names a destination, or none, and the world's bucket in its body."""
    body = job_body(destination=name, input=txt2img(extra=storage(world, **changes)))
    return await world.client.post("/v1/jobs", json=body)


async def test_the_name_decides_between_destinations_of_the_same_bucket(world: World) -> None:
    await put(world, "twin", path="of the twin")
    for name in ("acme", "twin"):
        assert (await submit(world, name)).json()["destination"] == name
    assert paths_of(await submit(world, None)) == {BUCKET}


async def test_the_name_decides_whatever_region_the_body_says(world: World) -> None:
    await put(world, "west", region="us-west-2")
    assert (await submit(world, "acme", region="us-west-2")).json()["destination"] == "acme"
    # Without a name bucket and region are all there is.
    assert (await submit(world, None, region="us-west-2")).json()["destination"] == "west"
    assert (await submit(world, None)).json()["destination"] == "acme"
    assert paths_of(await submit(world, None, region="eu-west-1")) == {BUCKET}


async def test_a_name_of_another_bucket_falls_back_to_the_only_one_that_has_the_bodys(world: World) -> None:
    await put(world, "elsewhere", bucket="another-bucket")
    assert (await submit(world, "elsewhere")).json()["destination"] == "acme"
    await put(world, "twin")
    assert paths_of(await submit(world, "elsewhere")) == {BUCKET}
    assert paths_of(await submit(world, "elsewhere", bucket="nobodys-bucket")) == {BUCKET}


async def test_a_destination_that_was_deleted_is_none(world: World) -> None:
    await put(world, "twin")
    assert (await world.client.delete("/v1/destinations/twin")).status_code == 204
    assert (await submit(world, None)).json()["destination"] == "acme"
    assert (await world.client.delete("/v1/destinations/acme")).status_code == 204
    assert paths_of(await submit(world, None)) == {BUCKET}


async def test_the_body_says_where_and_the_destination_says_how(world: World) -> None:
    await put(world, "acme", key_template="{date}/{job_id}/{index}", tags={"team": "renders"})
    job = await world.run(input=txt2img(extra=storage(world, path="/of//the/body/")))
    assert job["outputs"][0]["key"] == f"of/the/body/{job['id']}/00.jpeg"
    direct = await world.run(input=txt2img(extra=storage(world, save_to_path_directly=True)))
    assert direct["outputs"][0]["key"] == f"of/the/body/{direct['id']}-00.jpeg"
    assert await _tags(world, job["outputs"][0]["key"]) == {"team": "renders"}


async def test_the_path_of_novitas_example_is_the_bucket_itself(world: World) -> None:
    await put(world, "acme", save_to_path_directly=True)
    job = await world.run(input=txt2img(extra=storage(world, path="/")))
    # `save_to_path_directly` is false unless the body itself says otherwise.
    assert world.keys() == [f"{job['id']}/00.jpeg"]


async def test_the_same_words_mean_the_same_for_another_provider(world: World) -> None:
    given = {"prompt": "a lighthouse at dawn", "model_id": "flux", "width": 64, "height": 64, "samples": 1}
    body = {"provider": "modelslab", "operation": "text2img", "input": {**given, "extra": storage(world)}}
    answer = await world.client.post("/v1/jobs", json=body)
    assert answer.status_code == 202, answer.text
    job = await world.end(answer.json())
    assert (job["status"], job["destination"]) == ("succeeded", "acme"), job["error"]
    [key] = world.keys()
    assert key.startswith(f"of/the/body/{job['id']}/00.")


async def _tags(world: World, key: str) -> dict[str, str]:
    row = await world.service.pool.fetchrow("SELECT * FROM destinations WHERE name = 'acme' AND deleted_at IS NULL")
    spec = read_target(world.service.keyring, row, None, ()).spec
    async with world.service.context.buckets.client(spec) as s3:
        answer = await s3.get_object_tagging(**spec.place(key))
    return {tag["Key"]: tag["Value"] for tag in answer["TagSet"]}
