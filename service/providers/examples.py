"""Writes one request per operation, as the documentation has it: `python -m service.providers.examples examples`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from service.providers.registry import PROVIDERS


def list_examples() -> dict[str, str]:
    """Return what each file of the folder `examples` holds, by its place in it: `novita/txt2img.json`."""
    return {
        f"{provider.name}/{operation.name}.json": json.dumps(operation.example, indent=2, ensure_ascii=False) + "\n"
        for provider in PROVIDERS.values()
        for operation in provider.operations.values()
    }


def write_examples(folder: Path) -> None:
    """Write every file."""
    for place, text in list_examples().items():
        path = folder / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write_examples(Path(sys.argv[1]))
