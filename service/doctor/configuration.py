"""The settings: whether they can be used, whether one is misspelt, and whether they fit together."""

from __future__ import annotations

import difflib
import stat
from collections.abc import Mapping
from pathlib import Path

from config.loading import SettingsError, known_variables, load_settings, unknown_variables
from config.settings import PREFIX, Settings
from service.configured import configured_providers
from service.crypto import Keyring
from service.doctor.contradictions import check_contradictions
from service.doctor.findings import Notes
from service.doctor.ground import Ground, is_writable

_SHORTEST_KEY = 32  # characters


def read_ground(environ: Mapping[str, str]) -> Ground:
    """Return what can be known without asking anybody. Unlike the service's start this makes no key and no folder."""
    try:
        settings = load_settings(environ)
        configured_providers(settings)
    except SettingsError:
        return Ground(None, environ)
    return Ground(settings, environ, _read_keyring(settings))


def _read_keyring(settings: Settings) -> Keyring | None:
    if settings.secret_key:
        return Keyring([key.get_secret_value() for key in settings.secret_key])
    try:
        found = secret_file(settings).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return None
    return Keyring([found]) if len(found) >= _SHORTEST_KEY else None


def secret_file(settings: Settings) -> Path:
    """Return where the key lies that is made when none is given."""
    return Path(settings.data_dir).expanduser() / "secret_key"


async def check(ground: Ground, notes: Notes) -> None:
    """Say every mistake at once, then what is odd."""
    _check_mistakes(ground, notes)
    _check_names(ground, notes)
    _check_files(ground, notes)
    if ground.settings is not None:
        check_contradictions(ground.settings, notes, in_kubernetes=ground.in_kubernetes)


def _check_mistakes(ground: Ground, notes: Notes) -> None:
    mistakes: list[str] = []
    try:
        configured_providers(load_settings(ground.environ))
    except SettingsError as error:
        mistakes = str(error).splitlines()
    for mistake in mistakes:
        name, _, rule = mistake.partition(": ")
        notes.fail(
            "mistake", mistake, f"Correct {name}; docs/settings.md says what it takes." if rule else "Correct it."
        )
    if not mistakes:
        told = sum(name.startswith(PREFIX) for name in ground.environ)
        file = ground.environ.get(PREFIX + "CONFIG")
        notes.ok("", f"can be used: {told} variables{f' and the file {file}' if file else ''}")


def _check_names(ground: Ground, notes: Notes) -> None:
    known = known_variables()
    for name in unknown_variables(ground.environ):
        near = nearest(name, known)
        hint = f"Did you mean {near}? " if near else "Remove it. "
        notes.warn("unknown", f"nothing reads {name}", f"{hint}docs/settings.md names all of them.")


def nearest(name: str, known: set[str]) -> str | None:
    """Return the known variable that a name was most likely meant to be; the name of an operation stays as it was given."""
    parts = name.split("__")
    names = set()
    for pattern in known:
        shape = pattern.split("__")
        if len(shape) == len(parts):
            shape = [given if told == "*" else told for told, given in zip(shape, parts, strict=True)]
        names.add("__".join(shape))
    found = difflib.get_close_matches(name, sorted(names), n=1, cutoff=0.75)
    return found[0] if found else None


def _check_files(ground: Ground, notes: Notes) -> None:
    """Say which files with secrets others may read. In a pod, mounted secrets belong to nobody else anyway."""
    if not ground.in_kubernetes:
        for name, value in sorted(ground.environ.items()):
            if name.startswith(PREFIX) and name.endswith(("_KEY_FILE", "_URL_FILE")) and value:
                _check_mode(notes, Path(value), name)
    if ground.settings is None or ground.settings.database_url is not None:
        return
    folder = Path(ground.settings.data_dir).expanduser()
    if not ground.settings.secret_key:
        _check_mode(notes, secret_file(ground.settings), f"{PREFIX}DATA_DIR")
    if folder.exists() and not is_writable(folder):
        hint = f"Give the user of this process the folder (chown), or set {PREFIX}DATA_DIR."
        notes.fail("data_dir", f"{folder} can't be written to", hint)
    elif folder.exists():
        notes.ok("data_dir", f"{folder} can be written to")


def _check_mode(notes: Notes, path: Path, name: str) -> None:
    try:
        mode = path.stat().st_mode
    except OSError:
        return
    if stat.S_ISREG(mode) and mode & (stat.S_IROTH | stat.S_IWOTH):
        notes.warn("file", f"{name}: every user of this machine can read {path}", f"chmod 600 {path}")
