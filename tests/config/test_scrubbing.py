"""Secrets are planted anywhere in what is logged, and never come out in either form."""

from __future__ import annotations

import enum
import json
import logging
import time
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

import httpx
import pytest
import structlog
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, SecretStr

from config.logging import set_up_logging
from config.scrubbing import _LONGEST, _cut_out, _known, clean, hide, scrub, secrets_of

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
core = st.text(LETTERS, min_size=24, max_size=36)


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    root, handlers, level = logging.getLogger(), logging.getLogger().handlers[:], logging.getLogger().level
    known = set(_known)
    yield
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()
    root.handlers[:], root.level = handlers, level
    _known.clear()
    _known.update(known)


class _Unknown:
    def __init__(self, secret: str) -> None:
        self.secret = secret

    def __repr__(self) -> str:
        return f"_Unknown({self.secret})"


def _texts(secret: str) -> list[str]:
    """The ways in which a secret stands in a text."""
    return [
        f"https://bucket.s3.example/a.png?X-Amz-Signature={secret}&x=1",
        f"GET /v1/things?sig={secret} failed",
        f"postgresql://user:{secret}@db/x",
        f"https://user:{secret}@example.com/x",
        f"Authorization: Bearer {secret}",
        f"authorization: {secret}",
        f"{{'authorization': 'Token {secret}', 'accept': '*/*'}}",
        f'{{"api_key": "{secret}", "n": 1}}',
        f'{{"key": "{secret}", "prompt": "x"}}',
        f"X-Amz-Security-Token={secret}",
        f"AWS4-HMAC-SHA256 Credential={secret}/20260101/eu/s3/aws4_request, SignedHeaders=host, Signature={secret}",
        f"whsec_{secret}",
        f"an account's key gr_{secret} was refused",
        f"sk_{secret}",
        f"/v1/callbacks/novita/{secret}",
        f"<Task finished name='x' exception=ValueError('{secret}')>",
        f"client_secret={secret}; path=/",
        f"password: '{secret} and more'",
        f"token:{secret.lower()}",
        f"x-gr_{secret}",
    ]


def _values(secret: str) -> list[Any]:
    return [
        *_texts(secret),
        secret.encode(),
        bytearray(secret.encode()),
        SecretStr(secret),
        ValueError(secret),
        _Unknown(secret),
        httpx.URL(f"https://example.com/x?token={secret}"),
        enum.Enum("Kind", {"A": f"gr_{secret}"}).A,
        PurePosixPath(f"/v1/callbacks/novita/{secret}"),
        {"authorization": secret},
        {"nested": {"X-Amz-Signature": secret}},
        {"key": secret},
        {"apiKey": [secret, secret]},
        [("x-api-key", secret)],
        [(b"authorization", secret.encode())],
        [["Cookie", {"deep": secret}]],
        {f"https://example.com/?token={secret}": 1},
    ]


