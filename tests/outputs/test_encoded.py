"""Outputs that come as base64 text."""

from __future__ import annotations

import base64
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.outputs.download import Downloaded
from service.outputs.encoded import decode, text_bytes
from service.outputs.errors import OutputRefused


def text(body: bytes) -> Downloaded:
    return Downloaded(bytearray(body), hashlib.sha256(body).digest(), "text/plain")


@pytest.mark.parametrize(
    "head", [b"", b"data:image/png;base64,", b"data:;base64,", b" data:image/png;charset=x;BASE64,"]
)
@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"])
def test_text_becomes_the_file_it_stands_for(head: bytes, end: bytes) -> None:
    file = decode(text(head + base64.b64encode(b"a lighthouse") + end), 100)
    assert bytes(file.body) == b"a lighthouse"
    assert file.sha256 == hashlib.sha256(b"a lighthouse").digest()


@given(st.binary(max_size=2000), st.sampled_from([60, 76]))
def test_wrapped_lines_are_unwrapped_and_fit_the_limit_of_the_text(body: bytes, width: int) -> None:
    encoded = base64.b64encode(body)
    wrapped = b"\r\n".join(encoded[i : i + width] for i in range(0, len(encoded), width))
    assert bytes(decode(text(wrapped), len(body)).body) == body
    assert len(wrapped) <= text_bytes(len(body))


@pytest.mark.parametrize(
    "body", [b"<html>no</html>", b"abc", b"\x89PNG\r\n\x1a\n", b"data:image/png,abcd", "ä".encode()]
)
def test_anything_else_is_refused(body: bytes) -> None:
    with pytest.raises(OutputRefused, match="base64"):
        decode(text(body), 100)


def test_a_file_that_grows_beyond_the_limit_is_refused() -> None:
    with pytest.raises(OutputRefused, match="larger than 10 bytes"):
        decode(text(base64.b64encode(b"12345678901")), 10)


@given(st.binary(max_size=300))
def test_arbitrary_bytes_are_a_file_or_refused(body: bytes) -> None:
    try:
        file = decode(text(body), 300)
    except OutputRefused:
        return
    assert len(file.body) <= 300
