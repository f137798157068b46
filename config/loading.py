"""Reading the settings: environment variables prefixed `GENRELAY_` (nested with `__`), a TOML file, files of secrets.

The file is named by `GENRELAY_CONFIG`; for secrets, `…_FILE` names a file that holds one. Nothing is read at import.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

from config.settings import PREFIX, Settings
from config.shapes import comparable_name, split_list

# Where a test makes the process end or stop (service/points.py).
_FOR_TESTS = (PREFIX + "CRASH_AT", PREFIX + "STOP_AT")


class SettingsError(Exception):
    """The settings can't be used; the message lists every mistake, one per line, by variable name."""


def _is_secret(name: str) -> bool:
    return name.endswith(("_KEY", "_URL"))


def _from_environment(environ: Mapping[str, str]) -> tuple[dict[str, Any], list[str]]:
    """Nest the `GENRELAY_` variables; a `…_FILE` twin of a secret is read, its last newline dropped."""
    tree: dict[str, Any] = {}
    mistakes: list[str] = []
    reserved = {PREFIX + "CONFIG", PREFIX + "URL", PREFIX + "API_KEY", PREFIX + "API_KEY_FILE"}
    for name, value in sorted(environ.items()):
        if not name.startswith(PREFIX) or name in reserved or value == "":
            continue
        path = name
        if name.endswith("_FILE") and _is_secret(name.removesuffix("_FILE")):
            path = name.removesuffix("_FILE")
            if environ.get(path):
                mistakes.append(f"{name}: {path} is given too; give one of them")
                continue
            try:
                value = Path(value).read_text(encoding="utf-8").rstrip("\r\n")  # noqa: PLW2901
            except (OSError, UnicodeDecodeError) as error:
                mistakes.append(f"{name}: can't be read ({type(error).__name__})")
                continue
        _put(tree, path.removeprefix(PREFIX).lower().split("__"), value)
    return tree, mistakes


def _put(tree: dict[str, Any], path: list[str], value: object) -> None:
    for part in path[:-1]:
        below = tree.setdefault(part, {})
        if not isinstance(below, dict):
            return
        tree = below
    tree[path[-1]] = value


def _merge(under: dict[str, Any], over: dict[str, Any], *, of: str = "") -> dict[str, Any]:
    """Return both trees as one; `over` wins. of: the section that they are."""
    merged = dict(under)
    # The file calls it "seedream-4.0" and the environment seedream_4_0; the file's spelling stays.
    names = {comparable_name(name): name for name in reversed(under)} if of == "operations" else {}
    for said, value in over.items():
        key = said if said in merged else names.get(comparable_name(said), said)
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merge(merged[key], value, of=key) if both else value
    return merged


def _from_toml(environ: Mapping[str, str]) -> tuple[dict[str, Any], list[str]]:
    path = environ.get(PREFIX + "CONFIG")
    if not path:
        return {}, []
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8")), []
    except (OSError, UnicodeDecodeError) as error:
        return {}, [f"{PREFIX}CONFIG: {path} can't be read ({type(error).__name__})"]
    except tomllib.TOMLDecodeError as error:
        return {}, [f"{PREFIX}CONFIG: {path} is not TOML ({error})"]


def _variable(location: tuple[int | str, ...]) -> str:
    return PREFIX + "__".join(str(part).upper() for part in location if isinstance(part, str))


def load_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """Read the settings from the environment and from the TOML file it names; the environment wins.

    Raises SettingsError with every mistake at once, each with its variable's name and never with a secret's value.
    """
    environ = os.environ if environ is None else environ
    from_file, mistakes = _from_toml(environ)
    from_env, more = _from_environment(environ)
    mistakes += more
    given = _merge(from_file, from_env)
    try:
        settings = Settings.model_validate(given)
    except ValidationError as error:
        mistakes += [f"{_variable(e['loc'])}: {e['msg'].removeprefix('Value error, ')}" for e in error.errors()]
    if given.get("database_url") and not split_list(given.get("secret_key")):
        mistakes.append(f"{PREFIX}SECRET_KEY: required with a database of your own ({PREFIX}DATABASE_URL)")
    if mistakes:
        raise SettingsError("\n".join(mistakes))
    return settings


def unknown_variables(environ: Mapping[str, str] | None = None) -> list[str]:
    """Names of `GENRELAY_` variables, and of keys in the TOML file written like them, that no setting reads.

    Most likely they are misspelt, so start-up warns of them.
    """
    environ = os.environ if environ is None else environ
    known = {*known_variables(), *_FOR_TESTS}
    given = {name for name in environ if name.startswith(PREFIX)} | _names(_from_toml(environ)[0], PREFIX)
    known_parts = [pattern.split("__") for pattern in known]
    return sorted(name for name in given if not any(_is_like(name.split("__"), parts) for parts in known_parts))


def known_variables() -> set[str]:
    """Return the names of all variables that are read; in those of operations `*` stands for the name."""
    others = {PREFIX + "CONFIG", PREFIX + "URL", PREFIX + "API_KEY", PREFIX + "API_KEY_FILE"}
    known = others | _known(Settings, PREFIX)
    return known | {name + "_FILE" for name in known if _is_secret(name)}


def _is_like(parts: list[str], pattern: list[str]) -> bool:
    """Tell whether the parts of a name are those of a pattern, in which `*` stands for one part."""
    return len(parts) == len(pattern) and all(told in {"*", part} for part, told in zip(parts, pattern, strict=True))


def _names(tree: dict[str, Any], prefix: str) -> set[str]:
    names: set[str] = set()
    for key, value in tree.items():
        below = isinstance(value, dict)
        names |= _names(value, f"{prefix}{key.upper()}__") if below else {prefix + key.upper()}
    return names


def _known(model: type[BaseModel], prefix: str) -> set[str]:
    names: set[str] = set()
    for name, field in model.model_fields.items():
        below = field.annotation
        named = section_by_name(below)
        if isinstance(below, type) and issubclass(below, BaseModel):
            names |= _known(below, f"{prefix}{name.upper()}__")
        elif named is not None:
            names |= _known(named, f"{prefix}{name.upper()}__*__")
        else:
            names.add(prefix + name.upper())
    return names


def section_by_name(annotation: Any) -> type[BaseModel] | None:
    """Return the section that a setting holds one of per name (`dict[str, Section]`), None for any other setting."""
    parts = get_args(annotation) if get_origin(annotation) is dict else ()
    return parts[1] if len(parts) == 2 and isinstance(parts[1], type) and issubclass(parts[1], BaseModel) else None
