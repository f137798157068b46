"""`genrelay destinations` and `genrelay check-bucket`: customers' buckets, over HTTP."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from service.cli.documents import name_of, read_bytes, read_document
from service.cli.failures import ExitStatus, Failure
from service.cli.output import Json, answering, complain
from service.cli.service_client import open_service, place

app = typer.Typer(no_args_is_help=True, help="Buckets that outputs go to.")

Name = Annotated[str, typer.Argument(help="The destination's name.")]


@app.command()
def put(
    name: Name,
    file: Annotated[
        str | None, typer.Option(help="The body of PUT /v1/destinations/{name} as JSON; - reads standard input.")
    ] = None,
    bucket: Annotated[str | None, typer.Option(help="The bucket.")] = None,
    region: Annotated[str | None, typer.Option(help="Its region.")] = None,
    path: Annotated[str | None, typer.Option(help="What the keys of all objects begin with.")] = None,
    endpoint_url: Annotated[str | None, typer.Option(help="For S3 servers other than Amazon's.")] = None,
    access_key_id: Annotated[str | None, typer.Option(help="Default: AWS_ACCESS_KEY_ID.")] = None,
    secret_file: Annotated[
        str | None,
        typer.Option(
            "--secret-access-key-file", help="Holds the secret; - reads standard input. Default: AWS_SECRET_ACCESS_KEY."
        ),
    ] = None,
    role_arn: Annotated[
        str | None,
        typer.Option(help="Instead of an access key: the role to take. `policy` prints what it has to allow."),
    ] = None,
    ambient: Annotated[
        bool, typer.Option("--ambient", help="Instead of an access key: the service's own AWS credentials.")
    ] = False,
    key_template: Annotated[
        str | None, typer.Option(help="How keys are made, as in '{date}/{job_id}-{index:02}.{ext}'.")
    ] = None,
    manifest: Annotated[
        bool | None, typer.Option("--manifest/--no-manifest", help="Write a manifest.json beside each job's outputs.")
    ] = None,
    check: Annotated[bool, typer.Option("--check/--no-check", help="Try the bucket at once, for real.")] = True,
    as_json: Json = False,
) -> None:
    """Make or replace a destination; what options say wins over the file. The secret is never shown again.

    The destination is stored whatever its check says: the exit status is 0 also
    when the check failed, which the last line on standard error tells, and
    `check` in the JSON. `destinations check` has exit status 1 then.
    """
    from service.cli.drawing import draw_destination

    with answering(as_json) as output:
        body = {} if file is None else read_document(file)
        given = {
            "bucket": bucket,
            "region": region,
            "path": path,
            "endpoint_url": endpoint_url,
            "key_template": key_template,
            "manifest": manifest,
        }
        body |= {field: value for field, value in given.items() if value is not None}
        asked = _Credentials(access_key_id, secret_file, role_arn, ambient)
        if "auth" not in body or asked.given:
            body["auth"] = _read_auth(asked)
        params = {} if check else {"check": "false"}
        made = open_service().call("PUT", place("destinations", name), body=body, params=params)
        output.show(made, draw_destination)
        report = made.get("check")
        if report and not report["ok"]:
            complain(
                f"genrelay: {name} is stored, but its check failed; correct it, then: genrelay check-bucket {name}"
            )


@app.command()
def get(name: Name, as_json: Json = False) -> None:
    """Show a destination, without its secret."""
    from service.cli.drawing import draw_destination

    with answering(as_json) as output:
        output.show(open_service().get(place("destinations", name)), draw_destination)


@app.command("list")
def list_destinations(
    limit: Annotated[int, typer.Option(min=1, max=100, help="So many at most.")] = 20,
    cursor: Annotated[str | None, typer.Option(help="Where the page before ended.")] = None,
    as_json: Json = False,
) -> None:
    """List destinations by name."""
    from service.cli.drawing import draw_destinations

    with answering(as_json) as output:
        output.show(open_service().get("/v1/destinations", limit=limit, cursor=cursor), draw_destinations)


@app.command()
def delete(name: Name, as_json: Json = False) -> None:
    """Delete a destination; nothing in its bucket is touched, and jobs under way still reach it."""
    with answering(as_json) as output:
        open_service().call("DELETE", place("destinations", name))
        output.show({"name": name, "deleted": True}, lambda _: f"{name} is deleted")


@app.command()
def check(name: Name, as_json: Json = False) -> None:
    """Write, read and delete a probe in the bucket, for real; exit status 1 unless all of it works."""
    from service.cli.drawing import draw_check

    with answering(as_json) as output:
        report = open_service().call("POST", place("destinations", name, "check"))
        output.show(report, draw_check)
        if not report["ok"]:
            raise typer.Exit(ExitStatus.FAILED)


@app.command()
def events(
    name: Name,
    limit: Annotated[int, typer.Option(min=1, max=100, help="So many at most.")] = 20,
    cursor: Annotated[str | None, typer.Option(help="Where the page before ended.")] = None,
    as_json: Json = False,
) -> None:
    """List when a destination began to fail and when it recovered, oldest first."""
    from service.cli.drawing import draw_destination_events

    with answering(as_json) as output:
        page = open_service().get(place("destinations", name, "events"), limit=limit, cursor=cursor)
        output.show(page, draw_destination_events)


def check_bucket(name: Name, as_json: Json = False) -> None:
    """Check a destination's bucket: the same as `destinations check`."""
    check(name, as_json)


