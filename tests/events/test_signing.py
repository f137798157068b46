"""Signatures are what Standard Webhooks says, to the letter: the official libraries take them, and nothing near them."""

from __future__ import annotations

import base64
import json
import time
from typing import Any

import pytest
import standardwebhooks
import svix.webhooks
from cloudevents.core.bindings.http import HTTPMessage, from_structured_event
from cryptography.exceptions import InvalidSignature
from hypothesis import example, given
from hypothesis import strategies as st

from service.events.signing import (
    BadSecretError,
    Signer,
    make_key,
    make_secret,
    read_key,
    read_secret,
    show_public,
    sign,
)
from tests.events.bodies import EVERY_TYPE, bodies_of

EVENT_ID = "evt_01kc0000000000000000000000"
LIBRARIES = (standardwebhooks.Webhook, svix.webhooks.Webhook)
Refused = (standardwebhooks.WebhookVerificationError, svix.webhooks.WebhookVerificationError)
secrets = st.binary(min_size=24, max_size=64).map(lambda raw: "whsec_" + base64.b64encode(raw).decode())


def headers(body: bytes, *given_secrets: str, keys: tuple[str, ...] = (), at: int | None = None) -> dict[str, str]:
    at = int(time.time()) if at is None else at
    return {
        "webhook-id": EVENT_ID,
        "webhook-timestamp": str(at),
        "webhook-signature": sign(EVENT_ID, at, body, given_secrets, keys),
    }


def verify(library: Any, secret: str, body: bytes, given_headers: dict[str, str]) -> None:
    """Verify with a library of receivers."""
    if library is standardwebhooks.Webhook:
        library(secret).verify(body, given_headers, json_parse=False)
    else:
        library(secret).verify(body, given_headers)


def is_valid(library: Any, secret: str, body: bytes, given_headers: dict[str, str]) -> bool:
    try:
        verify(library, secret, body, given_headers)
    except Refused:
        return False
    return True


def test_the_specifications_own_example_has_its_signature() -> None:
    # https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md#signature-scheme
    signature = sign(
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        1614265330,
        b'{"test": 2432232314}',
        ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"],
    )
    assert signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize("library", LIBRARIES)
@given(secret=secrets, text=st.text())
@example(secret="whsec_" + base64.b64encode(bytes(24)).decode(), text="")
@example(secret="whsec_" + base64.b64encode(bytes(range(64))).decode(), text="\0\u2028 .v1,")
def test_any_secret_and_any_body_is_verified_and_nothing_else(library: Any, secret: str, text: str) -> None:
    body = text.encode("utf-8", "replace")
    signed = headers(body, secret, keys=(KEY,))
    assert is_valid(library, secret, body, signed)
    assert not is_valid(library, make_secret(), body, signed)
    assert not is_valid(library, secret, body + b" ", signed)
    assert not is_valid(library, secret, body, {**signed, "webhook-id": EVENT_ID + "0"})
    later = str(int(signed["webhook-timestamp"]) + 1)
    assert not is_valid(library, secret, body, {**signed, "webhook-timestamp": later})


KEY = make_key()


@pytest.mark.parametrize("library", LIBRARIES)
def test_every_one_of_several_secrets_verifies(library: Any) -> None:
    several = [make_secret() for _ in range(3)]
    signed = headers(b"{}", *several, keys=(KEY, make_key()))
    assert [each.partition(",")[0] for each in signed["webhook-signature"].split(" ")] == ["v1"] * 3 + ["v1a"] * 2
    assert all(is_valid(library, secret, b"{}", signed) for secret in several)


@pytest.mark.parametrize("library", LIBRARIES)
def test_what_is_older_than_five_minutes_is_refused(library: Any) -> None:
    secret = make_secret()
    assert not is_valid(library, secret, b"{}", headers(b"{}", secret, at=int(time.time()) - 301))


@given(body=st.binary())
def test_an_ed25519_signature_is_the_keys_own(body: bytes) -> None:
    signed = sign(EVENT_ID, 1_700_000_000, body, [], [KEY])
    version, _, encoded = signed.partition(",")
    assert version == "v1a"
    public = read_key(KEY).public_key()
    public.verify(base64.b64decode(encoded), f"{EVENT_ID}.1700000000.".encode() + body)
    with pytest.raises(InvalidSignature):
        public.verify(base64.b64decode(encoded), f"{EVENT_ID}.1700000001.".encode() + body)


@pytest.mark.parametrize("event_type", EVERY_TYPE)
def test_every_event_full_and_thin_is_a_cloud_event_and_verifies(event_type: str) -> None:
    secret = make_secret()
    for body in bodies_of(event_type):
        signed = headers(body, secret)
        for library in LIBRARIES:
            verify(library, secret, body, signed)
        check_cloud_event(event_type, body, {**signed, "webhook-id": json.loads(body)["id"]})


def check_cloud_event(
    event_type: str, body: bytes, signed: dict[str, str], source: str = "https://genrelay.example"
) -> None:
    """Parse a delivery with the official library of CloudEvents."""
    told = HTTPMessage(headers={"content-type": "application/cloudevents+json", **signed}, body=body)
    event = from_structured_event(told)
    assert (event.get_type(), event.get_specversion()) == (event_type, "1.0")
    assert event.get_source() == source
    assert event.get_id() == signed["webhook-id"]
    assert event.get_time() is not None
    data = event.get_data()
    assert isinstance(data, dict)
    assert ("sequence" in data) == event_type.startswith(("job.", "output."))


@given(raw=st.binary(max_size=23) | st.binary(min_size=65, max_size=80))
def test_a_secret_that_is_too_short_or_too_long_is_none(raw: bytes) -> None:
    with pytest.raises(BadSecretError):
        read_secret("whsec_" + base64.b64encode(raw).decode())


@given(text=st.text() | st.text().map(lambda text: f"whsec_{text}") | st.text().map(lambda text: f"whsk_{text}"))
def test_whatever_comes_for_a_secret_is_read_or_refused_without_showing_it(text: str) -> None:
    for read in (read_secret, read_key):
        try:
            read(text)
        except BadSecretError as error:
            assert len(text) < 8 or text not in str(error)
            assert error.__cause__ is None
            assert error.__context__ is None


def test_both_halves_of_a_key_have_to_belong_together() -> None:
    seed, public = base64.b64decode(KEY[5:])[:32], base64.b64decode(KEY[5:])[32:]
    assert read_key("whsk_" + base64.b64encode(seed).decode()).public_key().public_bytes_raw() == public
    assert show_public(public) == "whpk_" + base64.b64encode(public).decode()
    with pytest.raises(BadSecretError):
        read_key("whsk_" + base64.b64encode(seed + bytes(32)).decode())


def test_a_signers_repr_and_an_error_show_nothing() -> None:
    secret = make_secret()
    signer = Signer((read_secret(secret),), (read_key(KEY),))
    assert repr(signer) == "Signer()"
    assert signer.headers(EVENT_ID, 1, b"{}")["webhook-timestamp"] == "1"
