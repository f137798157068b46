"""`docs/lifecycle.md` says what the code says."""

from __future__ import annotations

from service.jobs.errors import ErrorCode
from service.jobs.lifecycle import TABLE, Status, diagram
from tests.jobs.lifecycle_page import PAGE, list_members, read_sentences, render


def test_the_page_is_as_the_code_is() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert render(page) == page, "run python -m tests.jobs.lifecycle_page"


def test_the_page_holds_the_diagram_and_a_sentence_for_every_state_and_error_code() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert diagram() in page
    for listed in (list_members(Status), list_members(ErrorCode)):
        assert listed in page


def test_every_state_and_every_error_code_is_explained_where_it_is_defined() -> None:
    for kind in (Status, ErrorCode):
        assert set(read_sentences(kind.__doc__ or "")) == {member.value for member in kind}


def test_the_diagram_has_an_arrow_for_every_line_of_the_table() -> None:
    arrows = [line for line in diagram().splitlines() if "-->" in line]
    beginnings = [arrow for arrow in arrows if "[*]" in arrow]
    assert [arrow.split()[2] for arrow in beginnings] == ["queued:", "copying:"]
    assert len(arrows) == len(TABLE) + len(beginnings)
    assert all(sum(happening.value in arrow for arrow in arrows) for _, happening in TABLE)
