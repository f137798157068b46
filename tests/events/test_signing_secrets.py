"""Who signs with what, while secrets and keys are made, rotated and ended, by several processes at once."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg
import pytest
import standardwebhooks
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from service.crypto import Keyring, UndecryptableError
from service.db.pool import Pool, open_pool
from service.db.sql import queries
from service.events import signers as signers_module
from service.events.key_set import KeySet, account_key_json
from service.events.signers import (
    NotSignedError,
    Signers,
    account_secret,
    rotate_account_secret,
    rotate_signing_key,
    rotate_subscription_secret,
    signing_key_id,
    subscription_secret,
)
from service.events.signing import BadSecretError, Signer, make_secret
from service.events.signing_secrets import (
    MOST_SECRETS,
    SigningSecret,
    open_secrets,
    rotated,
    seal_new_secret,
    seal_secrets,
    view,
)
from service.events.subscription import Subscription
from service.ids import new_uuid, read
from tests.events.bodies import add_account, add_subscription, get_subscription

OLD_KEY, NEW_KEY = "an old secret key - 32 characters or more", "a new secret key - 32 characters or more"
KEYRING = Keyring([OLD_KEY])
DAY = 86_400


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    """A pool of this test's own."""
    opened = await open_pool(database_url, size=8)
    yield opened
    await opened.close()


def takes(secret: str, signer: Signer, body: bytes = b'{"n":1}') -> bool:
    """Return whether a receiver that knows this secret takes what is signed now."""
    headers = signer.headers("evt_1", int(time.time()), body)
    try:
        standardwebhooks.Webhook(secret).verify(body, headers)
    except standardwebhooks.WebhookVerificationError:
        return False
    return True


async def again(pool: Pool, subscription: Subscription) -> Subscription:
    return await get_subscription(pool, subscription.id)


async def end_grace(pool: Pool, subscription: Subscription) -> None:
    """Let the time of the subscription's old secrets pass."""
    assert subscription.signing is not None
    past = datetime.now(UTC) - timedelta(seconds=1)
    secrets = [SigningSecret(s.text, s.expires_at and past) for s in open_secrets(KEYRING, subscription.signing)]
    await pool.execute(
        "UPDATE subscriptions SET signing = $2 WHERE id = $1", subscription.id, seal_secrets(KEYRING, secrets)
    )


async def test_both_secrets_verify_during_the_grace_and_only_the_new_one_after_it(pool: Pool) -> None:
    account, signers = await add_account(pool), Signers(pool, KEYRING)
    subscription = await add_subscription(pool, KEYRING, account)
    old = subscription_secret(KEYRING, subscription).secret
    assert takes(old, await signers.of(subscription))

    shown = await rotate_subscription_secret(pool, KEYRING, account, subscription.id, DAY)
    during = await again(pool, subscription)
    assert shown == subscription_secret(KEYRING, during)
    assert [takes(each, await signers.of(during)) for each in (old, shown.secret)] == [True, True]

    await end_grace(pool, during)
    after = await again(pool, subscription)
    assert [takes(each, await signers.of(after)) for each in (old, shown.secret)] == [False, True]
    assert subscription_secret(KEYRING, after).previous == ()


