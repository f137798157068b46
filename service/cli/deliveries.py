"""`genrelay deliveries`: what became of each event on its way to each subscription, over HTTP."""

from __future__ import annotations

from typing import Annotated

import typer

from service.cli.output import Json, answering
from service.cli.service_client import open_service, place

app = typer.Typer(no_args_is_help=True, help="Events on their way to subscriptions and webhooks.")

Id = Annotated[str, typer.Argument(metavar="ID", help="The delivery's id, dlv_…")]


@app.command("list")
def list_deliveries(
    job: Annotated[str | None, typer.Option(metavar="ID", help="Only of this job's events.")] = None,
    subscription: Annotated[str | None, typer.Option(metavar="ID", help="Only to this one.")] = None,
    status: Annotated[str | None, typer.Option(help="pending, delivered, failed or canceled.")] = None,
    event_type: Annotated[str | None, typer.Option("--type", help="Only of events of this type.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100, help="So many at most.")] = 20,
    cursor: Annotated[str | None, typer.Option(help="Where the page before ended.")] = None,
    as_json: Json = False,
) -> None:
    """List deliveries, newest first."""
    from service.cli.drawing_events import draw_deliveries

    with answering(as_json) as output:
        page = open_service().get(
            "/v1/deliveries",
            job=job,
            subscription=subscription,
            status=status,
            event_type=event_type,
            limit=limit,
            cursor=cursor,
        )
        output.show(page, draw_deliveries)


@app.command()
def get(delivery_id: Id, as_json: Json = False) -> None:
    """Show a delivery with each attempt, and how its receiver answered."""
    from service.cli.drawing_events import draw_delivery

    with answering(as_json) as output:
        output.show(open_service().get(place("deliveries", delivery_id)), draw_delivery)


@app.command()
def resend(delivery_id: Id, as_json: Json = False) -> None:
    """Deliver it again, also if it was delivered before."""
    from service.cli.drawing_events import draw_delivery

    with answering(as_json) as output:
        output.show(open_service().call("POST", place("deliveries", delivery_id, "resend")), draw_delivery)
