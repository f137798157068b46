"""`genrelay check-webhook`, against a running service."""

from __future__ import annotations

from service.demo.s3server import S3Server
from tests.cli.command import CommandLine
from tests.world import running_world


async def test_a_good_setup_is_exit_status_0_with_every_step_in_a_table(genrelay: CommandLine) -> None:
    human = await genrelay("check-webhook", "novita")
    assert human.status == 0, human.err
    for step in ("public_url_set", "tls_valid", "token_accepted", "callback_arrived", "status_as_asked"):
        assert step in human.out
    assert human.out.count("callback_arrived") == 2
    assert human.out.rstrip().endswith("Callbacks arrive.")
    assert human.err == ""


async def test_json_is_the_services_own_report_and_options_choose_what_is_tried(genrelay: CommandLine) -> None:
    report = await genrelay.json("check-webhook", "novita", "--operation", "img2img", "--status", "failed")
    assert report["object"] == "webhook_check"
    assert (report["provider"], report["operation"], report["ok"]) == ("novita", "img2img", True)
    assert [step["return_task_status"] for step in report["steps"][5:]] == ["TASK_STATUS_FAILED"] * 4


async def test_a_bad_setup_is_exit_status_1_and_says_what_to_do(
    database_url: str, s3_server: S3Server, bucket: str
) -> None:
    async with running_world(database_url, s3_server, bucket, GENRELAY_PUBLIC_URL="") as world:
        genrelay = CommandLine(world)
        human = await genrelay("check-webhook", "novita", "--status", "succeed")
        machine = await genrelay("check-webhook", "novita", "--json")
    assert human.status == machine.status == 1
    assert "not_set" in human.out
    assert "Set GENRELAY_PUBLIC_URL" in human.out
    assert machine.json["ok"] is False


async def test_wrong_names_are_told_by_the_service(genrelay: CommandLine) -> None:
    wrong = await genrelay("check-webhook", "nobody", "--status", "maybe")
    assert wrong.status == 1
    assert wrong.out == ""
    assert "provider: must be one of novita" in wrong.err
    assert "return_task_status.0" in wrong.err


async def test_the_provider_may_be_left_out_when_the_service_has_the_key_of_one(
    database_url: str, s3_server: S3Server, bucket: str
) -> None:
    keys = {"GENRELAY_PROVIDERS__NOVITA__API_KEY": "sandbox-key", "GENRELAY_PROVIDERS__MODELSLAB__API_KEY": ""}
    async with running_world(database_url, s3_server, bucket, **keys) as world:
        report = await CommandLine(world).json("check-webhook")
    assert (report["provider"], report["ok"]) == ("novita", True)


async def test_the_provider_is_asked_for_when_it_is_not_clear_which(
    database_url: str, s3_server: S3Server, bucket: str
) -> None:
    keys = {"GENRELAY_PROVIDERS__NOVITA__API_KEY": "", "GENRELAY_PROVIDERS__MODELSLAB__API_KEY": ""}
    async with running_world(database_url, s3_server, bucket, **keys) as world:
        nameless = await CommandLine(world)("check-webhook")
    assert nameless.status == 2
    assert "which provider?: this service has no provider's key" in nameless.err
