"""Reading a curl command as a provider's documentation has one: where it posts to, and the body; nothing is run.

Headers are left alone, for one of them holds the reader's key: the service has its own. Of curl's options those count
that make a body; those that take a value are known, so that no value is taken for the URL.
https://curl.se/docs/manpage.html (checked 2026-11)
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from service.cli.documents import name_of, parse_document, read_bytes
from service.cli.failures import ExitStatus, Failure

_CURL = re.compile(r"(?:\S*/)?curl(?:\.exe)?\s")
_CONTINUED = re.compile(r"\\\r?\n[ \t]*")
_DOLLAR_QUOTE = re.compile(r"\s\$'")
_FOR_SHELLS = (
    "has a body with a variable, a command or $'…' in it, which only a shell can read; "
    "write it out in single quotes, or use -d @body.json"
)
# Where a shell puts something else: in double quotes, and outside of quotes, where also `$'…'` and `$"…"` are its own.
_WITHIN = re.compile(r"\\.|`|\$(?=[A-Za-z0-9_{(@*#?$!-])", re.DOTALL)
_PIECES = re.compile(
    r"""\\.|'[^']*+'?|"(?:[^"\\]++|\\.)*+"?|`|\$(?=[A-Za-z0-9_{(@*#?$!'"-])""",
    re.DOTALL,
)
# Goes before such a place for as long as words are told apart; no text that was read as UTF-8 has it.
_MARK = "\udc00"
_ENDS = {"|", "||", "&&", ";", "&", ">", ">>", "2>", "2>&1", "<"}
_FROM_FILES = {"-d", "--data", "--data-ascii", "--data-binary", "--json"}
_BODIES = _FROM_FILES | {"--data-raw"}
_OTHER_BODIES = {"-F", "--form", "--form-string", "-T", "--upload-file", "--data-urlencode", "-G", "--get"}
_WITH_VALUE = {
    *("-A", "-b", "-c", "-C", "-D", "-e", "-E", "-H", "-K", "-m", "-o", "-P", "-Q", "-r", "-t", "-u", "-U", "-w", "-x", "-X"),
    *("-y", "-Y", "-z", "--aws-sigv4", "--cacert", "--capath", "--cert", "--cert-type", "--ciphers", "--config"),
    *("--connect-timeout", "--connect-to", "--cookie", "--cookie-jar", "--dump-header", "--expect100-timeout", "--header"),
    *("--interface", "--keepalive-time", "--key", "--key-type", "--limit-rate", "--max-filesize", "--max-redirs"),
    *("--max-time", "--noproxy", "--oauth2-bearer", "--output", "--output-dir", "--pass", "--proto", "--proxy"),
    *("--proxy-header", "--proxy-user", "--rate", "--referer", "--request", "--request-target", "--resolve", "--retry"),
    *("--retry-delay", "--retry-max-time", "--socks5", "--socks5-hostname", "--speed-limit", "--speed-time", "--stderr"),
    *("--tls-max", "--trace", "--trace-ascii", "--unix-socket", "--url", "--user", "--user-agent", "--write-out"),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class CurlCommand:
    """What a command posts: the path of its URL, and the JSON object of its body, which may hold a key."""

    path: str
    body: dict[str, Any] = field(repr=False)


def is_curl(text: str) -> bool:
    """Tell whether a text is a curl command, perhaps below comments or behind a shell's prompt."""
    return _CURL.match(_command(text)) is not None


def read_curl(text: str, file: str) -> CurlCommand:
    """Read a curl command out of a file (`-`: standard input); raises Failure.

    `@other.json` is looked for beside the file.
    """
    options = list(_options(_split(text, name_of(file))))
    urls = [value for name, value in options if name == "--url" and value.startswith(("http://", "https://"))]
    if len(urls) != 1:
        raise _wrong(file, "names no URL that begins with https://" if not urls else "names several URLs")
    for name, _ in options:
        if name in _OTHER_BODIES:
            raise _wrong(
                file, f"uses {name}, which makes no JSON body; only -d, --data-raw and the like are understood"
            )
    bodies = [(name, value) for name, value in options if name in _BODIES]
    if len(bodies) != 1:
        raise _wrong(file, "has no body (-d, --data-raw, …)" if not bodies else "gives several bodies")
    return CurlCommand(_path_of(urls[0], file), _read_body(*bodies[0], file))


def _command(text: str) -> str:
    lines = text.lstrip("\ufeff").splitlines(keepends=True)
    while lines and (not lines[0].strip() or lines[0].lstrip().startswith("#")):
        del lines[0]
    return "".join(lines).lstrip().removeprefix("$ ").lstrip()


def _split(text: str, name: str) -> list[str]:
    # A continued line is one line; inside of single quotes no JSON has a backslash before a line's end.
    try:
        words = shlex.split(_mark_expansions(_CONTINUED.sub(" ", _command(text))))
    except ValueError:
        raise _wrong(name, _FOR_SHELLS if _DOLLAR_QUOTE.search(text) else "leaves a quotation mark open") from None
    end = next((at for at, word in enumerate(words) if word in _ENDS), len(words))
    if "curl" in words[1:end]:
        raise _wrong(name, "must be one command, and there are several")
    return words[1:end]


def _mark_expansions(text: str) -> str:
    """Return a command with `_MARK` before everything that a shell would put something else in place of.

    In double quotes an escaped dollar or backtick becomes what a shell makes of it; `shlex` would leave the backslash.
    """
    return _PIECES.sub(_mark_piece, text)


def _mark_piece(found: re.Match[str]) -> str:
    piece = found[0]
    if piece in {"$", "`"}:
        return _MARK + piece
    return _WITHIN.sub(_mark_within, piece) if piece.startswith('"') else piece


def _mark_within(found: re.Match[str]) -> str:
    piece = found[0]
    return _MARK + piece if piece in {"$", "`"} else piece.removeprefix("\\") if piece[1:] in {"$", "`"} else piece


def _options(words: list[str]) -> Iterator[tuple[str, str]]:
    """Yield every option with its value, "" without one; a URL without an option is `--url`'s."""
    left = iter(words)
    for word in left:
        if word.startswith("--"):
            yield word, next(left, "") if word in _WITH_VALUE | _BODIES | _OTHER_BODIES - {"--get"} else ""
        elif word.startswith("-") and len(word) > 1:
            yield from _short(word, left)
        else:
            yield "--url", word


def _short(word: str, left: Iterator[str]) -> Iterator[tuple[str, str]]:
    """Read short options, which can be run together: `-sXPOST`, `-d@body.json`."""
    for at in range(1, len(word)):
        name = f"-{word[at]}"
        if name in _WITH_VALUE | _BODIES | _OTHER_BODIES - {"-G"}:
            yield name, word[at + 1 :] or next(left, "")
            return
        yield name, ""


def _path_of(url: str, file: str) -> str:
    try:
        parts = urlsplit(url.replace(_MARK, ""))
        host = parts.hostname
    except ValueError:
        host = None
    if not host:
        raise _wrong(file, "names a URL that can't be read")
    return unquote(parts.path).rstrip("/")


def _read_body(option: str, value: str, file: str) -> dict[str, Any]:
    name = f"the body of the curl command in {name_of(file)}"
    if _MARK in value:
        raise _wrong(file, _FOR_SHELLS)
    if option not in _FROM_FILES or not value.startswith("@"):
        return parse_document(value, name)
    if value == "@-":
        raise _wrong(file, "reads its body from standard input; use -d @body.json")
    folder = Path() if file == "-" else Path(file).parent
    path = str(folder / value[1:])
    return parse_document(read_bytes(path), path)


def _wrong(file: str, what: str) -> Failure:
    return Failure(f"the curl command in {name_of(file)} {what}", status=ExitStatus.USAGE)
