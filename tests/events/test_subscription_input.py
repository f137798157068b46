"""Bodies of subscriptions: every mistake at once, nothing secret told, nothing taken that could not be kept or sent."""

from __future__ import annotations

import json
from ipaddress import IPv4Network
from typing import Any

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.events.endpoint_rules import check_header_name, check_header_value, check_webhook_url
from service.events.subscription_input import (
    DEFAULTS,
    Surroundings,
    read_subscription_changes,
    read_subscription_input,
)
from service.events.types import ACCOUNT_TYPES, JOB_TYPES, PATTERNS
from service.net.policy import GuardPolicy
from service.providers.checking import RULES
from service.providers.contract import Mistake
from service.providers.storable import find_unstorable

URL = "https://consumer.example/hooks?token=s3cret"
OPERATIONS = {"novita": ["txt2img", "img2img"], "modelslab": ["text2img"]}
SURROUNDINGS = Surroundings(GuardPolicy(), "default", (), OPERATIONS)
FULL: dict[str, Any] = {
    "url": URL,
    "event_types": ["job.succeeded", "output.*"],
    "filter": {
        "provider": "novita",
        "operation": ["txt2img"],
        "destination": ["acme", "other"],
        "metadata": {"order": "42"},
    },
    "payload": "thin",
    "include_test": True,
    "headers": {"Authorization": "Bearer s3cret", "X-Team": "renders and more"},
    "rate_limit": 10,
    "description": "the shop",
}


def mistakes(body: Any) -> dict[str, Mistake]:
    """Return the mistakes of the body of a POST by their paths."""
    found = read_subscription_input(body, SURROUNDINGS)
    assert isinstance(found, list), body
    assert len({mistake.path for mistake in found}) == len(found), found
    return {mistake.path: mistake for mistake in found}


def rule(path: str, body: Any) -> str:
    """Return the rule of the one mistake of a body, which is at this path."""
    found = mistakes(body)
    assert set(found) == {path}
    return found[path].rule


def accepted(body: Any) -> dict[str, Any]:
    """Return the fields of a body that is right."""
    found = read_subscription_input(body, SURROUNDINGS)
    assert isinstance(found, dict), found
    return found


def test_a_url_alone_is_a_subscription_with_every_default() -> None:
    assert accepted({"url": URL}) == {**DEFAULTS, "url": URL, "sink_secret": None}
    nothing: dict[str, None] = {name: None for name in DEFAULTS if name != "url"}
    assert accepted({"url": URL, **nothing}) == accepted({"url": URL})


def test_everything_that_is_given_is_kept_and_a_text_in_a_filter_is_a_list_of_one() -> None:
    wanted = {**FULL, "sink": None, "sink_secret": None}
    assert accepted(FULL) == {**wanted, "filter": {**FULL["filter"], "provider": ["novita"]}}


def test_an_empty_filter_is_none_whichever_way_it_is_said() -> None:
    empties: list[Any] = [None, {}, {"metadata": {}}, {"metadata": None, "provider": None}]
    for empty in empties:
        assert accepted({"url": URL, "filter": empty})["filter"] == {}


def test_every_pattern_is_taken_and_each_once() -> None:
    assert accepted({"url": URL, "event_types": [*PATTERNS, "*"]})["event_types"] == list(PATTERNS)
    assert {"*", "job.*", "output.*", "destination.*", "subscription.*", "delivery.*"} <= set(PATTERNS)
    assert {*JOB_TYPES, *ACCOUNT_TYPES} <= set(PATTERNS)


