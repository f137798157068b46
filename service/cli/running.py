"""`genrelay serve`, `migrate` and `sandbox`: what runs, and what has to be done before."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import Annotated, Any

import typer

from service.cli.failures import ExitStatus, Failure, explaining_the_database
from service.cli.output import Json, answering


class RoleName(StrEnum):
    """What a process does."""

    ALL = "all"
    API = "api"
    WORKER = "worker"


def serve(role: Annotated[RoleName, typer.Option(help="What this process does.")] = RoleName.ALL) -> None:
    """Run the service until SIGTERM or Ctrl-C; work under way is finished first."""
    from service.cli.store import read_settings

    with answering(as_json=False):
        settings = read_settings()
        from service.serving import serve as run

        with explaining_the_database(), _explaining_the_port(settings.host, settings.port):
            run(settings, role.value)


def migrate(
    patience: Annotated[
        float, typer.Option(min=0, metavar="SECONDS", help="How long it may wait, in all, for what is in its way.")
    ] = 200.0,
    as_json: Json = False,
) -> None:
    """Bring the database to the newest schema."""
    from service.cli.store import read_settings

    with answering(as_json) as output:
        settings = read_settings()
        from service.db.migrate import migrate as apply
        from service.db.migrate import pending
        from service.db.opening import database
        from service.stopping import Start

        async def run() -> list[str]:
            start = Start()
            async with database(settings) as dsn:
                missing = await pending(dsn)
                await apply(dsn, settings.public_url, patience=patience)
            start.end()
            return missing

        with explaining_the_database():
            try:
                applied = asyncio.run(run())
            except asyncio.CancelledError:
                raise SystemExit(ExitStatus.TERMINATED) from None
        output.show({"applied": applied}, _draw_migrated)


def _draw_migrated(done: dict[str, Any]) -> str:
    applied = done["applied"]
    return f"applied: {', '.join(applied)}" if applied else "the database has the newest schema already"


def sandbox(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")] = 8090,
    public_url: Annotated[
        str | None, typer.Option(help="The origin of image URLs; default: the address listened on.")
    ] = None,
    api_key: Annotated[str | None, typer.Option(help="The only key that is taken; default: any.")] = None,
    latency: Annotated[float, typer.Option(min=0, help="Seconds from a submit to its callback.")] = 0.05,
    retired: Annotated[
        list[str] | None, typer.Option(help="A path to answer as if it had been taken away; may be repeated.")
    ] = None,
    lean: Annotated[bool, typer.Option("--lean", help="One pre-drawn JPEG for every image.")] = False,
    as_json: Json = False,
) -> None:
    """Run providers to develop against: Novita, Seedream and ModelsLab, real pictures, and faults that a prompt asks for."""
    from service.sandbox.server import run
    from service.sandbox.settings import SandboxSettings

    def announce(url: str) -> None:
        told = {"url": url, "faults": f"{url}/_sandbox/faults"}
        line = json.dumps(told) if as_json else f"sandbox listening on {url}; its menu of faults: {told['faults']}"
        print(line, flush=True)

    with answering(as_json):
        settings = SandboxSettings(
            api_key=api_key, latency_seconds=latency, retired=frozenset(retired or ()), lean=lean
        )
        with _explaining_the_port(host, port):
            run(settings, host=host, port=port, public_url=public_url, listening=announce)


@contextmanager
def _explaining_the_port(host: str, port: int) -> Iterator[None]:
    try:
        yield
    except SystemExit as left:
        if left.code in {None, 0, ExitStatus.TERMINATED}:
            raise
        # uvicorn has logged why and leaves with 3, which means something else here.
        raise Failure(f"{host}:{port} can't be listened on; is it taken?") from None
