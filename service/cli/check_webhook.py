"""`genrelay check-webhook`: do a provider's callbacks arrive? Nothing is paid for the answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli.failures import ExitStatus, Failure
from service.cli.output import Json, answering, open_console, printable
from service.cli.service_client import ServiceClient, open_service

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text


def check_webhook(
    provider: Annotated[
        str | None, typer.Argument(help="Whose callbacks; may be left out if the service has one provider's key.")
    ] = None,
    operation: Annotated[
        str | None, typer.Option(help="What is asked for; default: one that the provider itself has a test mode for.")
    ] = None,
    status: Annotated[
        list[str] | None, typer.Option(help="What the mock shall claim: succeed or failed; default: both, in turn.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Submit test jobs and wait for their callbacks, step by step; exit status 1 unless all of it works."""
    with answering(as_json) as output:
        service = open_service()
        body: dict[str, Any] = {"provider": provider or _only_provider(service)}
        if operation is not None:
            body["operation"] = operation
        if status:
            body["return_task_status"] = ["TASK_STATUS_" + s.upper().removeprefix("TASK_STATUS_") for s in status]
        console = open_console(stderr=True)
        console.quiet = as_json or not console.is_terminal
        with console.status("waiting for callbacks, a minute at most"):
            report = service.call("POST", "/v1/webhook-checks", body=body)
        output.show(report, draw_report)
        if not report["ok"]:
            raise typer.Exit(ExitStatus.FAILED)


def _only_provider(service: ServiceClient) -> str:
    names = [found["name"] for found in service.get("/v1/providers")["data"] if found["available"]]
    if len(names) != 1:
        told = f"this service has the keys of {', '.join(names)}" if names else "this service has no provider's key"
        raise Failure(
            "which provider?", detail=told, hint="Name it: genrelay check-webhook novita", status=ExitStatus.USAGE
        )
    return str(names[0])


def draw_report(report: dict[str, Any]) -> RenderableType:
    """Return the steps as a table, and below it what to do about those that failed."""
    from rich.console import Group
    from rich.text import Text

    from service.cli.drawing import table

    drawn = table("step", "", "seconds", "what was found")
    asked: str | None = None
    for step in report["steps"]:
        if step["return_task_status"] != asked:
            asked = step["return_task_status"]
            drawn.add_row(Text(f"{asked}", style="bold"), "", "", step["job_id"] or "")
        seconds = "" if step["seconds"] is None else f"{step['seconds']:.3f}"
        drawn.add_row(step["step"], _mark(step), seconds, printable(_say(step)))
    todo = dict.fromkeys(step["hint"] for step in report["steps"] if step["hint"] and step["ok"] is False)
    end = Text("Callbacks arrive.", style="green") if report["ok"] else Text("Callbacks don't all arrive.", style="red")
    head = Text(f"{report['provider']} {report['operation']} -> {report['public_url'] or 'no public URL'}")
    return Group(head, drawn, *(Text(f"  {printable(hint)}") for hint in todo), end)


def _say(step: dict[str, Any]) -> str:
    code = "" if step["code"] in {None, "skipped"} else f"{step['code']}: "
    return f"{code}{step['message'] or ''}"


def _mark(step: dict[str, Any]) -> Text:
    from rich.text import Text

    if step["ok"] is None:
        return Text("-", style="yellow")
    return Text("ok", style="green") if step["ok"] else Text("failed", style="red")
