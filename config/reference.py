"""Writes the settings down, as a page and as an example: `python -m config.reference markdown|toml`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, SecretStr

from config.loading import section_by_name
from config.settings import PREFIX, Settings

_MARKDOWN = """\
# Settings

Environment variables, or a TOML file named by `GENRELAY_CONFIG` (`config/genrelay.example.toml` shows one); the
environment wins. Lists are comma-separated. Every secret can be given as a file instead: the same name with `_FILE` at its
end. AWS's own variables (`AWS_ENDPOINT_URL_S3`, region and the like) keep their meaning. The command line reads
`GENRELAY_URL` and `GENRELAY_API_KEY`: which service it talks to, and as whom.

This page is made from the code: `python -m config.reference markdown > docs/settings.md`.
"""
# Stands for a name in the path of a setting that there is one of per name.
NAME = "<name>"
_TOML = """\
# Every setting with its default; name this file in GENRELAY_CONFIG. Environment variables win over it.
# Made from the code: python -m config.reference toml > config/genrelay.example.toml
"""


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting. path: its section and name, lower case. default: None when there is none."""

    path: tuple[str, ...]
    section: str
    default: Any
    secret: bool
    description: str

    @property
    def variable(self) -> str:
        """Return the environment variable that sets it."""
        return PREFIX + "__".join(self.path).upper()

    @property
    def named(self) -> bool:
        """Return whether there is one of it per name."""
        return NAME in self.path


def list_settings(model: type[BaseModel] = Settings, path: tuple[str, ...] = ()) -> Iterator[Setting]:
    """Yield every setting: those of a section first, then its sections."""
    below = []
    for name, field in model.model_fields.items():
        kind = field.annotation
        named = section_by_name(kind)
        if named is not None:
            below.append((named, (*path, name, NAME)))
            continue
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            below.append((kind, (*path, name)))
            continue
        default = field.get_default(call_default_factory=True)
        yield Setting((*path, name), _title(model), default, "SecretStr" in str(kind), field.description or "")
    for kind, deeper in below:
        yield from list_settings(kind, deeper)


def _title(model: type[BaseModel]) -> str:
    return (model.__doc__ or "").partition("\n")[0].rstrip(".")


def show_default(value: Any) -> str:
    """Return a default as an environment variable would have it; "" for none."""
    match value:
        case None:
            return ""
        case list():
            return ",".join(show_default(part) for part in value)
        case float() if value.is_integer():
            return str(int(value))
    return str(value)


def markdown() -> str:
    """Return the reference page."""
    lines, section = [_MARKDOWN], None
    for setting in list_settings():
        if setting.section != section:
            section = setting.section
            lines += [f"\n## {section}\n", "| variable | default | what it is for |", "|---|---|---|"]
        default = f"`{show_default(setting.default)}`" if show_default(setting.default) else "none"
        twin = " Secret: also as `…_FILE`." if setting.secret else ""
        lines.append(f"| `{setting.variable}` | {default} | {setting.description}{twin} |")
    return "\n".join(lines) + "\n"


def toml() -> str:
    """Return the example file; every setting is commented out."""
    lines, section = [_TOML], None
    for setting in list_settings():
        if setting.section != section:
            section = setting.section
            # A section with a name of its own must not begin by itself.
            head = "\n# " if setting.named else "\n"
            lines.append(f"# {section}" + (f"{head}[{'.'.join(setting.path[:-1])}]" if len(setting.path) > 1 else ""))
        if setting.named:
            lines += [f"# {setting.description}", f"# {setting.path[-1]} = {_toml_value(setting.default)}", ""]
            continue
        lines += [f"# {setting.description}", f"#{setting.path[-1]} = {_toml_value(setting.default)}", ""]
    return "\n".join(lines)


def _toml_value(value: Any) -> str:
    match value:
        case None:
            return '"…"'
        case list():
            return json.dumps([part.get_secret_value() if isinstance(part, SecretStr) else part for part in value])
        case Path():
            return json.dumps(str(value))
    return json.dumps(value)


if __name__ == "__main__":
    sys.stdout.write({"markdown": markdown, "toml": toml}[sys.argv[1]]())
