"""Sealed files: what comes out is what went in, or an error."""

from __future__ import annotations

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.outputs.files import File, InMemory
from service.outputs.sealing import HEADER, KEY_BYTES, PIECE, BrokenSeal, Sealed, Unsealed, sealed_size, unsealed_size

KEY = bytes(range(KEY_BYTES))
_TAG = 16
_STEP = PIECE + _TAG
SIZES = [0, 1, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE, 3 * PIECE + 7]


async def _all(file: File, most: int = 10**9) -> bytes:
    found = bytearray()
    while piece := await file.read(most):
        found += piece
    return bytes(found)


async def _sealed(body: bytes, bound_to: bytes = b"job_1:0") -> bytes:
    return await _all(Sealed(InMemory(body), KEY, bound_to))


async def _opened(sealed: bytes, bound_to: bytes = b"job_1:0", key: bytes = KEY) -> bytes:
    return await _all(Unsealed(InMemory(sealed), key, bound_to))


class _OfUnknownSize(InMemory):
    """A file that nobody announced the size of."""

    def __init__(self, body: bytes) -> None:
        super().__init__(body)
        self.size = None  # type: ignore[assignment]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("most", [1000, PIECE, _STEP, 5 * PIECE])
async def test_a_file_comes_out_as_it_went_in_in_whatever_portions(size: int, most: int) -> None:
    body = os.urandom(size)
    sealed = Sealed(InMemory(body), KEY)
    portions = []
    while portion := await sealed.read(most):
        portions.append(portion)
    assert all(len(portion) == most for portion in portions[:-1])
    whole = b"".join(portions)
    assert sealed.size == len(whole) == sealed_size(size)
    opened = Unsealed(InMemory(whole), KEY)
    assert opened.size == size
    assert await _all(opened, most) == body


@settings(deadline=None)
@given(st.integers(0, 4 * PIECE))
def test_the_sizes_are_each_others_inverse(size: int) -> None:
    assert unsealed_size(sealed_size(size)) == size


@pytest.mark.parametrize("size", [0, HEADER, HEADER + _TAG - 1, HEADER + _STEP + _TAG, HEADER + _STEP + 1])
def test_a_size_that_no_sealed_file_has_is_refused(size: int) -> None:
    with pytest.raises(BrokenSeal):
        unsealed_size(size)


async def test_a_file_of_unknown_size_is_sealed_and_opened() -> None:
    body = os.urandom(2 * PIECE)
    sealed = Sealed(_OfUnknownSize(body), KEY)
    assert sealed.size is None
    opened = Unsealed(_OfUnknownSize(await _all(sealed)), KEY)
    assert opened.size is None
    assert await _all(opened) == body


@settings(deadline=None)
@given(at=st.integers(0, sealed_size(2 * PIECE + 5) - 1), bit=st.integers(0, 7))
async def test_a_single_altered_bit_is_noticed_wherever_it_is(at: int, bit: int) -> None:
    sealed = bytearray(await _sealed(bytes(2 * PIECE + 5)))
    sealed[at] ^= 1 << bit
    with pytest.raises(BrokenSeal):
        await _opened(bytes(sealed))


@settings(deadline=None)
@given(kept=st.integers(0, sealed_size(2 * PIECE + 5) - 1))
async def test_a_file_that_was_cut_is_noticed_whatever_its_size_is_said_to_be(kept: int) -> None:
    sealed = await _sealed(bytes(2 * PIECE + 5))
    with pytest.raises(BrokenSeal):
        await _all(Unsealed(_OfUnknownSize(sealed[:kept]), KEY, b"job_1:0"))


@pytest.mark.parametrize("pieces", [0, 1, 2])
async def test_a_file_that_was_cut_between_two_pieces_is_noticed(pieces: int) -> None:
    sealed = await _sealed(os.urandom(3 * PIECE))
    with pytest.raises(BrokenSeal):
        await _opened(sealed[: HEADER + pieces * _STEP])


async def test_a_file_that_was_extended_is_noticed() -> None:
    sealed = await _sealed(os.urandom(PIECE))
    for more in (b"x", sealed[HEADER:], bytes(_TAG), bytes(_STEP)):
        with pytest.raises(BrokenSeal):
            await _all(Unsealed(_OfUnknownSize(sealed + more), KEY, b"job_1:0"))


async def test_pieces_in_another_order_are_noticed() -> None:
    sealed = await _sealed(os.urandom(3 * PIECE))
    header, first, second, third = (
        sealed[:HEADER], *(sealed[HEADER + n * _STEP : HEADER + (n + 1) * _STEP] for n in range(3)),
    )  # fmt: skip
    for order in ([second, first, third], [first, first, third], [first, third], [third, second, first]):
        with pytest.raises(BrokenSeal):
            await _opened(header + b"".join(order))


async def test_pieces_of_another_file_under_the_same_key_are_noticed() -> None:
    one, other = await _sealed(bytes(3 * PIECE)), await _sealed(bytes(3 * PIECE))
    assert one[HEADER:] != other[HEADER:]
    mixed = one[: HEADER + _STEP] + other[HEADER + _STEP : HEADER + 2 * _STEP] + one[HEADER + 2 * _STEP :]
    with pytest.raises(BrokenSeal):
        await _opened(mixed)


async def test_a_file_opens_with_its_own_key_and_for_its_own_output_only() -> None:
    sealed = await _sealed(b"a lighthouse")
    assert await _opened(sealed) == b"a lighthouse"
    for key, bound_to in [(bytes(KEY_BYTES), b"job_1:0"), (KEY, b"job_1:1"), (KEY, b"job_2:0"), (KEY, b"")]:
        with pytest.raises(BrokenSeal):
            await _opened(sealed, bound_to, key)


async def test_whoever_reads_on_after_an_error_gets_it_again_and_no_end() -> None:
    sealed = bytearray(await _sealed(os.urandom(2 * PIECE)))
    sealed[-1] ^= 1
    opened = Unsealed(InMemory(sealed), KEY, b"job_1:0")
    # The first piece is authentic, and given out; of the second one nothing ever is.
    assert len(await opened.read(PIECE)) == PIECE
    for _ in range(3):
        with pytest.raises(BrokenSeal):
            await opened.read(PIECE)


async def test_a_sealed_file_shows_nothing_of_what_is_in_it() -> None:
    body = b"a lighthouse at dawn, " * 10_000
    sealed = await _sealed(body)
    assert not any(sealed.find(body[start : start + 8]) >= 0 for start in range(22))
    # Not even that two files are the same.
    assert await _sealed(body) != sealed


async def test_an_unknown_version_is_refused() -> None:
    sealed = bytearray(await _sealed(b"a lighthouse"))
    sealed[15] += 1
    with pytest.raises(BrokenSeal, match="begin"):
        await _opened(bytes(sealed))