@app.command()
def policy(
    name: Name,
    trust: Annotated[bool, typer.Option("--trust", help="Only the trust policy of the role.")] = False,
    permissions: Annotated[bool, typer.Option("--permissions", help="Only the permission policy.")] = False,
    terraform: Annotated[bool, typer.Option("--terraform", help="Only the Terraform configuration.")] = False,
    as_json: Json = False,
) -> None:
    """Print the IAM policies that the bucket's owner has to create, with only the actions that are used."""
    from service.cli.drawing_policy import draw_policy, draw_policy_part

    with answering(as_json) as output:
        parts = {"trust_policy": trust, "permission_policy": permissions, "terraform": terraform}
        asked = [part for part, wanted in parts.items() if wanted]
        if len(asked) > 1:
            raise Failure("--trust, --permissions and --terraform: give one of them", status=ExitStatus.USAGE)
        found = open_service().get(place("destinations", name, "policy"))
        if not asked:
            output.show(found, draw_policy)
        elif found[asked[0]] is None:
            raise Failure("there is no trust policy", hint="Only a destination that takes a role has one.")
        elif as_json:
            output.show(found[asked[0]], str)
        else:
            # As it is, without the wrapping of what is drawn: it is to be pasted or piped.
            print(draw_policy_part(found[asked[0]]))


@dataclass(frozen=True)
class _Credentials:
    """What options say about credentials."""

    access_key_id: str | None
    secret_file: str | None
    role_arn: str | None
    ambient: bool

    @property
    def given(self) -> bool:
        return self.has_key or self.role_arn is not None or self.ambient

    @property
    def has_key(self) -> bool:
        return bool(self.access_key_id or self.secret_file)


def _read_auth(asked: _Credentials) -> dict[str, Any]:
    if asked.has_key + (asked.role_arn is not None) + asked.ambient > 1:
        raise Failure("an access key, --role-arn, --ambient: give one of them", status=ExitStatus.USAGE)
    if asked.role_arn is not None:
        return {"type": "assume_role", "role_arn": asked.role_arn}
    return {"type": "ambient"} if asked.ambient else _read_key(asked)


def _read_key(asked: _Credentials) -> dict[str, Any]:
    known = asked.access_key_id or os.environ.get("AWS_ACCESS_KEY_ID")
    secret = _read_secret(asked.secret_file) if asked.secret_file else os.environ.get("AWS_SECRET_ACCESS_KEY")
    if not known or not secret:
        raise Failure(
            "the bucket's access key is missing",
            hint="Give --access-key-id and --secret-access-key-file, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY;"
            " or --role-arn instead.",
            status=ExitStatus.USAGE,
        )
    return {"type": "access_key", "access_key_id": known, "secret_access_key": secret}


def _read_secret(path: str) -> str:
    try:
        return read_bytes(path).decode().strip()
    except UnicodeDecodeError:
        raise Failure(
            "the secret can't be read", detail=f"{name_of(path)} is not text", status=ExitStatus.USAGE
        ) from None
