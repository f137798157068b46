"""Outputs that come as base64 text."""

from __future__ import annotations

import asyncio
import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.outputs.encoded import Decoded, text_bytes
from service.outputs.errors import OutputRefused
from service.outputs.files import InMemory


async def read_all(text: bytes, max_bytes: int, step: int) -> bytes:
    file, body = Decoded(InMemory(text), max_bytes), bytearray()
    while True:
        piece = await file.read(step)
        body += piece
        if len(piece) < step:
            assert await file.read(step) == b""
            return bytes(body)


def decode(text: bytes, max_bytes: int, step: int = 100) -> bytes:
    return asyncio.run(read_all(text, max_bytes, step))


@pytest.mark.parametrize(
    "head", [b"", b"data:image/png;base64,", b"data:;base64,", b" data:image/png;charset=x;BASE64,"]
)
@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"])
def test_text_becomes_the_file_it_stands_for(head: bytes, end: bytes) -> None:
    assert decode(head + base64.b64encode(b"a lighthouse") + end, 100) == b"a lighthouse"


@given(st.binary(max_size=2000), st.sampled_from([60, 76]), st.sampled_from([1, 7, 500, 10_000]))
def test_wrapped_lines_are_unwrapped_and_fit_the_limit_of_the_text(body: bytes, width: int, step: int) -> None:
    encoded = base64.b64encode(body)
    wrapped = b"\r\n".join(encoded[i : i + width] for i in range(0, len(encoded), width))
    assert decode(wrapped, len(body), step) == body
    assert len(wrapped) <= text_bytes(len(body))


@pytest.mark.parametrize(
    "body", [b"<html>no</html>", b"abc", b"\x89PNG\r\n\x1a\n", b"data:image/png,abcd", "ä".encode()]
)
def test_anything_else_is_refused(body: bytes) -> None:
    with pytest.raises(OutputRefused, match="base64"):
        decode(body, 100)


def test_a_file_that_grows_beyond_the_limit_is_refused() -> None:
    with pytest.raises(OutputRefused, match="larger than 10 bytes"):
        decode(base64.b64encode(b"12345678901"), 10)


@given(st.binary(max_size=300))
def test_arbitrary_bytes_are_a_file_or_refused(body: bytes) -> None:
    try:
        file = decode(body, 300)
    except OutputRefused:
        return
    assert len(file) <= 300


def test_what_comes_after_the_padding_is_refused() -> None:
    for text in (b"YQ==YQ==", b"YQ==" + b" " * 2000 + b"YQ=="):
        with pytest.raises(OutputRefused, match="base64"):
            decode(text, 100, step=1)


def test_a_long_text_is_decoded_piece_by_piece() -> None:
    body = bytes(range(256)) * 4096
    assert decode(b"data:image/png;base64," + base64.b64encode(body), len(body), step=300_000) == body
