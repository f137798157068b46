"""The written-down settings are those of the code."""

from __future__ import annotations

import tomllib
from pathlib import Path

from config.loading import load_settings, unknown_variables
from config.reference import markdown, toml
from config.settings import Settings

ROOT = Path(__file__).parents[2]


def test_the_page_is_fresh() -> None:
    page = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    assert page == markdown(), "run: python -m config.reference markdown > docs/settings.md"


def test_the_example_is_fresh() -> None:
    example = (ROOT / "config" / "genrelay.example.toml").read_text(encoding="utf-8")
    assert example == toml(), "run: python -m config.reference toml > config/genrelay.example.toml"


def test_the_example_changes_nothing_as_it_is_and_nothing_when_its_defaults_are_switched_on(tmp_path: Path) -> None:
    path = ROOT / "config" / "genrelay.example.toml"
    assert load_settings({"GENRELAY_CONFIG": str(path)}) == Settings()
    lines = path.read_text(encoding="utf-8").splitlines()
    switched_on = [line.removeprefix("#") if not line.startswith("# ") and "…" not in line else line for line in lines]
    assert switched_on != lines
    copy = tmp_path / "genrelay.toml"
    copy.write_text("\n".join(switched_on), encoding="utf-8")
    assert len(tomllib.loads(copy.read_text(encoding="utf-8"))) > 10
    environ = {"GENRELAY_CONFIG": str(copy)}
    assert load_settings(environ) == Settings()
    assert unknown_variables(environ) == []
