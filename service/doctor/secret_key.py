"""The keys that secrets are encrypted with: are there any, and do they still open what is stored?"""

from __future__ import annotations

from typing import NamedTuple

from config.settings import PREFIX
from service.crypto import Keyring, UndecryptableError
from service.doctor.configuration import secret_file
from service.doctor.findings import Notes, count_of
from service.doctor.ground import Ground, Session

_SAMPLE = 50  # of the oldest and of the newest, each


class Place(NamedTuple):
    """Where encrypted secrets are stored. what: as people call it; order: the column that tells old from new."""

    what: str
    table: str
    column: str
    order: str
    mend: str


PLACES = (
    Place("destinations' credentials", "destinations", "secret", "id", "have them put again"),
    Place("subscriptions' headers", "subscriptions", "headers", "id", "have them put again"),
    Place("subscriptions' signing secrets", "subscriptions", "signing", "id", "have them rotated"),
    Place("sinks' credentials", "subscriptions", "sink_secret", "id", "have them put again"),
    Place("accounts' webhook secrets", "accounts", "webhook_signing", "id", "have them rotated"),
    Place("signing keys", "signing_keys", "secret", "id", "have them rotated"),
    Place("keys of outputs in the spool", "outputs", "spool_secret", "spooled_until", "they are lost without the key"),
)


async def check(ground: Ground, notes: Notes) -> None:
    """Look at the keys themselves, then try them on a sample of what is stored."""
    settings = ground.given()
    if settings.secret_key:
        notes.ok("given", f"{count_of(len(settings.secret_key), 'key')} in {PREFIX}SECRET_KEY; the first one writes")
    elif ground.keyring is not None:
        notes.ok("given", f"one key, in {secret_file(settings)}; back it up with the database")
    elif secret_file(settings).exists():
        hint = f"Put the secret back, or set {PREFIX}SECRET_KEY; as which user does this run?"
        notes.fail("given", f"{secret_file(settings)} can't be read, or is no key", hint)
        return
    else:
        notes.skip("given", "there is none yet: `genrelay serve` makes one in the data folder")
        return
    if len({key.get_secret_value() for key in settings.secret_key}) < len(settings.secret_key):
        notes.warn("twice", "a key is given twice", f"Remove one of them from {PREFIX}SECRET_KEY.")
    assert ground.keyring is not None
    async with ground.session() as session:
        await _try_sample(session, ground.keyring, notes)


async def _try_sample(session: Session, keyring: Keyring, notes: Notes) -> None:
    tried = 0
    lost = False
    for place in PLACES:
        stored = await session.fetch(_sample_of(place))
        bad = sum(not _opens(keyring, row["secret"]) for row in stored)
        tried += len(stored)
        if bad:
            lost = True
            notes.fail(
                "stored",
                f"{bad} of {len(stored)} {place.what} that were tried can't be decrypted ({place.table}.{place.column})",
                f"Add the key that they were written with to the end of {PREFIX}SECRET_KEY; if it is lost, {place.mend}.",
            )
    if not lost:
        notes.ok("stored", f"{count_of(tried, 'stored secret')} tried, all can be decrypted")


def _sample_of(place: Place) -> str:
    # Names are ours, of this file.
    some = f"{place.column} IS NOT NULL AND {place.order} IS NOT NULL"
    one = f"SELECT {place.column} AS secret FROM {place.table} WHERE {some} ORDER BY {place.order}"  # noqa: S608
    return f"(SELECT * FROM ({one} LIMIT {_SAMPLE}) AS old) UNION (SELECT * FROM ({one} DESC LIMIT {_SAMPLE}) AS fresh)"  # noqa: S608


def _opens(keyring: Keyring, secret: bytes) -> bool:
    try:
        keyring.decrypt(secret)
    except UndecryptableError:
        return False
    return True
