"""Callback tokens: one text per job, attempt and provider opens the door, and nothing else does."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.callbacks.tokens import Claim, check, mint
from service.crypto import Keyring

FIRST, SECOND = "the first secret key, 32 characters or more", "the second secret key, 32 characters or more"
KEYS = Keyring([FIRST])
JOB = UUID("0192f4a0-1111-7222-8333-444455556666")
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

attempts = st.integers(0, 2**24 - 1)


@given(st.uuids(), attempts, st.text(min_size=1, max_size=20))
def test_a_token_says_which_job_and_attempt_it_was_made_for(job: UUID, attempt: int, provider: str) -> None:
    assert check(KEYS, provider, mint(KEYS, provider, job, attempt)) == Claim(job, attempt)


def test_a_token_is_fit_for_a_url_and_holds_nothing_of_the_key() -> None:
    token = mint(KEYS, "novita", JOB, 1)
    assert len(token) == 52
    assert set(token) <= set(ALPHABET)
    assert not any(key in urlsafe_b64decode(token) for key in KEYS.callback_keys)


@given(st.uuids(), st.uuids(), attempts, attempts)
def test_tokens_of_two_attempts_are_equal_only_if_job_and_attempt_are(one: UUID, other: UUID, a: int, b: int) -> None:
    assert (mint(KEYS, "novita", one, a) == mint(KEYS, "novita", other, b)) == ((one, a) == (other, b))


@given(st.uuids(), attempts)
def test_the_mac_of_one_attempt_is_worthless_for_another(job: UUID, attempt: int) -> None:
    mac = urlsafe_b64decode(mint(KEYS, "novita", JOB, 1))[19:]
    named = job.bytes + attempt.to_bytes(3, "big")
    pasted = urlsafe_b64encode(named + mac).decode()
    assert (check(KEYS, "novita", pasted) is not None) == ((job, attempt) == (JOB, 1))


@given(st.text(max_size=12))
def test_a_token_is_worthless_for_another_provider(provider: str) -> None:
    assert (check(KEYS, provider, mint(KEYS, "novita", JOB, 1)) is not None) == (provider == "novita")


def test_provider_names_that_run_into_each_other_have_tokens_of_their_own() -> None:
    assert check(KEYS, "novi", mint(KEYS, "novita", JOB, 1)) is None
    assert check(KEYS, "novita\0", mint(KEYS, "novita", JOB, 1)) is None


@pytest.mark.parametrize("place", range(52))
def test_any_changed_character_spoils_a_token(place: int) -> None:
    token = mint(KEYS, "novita", JOB, 1)
    for other in set(ALPHABET) - {token[place]}:
        assert check(KEYS, "novita", token[:place] + other + token[place + 1 :]) is None


@given(st.integers(0, 52), st.text(min_size=1, max_size=3))
def test_nothing_may_be_put_into_a_token(place: int, more: str) -> None:
    token = mint(KEYS, "novita", JOB, 1)
    assert check(KEYS, "novita", token[:place] + more + token[place:]) is None


@given(st.integers(0, 51), st.characters())
def test_nothing_may_stand_in_for_a_character(place: int, other: str) -> None:
    token = mint(KEYS, "novita", JOB, 1)
    changed = token[:place] + other + token[place + 1 :]
    assert (check(KEYS, "novita", changed) is not None) == (changed == token)


def _tokens_with(character: str) -> str:
    """Return a token that holds this character."""
    return next(token for n in range(10_000) if character in (token := mint(KEYS, "novita", JOB, n)))


def test_other_spellings_of_the_same_bytes_are_refused() -> None:
    token = mint(KEYS, "novita", JOB, 1)
    spellings = [
        _tokens_with("-").replace("-", "+"),
        _tokens_with("_").replace("_", "/"),
        token + "=",
        token + "====",
        token[:-1] + "=",
        token[:26] + "\n" + token[26:],
        token + "\n",
        " " + token,
        token + " ",
        token.replace(token[0], token[0] + "!", 1),
        token.lower(),
        token.upper(),
        token.swapcase(),
        # Full-width letters are digits and letters to `isalnum`, and to nothing else.
        "".join(chr(ord(c) + 0xFEE0) for c in token),
    ]
    for spelling in spellings:
        assert check(KEYS, "novita", spelling) is None, spelling


@given(st.text(max_size=80))
def test_any_text_is_refused_without_an_exception(text: str) -> None:
    assert check(KEYS, "novita", text) is None


@given(st.text(alphabet=ALPHABET, min_size=52, max_size=52))
def test_any_text_in_the_form_of_a_token_is_refused(text: str) -> None:
    assert check(KEYS, "novita", text) is None


@given(st.text(alphabet=st.characters(categories=["Cs", "Nd", "Lo"]), min_size=52, max_size=52))
def test_surrogates_and_foreign_digits_are_refused_without_an_exception(text: str) -> None:
    assert check(KEYS, "novita", text) is None


def test_a_rotated_key_still_reads_and_the_new_one_writes() -> None:
    old = mint(Keyring([FIRST]), "novita", JOB, 1)
    rotated = Keyring([SECOND, FIRST])
    assert check(rotated, "novita", old) == Claim(JOB, 1)
    fresh = mint(rotated, "novita", JOB, 1)
    assert fresh == mint(Keyring([SECOND]), "novita", JOB, 1)
    assert fresh != old
    assert check(rotated, "novita", fresh) == Claim(JOB, 1)


def test_a_key_that_was_taken_away_reads_nothing_any_more() -> None:
    assert check(Keyring([SECOND]), "novita", mint(Keyring([FIRST]), "novita", JOB, 1)) is None


def test_an_attempt_that_has_no_room_in_a_token_is_refused_when_it_is_made() -> None:
    with pytest.raises(OverflowError):
        mint(KEYS, "novita", JOB, 2**24)
