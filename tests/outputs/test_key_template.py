"""Key templates: a stranger's text, of which only what is known gets a meaning."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from service.outputs.key_template import Naming, check_template, render_key
from service.outputs.keys import check_path

JOB = "job_01jd4k2zt9e5vs6yh8n7w3xq4m"
SAFE = "ABCxyz019!-_.*'()/"
PLACEHOLDERS = [
    "{path}", "{job_id}", "{index}", "{index:02}", "{index:09}", "{ext}", "{provider}", "{operation}", "{date}", "{year}",
    "{month}", "{day}",
]  # fmt: skip


def naming(index: int = 7, job_id: str = JOB, extension: str = "jpeg") -> Naming:
    """Return what is known of an output of a job that was made on New Year's Eve in UTC, and a day later in the east."""
    created_at = datetime(2027, 1, 1, 3, 30, tzinfo=timezone(timedelta(hours=5)))
    return Naming(job_id, index, extension, "novita", "seedream-4.0", created_at)


templates = st.lists(
    st.one_of(st.sampled_from(PLACEHOLDERS), st.text(SAFE, max_size=5), st.text(max_size=3)), max_size=8
).map("".join)
sound_templates = st.lists(
    st.one_of(st.sampled_from(PLACEHOLDERS[1:5] + PLACEHOLDERS[6:]), st.text(SAFE, max_size=5)), max_size=8
).map(lambda parts: "/".join(["{path}", *parts, "{job_id}", "{index}.{ext}"]))


@pytest.mark.parametrize(
    ("template", "key"),
    [
        ("{path}/{job_id}/{index:02}.{ext}", f"renders/{JOB}/07.jpeg"),
        ("{job_id}/{index:02}.{ext}", f"renders/{JOB}/07.jpeg"),
        ("{job_id}{index}", f"renders/{JOB}7"),
        ("{date}/{job_id}-{index:04}.{ext}", f"renders/2026-12-31/{JOB}-0007.jpeg"),
        ("{year}/{month}/{day}/{job_id}/{index}.{ext}", f"renders/2026/12/31/{JOB}/7.jpeg"),
        ("{provider}/{operation}/(it's!)/{index:09}_{job_id}", f"renders/novita/seedream-4.0/(it's!)/000000007_{JOB}"),
    ],
)
def test_a_template_makes_keys_below_the_destinations_path(template: str, key: str) -> None:
    assert check_template(template, "renders") is None
    assert render_key(template, "renders", naming()) == key
    assert render_key(template, "", naming()) == key.removeprefix("renders/")


def test_an_index_is_never_cut_to_its_width() -> None:
    assert render_key("{job_id}-{index:02}", "", naming(index=12345)) == f"{JOB}-12345"