def test_every_mistake_is_told_at_once() -> None:
    body = {
        "url": "http://127.0.0.1/",
        "event_types": ["job.succeded", 7],
        "filter": {"provider": "novitta", "operations": [], "metadata": {"a": 1}},
        "payload": "fat",
        "include_test": 1,
        "headers": {"Host": "x", "a b": "c", "x": "\n"},
        "rate_limit": 0,
        "description": "x" * 1001,
        "secret": "whsec_1",
    }
    assert set(mistakes(body)) == {
        "url", "event_types.0", "event_types.1", "filter.provider", "filter.operations", "filter.metadata.a", "payload",
        "include_test", "headers.Host", "headers.a b", "headers.x", "rate_limit", "description", "secret",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("path", "change", "words"),
    [
        ("event_types.0", {"event_types": ["job.succeded"]}, "did you mean `job.succeeded`?"),
        ("event_types.0", {"event_types": ["jobs.*"]}, "did you mean `job.*`?"),
        ("event_types.0", {"event_types": ["subscription.test"]}, "must be a type of event"),
        ("event_types", {"event_types": []}, "at least 1 item"),
        ("event_types", {"event_types": "job.*"}, "must be a list"),
        ("filter.provider", {"filter": {"provider": "novitta"}}, "did you mean `novita`?"),
        ("filter.operation.1", {"filter": {"operation": ["txt2img", "text2imgs"]}}, "did you mean `text2img`?"),
        ("filter.destination", {"filter": {"destination": []}}, "1 to 50 items"),
        ("filter.destination", {"filter": {"destination": ""}}, "1 to 64 characters"),
        ("filter.destination", {"filter": {"destination": {}}}, "a string or a list of strings"),
        ("filter.destination.0", {"filter": {"destination": [["a"]]}}, "must be a string"),
        ("filter.providers", {"filter": {"providers": "novita"}}, "did you mean `provider`?"),
        ("eventtypes", {"eventtypes": ["*"]}, "did you mean `event_types`?"),
        ("payload", {"payload": "thinn"}, "did you mean `thin`?"),
        ("payload", {"payload": "provider"}, "must be one of 'full' or 'thin'"),
        ("rate_limit", {"rate_limit": 10_001}, "at most 10000"),
        ("rate_limit", {"rate_limit": True}, "must be an integer"),
        ("rate_limit", {"rate_limit": 1.5}, "must be an integer"),
        ("headers", {"headers": {f"x-{number}": "v" for number in range(21)}}, "at most 20 items"),
        ("headers", {"headers": ["a"]}, "must be an object"),
        ("headers.x-a", {"headers": {"X-A": "1", "x-a": "2"}}, "more than once"),
        ("headers.x", {"headers": {"x": 7}}, "must be a string"),
    ],
)
def test_a_mistake_is_told_in_words_with_the_nearest_name(path: str, change: dict[str, Any], words: str) -> None:
    assert words in rule(path, {"url": URL, **change})


def test_it_has_either_a_url_or_a_sink() -> None:
    assert "required" in rule("url", {})
    assert "required" in rule("url", {"url": None, "sink": None})
    both = mistakes({"url": URL, "sink": {"type": "sqs"}})
    assert both["url"].rule == "give one of url and sink"


@pytest.mark.parametrize(
    "url",
    [
        "http://consumer.example/",
        "https://user:s3cret@consumer.example/",
        "https://consumer.example:444/",
        "https://127.0.0.1/s3cret",
        "https://10.0.0.1/",
        "https://169.254.169.254/latest/meta-data",
        "https://[::1]/",
        "https://[::ffff:10.0.0.1]/",
        "https://0x7f.1/",
        "https://2130706433/",
        "https://127.1/",
        "https://käse.example/",
        "https:///path",
        "ftp://consumer.example/",
        "consumer.example",
        "",
        "https://consumer.example/ s3cret",
        "https://consumer.example/\r\nx: s3cret",
        "https://consumer.example/\0",
        "https://consumer.example/\ud800",
        "https://consumer.example/" + "s3cret" * 350,
        "https://consumer.example/" + "\u20ac" * 700,
    ],
)
def test_a_url_where_nothing_may_go_is_a_mistake_that_holds_nothing_of_it(url: str) -> None:
    found = mistakes({"url": url})
    assert set(found) == {"url"}
    assert "s3cret" not in repr(found)


def test_plain_http_and_private_addresses_are_taken_inside_opened_subnets_only() -> None:
    opened = Surroundings(GuardPolicy((IPv4Network("10.1.0.0/16"),)), "default", (), OPERATIONS)
    assert isinstance(read_subscription_input({"url": "http://10.1.2.3:8080/in"}, opened), dict)
    assert isinstance(read_subscription_input({"url": "http://10.2.0.1/in"}, opened), list)
    assert isinstance(read_subscription_input({"url": "http://10.1.2.3:8080/in"}, SURROUNDINGS), list)


@pytest.mark.parametrize(
    "name",
    [
        "host", "Host", "webhook-id", "Webhook-Signature", "WEBHOOK-anything", "content-type", "Content-Length", "Connection",
        "Transfer-Encoding", "TE", "Upgrade", "Keep-Alive", "Proxy-Authorization", "proxy-connection", "Trailer", "Expect",
        "User-Agent", "Accept-Encoding", "", " ", "a b", "a:", "a\r\nb", ":authority", "ä", "x" * 101, "\ud800", "a\0",
    ],
)  # fmt: skip
def test_a_header_that_is_ours_or_none_is_refused(name: str) -> None:
    found = mistakes({"url": URL, "headers": {name: "v"}})
    assert len(found) == 1
    assert next(iter(found)).startswith("headers.")