def _wrapped(planted: Any) -> st.SearchStrategy[Any]:
    """The value, somewhere inside of lists, tuples and dicts."""
    ground = st.one_of(st.none(), st.integers(), st.text(max_size=5), st.just(planted))

    def around(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
        return st.one_of(
            inner.map(lambda value: [value]),
            inner.map(lambda value: (1, value, "x")),
            inner.map(lambda value: {"field": value}),
            inner.map(lambda value: {"field": {"other": [value]}}),
        )

    return st.one_of(st.just(planted), st.recursive(ground, around, max_leaves=6))


@st.composite
def planted(draw: st.DrawFn) -> tuple[str, Any]:
    """A secret, and a value that holds it."""
    secret = draw(core)
    return secret, draw(_wrapped(draw(st.sampled_from(_values(secret)))))


@pytest.mark.parametrize("form", ["json", "console"])
@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(given=planted())
def test_a_planted_secret_never_comes_out(
    form: str, capsys: pytest.CaptureFixture[str], given: tuple[str, Any]
) -> None:
    secret, value = given
    set_up_logging("debug", form)
    structlog.contextvars.bind_contextvars(bound=value)
    structlog.get_logger().info("something.happened", value=value, count=3)
    logging.getLogger("some.library").warning("it said %s and %r", "x", 3, extra={"more": value})
    structlog.contextvars.clear_contextvars()
    said = capsys.readouterr().err
    assert "something.happened" in said
    assert "it said x and 3" in said
    assert secret not in said
    assert secret.lower() not in said


@pytest.mark.parametrize("form", ["json", "console"])
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(secret=core, way=st.integers(0, len(_texts("")) - 1))
def test_what_libraries_format_themselves_is_scrubbed_too(
    form: str, capsys: pytest.CaptureFixture[str], secret: str, way: int
) -> None:
    set_up_logging("debug", form)
    text = _texts(secret)[way]
    for name in ("uvicorn.error", "asyncio", "some.library"):
        logging.getLogger(name).error("went wrong: %s", text)
        logging.getLogger(name).error("went wrong: %(text)s", {"text": text}, stack_info=True)
    said = capsys.readouterr().err
    assert said.count("went wrong") >= 6
    assert secret not in said
    assert secret.lower() not in said


def test_a_known_secret_is_cut_out_whatever_it_looks_like(capsys: pytest.CaptureFixture[str]) -> None:
    class Inner(BaseModel):
        keys: list[SecretStr]

    class Outer(BaseModel):
        inner: dict[str, Inner]
        name: str = "not a secret"

    hide(secrets_of(Outer(inner={"a": Inner(keys=[SecretStr("open sesame"), SecretStr("short")])})))
    set_up_logging("info", "json")
    structlog.get_logger().info("said", words="they said open sesame, in short", plain="not a secret")
    line = json.loads(capsys.readouterr().err)
    assert line["words"] == "they said …, in short"
    assert line["plain"] == "not a secret"


def test_asyncio_tells_of_a_task_without_the_text_of_its_exception(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging("info", "json")
    logging.getLogger("asyncio").error(
        "Task exception was never retrieved\nfuture: <Task exception=ValueError('hush')>"
    )
    line = json.loads(capsys.readouterr().err)
    assert (line["logger"], line["event"]) == ("asyncio", "Task exception was never retrieved")


@pytest.mark.parametrize(
    "value",
    [
        "job_01kamvd3g8e7r9v2m4x6z8b0c1",
        "0af7651916cd43dd8448eb211c80319c",
        "2026-11-21T23:00:00.000Z",
        "its token is not good",
        "renders/2026/job_01kamvd3g8e7r9v2m4x6z8b0c1/0.png",
        "ConnectTimeout",
        "the bucket's key policy says no: AccessDenied",
        "https://example.com/a.png",
        3,
        True,
        None,
        {"a": [1, 2.5, "x"], "b": {"c": None}},
    ],
)
def test_what_is_no_secret_is_left_as_it_is(value: Any) -> None:
    assert clean(value) == value


def test_an_aws_secret_key_is_cut_out_and_a_digest_is_not() -> None:
    assert "wJalr" not in scrub("with wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY there")  # AWS's own example
    assert scrub("AKIAIOSFODNN7EXAMPLE") == "AKIA…"
    assert scrub("commit 2fd4e1c67a2d28fced849ee1bb76e7391b93eb12") == "commit 2fd4e1c67a2d28fced849ee1bb76e7391b93eb12"


def _take(text: str) -> float:
    """How long it takes, in seconds of this thread's; the least of some, as anything else may happen meanwhile."""
    times = []
    for _ in range(3):
        began = time.thread_time()
        _cut_out(text)
        times.append(time.thread_time() - began)
    return min(times)


def _check_linear(unit: str) -> None:
    """Assert that 64 times the text takes not much more than 64 times as long; a square would take 4,096 times."""
    least, generous = 1024, 4
    first = max(_take(unit * (least // len(unit) + 1)) for _ in range(3))
    for factor in (4, 16, 64):
        text = unit * (factor * least // len(unit) + 1)
        # Once more before it is believed: a neighbour on the same core slows this down too.
        assert any(_take(text) <= generous * factor * first for _ in range(3)), (unit, factor)


ADVERSE = [
    "token", "token-", "secret", "signing-key-", "a", "A", "Ab1/", "-", "/", "=", "'", '"', "?", "@", ":", "://", " ", "\n",
    "a-", "a.", "a:", "a@", "a://", "http://", "http://a:", "postgres://", "postgres://a:", "/?", "?=", "/a?", "/a?=",
    "secret ", "secret=", "secret='", "secret:b'", 'secret="', "secret\n", "secret=aws4-", "secret= aws4 ", "secret=bearer ",
    "bearer", "bearer ", "basic \t", "whsec_", "gr_", "sk-", "-eyJ", "eyJaaaaaaaa-", "eyJ.", "AKIA", "exception=",
    "exception=a", "key ", '"key"', "'key':", "\"key\":'", "'key' ", "/v1/callbacks/", "/v1/callbacks/a", "x-amz-", "…",
]  # fmt: skip


@pytest.mark.parametrize("unit", ADVERSE)
def test_a_text_made_to_be_slow_takes_time_in_proportion_to_its_length(unit: str) -> None:
    _check_linear(unit)


@settings(max_examples=60, deadline=None)
@given(units=st.lists(st.sampled_from(ADVERSE), min_size=2, max_size=5))
def test_so_does_a_mixture(units: list[str]) -> None:
    _check_linear("".join(units))


@settings(max_examples=60, deadline=None)
@given(begins=st.sampled_from(ADVERSE), goes_on=st.sampled_from(ADVERSE))
def test_so_does_a_long_beginning_with_another_end(begins: str, goes_on: str) -> None:
    _check_linear(begins * 30 + goes_on * 30)


def test_of_a_long_text_the_beginning_is_logged_and_how_long_it_is() -> None:
    assert scrub("ab " * 3000) == "ab " * 2730 + "ab … (9000 characters)"
    assert scrub("x" * 64_000) == " … (64000 characters)"
    whole = ("ab " * 3000)[:_LONGEST]
    assert scrub(whole) == whole


@pytest.mark.parametrize("way", range(len(_texts(""))))
def test_no_part_of_a_secret_is_left_where_a_long_text_is_cut(way: int) -> None:
    secret = "Zq7Rk2Wv9Lx4Tn8Bd3Hs6Mf1"
    text = _texts(secret)[way]
    for before in range(_LONGEST - len(text) - 2, _LONGEST + 2, 3):
        said = scrub("." * (before - 1) + " " + text + " ab" * 3000)
        assert said.endswith(f" … ({before + len(text) + 9000} characters)")
        assert secret[:4] not in said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x=1 https://a.example/b?c=d,https://u:p@e.example/f?g=h 'i?j'", "x=1 https://a.example/b?… 'i?j'"),
        ("postgresql://u:p/w@db/x,postgres://u:p@db/y", "postgresql://u:…@db/x,postgres://u:…@db/y"),
        ("postgresql://db:5432/x", "postgresql://db:5432/x"),
        ("redis://:pw@h ftp://u:p@h", "redis://:…@h ftp://u:…@h"),
        ("error: a-token-of=x, b: token: y", "error: a-token-of=…, b: token: …"),
        ("password: 'without an end", "password: …"),
        ("is /a?b a=c", "is /a?b a=c"),
    ],
)
def test_secrets_are_cut_out_wherever_they_stand(text: str, said: str) -> None:
    assert scrub(text) == said
