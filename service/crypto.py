"""Keys made from the operator's secret text, one per purpose, and what is encrypted with them."""

from __future__ import annotations

import base64
from collections.abc import Sequence

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF


class UndecryptableError(Exception):
    """A stored secret was encrypted with a key that is no longer among ours."""


def _derive(secret: str, purpose: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=32, salt=b"genrelay", info=purpose).derive(secret.encode())


class Keyring:
    """Every key of this service; the first secret writes, all of them read, which is how keys are rotated."""

    def __init__(self, secrets: Sequence[str]) -> None:
        if not secrets:
            raise ValueError("a keyring needs at least one secret")
        self.callback_keys = [_derive(secret, b"callback tokens") for secret in secrets]
        # What the database may know of a key: which one it was.
        self.fingerprints = [_derive(secret, b"fingerprint")[:8] for secret in secrets]
        self._fernets = [Fernet(base64.urlsafe_b64encode(_derive(secret, b"secrets at rest"))) for secret in secrets]
        self._fernet = MultiFernet(self._fernets)

    def __repr__(self) -> str:
        return f"Keyring({len(self.callback_keys)} keys)"

    def encrypt(self, text: str) -> bytes:
        """Encrypt a secret for the database."""
        return self._fernet.encrypt(text.encode())

    def decrypt(self, token: bytes) -> str:
        """Decrypt what `encrypt` made, with whichever of our keys; raises UndecryptableError."""
        try:
            return self._fernet.decrypt(token).decode()
        except InvalidToken as error:
            raise UndecryptableError("encrypted with a key that is not in GENRELAY_SECRET_KEY any more") from error

    def number_of(self, token: bytes) -> int | None:
        """Return the number of the key that something was encrypted with, from 1 on; None when it is not among ours."""
        for number, fernet in enumerate(self._fernets, 1):
            try:
                fernet.decrypt(token)
            except InvalidToken:
                continue
            return number
        return None
