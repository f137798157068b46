"""`genrelay accounts limits`: what one account may ask for, shown and set on the database directly."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli.failures import ExitStatus, Failure
from service.cli.output import Json, answering

if TYPE_CHECKING:
    from rich.console import RenderableType

    from config.settings import LimitSettings
    from service.db.pool import Pool

_VALUE = "N|none|default"
_NONE, _DEFAULT = "none", "default"


def limits(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The account's name.")],
    requests_per_second: Annotated[
        str | None, typer.Option(metavar=_VALUE, help="Requests to one process in a second, on average.")
    ] = None,
    requests_burst: Annotated[
        str | None, typer.Option(metavar="N|default", help="Requests that may come at once before that holds.")
    ] = None,
    requests_at_once: Annotated[
        str | None, typer.Option(metavar="N|default", help="Requests under way in one process.")
    ] = None,
    jobs_per_minute: Annotated[
        str | None, typer.Option(metavar=_VALUE, help="Jobs submitted in a minute, over all processes.")
    ] = None,
    open_jobs: Annotated[
        str | None, typer.Option(metavar=_VALUE, help="Jobs that have not ended, over all processes.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show an account's limits, or set some: `none` is no limit, `default` takes what the settings say.

    Running services take a change up within two seconds.
    """
    from service.cli.store import read_settings, with_database

    given = {
        "requests_per_second": requests_per_second,
        "requests_burst": requests_burst,
        "requests_at_once": requests_at_once,
        "jobs_per_minute": jobs_per_minute,
        "open_jobs": open_jobs,
    }

    with answering(as_json) as output:
        changes = {limit: _read(limit, text) for limit, text in given.items() if text not in {None, _DEFAULT}}
        removed = [limit for limit, text in given.items() if text == _DEFAULT]
        settings = read_settings().limits
        own = with_database(lambda pool: _change(pool, name, changes, removed))
        if own is None:
            raise Failure("there is no such account", detail=name)
        output.show(_limits_json(name, settings, own), _draw)


def _read(limit: str, text: str | None) -> float | int | None:
    from service.limits import is_limit

    try:
        value = None if text == _NONE else float(text or "")
        if value is not None and math.isfinite(value) and value == int(value):
            value = int(value)
    except ValueError:
        value = math.nan
    if not is_limit(limit, value):
        raise Failure(f"--{limit.replace('_', '-')} can't be {text}", status=ExitStatus.USAGE)
    return value


async def _change(pool: Pool, name: str, changes: dict[str, Any], removed: list[str]) -> dict[str, Any] | None:
    """Make the changes, if there are any, and return the account's own limits; None when there is no such account."""
    from service.db.sql import queries

    if changes or removed:
        own: dict[str, Any] | None = await queries().set_limits(pool, name=name, changes=changes, removed=removed)
        return own
    row = await queries().find_limits(pool, name=name)
    return None if row is None else row["limits"]


def _limits_json(name: str, settings: LimitSettings, own: dict[str, Any]) -> dict[str, Any]:
    from service.limits import NAMES, merge_limits

    merged = merge_limits(settings, own)
    rows = {limit: {"value": getattr(merged, limit), "own": limit in own} for limit in NAMES}
    return {"account": name, "limits": rows}


def _draw(shown: dict[str, Any]) -> RenderableType:
    from service.cli.drawing import table

    drawn = table("limit", "value", "from")
    for limit, row in shown["limits"].items():
        value = "none" if row["value"] is None else f"{row['value']:g}"
        drawn.add_row(limit, value, "the account" if row["own"] else "the settings")
    return drawn