@pytest.mark.parametrize(
    "value", ["", " ", "a ", "\ta", "a\r\nb", "a\nb", "a\rb", "a\0b", "ä", "\u20ac", "\x7f", "x" * 4097, None, ["a"]]
)
def test_a_headers_value_that_could_say_more_than_itself_is_refused_without_telling_it(value: Any) -> None:
    found = mistakes({"url": URL, "headers": {"x-key": value}})
    assert set(found) == {"headers.x-key"}
    assert found["headers.x-key"].got is None


@given(name=st.text(max_size=8) | st.from_regex(r"[!-~]{1,8}", fullmatch=True), value=st.text(max_size=8))
def test_every_header_that_is_taken_can_be_sent(name: str, value: str) -> None:
    if check_header_name(name) is None and check_header_value(value) is None:
        sent = h11.Request(method="POST", target="/", headers=[("host", "a"), (name, value)])
        assert (name.lower().encode(), value.encode()) in list(sent.headers)


@given(url=st.text(max_size=40).map("https://".__add__) | st.text(max_size=40))
def test_no_url_that_is_taken_holds_what_ends_a_line_or_names_a_user(url: str) -> None:
    if check_webhook_url(url, GuardPolicy()) is None:
        assert url.startswith(("https://", "HTTPS://")) or url[:8].lower() == "https://"
        assert not set(url) & set("\r\n\0\t \\")
        assert "@" not in url.split("/")[2].partition("?")[0].partition("#")[0]


def test_nothing_secret_is_told_back() -> None:
    body = {
        "url": "http://consumer.example/?s3cret",
        "headers": {"Authorization": "s3cret\n", "host": "s3cret"},
        "sink": {"type": "sqs", "secret_access_key": "s3cret"},
    }
    for wrong in (
        body,
        {**body, "headers": "s3cret"},
        {**body, "headers": ["s3cret"]},
        {"url": ["s3cret"]},
        {"sink": "s3cret"},
    ):
        assert "s3cret" not in repr(read_subscription_input(wrong, SURROUNDINGS))


def test_a_patch_reads_only_what_it_names_and_null_resets() -> None:
    assert read_subscription_changes({}, SURROUNDINGS, of_sink=False) == {}
    for name, default in DEFAULTS.items():
        if name not in {"url", "sink"}:
            assert read_subscription_changes({name: None}, SURROUNDINGS, of_sink=False) == {name: default}
    changes = read_subscription_changes(
        {"headers": {"a": "b"}, "filter": {"provider": "novita"}}, SURROUNDINGS, of_sink=False
    )
    assert changes == {"headers": {"a": "b"}, "filter": {"provider": ["novita"]}}


def test_a_webhook_stays_a_webhook_and_a_sink_a_sink() -> None:
    for of_sink, body, path in (
        (False, {"url": None}, "url"),
        (True, {"sink": None}, "sink"),
        (True, {"url": URL}, "url"),
        (True, {"headers": {"a": "b"}}, "headers"),
    ):
        found = read_subscription_changes(body, SURROUNDINGS, of_sink=of_sink)
        assert isinstance(found, list)
        assert [mistake.path for mistake in found] == [path], body
    assert read_subscription_changes({"sink": None, "url": URL}, SURROUNDINGS, of_sink=False) == {"url": URL}


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=12)
    | st.sampled_from(["\0", "\ud800", URL, "*", "job.*", "novita", 2**70, "x" * 3000]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=6) | st.sampled_from([*FULL, "sink", *FULL["filter"]]), inner, max_size=5)
    ),
    max_leaves=15,
)


@given(changed=st.dictionaries(st.sampled_from([*FULL, "sink"]), JSON, max_size=4), whole=JSON, of_sink=st.booleans())
def test_whatever_comes_is_told_what_is_wrong_or_can_be_stored(
    changed: dict[str, Any], whole: Any, of_sink: bool
) -> None:
    for body in ({**FULL, **changed}, changed, whole):
        found = read_subscription_input(body, SURROUNDINGS)
        if isinstance(found, dict):
            assert set(found) == {*DEFAULTS, "sink_secret"}
            assert (found["url"] is None) != (found["sink"] is None)
        for read in (found, read_subscription_changes(body, SURROUNDINGS, of_sink=of_sink)):
            assert read or isinstance(read, dict)
            if isinstance(read, dict):
                assert not list(find_unstorable(read))
                json.dumps(read).encode()


def test_a_body_of_ten_thousand_mistakes_costs_little_and_tells_a_hundred() -> None:
    for wrong in ({f"event_type{n}": 1 for n in range(9000)}, {"event_types": ["job.succeded"] * 9000}):
        assert len(mistakes({"url": URL, **wrong})) <= 101
    assert len(mistakes({"url": URL, "headers": {f"x {n}": "v" for n in range(9000)}})) <= 101
    assert RULES["missing"] == "required"