async def test_a_secret_that_is_remembered_still_ends_in_time(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    account, signers = await add_account(pool), Signers(pool, KEYRING)
    subscription = await add_subscription(pool, KEYRING, account)
    old = subscription_secret(KEYRING, subscription).secret
    await rotate_subscription_secret(pool, KEYRING, account, subscription.id, 60)
    during = await again(pool, subscription)
    assert takes(old, await signers.of(during))
    monkeypatch.setattr(signers_module, "_now", lambda: datetime.now(UTC) + timedelta(seconds=61))
    assert not takes(old, await signers.of(during))


async def test_without_a_grace_every_old_secret_stops_at_once(pool: Pool) -> None:
    account, signers = await add_account(pool), Signers(pool, KEYRING)
    subscription = await add_subscription(pool, KEYRING, account)
    first = subscription_secret(KEYRING, subscription).secret
    second = (await rotate_subscription_secret(pool, KEYRING, account, subscription.id, DAY)).secret
    own = make_secret()
    shown = await rotate_subscription_secret(pool, KEYRING, account, subscription.id, 0, own)
    assert (shown.secret, shown.previous) == (own, ())
    signer = await signers.of(await again(pool, subscription))
    assert [takes(each, signer) for each in (first, second, own)] == [False, False, True]


async def test_all_who_need_the_accounts_secret_first_get_the_same_one(pool: Pool) -> None:
    account = await add_account(pool)
    job = await add_subscription(pool, KEYRING, account, origin="job")
    shown = await asyncio.gather(*(account_secret(pool, KEYRING, account) for _ in range(8)))
    others = await asyncio.gather(*(Signers(pool, KEYRING).of(job) for _ in range(8)))
    assert {each.secret for each in shown} == {shown[0].secret}
    assert all(takes(shown[0].secret, signer) for signer in others)
    assert await pool.fetchval("SELECT count(*) FROM signing_keys") == 1


async def test_a_secret_that_is_there_stays_when_somebody_else_makes_one_at_the_same_time(pool: Pool) -> None:
    account = await add_account(pool)
    first, late = seal_new_secret(KEYRING), seal_new_secret(KEYRING)
    for sealed in (first, late):
        assert await queries().put_webhook_signing(pool, account_id=account, sealed=sealed) == first
    # The account has no ed25519 key yet; making that leaves the secret alone.
    shown = await account_secret(pool, KEYRING, account)
    assert shown == view(open_secrets(KEYRING, first), datetime.now(UTC))


async def test_jobs_webhooks_are_signed_with_the_accounts_secret_and_subscriptions_with_their_own(pool: Pool) -> None:
    account, stranger, signers = await add_account(pool), await add_account(pool, "else"), Signers(pool, KEYRING)
    secret = (await account_secret(pool, KEYRING, account)).secret
    job = await add_subscription(pool, KEYRING, account, origin="job")
    own = await add_subscription(pool, KEYRING, account)
    theirs = await add_subscription(pool, KEYRING, stranger, origin="job")
    assert [takes(secret, await signers.of(each)) for each in (job, own, theirs)] == [True, False, False]


async def test_a_rotation_of_the_accounts_secret_reaches_every_process(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = await add_account(pool)
    job = await add_subscription(pool, KEYRING, account, origin="job")
    here, there = Signers(pool, KEYRING), Signers(pool, KEYRING)
    old = (await account_secret(pool, KEYRING, account)).secret
    assert takes(old, await here.of(job))
    assert takes(old, await there.of(job))
    new = (await rotate_account_secret(pool, KEYRING, account, 0)).secret
    here.forget(account)
    assert [takes(each, await here.of(job)) for each in (old, new)] == [False, True]
    later = time.monotonic() + signers_module.TRUST_SECONDS
    monkeypatch.setattr(time, "monotonic", lambda: later)
    assert [takes(each, await there.of(job)) for each in (old, new)] == [False, True]


async def test_what_is_remembered_costs_no_query_and_a_new_secret_needs_no_waiting(
    pool: Pool, database_url: str
) -> None:
    account = await add_account(pool)
    subscription = await add_subscription(pool, KEYRING, account)
    single = await open_pool(database_url, size=1)
    signers = Signers(single, KEYRING)
    await signers.of(subscription)
    new = (await rotate_subscription_secret(pool, KEYRING, account, subscription.id, 0)).secret
    rotated_one = await again(pool, subscription)
    await single.close()  # whoever asks the database now fails
    assert takes(new, await signers.of(rotated_one))


async def test_a_database_that_was_away_is_asked_again(pool: Pool, database_url: str) -> None:
    account = await add_account(pool)
    subscription = await add_subscription(pool, KEYRING, account)
    away = await open_pool(database_url, size=1)
    signers = Signers(away, KEYRING)
    await away.close()
    for _ in range(2):
        with pytest.raises(asyncpg.InterfaceError):
            await signers.of(subscription)
    signers._pool = pool
    assert takes(subscription_secret(KEYRING, subscription).secret, await signers.of(subscription))


async def test_many_deliveries_at_once_read_the_accounts_row_once(pool: Pool) -> None:
    account = await add_account(pool)
    subscription = await add_subscription(pool, KEYRING, account)
    await Signers(pool, KEYRING).of(subscription)
    asked: list[str] = []
    async with pool.acquire() as connection:
        connection.add_query_logger(lambda query: asked.append(query.query))
        signers = Signers(connection, KEYRING)  # type: ignore[arg-type] # a connection that tells what it is asked
        await asyncio.gather(*(signers.of(subscription) for _ in range(100)))
    assert len(asked) == 1


async def test_the_secret_of_a_stranger_a_sink_or_a_jobs_webhook_is_not_rotated(pool: Pool) -> None:
    account, stranger = await add_account(pool), await add_account(pool, "somebody else")
    subscription = await add_subscription(pool, KEYRING, account)
    job = await add_subscription(pool, KEYRING, account, origin="job")
    for whose, which in ((stranger, subscription.id), (account, job.id), (account, new_uuid())):
        with pytest.raises(NotSignedError):
            await rotate_subscription_secret(pool, KEYRING, whose, which, 0)
    with pytest.raises(BadSecretError):
        await rotate_subscription_secret(pool, KEYRING, account, subscription.id, 0, "whsec_c2hvcnQ=")
    assert await again(pool, subscription) == subscription
    with pytest.raises(NotSignedError):
        subscription_secret(KEYRING, job)


async def public_keys(pool: Pool) -> dict[str, str]:
    return {each["kid"]: each["x"] for each in json.loads(await KeySet(pool).all())["keys"]}


def verifies(x: str, signature: str, signed: bytes) -> bool:
    """Verify one `v1a` with a key of the key set, as a receiver would."""
    key = Ed25519PublicKey.from_public_bytes(base64.urlsafe_b64decode(x + "="))
    for each in signature.split(" "):
        version, _, encoded = each.partition(",")
        if version == "v1a":
            try:
                key.verify(base64.b64decode(encoded), signed)
            except InvalidSignature:
                continue
            return True
    return False


async def test_the_key_set_verifies_what_is_signed_and_the_old_key_too_during_its_grace(pool: Pool) -> None:
    account, stranger, signers = await add_account(pool), await add_account(pool, "else"), Signers(pool, KEYRING)
    subscription = await add_subscription(pool, KEYRING, account)
    first, theirs = await signing_key_id(pool, KEYRING, account), await signing_key_id(pool, KEYRING, stranger)
    second = await rotate_signing_key(pool, KEYRING, account, DAY)
    assert await signing_key_id(pool, KEYRING, account) == second
    keys = await public_keys(pool)
    signature = (await signers.of(subscription)).sign("evt_1", 7, b"{}")
    assert {kid: verifies(x, signature, b"evt_1.7.{}") for kid, x in keys.items()} == {
        first: True,
        second: True,
        theirs: False,
    }

    third = await rotate_signing_key(pool, KEYRING, account, 0)
    signers.forget(account)
    assert set(await public_keys(pool)) == {third, theirs}
    signature = (await signers.of(subscription)).sign("evt_1", 7, b"{}")
    assert [verifies(x, signature, b"evt_1.7.{}") for x in (keys[first], keys[second])] == [False, False]
    assert verifies((await public_keys(pool))[third], signature, b"evt_1.7.{}")
    assert (await account_key_json(pool, KEYRING, account))["previous"] == []


async def test_a_later_rotation_never_prolongs_the_grace_of_an_earlier_one(pool: Pool) -> None:
    account = await add_account(pool)
    await signing_key_id(pool, KEYRING, account)
    ends: dict[str, datetime] = {}
    for grace in (60, DAY, 3600):
        await rotate_signing_key(pool, KEYRING, account, grace)
        previous = (await account_key_json(pool, KEYRING, account))["previous"]
        shown = {each["id"]: datetime.fromisoformat(each["expires_at"]) for each in previous}
        assert len(shown) == len(ends) + 1
        assert {kid: shown[kid] for kid in ends if ends[kid] < shown[kid]} == {}
        ends = shown
    # The second one's day was cut to the hour of the third.
    hour = datetime.now(UTC) + timedelta(seconds=3600)
    assert [end <= hour for end in ends.values()] == [True] * 3


async def test_a_key_that_has_ended_is_in_no_key_set(pool: Pool) -> None:
    account = await add_account(pool)
    first = await signing_key_id(pool, KEYRING, account)
    second = await rotate_signing_key(pool, KEYRING, account, DAY)
    assert set(await public_keys(pool)) == {first, second}
    await pool.execute("UPDATE signing_keys SET expires_at = now() - interval '1 second' WHERE expires_at IS NOT NULL")
    assert set(await public_keys(pool)) == {second}
    alone = [json.loads(await KeySet(pool).one(read("key", each)))["keys"] for each in (first, second)]
    assert [[key["kid"] for key in keys] for keys in alone] == [[], [second]]
    assert (await account_key_json(pool, KEYRING, account))["previous"] == []


async def test_however_often_keys_are_rotated_few_sign(pool: Pool) -> None:
    account, signers = await add_account(pool), Signers(pool, KEYRING)
    subscription = await add_subscription(pool, KEYRING, account)
    for _ in range(MOST_SECRETS + 3):
        await rotate_signing_key(pool, KEYRING, account, DAY)
        await rotate_subscription_secret(pool, KEYRING, account, subscription.id, DAY)
    signer = await signers.of(await again(pool, subscription))
    assert (len(signer.keys), len(signer.secrets)) == (MOST_SECRETS, MOST_SECRETS)


async def test_racing_rotations_leave_one_key_in_use_and_every_secret_shown_signs(pool: Pool) -> None:
    account, signers = await add_account(pool), Signers(pool, KEYRING)
    subscription = await add_subscription(pool, KEYRING, account)
    keys = await asyncio.gather(*(rotate_signing_key(pool, KEYRING, account, DAY) for _ in range(4)))
    shown = await asyncio.gather(
        *(rotate_subscription_secret(pool, KEYRING, account, subscription.id, DAY) for _ in range(4))
    )
    job = await add_subscription(pool, KEYRING, account, origin="job")
    of_jobs = await asyncio.gather(*(rotate_account_secret(pool, KEYRING, account, DAY) for _ in range(4)))
    assert all([takes(each.secret, await signers.of(job)) for each in of_jobs])
    assert set(keys) <= set(await public_keys(pool))
    assert await pool.fetchval("SELECT count(*) FROM signing_keys WHERE expires_at IS NULL") == 1
    signer = await signers.of(await again(pool, subscription))
    assert all(takes(each.secret, signer) for each in shown)


async def test_what_was_sealed_with_an_older_secret_key_still_signs(pool: Pool) -> None:
    account = await add_account(pool)
    subscription, job = [await add_subscription(pool, KEYRING, account, origin=origin) for origin in ("api", "job")]
    secret = subscription_secret(KEYRING, subscription).secret
    of_jobs = (await account_secret(pool, KEYRING, account)).secret
    both = Signers(pool, Keyring([NEW_KEY, OLD_KEY]))
    assert takes(secret, await both.of(subscription))
    assert takes(of_jobs, await both.of(job))


async def test_a_rotation_is_the_way_out_when_the_secret_key_is_lost(pool: Pool) -> None:
    account, lost = await add_account(pool), Keyring([NEW_KEY])
    subscription = await add_subscription(pool, KEYRING, account)
    await signing_key_id(pool, KEYRING, account)
    await account_secret(pool, KEYRING, account)
    signers = Signers(pool, lost)
    with pytest.raises(UndecryptableError):
        await signers.of(subscription)
    shown = await rotate_subscription_secret(pool, lost, account, subscription.id, DAY)
    await rotate_account_secret(pool, lost, account, DAY)
    await rotate_signing_key(pool, lost, account, DAY)
    signers.forget(account)
    signer = await signers.of(await again(pool, subscription))
    assert takes(shown.secret, signer)
    assert len(signer.keys) == 1
    assert shown.previous == ()


async def test_a_sink_is_not_signed_for(pool: Pool) -> None:
    account = await add_account(pool)
    subscription = await add_subscription(pool, KEYRING, account)
    await pool.execute("UPDATE subscriptions SET url = NULL, sink = '{}' WHERE id = $1", subscription.id)
    with pytest.raises(NotSignedError):
        await Signers(pool, KEYRING).of(await again(pool, subscription))


@given(graces=st.lists(st.integers(0, 7 * DAY), max_size=8), own=st.booleans())
def test_a_rotation_leaves_one_secret_without_an_end_and_prolongs_nothing(graces: list[int], own: bool) -> None:
    now = datetime.now(UTC)
    secrets = [SigningSecret(make_secret())]
    for grace in graces:
        before = {each.text: each.expires_at for each in secrets}
        chosen = make_secret() if own else None
        secrets = rotated(secrets, now, grace, chosen)
        assert chosen in {None, secrets[0].text}
        assert [each.expires_at is None for each in secrets] == [True] + [False] * (len(secrets) - 1)
        for each in secrets[1:]:
            assert each.expires_at is not None
            assert now < each.expires_at <= now + timedelta(seconds=grace)
            end = before[each.text]
            assert end is None or each.expires_at <= end
        assert len(secrets) <= MOST_SECRETS
    assert open_secrets(KEYRING, seal_secrets(KEYRING, secrets)) == secrets


def test_the_secret_in_use_as_its_own_successor_stays_alone() -> None:
    secret = SigningSecret(make_secret())
    assert rotated([secret], datetime.now(UTC), DAY, secret.text) == [secret]


def test_no_repr_shows_a_secret() -> None:
    secret = SigningSecret(make_secret())
    shown = view([secret], datetime.now(UTC))
    assert shown.as_json() == {"secret": secret.text, "expires_at": None, "previous": []}
    assert secret.text[6:] not in repr(secret) + repr(shown)


async def test_a_shown_key_id_is_the_one_in_the_key_set(pool: Pool) -> None:
    account = await add_account(pool)
    kid = await signing_key_id(pool, KEYRING, account)
    assert isinstance(read("key", kid), UUID)
    assert list(await public_keys(pool)) == [kid]
