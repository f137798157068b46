"""Writes what `docs/lifecycle.md` takes from the code: `python -m tests.jobs.lifecycle_page`.

Everything between the markers comes from `service/jobs/lifecycle.py` and `service/jobs/errors.py`; a test fails when
the page lags behind.
"""

from __future__ import annotations

import re
from pathlib import Path

from service.jobs.errors import ErrorCode
from service.jobs.lifecycle import Status, diagram

PAGE = Path(__file__).parents[2] / "docs" / "lifecycle.md"
_MARKED = re.compile(r"(<!-- begin: (?P<name>\w+) -->\n).*?(<!-- end: (?P=name) -->)", re.DOTALL)
_SENTENCE = re.compile(
    r"^    (?P<names>[a-z_, ]+): (?P<sentence>(?:.+\n)(?:(?!    [a-z_, ]+: |\s*$).+\n)*)", re.MULTILINE
)


def read_sentences(docstring: str) -> dict[str, str]:
    """Return what a docstring's lines `name, name: sentence` say, by name; a line may go on in the next one."""
    found: dict[str, str] = {}
    for line in _SENTENCE.finditer(docstring + "\n"):
        sentence = " ".join(line["sentence"].split())
        found |= dict.fromkeys((name.strip(" :") for name in line["names"].split(",")), sentence)
    return found


def list_members(kind: type[Status] | type[ErrorCode]) -> str:
    """Return one Markdown line per member; raises KeyError for a member that its class's docstring does not explain."""
    sentences = read_sentences(kind.__doc__ or "")
    return "".join(f"- `{member.value}`: {sentences[member.value]}\n" for member in kind)


def render(page: str) -> str:
    """Return the page with its generated parts as the code has them now."""
    parts = {
        "diagram": f"```mermaid\n{diagram()}```\n",
        "states": list_members(Status),
        "errors": list_members(ErrorCode),
    }
    return _MARKED.sub(lambda found: found[1] + parts[found["name"]] + found[3], page)


if __name__ == "__main__":
    PAGE.write_text(render(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
