"""`genrelay destinations` and `genrelay check-bucket`, against a running service and a real S3 server."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from tests.cli.command import CommandLine, run
from tests.world import World, destination

ROLE = "arn:aws:iam::123456789012:role/customers/genrelay"


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
    assert "unchecked" in table.out
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
    options = ("--file", str(file), "--path", "from options", *auth)
    unchecked, put = [
        await genrelay("destinations", "put", "mine", *options, *more, "--json") for more in (("--no-check",), ())
    ]
    assert (put.status, unchecked.status) == (0, 0), put.err
    assert put.json["path"] == "from options"
    assert "mine is stored, but its check failed" in put.err.splitlines()[-1]
    assert "stored" not in unchecked.err
    human, machine = await asyncio.gather(
        genrelay("destinations", "check", "mine"), genrelay("check-bucket", "mine", "--json")
    )
    assert human.status == machine.status == 1
    assert "SignatureDoesNotMatch" in human.out
    told, page = await asyncio.gather(
        genrelay("destinations", "events", "mine"), genrelay("destinations", "events", "mine", "--json")
    )
    assert "SignatureDoesNotMatch" in told.out
    assert [event["type"] for event in page.json["data"]] == ["destination.failing"]
    assert machine.json["ok"] is False


async def test_a_destination_without_an_access_key_says_which_options_give_one(genrelay: CommandLine) -> None:
    ran = await genrelay("destinations", "put", "mine", "--bucket", "acme-renders", "--region", "us-east-1")
    assert ran.status == 2
    assert "AWS_SECRET_ACCESS_KEY" in ran.err


async def test_a_destination_with_a_role_is_made_and_its_policies_are_printed(
    genrelay: CommandLine, world: World, tmp_path: Path
) -> None:
    body = tmp_path / "body.json"
    body.write_text(json.dumps({"bucket": "acme-renders", "region": "eu-central-1", "path": "a'b", "tags": {"a": "b"}}))
    template = "{date}/{job_id}-{index:02}.{ext}"
    options = ("--file", str(body), "--role-arn", ROLE, "--key-template", template, "--manifest", "--no-check")
    made = await genrelay.json("destinations", "put", "theirs", *options)
    assert made["auth"]["role_arn"] == ROLE
    assert (made["key_template"], made["manifest"]) == (template, True)
    external_id = made["auth"]["external_id"]
    human, whole, trust, permissions, terraform, quoted, two = await asyncio.gather(
        genrelay("destinations", "policy", "theirs"),
        genrelay("destinations", "policy", "theirs", "--json"),
        genrelay("destinations", "policy", "theirs", "--trust"),
        genrelay("destinations", "policy", "theirs", "--permissions"),
        genrelay("destinations", "policy", "theirs", "--terraform"),
        genrelay("destinations", "policy", "theirs", "--terraform", "--json"),
        genrelay("destinations", "policy", "theirs", "--terraform", "--trust"),
    )
    assert [one.status for one in (human, whole, trust, permissions, terraform, quoted, two)] == [0] * 6 + [2]
    assert whole.json["external_id"] == external_id
    assert external_id in human.out
    assert "s3:PutObjectTagging" in human.out
    # These are to be pasted as they are.
    assert trust.json == whole.json["trust_policy"]
    assert permissions.json == whole.json["permission_policy"]
    assert terraform.out.rstrip() == whole.json["terraform"].rstrip()
    assert quoted.json == whole.json["terraform"]
    assert "give one of them" in two.err


async def test_the_policies_of_an_access_key_have_nobody_to_trust(genrelay: CommandLine) -> None:
    human, trust, unknown = await asyncio.gather(
        genrelay("destinations", "policy", "acme"),
        genrelay("destinations", "policy", "acme", "--trust", "--json"),
        genrelay("destinations", "policy", "nowhere"),
    )
    assert [one.status for one in (human, trust, unknown)] == [0, 1, 1]
    assert "Trust policy" not in human.out
    assert "there is no trust policy" in trust.err
    assert "there is no such destination" in unknown.err


async def test_only_one_kind_of_credentials_is_given_and_the_service_says_whether_it_is_allowed(
    genrelay: CommandLine,
) -> None:
    place = ("--bucket", "acme-renders", "--region", "us-east-1")
    both, own = await asyncio.gather(
        genrelay("destinations", "put", "mine", *place, "--ambient", "--role-arn", ROLE),
        genrelay("destinations", "put", "mine", *place, "--ambient"),
    )
    assert both.status == 2
    assert "give one of them" in both.err
    assert own.status == 1
    assert "GENRELAY_OUTPUTS__AMBIENT_ACCOUNTS" in own.err
