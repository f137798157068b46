"""`genrelay destinations` and `genrelay check-bucket`: customers' buckets, over HTTP."""

from __future__ import annotations

import os
from typing import Annotated, Any

import typer

from service.cli.documents import name_of, read_bytes, read_document
from service.cli.failures import ExitStatus, Failure
from service.cli.output import Json, answering
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
    as_json: Json = False,
) -> None:
    """Make or replace a destination; what options say wins over the file. The secret is never shown again."""
    from service.cli.drawing import draw_destination

    with answering(as_json) as output:
        body = {} if file is None else read_document(file)
        given = {"bucket": bucket, "region": region, "path": path, "endpoint_url": endpoint_url}
        body |= {field: value for field, value in given.items() if value is not None}
        if "auth" not in body or access_key_id or secret_file:
            body["auth"] = _read_auth(access_key_id, secret_file)
        output.show(open_service().call("PUT", place("destinations", name), body=body), draw_destination)


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


def check_bucket(name: Name, as_json: Json = False) -> None:
    """Check a destination's bucket: the same as `destinations check`."""
    check(name, as_json)


def _read_auth(access_key_id: str | None, secret_file: str | None) -> dict[str, Any]:
    known = access_key_id or os.environ.get("AWS_ACCESS_KEY_ID")
    secret = _read_secret(secret_file) if secret_file else os.environ.get("AWS_SECRET_ACCESS_KEY")
    if not known or not secret:
        raise Failure(
            "the bucket's access key is missing",
            hint="Give --access-key-id and --secret-access-key-file, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.",
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
