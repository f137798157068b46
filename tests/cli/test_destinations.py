"""`genrelay destinations` and `genrelay check-bucket`, against a running service and a real S3 server."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from tests.cli.command import CommandLine, run
from tests.world import World, destination


async def test_a_destination_is_made_from_options_shown_listed_checked_and_deleted(
    genrelay: CommandLine, world: World
) -> None:
    secret = world.s3.secret_access_key
    environment = {
        **genrelay.environment,
        "AWS_ACCESS_KEY_ID": world.s3.access_key_id,
        "AWS_SECRET_ACCESS_KEY": secret,
    }
    options = ("--bucket", world.bucket, "--region", world.s3.region, "--endpoint-url", world.s3.endpoint_url)
    made = await run("destinations", "put", "mine", *options, "--path", "a/b", environment=environment)
    assert made.status == 0, made.err
    shown, got, table, page, checked, report = ran = await asyncio.gather(
        genrelay("destinations", "get", "mine"),
        genrelay("destinations", "get", "mine", "--json"),
        genrelay("destinations", "list"),
        genrelay("destinations", "list", "--json"),
        genrelay("check-bucket", "mine"),
        genrelay("destinations", "check", "mine", "--json"),
    )
    assert [one.status for one in ran] == [0] * 6
    assert world.bucket in shown.out
    assert got.json["path"] == "a/b"
    assert "mine" in table.out
    assert [one["name"] for one in page.json["data"]] == ["acme", "mine"]
    assert "conditional_put" in checked.out
    assert report.json["ok"] is True
    assert not any(secret in one.out + one.err for one in (made, *ran))
    assert world.keys() == []

    deleted = await genrelay.json("destinations", "delete", "mine")
    gone = await genrelay("destinations", "delete", "mine")
    assert deleted == {"name": "mine", "deleted": True}
    assert gone.status == 1
    assert "there is no such destination" in gone.err


async def test_a_bucket_that_cannot_be_written_is_exit_status_1_with_what_s3_said(
    genrelay: CommandLine, world: World, tmp_path: Path
) -> None:
    file, secret = tmp_path / "body.json", tmp_path / "secret"
    file.write_text(json.dumps({**destination(world.s3, world.bucket), "path": "from the file"}))
    secret.write_text("not-the-secret-of-this-key\n")
    auth = ("--access-key-id", world.s3.access_key_id, "--secret-access-key-file", str(secret))
    made = await genrelay.json("destinations", "put", "mine", "--file", str(file), "--path", "from options", *auth)
    assert made["path"] == "from options"
    human, machine = await asyncio.gather(
        genrelay("destinations", "check", "mine"), genrelay("check-bucket", "mine", "--json")
    )
    assert human.status == machine.status == 1
    assert "SignatureDoesNotMatch" in human.out
    assert machine.json["ok"] is False


async def test_a_destination_without_an_access_key_says_which_options_give_one(genrelay: CommandLine) -> None:
    ran = await genrelay("destinations", "put", "mine", "--bucket", "acme-renders", "--region", "us-east-1")
    assert ran.status == 2
    assert "AWS_SECRET_ACCESS_KEY" in ran.err
