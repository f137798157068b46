"""Operations that only the settings know, that are switched off, and that have moved."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import httpx
import pytest

from service.demo.s3server import S3Server
from service.engine.context import Context
from service.engine.copying import copy
from service.engine.judge import look_up, settle
from service.engine.submit import submit
from service.providers.contract import Operation, OperationConfig
from service.providers.novita import Novita
from service.providers.novita.tasks.added import describe_added
from service.providers.registry import PROVIDERS
from tests.engine.driven import Driven, driven_world, event, uuid
from tests.world import running_world, until

OPERATIONS = "GENRELAY_PROVIDERS__NOVITA__OPERATIONS__"
VIDEO = {
    OPERATIONS + "WAN_T2V__PATH": "/v3/async/wan-t2v",
    OPERATIONS + "WAN_T2V__OUTPUTS": "video",
    OPERATIONS + "TXT2SPEECH__PATH": "/v3/async/txt2speech",
    OPERATIONS + "TXT2SPEECH__OUTPUTS": "audio",
    OPERATIONS + "TXT2SPEECH__WEBHOOK": "true",
    "GENRELAY_RECONCILE__FIRST_SECONDS": "0.3",
}

REALTIME = {
    "GENRELAY_PROVIDERS__MODELSLAB__OPERATIONS__REALTIME_TEXT2IMG__PATH": "/api/v1/enterprise/realtime/text2img"
}


def realtime() -> dict[str, Any]:
    """Return what makes a job one for an added operation of ModelsLab, whose callback is lost."""
    text2img = {"prompt": "a lighthouse [fault:lost]", "width": 64, "height": 64}
    return {"provider": "modelslab", "operation": "realtime-text2img", "input": text2img}


def job(operation: str, **given: Any) -> dict[str, Any]:
    """Return what makes a job one for an added operation."""
    return {"operation": operation, "input": {"request": {"prompt": "a lighthouse at dawn"}, **given}}


async def test_an_added_operation_is_polled_or_calls_back_and_its_outputs_are_stored(
    database_url: str, s3_server: S3Server, bucket: str
) -> None:
    async with running_world(database_url, s3_server, bucket, **VIDEO) as world:
        video = await world.run(**job("wan-t2v"))
        audio = await world.run(**job("txt2speech"))
        [film], [sound] = video["outputs"], audio["outputs"]
        assert (film["kind"], film["media_type"], film["status"]) == ("video", "video/mp4", "stored")
        assert (sound["kind"], sound["media_type"], sound["status"]) == ("audio", "audio/wav", "stored")
        assert (await world.verdicts(video), await world.verdicts(audio)) == ([], ["confirmed"])
        assert world.keys() == sorted([film["key"], sound["key"]])


async def test_an_added_operation_that_answers_with_its_images_has_them_stored(
    database_url: str, s3_server: S3Server, bucket: str
) -> None:
    more = {OPERATIONS + "SEEDREAM_5__PATH": "/v3/async/seedream-5"}
    async with driven_world(database_url, s3_server, bucket, **more) as driven:
        asked = {"operation": "seedream-5", "input": {"prompt": "a lighthouse at dawn", "size": "2048x2048"}}
        waiting = await driven.submit(**asked)
        # No path that the settings take leads to such an endpoint, as far as the documentation goes.
        operation = Operation("seedream-5", "/v3/seedream-4.5", {}, takes_webhook=False, outputs_anywhere=True)
        novita = Novita({"seedream-5": describe_added(operation)})
        await submit(replace(driven.context, providers={"novita": novita}), uuid(waiting))
        ended = await driven.drive(waiting)
        assert (ended["status"], ended["verified_by"], ended["provider_task_id"]) == ("succeeded", "sync", None)
        assert [output["status"] for output in ended["outputs"]] == ["stored"]
        assert len(driven.sandbox.paid) == len(driven.keys()) == 1


async def test_a_test_job_of_an_added_operation_never_reaches_the_provider(
    database_url: str, s3_server: S3Server, bucket: str
) -> None:
    async with running_world(database_url, s3_server, bucket, **VIDEO) as world:
        mode = {"enabled": True, "return_task_status": "TASK_STATUS_SUCCEED"}
        ended = await world.run(**job("wan-t2v"), test_mode=mode)
        assert (ended["status"], ended["outputs"][0]["kind"], ended["outputs"][0]["status"]) == (
            "succeeded",
            "video",
            "mock",
        )
        assert world.sandbox.submits == []


async def test_an_added_operation_of_modelslab_is_polled_at_its_own_place(
    database_url: str, s3_server: S3Server, bucket: str
) -> None:
    async with driven_world(database_url, s3_server, bucket, **REALTIME) as driven:
        running = await driven.sent("", **realtime())
        assert driven.sandbox.submits[0].endpoint == "realtime/text2img"
        asked = _places_asked(driven)
        await _finished(driven, running)
        ended = await driven.drive(running)
        assert (ended["status"], ended["verified_by"], len(driven.keys())) == ("succeeded", "readback", 1)
        assert asked == [f"/api/v1/enterprise/realtime/fetch/{running['provider_task_id']}"]


async def test_a_task_of_an_operation_that_nobody_knows_any_more_is_looked_for_nowhere_else(
    database_url: str, s3_server: S3Server, bucket: str
) -> None:
    """At ModelsLab another task may have the same number in another place, and no echo would tell."""
    async with driven_world(database_url, s3_server, bucket, **REALTIME) as driven:
        running = await driven.sent("", **realtime())
        restarted = replace(driven.context, providers={**driven.context.providers, "modelslab": PROVIDERS["modelslab"]})
        await _finished(driven, running)
        await driven.post(running, event(running["provider_task_id"], provider="modelslab"))
        for task in (settle, look_up, look_up):
            await driven.make_due(running)
            await task(restarted, uuid(running))
        assert ((await driven.job(running))["status"], driven.lookups(running)) == ("running", 0)
        await driven.later(running, 3600)
        await look_up(restarted, uuid(running))
        ended = await driven.job(running)
        assert (ended["status"], ended["error"]["code"]) == ("failed", "deadline_exceeded")
        assert (driven.lookups(running), driven.keys()) == (0, [])


def _places_asked(driven: Driven) -> list[str]:
    """Return a list that the paths of all calls to providers from now on are added to."""
    paths: list[str] = []

    async def note(request: httpx.Request) -> None:
        paths.append(request.url.path)

    driven.context.provider_client.event_hooks = {"request": [note], "response": []}
    return paths


@pytest.mark.parametrize("request_", [None, True, 0, 1.5, "x", [], [1], {}])
async def test_whatever_an_added_operation_is_given_is_taken_or_refused(
    database_url: str, s3_server: S3Server, bucket: str, request_: Any
) -> None:
    async with driven_world(database_url, s3_server, bucket, **VIDEO) as driven:
        body = {"provider": "novita", "operation": "wan-t2v", "destination": "acme", "input": {"request": request_}}
        assert (await driven.client.post("/v1/jobs", json=body)).status_code in {202, 422}


async def test_an_operation_that_is_switched_off_is_not_offered(
    database_url: str, s3_server: S3Server, bucket: str
) -> None:
    async with driven_world(database_url, s3_server, bucket, **{OPERATIONS + "TXT2IMG__ENABLED": "false"}) as driven:
        body = {"provider": "novita", "operation": "txt2img", "destination": "acme", "input": {}}
        answer = await driven.client.post("/v1/jobs", json=body)
        assert answer.status_code == 422
        assert [mistake["path"] for mistake in answer.json()["errors"]] == ["operation"]
        listed = (await driven.client.get("/v1/providers")).json()["data"]
        assert "txt2img" not in [o["name"] for p in listed if p["name"] == "novita" for o in p["operations"]]


async def test_a_queued_job_whose_operation_is_switched_off_ends_without_being_sent(
    database_url: str, s3_server: S3Server, bucket: str
) -> None:
    async with driven_world(database_url, s3_server, bucket) as driven:
        waiting = await driven.submit()
        await submit(_restarted_without(driven, waiting), uuid(waiting))
        ended = await driven.job(waiting)
        assert (ended["status"], ended["error"]["code"], ended["verified_by"]) == (
            "failed",
            "provider_unavailable",
            None,
        )
        assert driven.sandbox.submits == []


@pytest.mark.parametrize("provider", ["novita", "modelslab"])
async def test_a_running_job_goes_on_when_its_operation_is_switched_off(
    database_url: str, s3_server: S3Server, bucket: str, provider: str
) -> None:
    text2img = {"model_id": "sdxl", "prompt": "a lighthouse [fault:lost]", "width": 64, "height": 64}
    asked = {"provider": provider, "operation": "text2img", "input": text2img} if provider == "modelslab" else {}
    async with driven_world(database_url, s3_server, bucket) as driven:
        running = await driven.sent("a lighthouse [fault:lost]", **asked)
        restarted = _restarted_without(driven, running)
        await _finished(driven, running)
        for task in (look_up, copy):
            await driven.make_due(running)
            await task(restarted, uuid(running))
        assert (await driven.job(running))["status"] == "succeeded"


def _restarted_without(driven: Driven, job: dict[str, Any]) -> Context:
    """Return what the tasks work with after a restart that has switched the job's operation off."""
    name = job["provider"]
    off = driven.context.provider(name).configured({job["operation"]: OperationConfig(enabled=False)})
    return replace(driven.context, providers={**driven.context.providers, name: off})


async def _finished(driven: Driven, job: dict[str, Any]) -> None:
    """Wait until the provider is done with a job's task."""

    async def look() -> bool:
        return driven.sandbox.tasks[job["provider_task_id"]].finished_at is not None

    await until(look)


async def test_an_operation_that_has_moved_is_asked_for_at_its_new_place(
    database_url: str, s3_server: S3Server, bucket: str
) -> None:
    moved = {OPERATIONS + "SEEDREAM_4_0__PATH": "/v3/seedream-4.5"}
    async with running_world(database_url, s3_server, bucket, **moved) as world:
        given = {"operation": "seedream-4.0", "input": {"prompt": "a lighthouse at dawn", "size": "2048x2048"}}
        assert (await world.run(**given))["status"] == "succeeded"
        assert [submit.endpoint for submit in world.sandbox.submits] == ["seedream-4.5"]
