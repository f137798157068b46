"""Encrypts a file as it passes, and decrypts one, so that nobody without its key reads or alters it unnoticed.

A sealed file is a header (what it is, version, salt) and pieces of AES-256-GCM. A piece's nonce is its number and whether
it is the last one (the STREAM construction), so that pieces that are reordered, cut off or added do not open.
"""

from __future__ import annotations

import asyncio
import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from service.jobs.errors import ErrorCode
from service.outputs.errors import OutputError
from service.outputs.files import File

KEY_BYTES = 32
PIECE = 2**16  # bytes of the file in one piece
_TAG = 16
_KIND = b"genrelay sealed\x01"  # the last byte is the version
_SALT = 16
HEADER = len(_KIND) + _SALT


class BrokenSeal(OutputError):  # noqa: N818 - reads as what happened
    """A sealed file is not what was sealed, or not for this key and place; nothing of the piece in question is given out."""

    code = ErrorCode.OUTPUT_EXPIRED
    final = False
    usual_hint = "What waited in the service's spool is damaged; retry the job while the provider still has the file."

    def __init__(self, reason: str) -> None:
        super().__init__(f"what waits in the service's spool can't be used: {reason}")


class _Cipher:
    """The pieces' cipher. The salt gives every sealed file a key of its own, also if one key ever seals two files."""

    def __init__(self, key: bytes, header: bytes, bound_to: bytes) -> None:
        own = HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=header[len(_KIND) :], info=_KIND).derive(key)
        self._aead = AESGCM(own)
        self._bound_to = header + bound_to
        self._count = 0

    def seal(self, piece: bytearray, last: bool) -> bytes:
        sealed = self._aead.encrypt(self._nonce(last), piece, self._bound_to)
        self._count += 1
        return sealed

    def open(self, sealed: bytearray, last: bool) -> bytes:
        piece = self._aead.decrypt(self._nonce(last), sealed, self._bound_to)
        self._count += 1
        return piece

    def _nonce(self, last: bool) -> bytes:
        return self._count.to_bytes(11, "big") + bytes([last])


class _Pieces:
    """Reads a file in pieces of one size, one of them ahead, so that it knows which one is the last."""

    def __init__(self, file: File, size: int) -> None:
        self._file = file
        self._size = size
        self._ahead: bytearray | None = None
        self.ended = False

    async def next(self) -> bytearray:
        """Return the next piece and set `ended` if it is the last one; an empty file has one, which is empty."""
        if self._ahead is None:
            self._ahead = await self._file.read(self._size)
        following = await self._file.read(self._size) if len(self._ahead) == self._size else bytearray()
        piece, self._ahead = self._ahead, following
        self.ended = not following
        return piece


class _Passing:
    """What sealing and opening share: bytes that are made as they are asked for."""

    def __init__(self) -> None:
        self._made = bytearray()

    async def _make_more(self) -> bool:
        """Add bytes to what was made; False when there are no more."""
        raise NotImplementedError

    async def read(self, most: int) -> bytearray:
        """Return the next bytes, as `File` has it."""
        while len(self._made) < most and await self._make_more():
            # A whole part takes milliseconds, and its file may be in memory already.
            await asyncio.sleep(0)
        # What is beyond is less than a piece, so that hardly anything is copied.
        given, self._made = self._made, self._made[most:]
        del given[most:]
        return given


class Sealed(_Passing):
    """A file, encrypted. key: 32 random bytes. bound_to: what opens it must say the same, and can't be read from it.

    Holds two pieces more in memory than the file does.
    """

    def __init__(self, file: File, key: bytes, bound_to: bytes = b"") -> None:
        super().__init__()
        self._file = file
        self._pieces = _Pieces(file, PIECE)
        header = _KIND + os.urandom(_SALT)
        self._cipher = _Cipher(key, header, bound_to)
        self._made += header

    @property
    def size(self) -> int | None:
        """Return the bytes that it will have; None when nobody said how many the file has."""
        return None if self._file.size is None else sealed_size(self._file.size)

    async def _make_more(self) -> bool:
        if self._pieces.ended:
            return False
        piece = await self._pieces.next()
        self._made += self._cipher.seal(piece, self._pieces.ended)
        return True


class Unsealed(_Passing):
    """What `Sealed` made, decrypted with the same key and `bound_to`; read raises BrokenSeal for anything else.

    Bytes are given out once their piece is authenticated, and the end only once it is known to be the end.
    """

    def __init__(self, file: File, key: bytes, bound_to: bytes = b"") -> None:
        super().__init__()
        self.size = None if file.size is None else unsealed_size(file.size)
        self._file = file
        self._key = key
        self._bound_to = bound_to
        self._pieces = _Pieces(file, PIECE + _TAG)
        self._cipher: _Cipher | None = None
        self._broken: BrokenSeal | None = None

    async def _make_more(self) -> bool:
        if self._broken is not None:
            raise self._broken
        if self._pieces.ended:
            return False
        try:
            self._made += await self._open_next()
        except BrokenSeal as broken:
            # For whoever reads on: what follows must not look like the end of the file.
            self._broken = broken
            self._made.clear()
            raise
        return True

    async def _open_next(self) -> bytes:
        if self._cipher is None:
            self._cipher = _Cipher(self._key, await self._read_header(), self._bound_to)
        sealed = await self._pieces.next()
        try:
            return self._cipher.open(sealed, self._pieces.ended)
        except InvalidTag:
            raise BrokenSeal("it was altered or cut, or its key is another one") from None

    async def _read_header(self) -> bytes:
        header = bytes(await self._file.read(HEADER))
        if len(header) != HEADER or not header.startswith(_KIND):
            raise BrokenSeal("it does not begin as sealed files do")
        return header


def sealed_size(size: int) -> int:
    """Return how many bytes a file of so many bytes has when it is sealed."""
    return HEADER + size + _TAG * max(1, -(-size // PIECE))


def unsealed_size(size: int) -> int:
    """Return how many bytes a sealed file of so many bytes holds; raises BrokenSeal when there is no such file."""
    pieces = max(1, -(-(size - HEADER) // (PIECE + _TAG)))
    held = size - HEADER - _TAG * pieces
    if held < 0 or sealed_size(held) != size:
        raise BrokenSeal("sealed files have other sizes")
    return held
