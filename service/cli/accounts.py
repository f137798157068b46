"""`genrelay accounts`: accounts, on the database directly."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli.account_limits import limits
from service.cli.failures import ExitStatus, Failure
from service.cli.output import Json, answering

if TYPE_CHECKING:
    from rich.console import RenderableType

    from service.db.pool import Pool

app = typer.Typer(no_args_is_help=True, help="Accounts, and what they may ask for.")
app.command()(limits)


@app.command("list")
def list_accounts(as_json: Json = False) -> None:
    """List all accounts, oldest first; of those that are being erased, how many jobs are left."""
    from service.cli.store import with_database

    with answering(as_json) as output:
        output.show({"data": with_database(_list)}, _draw_list)


@app.command()
def erase(
    name: Annotated[str, typer.Argument(metavar="NAME")],
    yes: Annotated[bool, typer.Option("--yes", help="Do it; without this, only say what would be lost.")] = False,
    as_json: Json = False,
) -> None:
    """Erase an account: its keys open nothing any more, its jobs are canceled, and all that it has here is deleted.

    What the provider is at is paid for and lost. Objects in buckets stay.
    This can't be undone. A worker does the deleting, once a minute.
    """
    from service.cli.store import with_database
    from service.engine.erasing import erase as erase_account

    async def work(pool: Pool) -> dict[str, Any]:
        if not yes:
            await _refuse(pool, name)
        erased = await erase_account(pool, name)
        if erased is None:
            raise _unknown(name)
        return {"account": name, "state": "erasing", "canceled_jobs": erased.canceled}

    with answering(as_json) as output:
        output.show(with_database(work), _draw_erased)


async def _refuse(pool: Pool, name: str) -> None:
    from service.db.sql import queries

    account = await queries().find_account(pool, name=name)
    if account is None:
        raise _unknown(name)
    count = await queries().count_jobs_to_lose(pool, account_id=account["id"])
    raise Failure(
        f"erasing {name} can't be undone",
        detail=f"{count} jobs are open; they are canceled, and what they cost is lost",
        hint="Give --yes if it is meant.",
        status=ExitStatus.USAGE,
    )


def _unknown(name: str) -> Failure:
    return Failure("there is no such account", detail=name)


async def _list(pool: Pool) -> list[dict[str, Any]]:
    from service.db.sql import queries
    from service.jobs.model import moment

    return [
        {
            "name": row["name"],
            "state": "active" if row["erased_at"] is None else "erasing",
            "keys": row["keys"],
            "created_at": moment(row["created_at"]),
            "erased_at": moment(row["erased_at"]),
            "jobs_left": row["jobs_left"],
        }
        async for row in queries().list_accounts(pool)
    ]


def _draw_list(accounts: dict[str, Any]) -> RenderableType:
    from service.cli.drawing import table

    drawn = table("name", "state", "keys", "created", "jobs left")
    for one in accounts["data"]:
        left = "" if one["jobs_left"] is None else str(one["jobs_left"])
        drawn.add_row(one["name"], one["state"], str(one["keys"]), one["created_at"], left)
    return drawn


def _draw_erased(erased: dict[str, Any]) -> RenderableType:
    return (
        f"{erased['account']} is being erased: its keys open nothing any more, {erased['canceled_jobs']} open jobs are\n"
        "canceled, and a worker deletes the rest, once a minute; `genrelay accounts list` shows what is left. Objects in\n"
        "buckets stay."
    )
