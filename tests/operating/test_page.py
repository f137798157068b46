"""The documents hold together: links lead somewhere, and commands and settings that are named exist."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from service.cli.commands import app
from tests.operating.rules import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
OPERATING = (ROOT / "docs/operating.md").read_text(encoding="utf-8")
SETTINGS = (ROOT / "docs/settings.md").read_text(encoding="utf-8")


def without_code(page: Path) -> str:
    """Return a page without its blocks of code."""
    return re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    """Return where a link may lead to in a page, as GitHub makes it out of headings."""
    headings = re.findall(r"^#+ (.+)$", without_code(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def commands(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield every command of the command line."""
    for name, command in group.commands.items():
        yield (*path, name)
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", without_code(page)):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        found = (page.parent / file).resolve() if file else page
        assert found.exists(), target
        assert not anchor or anchor in anchors(found), target


def test_commands_that_the_page_names_exist() -> None:
    known = set(commands(typer.main.get_command(app)))
    for line in re.findall(r"(?:`|-- )genrelay ((?:[a-z-]+ ?)+)", OPERATING):
        words = tuple(line.split())
        if words in {("inbox",), ("listener",), ("queue",)}:  # names of connections
            continue
        assert any(words[:length] in known for length in (1, 2)), line
        if (group := words[:1]) in known and len(words) > 1 and any(path[:1] == group for path in known - {group}):
            assert words[:2] in known, line


def test_settings_that_the_page_names_exist() -> None:
    for name in re.findall(r"`(GENRELAY_[A-Z_]+[A-Z])`", OPERATING):
        assert f"`{name}`" in SETTINGS or name in {"GENRELAY_URL", "GENRELAY_API_KEY"}, name


def test_the_table_of_retention_names_every_setting_of_retention() -> None:
    named = set(re.findall(r"GENRELAY_RETENTION__[A-Z_]+", SETTINGS))
    assert named <= set(re.findall(r"GENRELAY_RETENTION__[A-Z_]+", OPERATING))