@pytest.mark.parametrize(
    ("template", "rule"),
    [
        ("", "must hold {job_id} and {index}"),
        ("{job_id}.{ext}", "must hold {index}: without, two outputs would get the same key"),
        ("{index}.{ext}", "must hold {job_id}"),
        ("{job_id.hex}/{index}", "{job_id.hex} is no placeholder"),
        ("{job_id.__class__.__mro__}/{job_id}/{index}", "is no placeholder"),
        ("{job_id[0]}/{job_id}/{index}", "{job_id[0]} is no placeholder"),
        ("{job_id!r}/{job_id}/{index}", "{job_id!r} is no placeholder"),
        ("{job_id:>99999999}/{job_id}/{index}", "is no placeholder"),
        ("{index:2}-{job_id}-{index}", "{index:2} is no placeholder"),
        ("{index:010}-{job_id}-{index}", "{index:010} is no placeholder"),
        ("{index:00}-{job_id}-{index}", "{index:00} is no placeholder"),
        ("{ index }-{job_id}-{index}", "{ index } is no placeholder"),
        ("{}-{job_id}-{index}", "{} is no placeholder"),
        ("{0}-{job_id}-{index}", "{0} is no placeholder"),
        ("{Job_id}-{index}", "{Job_id} is no placeholder"),
        ("{{job_id}}-{job_id}-{index}", "{ or }"),
        ("{job_id}-{index}}", "{ or }"),
        ("{job_id}-{index", "must hold {index}"),
        ("{job_id}/{path}/{index}", "{path} may only be the very beginning"),
        ("{path}{job_id}/{index}", "{path} may only be the very beginning"),
        ("/{path}/{job_id}/{index}", "{path} may only be the very beginning"),
        ("{path}/{path}/{job_id}/{index}", "{path} may only be the very beginning"),
        ("/{job_id}/{index}", "must not begin or end with /"),
        ("{job_id}/{index}/", "must not begin or end with /"),
        ("{job_id}//{index}", "must not begin or end with /"),
        ("a/../{job_id}/{index}", "segment"),
        ("./{job_id}/{index}", "segment"),
        ("genrelay-probe-{job_id}-{index}", "genrelay-probe-"),
        ("{path}/{date}/genrelay-probe-{job_id}/{index}.{ext}", "genrelay-probe-"),
        ("{job_id}/{index}.{ext}.bak", "must end in .{ext}"),
        ("{ext}/{job_id}/{index}.{ext}", "must end in .{ext}"),
        ("{job_id}/{index}{ext}", "must end in .{ext}"),
        ("{job_id} {index}", "must not hold ' '"),
        ("{job_id}?{index}", "must not hold '?'"),
        ("{job_id}\u00e9{index}", "must not hold 'é'"),
        ("{job_id}\n{index}", "must not hold 'U+000A'"),
        ("{job_id}{index}" + "x" * 500, "must not be longer than 512 characters"),
        ("{operation}" * 16 + "{job_id}{index}", "at most 1024"),
    ],
)
def test_a_template_that_breaks_a_rule_is_told_which(template: str, rule: str) -> None:
    said = check_template(template, "renders")
    assert said is not None
    assert rule in said


def test_the_longest_key_counts_with_the_path_before_it() -> None:
    template = "{job_id}/{index}/" + "x" * (1024 - 30 - 1 - 5 - 1 - 500 - 1 - 100)
    template += "x" * 100
    assert check_template(template, "p" * 500) is None
    assert check_template(template, "p" * 501) is not None
    assert check_template(template, "\u00e9" * 250 + "p") is not None


@given(templates, st.text(max_size=20))
def test_what_passes_the_check_makes_a_safe_key_below_the_path(template: str, path: str) -> None:
    assume(check_path(path) is None)
    if check_template(template, path) is not None:
        return
    key = render_key(template, path, naming())
    prefix = "/".join(segment for segment in path.split("/") if segment)
    below = key.removeprefix(prefix).removeprefix("/") if prefix else key
    assert key.endswith(below) and key == (f"{prefix}/{below}" if prefix else below)
    assert re.fullmatch(r"[A-Za-z0-9!_.*'()/-]+", below)
    assert not {"", ".", ".."} & set(below.split("/"))
    assert len(key.encode()) <= 1024
    assert JOB in key


@given(sound_templates, st.integers(0, 32767), st.integers(0, 32767))
def test_two_outputs_never_get_the_same_key(template: str, one: int, other: int) -> None:
    assume(check_template(template, "p") is None)
    assume(one != other)
    key = render_key(template, "p", naming(one))
    assert key != render_key(template, "p", naming(other))
    assert key != render_key(template, "p", naming(one, job_id=JOB[:-1] + "n"))
    assert len(key.encode()) <= 1024


@given(st.text())
def test_any_text_is_either_sound_or_told_why_not(template: str) -> None:
    rule = check_template(template, "")
    assert rule is None or 0 < len(rule) < 400
    assert rule is None or rule.isprintable()


def test_the_day_is_that_of_utc() -> None:
    late = Naming(JOB, 0, "png", "novita", "txt2img", datetime(2026, 3, 1, 23, 59, tzinfo=UTC))
    assert render_key("{date}/{job_id}/{index}", "", late) == f"2026-03-01/{JOB}/0"
