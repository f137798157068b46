"""`docs/bucket-owners.md` says what the code does."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from service.outputs.key_template import check_template
from service.outputs.policy import PLACEHOLDER, make_policy
from tests.outputs.destination_rows import EXTERNAL_ID, ROLE, row

PAGE = (Path(__file__).parents[2] / "docs" / "bucket-owners.md").read_text(encoding="utf-8")
PRINCIPAL = "arn:aws:iam::999999999999:role/genrelay-service"
EVERYTHING = {
    "tags": {"team": "renders"},
    "acl": "private",
    "encryption": {"type": "aws:kms", "key_id": "alias/renders"},
}


def documents() -> list[Any]:
    """Return the page's JSON blocks."""
    return [json.loads(block) for block in re.findall(r"^```json\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)]


def first_cells(heading: str) -> set[str]:
    """Return the words in backticks in the first column of the table below a heading."""
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    cells = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    return {word for cell in cells for word in re.findall(r"`([^`]+)`", cell)}


def actions(**changes: Any) -> set[str]:
    """Return the actions in the policy of a destination."""
    statements = make_policy(row(**changes), None)["permission_policy"]["Statement"]
    return {action for one in statements for action in one["Action"]}


def test_the_policies_on_the_page_are_those_that_are_printed() -> None:
    made = make_policy(row(), PRINCIPAL)
    assert documents()[:2] == [made["trust_policy"], made["permission_policy"]]
    assert EXTERNAL_ID in PAGE
    assert ROLE in PAGE
    assert PLACEHOLDER in PAGE


def test_every_action_that_any_setting_asks_for_is_explained_and_no_other() -> None:
    assert first_cells("The permissions") == actions(**EVERYTHING)


def test_what_is_never_asked_for_is_in_no_policy() -> None:
    never = re.findall(r"`((?:s3|iam|kms):\w+)`", PAGE.split("What is never asked for:")[1].split("\n\n")[0])
    assert "s3:ListBucket" in never
    assert set(never) & actions(**EVERYTHING) == {"s3:DeleteObject"}, "the latter on outputs; on probes it is"


def test_every_placeholder_of_a_template_is_explained() -> None:
    for name in first_cells("How keys look"):
        template = f"{name}/{{job_id}}/{{index}}" if name != "{ext}" else "{job_id}/{index}.{ext}"
        assert check_template(template, "") is None, name
    assert len(first_cells("How keys look")) == 10


def test_every_step_of_a_check_is_explained() -> None:
    steps = [
        "endpoint",
        "assume_role",
        "put",
        "conditional_put",
        "head",
        "get",
        "multipart",
        "abort",
        "kms",
        "tags",
        "delete",
    ]
    assert first_cells("What a check tells") == {"credentials", *steps}
