"""The operator's own bucket, where paid outputs wait, encrypted by us, while a customer's bucket refuses them.

Nothing in it tells what an object is: its key of 256 random bits lies, encrypted itself, in the database and nowhere else.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from ipaddress import ip_network
from typing import Any
from uuid import UUID

from botocore.exceptions import ClientError

from config.settings import OutputSettings, Settings, SpoolSettings
from service.aws.answers import read_s3_code
from service.aws.auth import AccessKey, Ambient
from service.crypto import Keyring, UndecryptableError
from service.ids import show
from service.net import GuardPolicy
from service.outputs.bucket import REQUEST_SECONDS, S3, put_once
from service.outputs.errors import DestinationError, SourceUnavailable
from service.outputs.files import File
from service.outputs.multipart import Ledger, Proof, abort, fit_part_bytes, list_uploads, open_upload
from service.outputs.s3_clients import Buckets
from service.outputs.s3_errors import S3_ERRORS, as_destination_errors, decide_s3_error
from service.outputs.sealing import KEY_BYTES, BrokenSeal, Sealed, Unsealed, sealed_size
from service.outputs.spec import BucketSpec
from service.outputs.stored_file import Arriving

# The spool's endpoint is the operator's own word, like a provider's base URL: it is not guarded. Customers' endpoints are,
# so that the clients for one are never used for the other.
_UNGUARDED = GuardPolicy((ip_network("0.0.0.0/0"), ip_network("::/0")))
_MISSING = "NoSuchKey"  # an endpoint that is another one may say 404 too, and then nothing is lost
_MEDIA_TYPE = "application/octet-stream"
_LATER = "Retry the job later; the operator of the service looks after its spool."
UNNAMED = "?"  # in place of the id of an upload that may be there


@dataclass(frozen=True, slots=True)
class Spooled:
    """What has to be remembered of an object in the spool. secret: its key, encrypted. bytes: the object's size."""

    bucket: str
    key: str
    secret: bytes = field(repr=False)
    bytes: int


