"""What a URL alone tells the guard."""

from __future__ import annotations

from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.net import GuardPolicy, Refused, check_url
from tests.net.hostile_urls import HOSTILE

CLOSED = GuardPolicy()
LOCAL = GuardPolicy((ip_network("127.0.0.0/8"), ip_network("::1/128")))


def reason(url: str, policy: GuardPolicy = CLOSED, hosts: list[str] | None = None) -> str | None:
    try:
        check_url(url, policy, hosts=hosts)
    except Refused as refused:
        return refused.reason
    return None


@pytest.mark.parametrize("url", HOSTILE, ids=ascii)
def test_hostile_url_is_refused(url: str) -> None:
    assert reason(url) == HOSTILE[url]


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com/",
        "https://example.com",
        "HTTPS://EXAMPLE.com/Path?q=1#part",
        "https://example.com:443/",
        "https://example.com:8443/hook",
        "https://example.com:/",
        "https://xn--bcher-kva.example/",
        "https://under_score.example.com/",
        "https://1.1.1.1/",
        "https://[2606:4700:4700::1111]/",
        "https://[2606:4700:4700::1111]:8443/",
        "https://123.example.com/",
        "https://0x7f.example.com/",
        "https://bucket.s3.amazonaws.com/prod/a%20b/c.jpeg?X-Amz-Signature=ab%2Fcd&X-Amz-Date=20240602T150041Z",
        "https://example.com/@user:80/path",
        "https://example.com?next=http://127.0.0.1/",
    ],
)
def test_usual_url_passes(url: str) -> None:
    assert reason(url) is None


def test_checked_url_is_the_one_that_was_given() -> None:
    url = "https://Example.com:8443/a%2Fb?X-Amz-Signature=ab%2Fcd"
    assert str(check_url(url, CLOSED)) == "https://example.com:8443/a%2Fb?X-Amz-Signature=ab%2Fcd"


def test_host_list_allows_its_names_and_what_is_below_a_star() -> None:
    hosts = ["cdn.example.com", "*.Example.org", "10.0.0.1"]
    assert reason("https://CDN.example.com/", hosts=hosts) is None
    assert reason("https://a.b.example.org/", hosts=hosts) is None
    for other in ("https://example.com/", "https://xcdn.example.com/", "https://a.cdn.example.com/",
                  "https://example.org/", "https://badexample.org/", "https://example.org.evil.com/"):  # fmt: skip
        assert reason(other, hosts=hosts) == "host_not_allowed"
    assert reason("https://10.0.0.1/", hosts=hosts) == "private_address"
    assert reason("https://anything.example/", hosts=["*"]) is None
    assert reason("https://127.0.0.1/", hosts=["*"]) == "private_address"
    assert reason("https://example.com/", hosts=[]) == "host_not_allowed"


def test_host_list_is_asked_before_a_literal_is_looked_at() -> None:
    assert reason("https://2130706433/", hosts=["example.com"]) == "host_not_allowed"


def test_plain_http_and_any_port_pass_for_literals_in_opened_subnets_only() -> None:
    assert reason("http://127.0.0.1:9000/", LOCAL) is None
    assert reason("http://[::1]:9000/", LOCAL) is None
    assert reason("https://127.0.0.1:22/", LOCAL) is None
    assert reason("http://1.1.1.1/", LOCAL) == "scheme"
    assert reason("https://1.1.1.1:22/", LOCAL) == "port"
    assert reason("http://10.0.0.1/", LOCAL) == "private_address"
    assert reason("http://2130706433/", LOCAL) == "literal_not_canonical"


def test_port_that_does_not_exist_is_refused_although_subnets_are_opened() -> None:
    for url in ("https://example.com:99999/", "http://127.0.0.1:65536/", "http://[::1]:65536/"):
        assert reason(url, LOCAL) == "port"
    assert reason("http://127.0.0.1:65535/", LOCAL) is None


def test_plain_http_to_a_name_waits_for_dns_only_if_subnets_are_opened() -> None:
    assert reason("http://minio.internal:9000/", LOCAL) is None
    assert reason("http://minio.internal:9000/", CLOSED) == "scheme"


def test_refusal_never_quotes_path_or_query() -> None:
    for url in HOSTILE:
        try:
            check_url(url.split("#")[0] + "/path-secret?token=query-secret", CLOSED)
        except Refused as refused:
            assert "secret" not in str(refused)


@given(st.text(max_size=60))
def test_no_text_makes_the_check_raise_anything_but_a_refusal(text: str) -> None:
    for url in (text, "https://" + text, "https://example.com" + text, "http://127.0.0.1" + text):
        for policy in (CLOSED, LOCAL):
            reason(url, policy)
