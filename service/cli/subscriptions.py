"""`genrelay subscriptions`: where the account wants events delivered, over HTTP."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from service.cli.documents import name_of, read_bytes, read_document
from service.cli.failures import ExitStatus, Failure
from service.cli.output import Json, Output, answering, printable
from service.cli.service_client import open_service, place

app = typer.Typer(no_args_is_help=True, help="Where your account wants events delivered.")

Id = Annotated[str, typer.Argument(metavar="ID", help="The subscription's id, sub_…")]
File = Annotated[
    str | None, typer.Option(help="The body of the request as JSON, of a sink for one; - reads standard input.")
]
Url = Annotated[str | None, typer.Option(help="Where events are posted to.")]
Types = Annotated[
    list[str] | None,
    typer.Option("--type", help="Only these, such as job.succeeded or 'job.*'; may be given many times."),
]
Payload = Annotated[str | None, typer.Option(help="full, or thin: only what it takes to look the rest up.")]
Tests = Annotated[bool | None, typer.Option("--include-test/--no-include-test", help="Events of test jobs, too.")]
Headers = Annotated[
    list[str] | None, typer.Option("--header", metavar="'NAME: VALUE'", help="Sent along, and never shown; many times.")
]
Rate = Annotated[int | None, typer.Option(min=1, metavar="PER_SECOND", help="So many deliveries a second at most.")]
Description = Annotated[str | None, typer.Option(help="What it is for.")]
Providers = Annotated[list[str] | None, typer.Option("--provider", help="Only of jobs of these; many times.")]
Operations = Annotated[list[str] | None, typer.Option("--operation", help="Only of jobs of these; many times.")]
Places = Annotated[list[str] | None, typer.Option("--destination", help="Only of jobs of these; many times.")]
Pairs = Annotated[
    list[str] | None, typer.Option("--metadata", metavar="KEY=VALUE", help="Only of jobs that have it; many times.")
]


@app.command()
def create(
    file: File = None,
    url: Url = None,
    types: Types = None,
    payload: Payload = None,
    include_test: Tests = None,
    headers: Headers = None,
    rate_limit: Rate = None,
    description: Description = None,
    provider: Providers = None,
    operation: Operations = None,
    destination: Places = None,
    metadata: Pairs = None,
    as_json: Json = False,
) -> None:
    """Make a subscription; what options say wins over the file. `secret` shows what its deliveries are signed with."""
    from service.cli.drawing_events import draw_subscription

    with answering(as_json) as output:
        said = _read_options(url, types, payload, include_test, headers, rate_limit, description)
        body = _bring_together(file, said, _read_filter(provider, operation, destination, metadata))
        output.show(open_service().call("POST", "/v1/subscriptions", body=body), draw_subscription)


@app.command()
def update(
    subscription_id: Id,
    file: File = None,
    url: Url = None,
    types: Types = None,
    payload: Payload = None,
    include_test: Tests = None,
    headers: Headers = None,
    rate_limit: Rate = None,
    description: Description = None,
    provider: Providers = None,
    operation: Operations = None,
    destination: Places = None,
    metadata: Pairs = None,
    as_json: Json = False,
) -> None:
    """Change what is given and nothing else; in a file, null takes something away."""
    from service.cli.drawing_events import draw_subscription

    with answering(as_json) as output:
        said = _read_options(url, types, payload, include_test, headers, rate_limit, description)
        body = _bring_together(file, said, _read_filter(provider, operation, destination, metadata))
        if not body:
            raise Failure("there is nothing to change; give an option or --file", status=ExitStatus.USAGE)
        changed = open_service().call("PATCH", place("subscriptions", subscription_id), body=body)
        output.show(changed, draw_subscription)


@app.command("list")
def list_subscriptions(
    jobs: Annotated[bool, typer.Option("--jobs", help="Instead, those that stand for the `webhook` of jobs.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=100, help="So many at most.")] = 20,
    cursor: Annotated[str | None, typer.Option(help="Where the page before ended.")] = None,
    as_json: Json = False,
) -> None:
    """List subscriptions, newest first."""
    from service.cli.drawing_events import draw_subscriptions

    with answering(as_json) as output:
        page = open_service().get("/v1/subscriptions", limit=limit, cursor=cursor, origin="job" if jobs else None)
        output.show(page, draw_subscriptions)


@app.command()
def get(subscription_id: Id, as_json: Json = False) -> None:
    """Show a subscription, without its secret and the values of its headers."""
    from service.cli.drawing_events import draw_subscription

    with answering(as_json) as output:
        output.show(open_service().get(place("subscriptions", subscription_id)), draw_subscription)


@app.command()
def delete(subscription_id: Id, as_json: Json = False) -> None:
    """Delete a subscription; what is still on its way to it is not delivered."""
    with answering(as_json) as output:
        open_service().call("DELETE", place("subscriptions", subscription_id))
        output.show({"id": subscription_id, "deleted": True}, lambda _: f"{printable(subscription_id)} is deleted")


@app.command()
def secret(subscription_id: Id, as_json: Json = False) -> None:
    """Print the secret that its deliveries are signed with."""
    with answering(as_json) as output:
        _show_secret(output, open_service().get(place("subscriptions", subscription_id, "secret")))


@app.command()
def rotate(
    subscription_id: Id,
    grace_seconds: Annotated[
        int | None, typer.Option(min=0, max=604_800, help="How long the old one signs as well; default a day.")
    ] = None,
    secret_file: Annotated[
        str | None, typer.Option(help="Holds a whsec_… of your own; - reads standard input.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Replace the secret, and print the new one."""
    with answering(as_json) as output:
        body: dict[str, Any] = {} if grace_seconds is None else {"grace_seconds": grace_seconds}
        if secret_file is not None:
            body["secret"] = _read_secret(secret_file)
        _show_secret(
            output, open_service().call("POST", place("subscriptions", subscription_id, "secret/rotate"), body=body)
        )


