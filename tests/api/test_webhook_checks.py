"""`POST /v1/webhook-checks`, with real test jobs at the sandbox and real callbacks."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from service.demo.s3server import S3Server
from service.sandbox import SandboxSettings
from tests.api.answers import paths_of, problem, rows_of_jobs
from tests.engine.driven import driven_world
from tests.listening import http_answer, listening
from tests.world import World, running_world, until

OF_THE_URL = ["public_url_set", "public_url_resolves", "public_url_reachable", "tls_valid", "token_accepted"]
OF_A_JOB = ["job_submitted", "callback_arrived", "callback_parsed", "status_as_asked"]
BOTH = ["TASK_STATUS_SUCCEED", "TASK_STATUS_FAILED"]
FIELDS = {"step", "ok", "code", "message", "hint", "seconds", "job_id", "return_task_status"}


async def check(client: httpx.AsyncClient, **body: Any) -> dict[str, Any]:
    """Return the report of a check."""
    answer = await client.post("/v1/webhook-checks", json={"provider": "novita", **body})
    assert answer.status_code == 200, answer.text
    report: dict[str, Any] = answer.json()
    assert set(report) == {"object", "provider", "operation", "public_url", "ok", "seconds", "steps"}
    assert all(set(step) == FIELDS for step in report["steps"])
    assert report["ok"] is all(step["ok"] is not False for step in report["steps"])
    assert report["object"] == "webhook_check"
    return report


def codes(report: dict[str, Any]) -> dict[str, str | None]:
    """Return the code of each step of a report with one status at most."""
    return {step["step"]: step["code"] for step in report["steps"]}


async def test_every_step_of_a_good_setup_is_ok_for_both_statuses(world: World) -> None:
    report = await check(world.client)
    assert [step["step"] for step in report["steps"]] == [*OF_THE_URL, *OF_A_JOB, *OF_A_JOB]
    assert [step["ok"] for step in report["steps"]] == [True] * 13, report
    assert [step["return_task_status"] for step in report["steps"]] == [None] * 5 + [BOTH[0]] * 4 + [BOTH[1]] * 4
    assert report["ok"] is True
    assert (report["operation"], report["public_url"]) == ("txt2img", world.url)
    assert 0 < report["seconds"] < 30
    arrived = [step for step in report["steps"] if step["step"] == "callback_arrived"]
    assert all(0 <= step["seconds"] < 10 for step in arrived)


async def test_the_jobs_of_a_check_are_ordinary_test_jobs_and_nothing_is_paid(world: World) -> None:
    report = await check(world.client)
    ended = {}
    for status, step in zip(BOTH, [s for s in report["steps"] if s["step"] == "job_submitted"], strict=True):
        job = await world.job({"id": step["job_id"]})
        assert job["test"] is True
        assert job["verified_by"] == "token"
        assert job["metadata"] == {"genrelay": "webhook-check"}
        ended[status] = job["status"]
        assert await world.verdicts(job) == ["mock"], "the probe is no callback of a job"
    assert ended == {BOTH[0]: "succeeded", BOTH[1]: "failed"}
    assert world.sandbox.paid == []
    assert world.keys() == []
    assert await world.service.pool.fetchval("SELECT count(*) FROM callbacks") == 2, "the probe does not stay"


async def test_operation_and_status_can_be_chosen(world: World) -> None:
    report = await check(world.client, operation="img2img", return_task_status=[BOTH[1], BOTH[1]])
    assert report["ok"] is True, report
    assert report["operation"] == "img2img"
    assert [step["step"] for step in report["steps"]] == [*OF_THE_URL, *OF_A_JOB]
    job = await world.job({"id": report["steps"][-1]["job_id"]})
    assert (job["operation"], job["status"]) == ("img2img", "failed")


async def test_every_operation_of_every_provider_can_be_checked(
    database_url: str, s3_server: S3Server, bucket: str
) -> None:
    # Mocks of our own ask nothing of the provider, so they need no key either.
    more = {
        "GENRELAY_PROVIDERS__MODELSLAB__API_KEY": "",
        "GENRELAY_PROVIDERS__NOVITA__OPERATIONS__KLING__PATH": "/v3/async/kling",
        "GENRELAY_PROVIDERS__MODELSLAB__OPERATIONS__UPSCALE__PATH": "/api/v1/enterprise/upscale",
    }
    async with running_world(database_url, s3_server, bucket, **more) as world:
        listed = (await world.client.get("/v1/providers")).json()["data"]
        known = [(provider["name"], operation["name"]) for provider in listed for operation in provider["operations"]]
        assert {("novita", "kling"), ("modelslab", "upscale"), ("novita", "seedream-4.0")} <= set(known)
        for provider, operation in known:
            report = await check(world.client, provider=provider, operation=operation)
            assert [step["ok"] for step in report["steps"]] == [True] * 13, report
        assert world.sandbox.paid == []


async def test_nothing_of_a_report_is_a_secret(world: World) -> None:
    answer = await world.client.post("/v1/webhook-checks", json={"provider": "novita"})
    assert "/v1/callbacks" not in answer.text
    for submit in world.sandbox.submits:
        assert str(submit.callback_url).rpartition("/")[2] not in answer.text


@pytest.mark.parametrize(
    ("given", "paths"),
    [
        ({}, {"provider"}),
        ([], {"body"}),
        ({"provider": "nobody"}, {"provider"}),
        ({"provider": 7, "statuses": []}, {"provider", "statuses"}),
        ({"provider": "novita", "operation": "paint"}, {"operation"}),
        ({"provider": "novita", "operation": 1, "return_task_status": "x"}, {"operation", "return_task_status"}),
        ({"provider": "novita", "return_task_status": []}, {"return_task_status"}),
        ({"provider": "novita", "return_task_status": ["DONE"]}, {"return_task_status.0"}),
        ({"provider": "novita", "operation": "a\x00b", "key": "x"}, {"operation", "key"}),
    ],
)
async def test_a_wrong_request_is_told_all_its_mistakes_and_sends_nothing(
    world: World, given: Any, paths: set[str]
) -> None:
    before = await rows_of_jobs(world)
    assert paths_of(await world.client.post("/v1/webhook-checks", json=given)) == paths
    assert await rows_of_jobs(world) == before
    assert world.sandbox.submits == []


async def test_a_body_that_is_no_json_is_told_so(world: World) -> None:
    problem(await world.client.post("/v1/webhook-checks", content=b"{"), 400, "invalid_json")


async def test_without_a_public_url_the_report_says_what_to_set(
    database_url: str, s3_server: S3Server, bucket: str
) -> None:
    async with running_world(database_url, s3_server, bucket, GENRELAY_PUBLIC_URL="") as world:
        report = await check(world.client)
        assert (report["ok"], report["public_url"]) == (False, None)
        first, *others = report["steps"]
        assert (first["step"], first["ok"], first["code"]) == ("public_url_set", False, "not_set")
        assert "GENRELAY_PUBLIC_URL" in first["hint"]
        assert len(others) == 12
        assert {(step["ok"], step["code"]) for step in others} == {(None, "skipped")}
        assert world.sandbox.submits == []


async def test_without_the_providers_key_the_report_says_so(
    database_url: str, s3_server: S3Server, bucket: str
) -> None:
    more = {"GENRELAY_PROVIDERS__NOVITA__API_KEY": ""}
    async with running_world(database_url, s3_server, bucket, **more) as world:
        report = await check(world.client, return_task_status=[BOTH[0]])
    assert report["ok"] is False
    submitted, *after = report["steps"][5:]
    assert (submitted["step"], submitted["ok"], submitted["code"]) == ("job_submitted", False, "no_api_key")
    assert [step["code"] for step in after] == ["skipped"] * 3


async def test_a_key_that_the_provider_refuses_is_told_in_its_own_words(
    database_url: str, s3_server: S3Server, bucket: str
) -> None:
    async with running_world(database_url, s3_server, bucket, sandbox=SandboxSettings(api_key="another key")) as world:
        report = await check(world.client, return_task_status=[BOTH[0]])
    [submitted] = [step for step in report["steps"] if step["step"] == "job_submitted"]
    assert (submitted["ok"], submitted["code"]) == (False, "provider_rejected")
    assert "INVALID_API_KEY" in submitted["message"]
    assert codes(report)["callback_arrived"] == "skipped"


async def test_a_provider_that_cannot_post_to_us_is_the_cause_that_is_named(
    database_url: str, s3_server: S3Server, bucket: str
) -> None:
    async def refuse(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(http_answer(403, b"<html>log in first</html>"))
        await writer.drain()

    async with listening(refuse) as gate:
        public = {"GENRELAY_PUBLIC_URL": f"http://127.0.0.1:{gate.port}"}
        async with running_world(database_url, s3_server, bucket, **public) as world:
            report = await check(world.client, return_task_status=[BOTH[0]])
    steps = {step["step"]: step for step in report["steps"]}
    assert report["ok"] is False
    assert steps["public_url_reachable"]["ok"] is True
    assert steps["token_accepted"]["code"] == "http_403"
    assert "credentials" in steps["token_accepted"]["message"]
    assert steps["job_submitted"]["code"] == "submit_unclear"
    assert "HTTP 500" in steps["job_submitted"]["message"]
    assert (steps["callback_arrived"]["ok"], steps["callback_arrived"]["code"]) == (False, "no_callback")
    assert steps["callback_parsed"]["code"] == "skipped"
    assert report["seconds"] < 50


async def test_an_account_has_one_check_at_a_time_and_another_account_its_own(
    database_url: str, s3_server: S3Server, bucket: str
) -> None:
    hold = asyncio.Event()

    async def wait(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await hold.wait()

    async with listening(wait) as gate:
        public = {"GENRELAY_PUBLIC_URL": f"http://127.0.0.1:{gate.port}"}
        async with running_world(database_url, s3_server, bucket, **public) as world:
            first = asyncio.create_task(check(world.client))

            async def is_probing() -> bool:
                return bool(gate.requests)

            await until(is_probing)
            second = await world.client.post("/v1/webhook-checks", json={"provider": "novita"})
            problem(second, 429, "too_many_checks")
            assert 1 <= int(second.headers["retry-after"]) <= 50
            before = len(gate.requests)
            other = asyncio.create_task(check(world.stranger))

            async def is_probing_too() -> bool:
                return len(gate.requests) > before

            await until(is_probing_too)
            first.cancel()
            other.cancel()
            hold.set()
            await asyncio.gather(first, other, return_exceptions=True)


@pytest.mark.parametrize("leaving", ["draining", "released"])
async def test_a_service_that_is_about_to_stop_sends_a_check_elsewhere_and_makes_no_job(
    world: World, leaving: str
) -> None:
    if leaving == "draining":
        assert world.service.engine is not None
        await world.service.engine.stop()
        assert (await world.client.get("/readyz")).status_code == 503
    else:
        world.service.endings.release()
    answer = await world.client.post("/v1/webhook-checks", json={"provider": "novita"})
    assert "about to stop" in problem(answer, 503, "unavailable")["detail"]
    assert int(answer.headers["retry-after"]) > 0
    assert (await rows_of_jobs(world))["jobs"] == 0


async def test_a_check_that_the_stop_cuts_short_blames_no_worker(
    database_url: str, s3_server: S3Server, bucket: str
) -> None:
    async with driven_world(database_url, s3_server, bucket) as world:
        body = {"provider": "novita", "return_task_status": [BOTH[0]]}
        checking = asyncio.create_task(world.client.post("/v1/webhook-checks", json=body))

        async def is_waiting() -> bool:
            return (await rows_of_jobs(world))["jobs"] == 1

        await until(is_waiting)
        world.service.endings.release()
        answer = await checking
    assert "about to stop" in problem(answer, 503, "unavailable")["detail"]
    assert int(answer.headers["retry-after"]) > 0


async def test_a_strangers_check_makes_jobs_of_his_own(world: World) -> None:
    report = await check(world.stranger, return_task_status=[BOTH[0]])
    assert report["ok"] is True
    problem(await world.client.get(f"/v1/jobs/{report['steps'][-1]['job_id']}"), 404, "not_found")
    assert (await world.client.get("/v1/jobs")).json()["data"] == []
