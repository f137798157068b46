"""Telling a shell script's commands and words apart as a shell does, in linear time; nothing is run or put in.

What a shell would put something else in place of (`$NAME`, `$(…)`, backticks, `$'…'`, `{a,b}`) stays, with `EXPANDED`
before it. What would take a whole shell to be told apart is refused. Python's `shlex` knows neither comments within
words, nor operators, nor what a backslash does in double quotes, and takes quadratic time.
https://pubs.opengroup.org/onlinepubs/9799919799/utilities/V3_chap02.html (checked 2026-11)
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

# No text that was read as UTF-8 has it.
EXPANDED = "\udc00"

_MOST_WORDS = 100_000

_BETWEEN = re.compile(r"(?:[ \t]|\\\n)*+(?:#[^\n]*+)?")
_OPERATOR = re.compile(r"(?P<redirect>\d*+(?:<<[<-]?|[<>]&|>>|>\||<>|[<>])|&>>?)|&&|\|[|&]?|;;?|\n|&")
# In double quotes and outside; with quotation marks inside it would have to be read as a script of its own. `$[1]`: bash.
_EXPANSION = r"""\$\([^()'"\\`]*+\)|\$\{[^{}'"\\`]*+\}|`[^'"\\`]*+`|\$[0-9@*#?$!-]|\$(?=[A-Za-z_\[])"""
_DOUBLE = rf"""(?:[^"\\`$]++|\\.|{_EXPANSION}|\$(?![({{]))*+"""
_PIECE = re.compile(
    r"""(?P<bare>[^ \t\n|&;<>()'"\\`$]++)"""
    r"""|(?P<single>'[^']*+')"""
    rf"""|(?P<double>"{_DOUBLE}")"""
    r"""|(?P<joined>\\\n)"""
    r"""|(?P<escaped>\\(?:.|\Z))"""
    rf"""|(?P<expansion>\$'(?:[^'\\]++|\\.)*+'|\$(?=")|{_EXPANSION})"""
    r"""|\$(?![({'])""",
    re.DOTALL,
)
_IN_DOUBLE = re.compile(rf"""(?P<joined>\\\n)|(?P<escaped>\\[$`"\\])|\\|(?P<expansion>{_EXPANSION})""")
_OPEN_DOUBLE = re.compile(rf'"{_DOUBLE}\\?\Z', re.DOTALL)
_NOT_IN_WORDS = frozenset(" \t\n|&;<>")


class UnreadableError(ValueError):
    """A script that is not read; its text goes on after the script's name, and quotes nothing of it."""


@dataclass(slots=True)
class ShellCommand:
    """One command. words: without redirections; assignments before its name are among them.

    ended_by: the operator after it, a line's end also where that follows `;` or `&`; "" at the script's end.
    """

    words: list[str] = field(default_factory=list, repr=False)
    ended_by: str = ""


def read_commands(script: str) -> list[ShellCommand]:
    """Return a script's commands, which have a word at least; raises UnreadableError."""
    commands: list[ShellCommand] = []
    current = ShellCommand()
    left = _tokens(script.replace("\r\n", "\n"))
    for count, (kind, text) in enumerate(left):
        if count > _MOST_WORDS:
            raise UnreadableError(f"has more than {_MOST_WORDS} words")
        if kind == "word":
            current.words.append(text)
        elif kind == "redirect":
            _pass_target(text, left)
        elif current.words:
            current.ended_by = text
            commands.append(current)
            current = ShellCommand()
        elif text == "\n" and commands and commands[-1].ended_by in {";", "&"}:
            commands[-1].ended_by = text
    return [*commands, current] if current.words else commands


def _pass_target(operator: str, left: Iterator[tuple[str, str]]) -> None:
    if "<<" in operator:
        raise UnreadableError("has a here-document (<<), which is not read; use -d @body.json")
    if next(left, ("", ""))[0] != "word":
        raise UnreadableError("has < or > outside of quotation marks, and no file's name after it")


def _tokens(script: str) -> Iterator[tuple[str, str]]:
    """Yield words, redirecting operators and other operators in turn, each with its kind."""
    at = 0
    while (at := _end_of_blanks(script, at)) < len(script):
        found = _OPERATOR.match(script, at)
        if found is None:
            word, at = _read_word(script, at)
            yield "word", word
        else:
            at = found.end()
            yield found.lastgroup or "operator", found[0]


def _end_of_blanks(script: str, at: int) -> int:
    found = _BETWEEN.match(script, at)
    return at if found is None else found.end()


def _read_word(script: str, at: int) -> tuple[str, int]:
    """Return the word that begins there, and where it ends."""
    parts: list[str] = []
    bare: list[str] = []
    while at < len(script) and script[at] not in _NOT_IN_WORDS:
        found = _PIECE.match(script, at)
        if found is None:
            raise UnreadableError(_explain(script, at))
        at = found.end()
        parts.append(_read_piece(found))
        if found.lastgroup == "bare":
            bare.append(found[0])
    # bash makes several words of {a,b} and of {1..3}, sh does not.
    return (EXPANDED if _has_braces("".join(bare)) else "") + "".join(parts), at


def _has_braces(bare: str) -> bool:
    begin, end = bare.find("{"), bare.rfind("}")
    return begin >= 0 and (bare.find(",", begin, max(end, begin)) >= 0 or bare.find("..", begin, max(end, begin)) >= 0)


def _read_piece(found: re.Match[str]) -> str:
    piece = found[0]
    match found.lastgroup:
        case "single":
            return piece[1:-1]
        case "double":
            return _IN_DOUBLE.sub(_read_within, piece[1:-1])
        case "joined":
            return ""
        case "escaped":
            return piece[1:] or piece  # the last of all stays
        case "expansion":
            return EXPANDED + piece
    return piece


def _read_within(found: re.Match[str]) -> str:
    match found.lastgroup:
        case "joined":
            return ""
        case "escaped":
            return found[0][1:]
        case "expansion":
            return EXPANDED + found[0]
    return found[0]


def _explain(script: str, at: int) -> str:
    """Say what is wrong with a piece that can't be read."""
    if script[at] in "()":
        return "has a parenthesis outside of quotation marks"
    if script.startswith(("'", "$'"), at) or _OPEN_DOUBLE.match(script, at):
        return "leaves a quotation mark open"
    return "has $(…), ${…} or `…` that is not closed or has quotation marks in it, which only a shell can read"
