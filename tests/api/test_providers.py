"""`GET /v1/providers`: schemas that are schemas, and that say the same as the check."""

from __future__ import annotations

import base64
from io import BytesIO
from typing import Any

from jsonschema import Draft202012Validator
from PIL import Image

from service.providers.registry import PROVIDERS
from tests.world import World, job_body, txt2img


def _png() -> str:
    held = BytesIO()
    Image.new("RGB", (64, 64)).save(held, "PNG")
    return base64.b64encode(held.getvalue()).decode()


def _img2img() -> dict[str, Any]:
    return {"request": {**txt2img()["request"], "image_base64": _png(), "strength": 0.7}}


async def test_providers_are_listed_with_a_schema_for_each_operation(world: World) -> None:
    answer = await world.client.get("/v1/providers")
    assert answer.status_code == 200
    listed = answer.json()
    assert (listed["has_more"], listed["next_cursor"]) == (False, None)
    [novita] = [provider for provider in listed["data"] if provider["name"] == "novita"]
    assert novita["available"] is True
    operations = {operation["name"]: operation for operation in novita["operations"]}
    assert {"txt2img", "img2img"} <= set(operations)
    for operation in operations.values():
        assert operation["test_mode"] is True
        assert (
            operation["path"]
            == f"/v3/{'' if operation['name'].startswith('seedream') else 'async/'}{operation['name']}"
        )
        Draft202012Validator.check_schema(operation["input_schema"])
        assert operation["input_schema"]["additionalProperties"] is False
        for definition in operation["input_schema"]["$defs"].values():
            assert definition.get("additionalProperties") is False


async def test_the_schema_and_the_check_agree_about_examples(world: World) -> None:
    listed = (await world.client.get("/v1/providers")).json()["data"]
    [novita] = [provider for provider in listed if provider["name"] == "novita"]
    schemas = {o["name"]: Draft202012Validator(o["input_schema"]) for o in novita["operations"]}
    everything = {
        "response_image_type": "webp",
        "webhook": {
            "url": "https://consumer.example/in",
            "test_mode": {"enabled": True, "return_task_status": "TASK_STATUS_SUCCEED"},
        },
        "custom_storage": {"aws_s3": {"region": "us-east-1", "bucket": "b", "path": "/"}},
        "enable_nsfw_detection": True,
        "nsfw_detection_level": 2,
    }
    for operation, given, good in (
        ("txt2img", txt2img(), True),
        ("txt2img", txt2img(extra=everything, negative_prompt="", loras=[{"model_name": "a", "strength": 1}]), True),
        ("img2img", _img2img(), True),
        ("img2img", txt2img(), False),
        ("txt2img", _img2img(), False),
        ("txt2img", txt2img(width=127), False),
        ("txt2img", txt2img(steps="20"), False),
        ("txt2img", txt2img(sampler_name="none of these"), False),
        ("txt2img", txt2img(extra={"nsfw_detection_level": 3}), False),
        ("txt2img", {}, False),
        ("txt2img", [], False),
    ):
        assert schemas[operation].is_valid(given) is good, given
        body = job_body(operation=operation, input=given, test_mode={"enabled": True})
        answer = await world.client.post("/v1/jobs", json=body)
        assert answer.status_code == (202 if good else 422), answer.text


async def test_every_operations_example_is_what_its_schema_says(world: World) -> None:
    listed = (await world.client.get("/v1/providers")).json()["data"]
    shown = {(p["name"], o["name"]): o["input_schema"] for p in listed for o in p["operations"]}
    examples = {(p.name, o.name): o.example for p in PROVIDERS.values() for o in p.operations.values()}
    assert set(shown) == set(examples)
    for name, schema in shown.items():
        assert list(Draft202012Validator(schema).iter_errors(examples[name])) == [], name
