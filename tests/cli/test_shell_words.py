"""Words of a script, told apart as the shell of this machine does it; what takes a whole shell is refused."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from service.cli.shell_words import EXPANDED, UnreadableError, read_commands

SHOWING = """curl() { printf '%s\\0' "$@"; }\nset -f\n"""

AS_A_SHELL = [
    "curl -d '{}' https://x.example",
    "curl a'b'\"c\"d '' \"\"",
    r"""curl "a\"b\\c\$d\`e\f\
g" """,
    r"""curl 'it'\''s' 'a\
b' a\ b \# \\ \;""",
    "curl a\\\nb \\\n  c \\\n\td",
    "curl a#b '#' \"#\" # it's a \"comment",
    "# it's a comment\n\n  # `and another\ncurl a",
    "curl a;echo b >/dev/null",
    "curl 'a';:",
    "curl a|tr a a",
    "curl a 2>/dev/null b 2>&1 c1 '>' d",
    "KEY='a b' OTHER= curl -a KEY=x",
    'export KEY="a b"\nset -e; NAME=x\ncurl a',
    "curl {} { } a{b}c [a] a*? ~x= !",
    "curl \u00e9\u00a0\u3042 '\u00e9\n'",
    'curl $ a$ "$" "a$," \'$x `y`\'',
    "curl a\\",
]


@pytest.mark.parametrize("script", AS_A_SHELL)
def test_a_command_has_the_arguments_that_a_shell_gives_it(script: str, tmp_path: Path) -> None:
    shell = subprocess.run(["sh", "-c", SHOWING + script], cwd=tmp_path, capture_output=True, check=True, timeout=30)
    assert shell.stderr == b""
    command = next(c for c in read_commands(script) if "curl" in c.words)
    assert command.words[command.words.index("curl") + 1 :] == shell.stdout.decode().split("\0")[:-1]


@pytest.mark.parametrize(
    "word",
    [
        *("$x", "a${x}b", "$(date)", "`date`", "$1", "$$", "$[1+1]", '"$x"', '"a $(date) b"', '"`date`"', '"${x}"'),
        *("$'a\\'b'", '$"a"', "{a,b}", "a{1..3}", "{'a',\"b\"}"),
    ],
)
def test_what_a_shell_would_replace_is_marked_and_stays_within_its_word(word: str) -> None:
    [command] = read_commands(f"curl before {word} after")
    assert [EXPANDED in part for part in command.words] == [False, False, True, False]


@pytest.mark.parametrize(
    ("script", "ends"),
    [
        ("a", [""]),
        ("a\nb", ["\n", ""]),
        ("a;b;\n\nc", [";", "\n", ""]),
        ("a&b &\nc", ["&", "\n", ""]),
        ("a &&\nb ||\n c|\nd", ["&&", "||", "|", ""]),
        ("a # b; c\r\nd\r\n", ["\n", "\n"]),
    ],
)
def test_a_command_ends_where_a_shell_ends_it(script: str, ends: list[str]) -> None:
    assert [command.ended_by for command in read_commands(script)] == ends


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("curl 'a", "leaves a quotation mark open"),
        ('curl "a', "leaves a quotation mark open"),
        ('curl "a\\', "leaves a quotation mark open"),
        ("curl $'a\\'", "leaves a quotation mark open"),
        ('curl "$(date "+%d %m")"', "$(…)"),
        ("curl `date", "`…`"),
        ("curl ${x:-'a b'}", "${…}"),
        ("(curl a)", "a parenthesis"),
        ("curl <(date)", "a parenthesis"),
        ("curl a >", "no file's name"),
        ("curl -d @- <<EOF\n{}\nEOF\n", "a here-document"),
        ("curl -d @- <<< '{}'", "a here-document"),
        ("curl " + "a " * 100_001, "more than 100000 words"),
    ],
)
def test_what_takes_a_whole_shell_is_refused(script: str, said: str) -> None:
    with pytest.raises(UnreadableError) as raised:
        read_commands(script)
    assert said in str(raised.value)
