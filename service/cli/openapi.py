"""`genrelay openapi`: the HTTP interface as OpenAPI 3.1. It needs neither settings nor a database."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from service.cli.failures import Failure
from service.cli.output import Json, answering


def openapi(
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write it to this file.")] = None,
    as_json: Json = False,
) -> None:
    """Print the HTTP interface as an OpenAPI 3.1 document, in JSON with or without --json."""
    from handlers.openapi.document import make_document

    with answering(as_json):
        text = json.dumps(make_document(), indent=2, ensure_ascii=False) + "\n"
        if output is None:
            print(text, end="")
            return
        try:
            output.write_text(text, encoding="utf-8")
        except OSError as error:
            raise Failure(f"{output} can't be written", detail=error.strerror) from None
