"""`genrelay keys`: API keys, made and revoked on the database directly, for there is no key yet to ask the service with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli.failures import Failure
from service.cli.output import Json, answering

if TYPE_CHECKING:
    from rich.console import RenderableType

    from service.accounts import KeyInfo
    from service.db.pool import Pool

app = typer.Typer(no_args_is_help=True, help="API keys, and the accounts they open.")


@app.command()
def create(
    account: Annotated[str, typer.Option(help="Whose key; a new name makes a new account.")] = "default",
    as_json: Json = False,
) -> None:
    """Make a key. It is shown now and never again: only its digest is kept."""
    from service.accounts import AccountErasedError, Accounts
    from service.cli.store import with_database

    async def work(pool: Pool) -> dict[str, str]:
        key_id, key = await Accounts(pool).create_key(account)
        return {"id": key_id, "account": account, "key": key}

    with answering(as_json) as output:
        if not account or "\0" in account or not account.isprintable():
            raise Failure("an account's name must be printable text")
        try:
            made = with_database(work)
        except AccountErasedError:
            raise Failure(
                f"the account {account} is being erased",
                hint="Its name is free again once `genrelay accounts list` does not show it any more.",
            ) from None
        output.show(made, _draw_new)


@app.command("list")
def list_keys(as_json: Json = False) -> None:
    """List all keys, oldest first, by what may be shown of them."""
    from service.accounts import Accounts
    from service.cli.store import with_database

    async def work(pool: Pool) -> dict[str, Any]:
        return {"data": [_key_json(key) for key in await Accounts(pool).list_keys()]}

    with answering(as_json) as output:
        output.show(with_database(work), _draw_list)


@app.command()
def revoke(key_id: Annotated[str, typer.Argument(metavar="ID")], as_json: Json = False) -> None:
    """Revoke a key; it opens nothing within seconds."""
    from service.accounts import Accounts
    from service.cli.store import with_database
    from service.ids import BadId, read

    async def work(pool: Pool) -> bool:
        return await Accounts(pool).revoke_key(key_id)

    with answering(as_json) as output:
        try:
            read("key", key_id)
            revoked = with_database(work)
        except BadId:
            revoked = False
        if not revoked:
            raise Failure("there is no such key, or it was revoked before", detail=key_id)
        output.show({"id": key_id, "revoked": True}, lambda _: f"{key_id} is revoked")


def _key_json(key: KeyInfo) -> dict[str, Any]:
    from service.jobs.model import moment

    return {
        "id": key.id,
        "account": key.account,
        "hint": key.hint,
        "created_at": moment(key.created_at),
        "last_used_at": moment(key.last_used_at),
        "revoked_at": moment(key.revoked_at),
    }


def _draw_new(key: dict[str, str]) -> RenderableType:
    return (
        f"{key['key']}\n\nThis key ({key['id']}) opens the account {key['account']}. It is not shown again.\n"
        "The command line takes it from GENRELAY_API_KEY."
    )


def _draw_list(keys: dict[str, Any]) -> RenderableType:
    from service.cli.drawing import table

    drawn = table("id", "account", "begins with", "created", "last used (to the hour)", "revoked")
    for key in keys["data"]:
        used, revoked = key["last_used_at"] or "never", key["revoked_at"] or ""
        drawn.add_row(key["id"], key["account"], key["hint"], key["created_at"], used, revoked)
    return drawn