@app.command()
def test(subscription_id: Id, as_json: Json = False) -> None:
    """Send it an event of type subscription.test, for real; exit status 1 unless it was taken."""
    from service.cli.drawing_events import draw_trial

    with answering(as_json) as output:
        report = open_service().call("POST", place("subscriptions", subscription_id, "test"))
        output.show(report, draw_trial)
        if not report["ok"]:
            raise typer.Exit(ExitStatus.FAILED)


@app.command()
def enable(subscription_id: Id, as_json: Json = False) -> None:
    """Deliver to it again, from now on; `recover` brings what it missed."""
    _act(subscription_id, "enable", as_json)


@app.command()
def disable(subscription_id: Id, as_json: Json = False) -> None:
    """Deliver nothing more to it until it is enabled."""
    _act(subscription_id, "disable", as_json)


@app.command()
def recover(
    subscription_id: Id,
    since: Annotated[str, typer.Option(metavar="TIME", help="RFC 3339, as in 2026-11-01T00:00:00Z.")],
    as_json: Json = False,
) -> None:
    """Deliver again what happened since a time and did not get through."""
    with answering(as_json) as output:
        where = place("subscriptions", subscription_id, "recover")
        done = open_service().call("POST", where, body={"since": since})
        output.show(done, lambda found: f"{found['recovered']} deliveries are due again")


def _act(subscription_id: str, action: str, as_json: bool) -> None:
    from service.cli.drawing_events import draw_subscription

    with answering(as_json) as output:
        output.show(open_service().call("POST", place("subscriptions", subscription_id, action)), draw_subscription)


def _show_secret(output: Output, found: dict[str, Any]) -> None:
    # Alone in its line, to be piped.
    output.show(found, lambda shown: shown["secret"])


def _bring_together(file: str | None, said: dict[str, Any], wanted: dict[str, Any]) -> dict[str, Any]:
    body = {**({} if file is None else read_document(file)), **said}
    if wanted:
        before = body.get("filter")
        body["filter"] = {**(before if isinstance(before, dict) else {}), **wanted}
    return body


def _read_options(
    url: str | None,
    types: list[str] | None,
    payload: str | None,
    include_test: bool | None,
    headers: list[str] | None,
    rate_limit: int | None,
    description: str | None,
) -> dict[str, Any]:
    given = {
        "url": url,
        "event_types": types or None,
        "payload": payload,
        "include_test": include_test,
        "headers": _read_headers(headers) if headers else None,
        "rate_limit": rate_limit,
        "description": description,
    }
    return {name: value for name, value in given.items() if value is not None}


def _read_filter(
    providers: list[str] | None, operations: list[str] | None, places: list[str] | None, pairs: list[str] | None
) -> dict[str, Any]:
    found: dict[str, Any] = {"provider": providers, "operation": operations, "destination": places}
    if pairs:
        found["metadata"] = _split(pairs, "=", "--metadata must be KEY=VALUE, each key once")
    return {name: value for name, value in found.items() if value}


def _read_headers(headers: list[str]) -> dict[str, str]:
    split = _split(headers, ":", "--header must be 'NAME: VALUE', each name once")
    return {name.strip(): value.strip() for name, value in split.items()}


def _split(given: list[str], by: str, rule: str) -> dict[str, str]:
    found = dict(each.split(by, 1) for each in given if by in each[1:])
    if len(found) != len(given):
        raise Failure(rule, status=ExitStatus.USAGE)  # without what came: it may be a secret
    return found


def _read_secret(path: str) -> str:
    try:
        return read_bytes(path).decode().strip()
    except UnicodeDecodeError:
        detail = f"{name_of(path)} is not text"
        raise Failure("the secret can't be read", detail=detail, status=ExitStatus.USAGE) from None
