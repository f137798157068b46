"""`genrelay dead`: work that was given up, and how to run it again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli.failures import Failure
from service.cli.output import Json, answering

if TYPE_CHECKING:
    from rich.console import RenderableType

    from service.db.pool import Pool

app = typer.Typer(no_args_is_help=True, help="Work that was given up.")
_PREFIX = "dead"


@app.command("list")
def list_dead(as_json: Json = False) -> None:
    """List what was given up and not run again, oldest first."""
    from service.cli.store import with_database

    with answering(as_json) as output:
        output.show({"data": with_database(_list)}, _draw_list)


@app.command()
def retry(letter_id: Annotated[str, typer.Argument(metavar="ID")], as_json: Json = False) -> None:
    """Run a dead letter's work again: its job is due at once, if it is still open."""
    from service.cli.store import with_database
    from service.db.sql import queries
    from service.ids import BadId, read, show

    async def work(pool: Pool) -> str | None:
        try:
            job = await queries().revive(pool, id=read(_PREFIX, letter_id))
        except BadId:
            return None
        return None if job is None else show("job", job)

    with answering(as_json) as output:
        job = with_database(work)
        if job is None:
            raise Failure("there is no such dead letter, or it was run again before", detail=letter_id)
        output.show({"id": letter_id, "job": job}, lambda _: f"{job} is due again; a worker takes it up within seconds")


async def _list(pool: Pool) -> list[dict[str, Any]]:
    from service.db.sql import queries
    from service.ids import show
    from service.jobs.model import moment

    return [
        {
            "id": show(_PREFIX, row["id"]),
            "job": show("job", row["job_id"]),
            "task": row["task"],
            "reason": row["reason"],
            "created_at": moment(row["created_at"]),
        }
        async for row in queries().list_dead(pool)
    ]


def _draw_list(letters: dict[str, Any]) -> RenderableType:
    from service.cli.drawing import table

    if not letters["data"]:
        return "nothing was given up"
    drawn = table("id", "job", "task", "given up", "reason")
    for letter in letters["data"]:
        drawn.add_row(letter["id"], letter["job"], letter["task"], letter["created_at"], letter["reason"])
    return drawn
