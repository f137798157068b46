"""ModelsLab's answers to a submit: the result at once, or a place in the queue."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given

from service.providers.contract import (
    Accepted,
    Finished,
    HttpReply,
    OperationConfig,
    Source,
    Unclear,
)
from service.providers.modelslab import PROVIDER

from .arbitrary import QUICK, json_values
from .bodies import draw_picture, encode
from .modelslab_bodies import read_answer as read

URL = "https://pub-3626123a908346a7a8be8d9295f44e26.r2.dev/generations/a-0.png"
FUTURE = "https://pub-3626123a908346a7a8be8d9295f44e26.r2.dev/generations/not-yet-0.png"
FETCH = "https://modelslab.com/api/v6/images/fetch/134701497"


def success(**more: Any) -> dict[str, Any]:
    return {"status": "success", "generationTime": 20.97, "id": 13446970, "output": [URL], "meta": {}, **more}


def found(**more: Any) -> tuple[Source, ...]:
    outcome = read(200, success(**more))
    return outcome.sources if isinstance(outcome, Finished) else ()


# --- The result at once ---------------------------------------------------------------------------------------------


def test_success_with_outputs_is_the_result() -> None:
    assert read(200, success()) == Finished("13446970", (Source(0, "image", URL),))


@pytest.mark.parametrize(
    ("said", "task_id"),
    [(13446970, "13446970"), ("13446970", "13446970"), ("abc123-def456", "abc123-def456"), (None, None), ("", None)],
)
def test_id_of_any_type_is_text(said: Any, task_id: str | None) -> None:
    assert read(200, success(id=said)) == Finished(task_id, (Source(0, "image", URL),))


@pytest.mark.parametrize("output", [[], "", None, {}, [None], [5, {}], ["processing"], [""]])
def test_success_without_outputs_is_looked_up_when_it_has_an_id(output: Any) -> None:
    assert read(200, success(output=output)) == Accepted("13446970")
    assert read(200, success(output=output, id=None)) == Finished(None, ())


def test_success_without_any_output_field_is_the_same() -> None:
    assert read(200, {"status": "success", "id": 5}) == Accepted("5")
    assert read(200, {"status": "success"}) == Finished(None, ())


def test_outputs_get_a_running_index() -> None:
    assert [(s.index, s.url) for s in found(output=[URL, "", URL + "2"])] == [(0, URL), (1, URL + "2")]


@pytest.mark.parametrize("output", [[], "", None])
@pytest.mark.parametrize("name", ["proxy_links", "links"])
def test_proxy_links_and_links_stand_in_for_an_empty_output(name: str, output: Any) -> None:
    assert [source.url for source in found(output=output, **{name: [URL]})] == [URL]
    assert [source.url for source in found(output=output, **{name: URL})] == [URL]
    assert [source.url for source in found(**{name: [URL + "-other"]})] == [URL]


@pytest.mark.parametrize("empty", ["", None, []])
def test_proxy_links_of_every_empty_kind_say_nothing(empty: Any) -> None:
    assert [source.url for source in found(proxy_links=empty, links=empty)] == [URL]


@pytest.mark.parametrize("body", [success(output=[]), success(output="", id=None), {"status": "processing", "id": 5}])
def test_future_links_are_never_used(body: Any) -> None:
    assert read(200, {**body, "future_links": [FUTURE]}) == read(200, body)


@pytest.mark.parametrize(
    ("flag", "nsfw"),
    [
        (False, {"nsfw_content_detected": False}),
        (True, {"nsfw_content_detected": True}),
        ([True], {"nsfw_content_detected": True}),
        ([], None),
        (None, None),
        ("no", None),
        (1, None),
    ],
)
def test_nsfw_flag_is_kept_with_the_file(flag: Any, nsfw: Any) -> None:
    assert [source.nsfw for source in found(nsfw_content_detected=flag)] == [nsfw]


def test_nsfw_flags_go_to_their_own_files() -> None:
    flags = found(output=[URL, URL], nsfw_content_detected=[False, True])
    assert [source.nsfw for source in flags] == [{"nsfw_content_detected": False}, {"nsfw_content_detected": True}]


BESIDE_THE_POINT: list[dict[str, Any]] = [
    *[{"eta": eta} for eta in (35, 0.25, 13.06, "35", None)],
    *[
        {name: "Get more speed with a larger plan"}
        for name in ("tip", "tips", "tip_1", "message", "messege", "warning")
    ],
    {"webhook_status": "", "warning": "", "generationTime": 20.97},
    {"fetch_result": FETCH},
    {"meta": {"W": 512, "seed": 1, "id": 5}},
    {"meta": {"W": "512", "seed": "1", "id": "5", "webhook": "https://relay.example/token", "track_id": "job_01-1"}},
    {"meta": []},
    {"track_id": "job_02-1"},
]


@pytest.mark.parametrize("more", BESIDE_THE_POINT, ids=str)
def test_what_stands_beside_the_result_changes_nothing(more: dict[str, Any]) -> None:
    assert read(200, success(**more)) == Finished("13446970", (Source(0, "image", URL),))
    assert read(200, {"status": "processing", "id": 13446970, "output": [], **more}) == Accepted("13446970")


@pytest.mark.parametrize("task_id", [5, "5"])
def test_id_that_meta_repeats_is_not_the_tasks(task_id: Any) -> None:
    meta = {"id": task_id, "request_id": task_id, "fetch_result": FETCH}
    assert read(200, success(id=None, meta=meta)) == Finished(None, (Source(0, "image", URL),))
    body: dict[str, Any] = {"status": "processing", "id": None, "output": [], "meta": meta}
    assert read(200, body) == Unclear("HTTP 200 without a task id")


# --- base64: "yes" --------------------------------------------------------------------------------------------------

PICTURE = draw_picture()


def test_output_in_base64_is_the_file_itself() -> None:
    (source,) = found(output=[encode(PICTURE)])
    assert source == Source(0, "image", inline=PICTURE)


def test_output_in_base64_may_be_broken_into_lines_and_stand_alone() -> None:
    text = encode(PICTURE)
    assert [source.inline for source in found(output=f"{text[:40]}\n{text[40:]}\n")] == [PICTURE]


def test_output_as_data_uri_is_the_file_itself_with_its_claimed_type() -> None:
    (source,) = found(output=[f"data:image/png;base64,{encode(PICTURE)}"])
    assert source == Source(0, "image", inline=PICTURE, claimed_type="image/png")


@pytest.mark.parametrize(
    "text", ["done", "a" * 60, "*" * 100, "data:image/png;base64,*", "data:image/png,abc", "data:;base64,"]
)
def test_words_are_not_taken_for_files(text: str) -> None:
    assert found(output=[text]) == ()


@pytest.mark.parametrize("ending", [".base64", ".txt", ".BASE64", ".txt?x=y"])
def test_link_to_a_text_is_marked_as_encoded(ending: str) -> None:
    link = URL.replace(".png", ending)
    assert found(output=[link]) == (Source(0, "image", link, encoded=True),)


def test_source_shows_neither_its_url_nor_its_bytes() -> None:
    assert "generations" not in repr(found())
    assert "PNG" not in repr(found(output=[encode(PICTURE)]))


@pytest.mark.parametrize(
    ("outputs", "url", "kind"),
    [
        (("image",), "a.png", "image"),
        (("image",), "a.mp4", "image"),
        (("video",), "a.mp4", "video"),
        (("video",), "a", "video"),
        (("audio",), "a.mp3", "audio"),
        (("image", "video"), "a.mp4", "video"),
        (("video", "image"), "a.png", "image"),
    ],
)
def test_kind_is_what_the_operation_makes(outputs: Any, url: str, kind: str) -> None:
    provider = PROVIDER.configured({"x": OperationConfig(path="/api/v1/enterprise/video/x", outputs=outputs)})
    body = json.dumps(success(output=[f"https://cdn2.stablediffusionapi.com/{url}"])).encode()
    outcome = provider.read_submit("x", HttpReply(200, {}, body))
    assert isinstance(outcome, Finished)
    assert [source.kind for source in outcome.sources] == [kind]


# --- A place in the queue -------------------------------------------------------------------------------------------

ACCEPTED = [
    ({"status": "processing", "id": 134701497}, "134701497"),
    ({"status": "processing", "id": "134701497", "output": ""}, "134701497"),
    ({"status": "processing", "id": 5, "output": [URL]}, "5"),
    ({"status": "PROCESSING", "id": 5}, "5"),
    ({"status": "queued", "id": 5}, "5"),
    ({"status": "something new", "id": 5}, "5"),
    ({"id": 5}, "5"),
    ({"status": 7, "id": 5}, "5"),
    ({"status": "processing", "id": None, "fetch_result": FETCH}, "134701497"),
    ({"status": "processing", "id": "", "fetch_result": FETCH + "/"}, "134701497"),
    ({"status": "processing", "fetch_result": FETCH + "?a=b"}, "134701497"),
    (
        {"status": "processing", "fetch_result": "https://modelslab.com/api/v6/images/fetch/abc123-def456"},
        "abc123-def456",
    ),
    ({"status": "processing", "id": 5, "fetch_result": FETCH}, "5"),
    ({"status": "processing", "request_id": "6"}, "6"),
    # An error that names a task is about that task: the look-up tells how it ended.
    ({"status": "error", "id": 5, "message": "Failed, Try Again"}, "5"),
    ({"status": "failed", "id": 5, "message": "Failed, Try Again"}, "5"),
    # Whatever it says: these may be the customer's own words, and the task is there.
    ({"status": "failed", "id": 123, "message": "Failed: prompt 'slow down' refused"}, "123"),
    ({"status": "error", "id": 5, "message": "Rate limit exceeded"}, "5"),
    ({"status": "error", "id": 5, "message": "Internal server error"}, "5"),
]


@pytest.mark.parametrize(("body", "task_id"), ACCEPTED)
def test_task_that_is_named_is_accepted(body: Any, task_id: str) -> None:
    assert read(200, body) == Accepted(task_id)
    assert read(201, body) == Accepted(task_id)


@pytest.mark.parametrize(
    "fetch_result",
    [
        "",
        None,
        5,
        "134701497",
        "/api/v6/images/fetch/134701497",
        "https://modelslab.com/api/v6/images/fetch",
        "https://modelslab.com/api/v6/images/fetch/",
        "https://modelslab.com/api/v6/images/fetch/later",
        "https://modelslab.com/api/v6/images/134701497",
        "https://modelslab.com/api/v6/images/fetch/1/../2",
        "https://modelslab.com/api/v6/images/fetch/1%2F2",
        "https://modelslab.com/?x=/fetch/134701497",
        "https://modelslab.com/fetch/" + "1" * 129,
    ],
)
def test_only_a_tail_that_looks_like_an_id_is_one(fetch_result: Any) -> None:
    body = {"status": "processing", "id": None, "fetch_result": fetch_result}
    assert read(200, body) == Unclear("HTTP 200 without a task id")


@pytest.mark.parametrize("task_id", [True, 1.5, [5], {}, "a b", "a/b", "a?b", "..", ".", "ä", "x" * 129, 2**63, "\0"])
def test_nonsense_is_no_task_id(task_id: Any) -> None:
    assert read(200, {"status": "processing", "id": task_id}) == Unclear("HTTP 200 without a task id")


@QUICK
@given(output=json_values(["url"]), links=json_values(["url"]))
def test_outputs_of_any_json_are_read(output: Any, links: Any) -> None:
    outcome = read(200, success(output=output, proxy_links=links, future_links=[FUTURE]))
    assert isinstance(outcome, Accepted | Finished | Unclear)  # NaN is no JSON
    if isinstance(outcome, Finished):
        assert [source.index for source in outcome.sources] == list(range(len(outcome.sources)))
        assert all((source.url is None) is not (source.inline is None) for source in outcome.sources)
