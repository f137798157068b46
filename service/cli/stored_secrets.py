"""`genrelay secrets`: which key of GENRELAY_SECRET_KEY is still needed for what, and how nothing needs the old ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from service.cli.failures import ExitStatus
from service.cli.output import Json, answering

if TYPE_CHECKING:
    from rich.console import RenderableType

    from service.rewrapping import Found, KeysStatus

app = typer.Typer(no_args_is_help=True, help="What is encrypted in the database, and the keys it needs.")


@app.command()
def status(as_json: Json = False) -> None:
    """Show what needs which key of GENRELAY_SECRET_KEY, by its number, and whether the last one can be taken out."""
    from service.cli.store import read_settings, with_database
    from service.configured import make_keyring
    from service.rewrapping import read_status

    with answering(as_json) as output:
        keyring = make_keyring(read_settings())
        found = with_database(lambda pool: read_status(pool, keyring))
        output.show(_status_json(found), _draw_status)


@app.command()
def rewrap(as_json: Json = False) -> None:
    """Encrypt everything that is stored with the first key. Services may run meanwhile; it can be broken off and repeated.

    Exit status 1 when something can't be read with any key: it is named, and stays as it is.
    """
    from service.cli.store import read_settings, with_database
    from service.configured import make_keyring
    from service.rewrapping import rewrap

    with answering(as_json) as output:
        keyring = make_keyring(read_settings())
        found = with_database(lambda pool: rewrap(pool, keyring))
        output.show(_found_json(found), _draw_found)
        if found.unreadable:
            raise typer.Exit(ExitStatus.FAILED)


def _status_json(found: KeysStatus) -> dict[str, Any]:
    return {
        "keys": [
            {"number": key.number, "stored_secrets": key.stored_secrets, "open_jobs": key.open_jobs}
            for key in found.keys
        ],
        "open_jobs_of_unknown_keys": found.strange_jobs,
        "unreadable": found.unreadable,
        "last_key_is_needed": found.last_is_needed,
    }


def _found_json(found: Found) -> dict[str, Any]:
    return {"rewrapped": found.rewrapped, "unreadable": dict(found.unreadable)}


def _draw_status(shown: dict[str, Any]) -> RenderableType:
    from rich.console import Group

    from service.cli.drawing import table

    drawn = table("key", "stored secrets", "open jobs")
    for key in shown["keys"]:
        drawn.add_row(str(key["number"]), str(key["stored_secrets"]), str(key["open_jobs"]))
    lines = _unreadable_lines(shown["unreadable"])
    if shown["open_jobs_of_unknown_keys"]:
        lines.append(f"{shown['open_jobs_of_unknown_keys']} open jobs were submitted with a key that is not known here")
    lines.append(_advice(shown))
    return Group(drawn, *lines)


def _advice(shown: dict[str, Any]) -> str:
    last = shown["keys"][-1]
    if last["number"] == 1:
        return "there is one key, and it is needed"
    if not shown["last_key_is_needed"]:
        return f"key {last['number']} is not needed any more: take it out of GENRELAY_SECRET_KEY"
    if last["stored_secrets"]:
        return f"key {last['number']} is needed: `genrelay secrets rewrap` encrypts what is stored with key 1"
    return f"key {last['number']} is needed until those jobs have ended, at the latest at their deadlines"


def _draw_found(shown: dict[str, Any]) -> RenderableType:
    from rich.console import Group

    count = shown["rewrapped"]
    return Group(f"{count} stored secrets were encrypted with key 1", *_unreadable_lines(shown["unreadable"]))


def _unreadable_lines(unreadable: dict[str, int]) -> list[str]:
    return [
        f"{place}: {count} can't be read with any key of GENRELAY_SECRET_KEY" for place, count in unreadable.items()
    ]
