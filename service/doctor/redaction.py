"""Taking secrets out of what is said, whoever said it: a provider, a database or a library may repeat what it was given."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from config.logging import scrub
from config.settings import PREFIX

_SHORTEST = 4  # characters; less comes by chance in any text, and is no secret
_OF_AWS = ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_ACCESS_KEY_ID", "AWS_CONTAINER_AUTHORIZATION_TOKEN")
_ENDINGS = ("_KEY", "_KEY_ID", "DATABASE_URL", "PASSWORD", "TOKEN", "SECRET")


def make_redaction(environ: Mapping[str, str]) -> Callable[[str], str]:
    """Return what takes the secrets of an environment, and of the files that it names, out of a text."""
    found = {part for secret in _secrets(environ) for part in _spellings(secret) if len(part) >= _SHORTEST}
    # The longest first: one may be a part of another.
    known = sorted(found, key=len, reverse=True)

    def redact(text: str) -> str:
        for secret in known:
            text = text.replace(secret, "[secret]")
        return scrub(text)

    return redact


def _secrets(environ: Mapping[str, str]) -> Iterator[str]:
    for name, value in environ.items():
        if name in _OF_AWS or name == "PGPASSWORD" or (name.startswith(PREFIX) and name.endswith(_ENDINGS)):
            yield value
        elif name.startswith(PREFIX) and name.endswith("_FILE") and name.removesuffix("_FILE").endswith(_ENDINGS):
            yield _read(Path(value))
    if PREFIX + "CONFIG" in environ:
        with suppress(tomllib.TOMLDecodeError):
            yield from _of_tree(tomllib.loads(_read(Path(environ[PREFIX + "CONFIG"]))))
    yield _read(Path(environ.get(PREFIX + "DATA_DIR") or ".genrelay").expanduser() / "secret_key")


def _of_tree(tree: Any, name: str = "") -> Iterator[str]:
    if isinstance(tree, Mapping):
        for key, value in tree.items():
            yield from _of_tree(value, str(key))
    elif isinstance(tree, list):
        for value in tree:
            yield from _of_tree(value, name)
    elif isinstance(tree, str) and f"_{name.upper()}".endswith(_ENDINGS):
        yield tree


def _read(path: Path) -> str:
    try:
        # A secret is no long text; nor is this the place to read a device to its end.
        return path.read_text(encoding="utf-8")[:65_536] if path.is_file() and os.access(path, os.R_OK) else ""
    except (OSError, UnicodeDecodeError, ValueError):
        return ""


def _spellings(secret: str) -> Iterator[str]:
    """Give a secret whole, its parts in a list, and the password in a URL, each as it may be written in an answer."""
    secret = secret.strip()
    yield secret
    for part in secret.split(","):
        yield part.strip()
    if "://" in secret:
        yield from _of_url(secret)


def _of_url(url: str) -> Iterator[str]:
    try:
        password = urlsplit(url).password
    except ValueError:
        return
    if password:
        yield from (password, unquote(password), quote(unquote(password), safe=""))
