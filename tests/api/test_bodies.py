"""Bodies as they really come: big, broken, chunked, in no encoding that we know."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import AsyncIterator
from io import BytesIO

import pytest
from PIL import Image

from service.demo.s3server import S3Server
from tests.api.answers import count, paths_of, problem, rows_of_jobs
from tests.world import World, job_body, running_world, txt2img

MIB = 2**20


def png_of(size: int) -> bytes:
    """Return an image of about so many bytes, which nothing can compress."""
    side = round((size / 3) ** 0.5)
    held = BytesIO()
    Image.frombytes("RGB", (side, side), secrets.token_bytes(3 * side * side)).save(held, "PNG", compress_level=0)
    return held.getvalue()


async def test_a_body_with_ten_megabytes_of_image_is_taken_and_sent_on_as_it_came(world: World) -> None:
    png = png_of(10 * MIB - 100_000)
    image = base64.b64encode(png).decode()
    assert len(image) > 13_500_000
    request = {**txt2img()["request"], "image_base64": image, "strength": 0.5}
    job = await world.submit(operation="img2img", input={"request": request})
    ended = await world.end(job)
    assert ended["status"] == "succeeded"
    assert await count(world, "job_inputs") == 0
    [task] = world.sandbox.tasks.values()
    assert task.submission.wanted.source == png


async def test_an_image_too_large_or_no_image_at_all_is_refused_without_being_quoted(world: World) -> None:
    before = await rows_of_jobs(world)
    for image in (
        base64.b64encode(png_of(11 * MIB)).decode(),
        base64.b64encode(b"no image" * 100_000).decode(),
        "data:image/png;base64," + base64.b64encode(png_of(300_000)).decode(),
        "*" * 400_000,
    ):
        request = {**txt2img()["request"], "image_base64": image}
        answer = await world.client.post("/v1/jobs", json=job_body(operation="img2img", input={"request": request}))
        assert paths_of(answer) == {"input.request.image_base64"}
        assert len(answer.text) < 1000
    assert await rows_of_jobs(world) == before


async def test_what_is_not_json_is_told_where_it_stops_being_it(world: World) -> None:
    before = await rows_of_jobs(world)
    sound = json.dumps(job_body()).encode()
    for body, said in (
        (b"", "line 1, column 1"),
        (b"{", "line 1"),
        (b"provider=novita", "line 1"),
        (sound[:-1], "line 1"),
        (sound + b"x", "Extra data"),
        (b'{"provider": "novita", "provider": "modelslab"}', "twice"),
        (b'{"metadata": {"a": "1", "a": "2"}}', "twice"),
        (sound.replace(b"dawn", b"\xff\xfe"), "UTF-8"),
        (sound.decode().encode("utf-16"), "UTF-8"),
        (b"\xef\xbb\xbf" + sound, "line 1"),
        (b"[" * 100_000, "nested"),
        (b'{"a":' * 100_000, "nested"),
        (b"[" * 1_000_000 + b"]" * 1_000_000, "nested"),
        (b'{"deadline_seconds": ' + b"9" * 5000 + b"}", "JSON"),
    ):
        answer = await world.client.post("/v1/jobs", content=body)
        assert said in problem(answer, 400, "invalid_json")["detail"], (body[:40], answer.text)
    assert await rows_of_jobs(world) == before


async def test_what_python_takes_for_json_and_nobody_else_does_is_refused(world: World) -> None:
    text = json.dumps(job_body())
    for old, new, path in (
        ('"seed": 7', '"seed": NaN', "input.request.seed"),
        ('"guidance_scale": 7.5', '"guidance_scale": Infinity', "input.request.guidance_scale"),
        ('"guidance_scale": 7.5', '"guidance_scale": -1e999', "input.request.guidance_scale"),
        ('"seed": 7', '"seed": 99999999999999999999', "input.request.seed"),
        ('"seed": 7', '"seed": 7, "nothing": NaN', "input.request.nothing"),
        ('"provider"', '"deadline_seconds": NaN, "provider"', "deadline_seconds"),
    ):
        assert old in text
        assert paths_of(await world.client.post("/v1/jobs", content=text.replace(old, new))) == {path}


async def test_text_that_can_not_be_stored_is_refused_wherever_it_stands(world: World) -> None:
    before = await rows_of_jobs(world)
    for broken, rule in (("\\u0000", "NUL"), ("\\ud800", "surrogate")):
        for body, path in (
            (job_body("a lighthouse BROKEN"), "input.request.prompt"),
            (job_body(metadata={"order": "BROKEN"}), "metadata.order"),
            (job_body(metadata={"BROKEN": "1"}), None),
            (job_body(destination="BROKEN"), "destination"),
            (job_body(provider="BROKEN"), "provider"),
            (job_body(operation="BROKEN"), "operation"),
            (job_body(webhook="https://consumer.example/BROKEN"), "webhook"),
            (job_body(webhook_events_filter=["BROKEN"]), "webhook_events_filter.0"),
            (job_body(BROKEN=1), None),
            (job_body(input={"BROKEN": {}}), None),
        ):
            text = json.dumps(body).replace("BROKEN", broken)
            answer = await world.client.post("/v1/jobs", content=text)
            errors = problem(answer, 422, "invalid_request")["errors"]
            assert any(rule in error["rule"] for error in errors), (text, errors)
            assert path is None or path in {error["path"] for error in errors}, (text, errors)
    assert await rows_of_jobs(world) == before


async def test_a_body_in_chunks_is_read_like_any_other(world: World) -> None:
    text = json.dumps(job_body()).encode()

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(text), 7):
            yield text[start : start + 7]

    answer = await world.client.post("/v1/jobs", content=pieces())
    assert answer.status_code == 202


@pytest.fixture
async def narrow(database_url: str, s3_server: S3Server, bucket: str) -> AsyncIterator[World]:
    """A world whose service takes small bodies only."""
    async with running_world(database_url, s3_server, bucket, GENRELAY_HTTP__MAX_BODY_BYTES="4096") as world:
        yield world


async def test_a_body_over_the_cap_is_refused_whether_its_length_is_told_or_not(narrow: World) -> None:
    exact = json.dumps(job_body()).ljust(4096)
    assert (await narrow.client.post("/v1/jobs", content=exact)).status_code == 202

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b" " * 100

    for content in (exact + " ", pieces(), b"x" * (8 * MIB)):
        answer = await narrow.client.post("/v1/jobs", content=content)
        assert "4096" in problem(answer, 413, "body_too_large")["detail"]
    assert await count(narrow, "jobs") == 1
    # Destinations are small whatever the operator allows for jobs.
    answer = await narrow.client.put("/v1/destinations/big", content=b" " * 70_000)
    problem(answer, 413, "body_too_large")
    assert (await narrow.client.get("/v1/jobs")).status_code == 200