class Spool:
    """The operator's bucket."""

    def __init__(self, settings: SpoolSettings, outputs: OutputSettings, keyring: Keyring) -> None:
        """Keep what every write needs. outputs: how large a file may be, and in what parts it goes."""
        self.spec = _read_spec(settings)
        self.keep_seconds = settings.keep_seconds
        self._path = settings.path
        self._part_bytes = fit_part_bytes(
            outputs.part_bytes, sealed_size(max(outputs.max_image_bytes, outputs.max_video_bytes))
        )
        self._parts_in_flight = outputs.parts_in_flight
        self._keyring = keyring
        self._buckets = Buckets(_UNGUARDED, max_clients=2)

    @property
    def memory(self) -> int:
        """Return the bytes of a file that are in memory while it is written, at most."""
        return self._part_bytes * (self._parts_in_flight + 1)

    def new_key(self, job_id: UUID, index: int) -> str:
        """Return a key that no object has had, `{path}/{job_id}/{index:02}-{random}`: a try that failed is in nobody's way."""
        name = f"{show('job', job_id)}/{index:02}-{secrets.token_hex(16)}"
        return f"{self._path}/{name}" if self._path else name

    async def store(self, key: str, job_id: UUID, index: int, file: File, ledger: Ledger) -> Spooled:
        """Write an output's file, encrypted: in one piece if it is smaller than a part, else in parts.

        ledger: where uploads are committed. Raises what `file` does, DestinationDenied or DestinationUnavailable.
        """
        secret = secrets.token_bytes(KEY_BYTES)
        sealed = Sealed(file, secret, _bound_to(job_id, index))
        # The spool is asked for nothing before there is something to write.
        first = await sealed.read(self._part_bytes)
        async with self._buckets.client(self.spec) as s3:
            if len(first) < self._part_bytes:
                digest = await asyncio.to_thread(hashlib.sha256, first)
                await put_once(
                    s3, self.spec, key, first, sha256=digest.digest(), media_type=_MEDIA_TYPE, metadata={}
                )  # fmt: skip
                size = len(first)
            else:
                size = await self._upload(s3, key, first, sealed, ledger)
        return Spooled(self.spec.bucket, key, self._keyring.encrypt(base64.b64encode(secret).decode()), size)

    async def _upload(self, s3: S3, key: str, part: bytearray, file: File, ledger: Ledger) -> int:
        size = 0
        async with open_upload(
            s3,
            self.spec,
            key,
            media_type=_MEDIA_TYPE,
            metadata={},
            ledger=ledger,
            parts_in_flight=self._parts_in_flight,
        ) as upload:
            while part:
                size += len(part)
                await upload.send(part, (await asyncio.to_thread(hashlib.sha256, part)).digest())
                part = await file.read(self._part_bytes)
            await upload.land()
            # Its mark and its checksum show that an object is ours; nobody knows the digest of the whole.
            await upload.complete(self.spec, key, Proof(size, bytes(32), upload.mark, upload.checksum))
        return size

    @asynccontextmanager
    async def open(self, waiting: Spooled, job_id: UUID, index: int) -> AsyncIterator[File | None]:
        """Lend the file of an object, decrypted; None when there is no such object any more in its bucket.

        Raises BrokenSeal or SourceUnavailable, on entering or when it is read. The latter also says that this process has
        not got the key that the object's own is encrypted with, which another one may have.
        """
        secret = self._read_secret(waiting)
        async with AsyncExitStack() as stack:
            with _as_source_errors():
                s3 = await stack.enter_async_context(self._buckets.client(self.spec))
            answer = await self._get(s3, waiting)
            if answer is None:
                yield None
                return
            # It closes the connection, but gives something else than itself.
            await stack.enter_async_context(answer["Body"])
            if answer["ContentLength"] != waiting.bytes:
                raise BrokenSeal("it has another size")
            yield Unsealed(Arriving(answer["Body"], waiting.bytes, _as_source_errors), secret, _bound_to(job_id, index))

    def _read_secret(self, waiting: Spooled) -> bytes:
        try:
            return base64.b64decode(self._keyring.decrypt(waiting.secret))
        except UndecryptableError as error:
            raise SourceUnavailable(f"the service's spool can't be read now: the key was {error}", _LATER) from None

    async def _get(self, s3: Any, waiting: Spooled) -> Any:
        with _as_source_errors():
            try:
                async with asyncio.timeout(REQUEST_SECONDS):
                    return await s3.get_object(**replace(self.spec, bucket=waiting.bucket).place(waiting.key))
            except ClientError as error:
                if read_s3_code(error) == _MISSING:
                    return None
                raise

    async def delete(self, key: str, upload_id: str | None = None, *, bucket: str | None = None) -> None:
        """Delete an object, whether it is there or not, after the uploads that may be open under its key.

        upload_id: of the one; None is none, and UNNAMED whichever there are. bucket: if it is another one than now.
        Raises DestinationDenied or DestinationUnavailable.
        """
        spec = replace(self.spec, bucket=bucket or self.spec.bucket)
        with as_destination_errors():
            async with self._buckets.client(self.spec) as s3, asyncio.timeout(REQUEST_SECONDS):
                open_ids = await list_uploads(s3, spec, key) if upload_id == UNNAMED else [upload_id]
                for each in filter(None, open_ids):
                    await abort(s3, {**spec.place(key), "UploadId": each})
                await s3.delete_object(**spec.place(key))

    async def aclose(self) -> None:
        """Close the connections."""
        await self._buckets.aclose()


def make_spool(settings: Settings, keyring: Keyring) -> Spool | None:
    """Return the operator's spool; None when the settings name none."""
    return Spool(settings.spool, settings.outputs, keyring) if settings.spool.bucket else None


def _read_spec(settings: SpoolSettings) -> BucketSpec:
    assert settings.bucket is not None
    auth: AccessKey | Ambient = Ambient()
    if settings.access_key_id is not None and settings.secret_access_key is not None:
        auth = AccessKey(settings.access_key_id, settings.secret_access_key.get_secret_value())
    return BucketSpec(settings.bucket, settings.region, auth, settings.endpoint_url)


def _bound_to(job_id: UUID, index: int) -> bytes:
    """Return what an object is bound to: copied under the key of another output, it does not open."""
    return f"{job_id}:{index}".encode()


@contextmanager
def _as_source_errors() -> Iterator[None]:
    try:
        yield
    except (DestinationError, *S3_ERRORS) as error:
        raise SourceUnavailable(
            f"the service's spool can't be read now: {decide_s3_error(error).message}",
            _LATER,
        ) from None
