"""Reading a curl command as a provider's documentation has one: where it posts to, and the body; nothing is run.

Headers are left alone, for one of them holds the reader's key: the service has its own. What a shell or curl would make
of the text is either known or refused, so that nothing else is submitted than what would have been sent.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import dropwhile, pairwise
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from service.cli.curl_options import (
    BODIES,
    BODIES_FROM_FILES,
    CONFIGS,
    NEXT,
    NO_ARGUMENT,
    OTHER_BODIES,
    URL,
    read_options,
)
from service.cli.documents import name_of, parse_document, read_bytes
from service.cli.failures import ExitStatus, Failure
from service.cli.shell_words import EXPANDED, ShellCommand, UnreadableError, read_commands

_BEFORE = re.compile(r"\ufeff?+(?:[ \t\r\n]++|#[^\n]*+)*+(?:\$[ \t]++)?+")
_CURL = re.compile(r"(?:[^\s/]*+/)*+curl(?:\.exe)?[\s\\]")
# Behind something else: whoever has a script is told what to leave out, rather than that it is no JSON.
_CURL_LATER = re.compile(r"""curl(?:\.exe)?[ \t]+['"]?(?:-|https?:|\$|\\)""")
_NAME = re.compile(r"(?:.*/)?curl(?:\.exe)?", re.DOTALL)
_BEGINNING = re.compile(r"https?://", re.IGNORECASE)
_ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\+?=")
_SHOWABLE = re.compile(r"[A-Za-z]{1,12}")
# curl itself makes several URLs of {a,b} and of [1-3]; `${HOST}` is the shell's.
_SEVERAL = re.compile(r"(?<!\$)[{\[]")
# These change variables, which are not read, and nothing else.
_HARMLESS = frozenset({"export", "set", "readonly", "unset"})
_FOR_SHELLS = (
    "has a body with a variable, a command, $'…' or unquoted braces in it, which only a shell can read; "
    "write it out in single quotes, or use -d @body.json"
)


@dataclass(frozen=True, slots=True)
class CurlCommand:
    """What a command posts: the path of its URL, and the JSON object of its body, which may hold a key."""

    path: str
    body: dict[str, Any] = field(repr=False)


def is_curl(text: str) -> bool:
    """Tell whether a text is a curl command, perhaps below comments, behind a shell's prompt, or in a script."""
    before = _BEFORE.match(text)
    at = 0 if before is None else before.end()
    if text.startswith(("{", "[", '"'), at):
        return False
    return (_CURL.match(text, at) or _CURL_LATER.search(text, at)) is not None


def read_curl(text: str, file: str) -> CurlCommand:
    """Read a curl command out of a file (`-`: standard input); raises Failure.

    `@other.json` is looked for beside the file.
    """
    try:
        commands = read_commands(text.removeprefix("\ufeff"))
        options = list(read_options(_find_arguments(commands)))
        _check_options([name for name, _ in options])
        url = _choose_url([value for name, value in options if name == URL])
        option, value = _choose_body(options)
        path = _path_of(url)
        _check_body(option, value)
    except UnreadableError as error:
        raise Failure(f"the curl command in {name_of(file)} {error}", status=ExitStatus.USAGE) from None
    return CurlCommand(path, _read_body(option, value, file))


def _find_arguments(commands: Sequence[ShellCommand]) -> list[str]:
    """Return the arguments of the curl command; what is before it must not matter, and it must be the only one."""
    for at, command in enumerate(commands):
        words = _without_assignments(command.words)
        if words and _NAME.fullmatch(words[0]):
            _check_rest(commands[at:])
            return words[1:]
        if words and words[0] not in _HARMLESS:
            named = f", but with {words[0]}" if _SHOWABLE.fullmatch(words[0]) else ""
            raise UnreadableError(
                f"does not begin with curl{named}; only comments, export, set and NAME=value can go before it"
            )
    raise UnreadableError("does not begin with curl")


def _without_assignments(words: Sequence[str]) -> list[str]:
    """Return a command from its name on; a prompt may be before it, as pages show one."""
    return list(dropwhile(_ASSIGNMENT.match, words[1:] if words[0] == "$" else words))


def _check_rest(commands: Sequence[ShellCommand]) -> None:
    """Refuse what comes after the first command if it was meant to belong to it, or would be sent, too."""
    if commands[0].ended_by == "&" and len(commands) > 1:
        raise UnreadableError("ends at an & outside of quotation marks, and goes on after it; put the URL into some")
    for last, command in pairwise(commands):
        name = next(iter(_without_assignments(command.words)), "")
        if last.ended_by != "\n":
            continue
        if name.startswith("-") or _BEGINNING.match(name):
            raise UnreadableError("goes on after a line that does not end with a backslash, and there a shell ends it")
        if _NAME.fullmatch(name):
            raise UnreadableError("must be one command, and there are several")


def _check_options(names: Sequence[str]) -> None:
    for name in names:
        if name in OTHER_BODIES:
            raise UnreadableError(
                f"uses {name}, which makes no JSON body; only -d, --data-raw and the like are understood"
            )
        if name in CONFIGS:
            raise UnreadableError(f"uses {name}, whose file is not read; write its options out")
        if name in NEXT:
            raise UnreadableError("must be one command, and there are several")


def _choose_url(given: Sequence[str]) -> str:
    urls = [value for value in given if _BEGINNING.match(value)]
    if any(EXPANDED in value for value in given if value not in urls):
        raise UnreadableError(NO_ARGUMENT)
    if len(urls) != 1:
        raise UnreadableError("names several URLs" if urls else "names no URL that begins with https://")
    if len(given) > 1:
        raise UnreadableError("has a word that is no option, no value and no URL: is a quotation mark missing?")
    return urls[0]


def _choose_body(options: Sequence[tuple[str, str]]) -> tuple[str, str]:
    bodies = [(name, value) for name, value in options if name in BODIES]
    if len(bodies) != 1:
        raise UnreadableError("gives several bodies" if bodies else "has no body (-d, --data-raw, …)")
    return bodies[0]


def _path_of(url: str) -> str:
    try:
        parts = urlsplit(url.replace(EXPANDED, ""))
        host = parts.hostname
    except ValueError:
        host = None
    if not host or any(letter <= " " for letter in url):
        raise UnreadableError("names a URL that can't be read")
    if _SEVERAL.search(parts.path) or _SEVERAL.search(parts.query):
        raise UnreadableError("names a URL with {…} or […], of which curl makes several")
    return unquote(parts.path).rstrip("/")


def _check_body(option: str, value: str) -> None:
    if EXPANDED in value:
        raise UnreadableError(_FOR_SHELLS)
    if value == "@-" and option in BODIES_FROM_FILES:
        raise UnreadableError("reads its body from standard input; use -d @body.json")
    # In no JSON. In double quotes, and outside, a shell has taken it away.
    if "\\\n" in value:
        raise UnreadableError(
            "has a backslash at the end of a line in the body, where a shell leaves it alone; "
            "take the ones within single quotes away"
        )


def _read_body(option: str, value: str, file: str) -> dict[str, Any]:
    if option not in BODIES_FROM_FILES or not value.startswith("@"):
        return parse_document(value, f"the body of the curl command in {name_of(file)}")
    folder = Path() if file == "-" else Path(file).parent
    path = str(folder / value[1:])
    return parse_document(read_bytes(path), path)
