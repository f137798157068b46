"""Writes one output into one bucket in parts, once: an upload ends completed or aborted, whatever happens on the way."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from botocore.exceptions import ClientError

from service.outputs.bucket import MARK, REQUEST_SECONDS, S3, SLOWEST, Stored, check_told, conflict, find_ours
from service.outputs.errors import DestinationDenied, DestinationError, DestinationUnavailable
from service.outputs.formats import Body
from service.outputs.s3_errors import S3_ERRORS, as_destination_errors, decide_s3_error
from service.outputs.spec import BucketSpec
from service.points import reach

_MOST_PARTS = 10_000
_MIB = 2**20
_COMPLETING = 5  # times as long as another request: S3 puts the parts together before it answers
_GIVING_UP_SECONDS = 10.0

# Held while they run: asyncio itself keeps no hold of tasks.
_giving_up: set[asyncio.Task[None]] = set()


class NotWanted(Exception):  # noqa: N818 - reads as what happened
    """The file must not be written any more."""


class Ledger(Protocol):
    """Where it is committed that an upload may be open, before it is."""

    async def begin(self, key: str) -> str:
        """Commit that an upload is about to be created; returns its mark for the object's metadata.

        Raises NotWanted, and whatever else shall keep it from being created.
        """
        ...

    async def name(self, upload_id: str) -> None:
        """Commit the upload's id. What it raises ends the upload."""
        ...

    async def doubt(self) -> None:
        """Commit that there may be one more under the same key, whose id nobody knows."""
        ...

    async def end(self) -> None:
        """Commit that it is completed or aborted. Raises nothing."""
        ...

    async def leave(self) -> None:
        """Commit that somebody has to abort it later. Raises nothing."""
        ...


@dataclass(frozen=True, slots=True)
class Proof:
    """What shows that an object is ours. sha256: 32 raw bytes. checksum: S3's, of the digests of the parts."""

    size: int
    sha256: bytes
    mark: str | None
    checksum: str


def fit_part_bytes(part_bytes: int, max_bytes: int) -> int:
    """Return the size of a part, or the next larger one with which a file of `max_bytes` has no more than 10,000."""
    least = -(-max_bytes // _MOST_PARTS)
    return part_bytes if part_bytes >= least else -(-least // _MIB) * _MIB


class Upload:
    """An open upload."""

    def __init__(self, s3: S3, place: Mapping[str, Any], *, mark: str, parts_in_flight: int, seconds: float) -> None:
        """Keep what every request needs. place: bucket, key, upload id."""
        self.mark = mark
        self.completed = False
        self._s3 = s3
        self._place = place
        self._most = parts_in_flight
        self._seconds = seconds
        self._digests: list[bytes] = []
        self._etags: dict[int, str] = {}
        self._flights: set[asyncio.Task[None]] = set()

    @property
    def checksum(self) -> str:
        """Return S3's checksum of all parts so far: that of their digests, and their number."""
        whole = hashlib.sha256(b"".join(self._digests)).digest()
        return f"{base64.b64encode(whole).decode()}-{len(self._digests)}"

    async def send(self, body: Body, sha256: bytes) -> None:
        """Begin to send the next part, as soon as there is room for it; raises what an earlier one has failed with."""
        while len(self._flights) >= self._most:
            await self._land(asyncio.FIRST_COMPLETED)
        self._digests.append(sha256)
        self._flights.add(asyncio.create_task(self._send(len(self._digests), body, sha256)))

    async def land(self) -> None:
        """Return once all parts have arrived; raises what one has failed with."""
        while self._flights:
            await self._land(asyncio.FIRST_EXCEPTION)

    async def _land(self, when: str) -> None:
        landed, self._flights = await asyncio.wait(self._flights, return_when=when)
        for flight in landed:
            flight.result()

    async def _send(self, number: int, body: Body, sha256: bytes) -> None:
        checksum = base64.b64encode(sha256).decode()
        with as_destination_errors():
            async with asyncio.timeout(self._seconds + len(body) / SLOWEST):
                answer = await self._s3.upload_part(
                    **self._place, PartNumber=number, Body=body, ChecksumSHA256=checksum
                )
        self._etags[number] = check_told(answer, "ETag")["ETag"]
        reach("copy.part_sent")

    async def complete(self, spec: BucketSpec, key: str, proof: Proof) -> Stored:
        """Let the object appear, unless something is there; what is there and is ours counts as written.

        Raises DestinationConflict, DestinationDenied or DestinationUnavailable; after the last one, from the start.
        """
        parts = [
            {"PartNumber": number, "ETag": self._etags[number], "ChecksumSHA256": base64.b64encode(digest).decode()}
            for number, digest in enumerate(self._digests, 1)
        ]
        try:
            async with asyncio.timeout(self._seconds * _COMPLETING):
                answer = await self._s3.complete_multipart_upload(
                    **self._place, MultipartUpload={"Parts": parts}, IfNoneMatch="*"
                )
                check_told(answer, "ETag")
        except (DestinationUnavailable, *S3_ERRORS) as error:
            return await self._decide(error, spec, key, proof)
        self.completed = True
        return Stored(already=False)

    async def _decide(self, error: BaseException, spec: BucketSpec, key: str, proof: Proof) -> Stored:
        """Whatever the answer was, if it does not say that nothing was written, the bucket is asked."""
        told = decide_s3_error(error)
        occupied = told.s3_code in {"PreconditionFailed", "412"}
        if told.final and not occupied:
            raise told from None
        try:
            ours = await find_ours(
                self._s3, spec, key, sha256=proof.sha256, size=proof.size, mark=proof.mark, checksum=proof.checksum,
                seconds=self._seconds,
            )  # fmt: skip
        except DestinationDenied as denied:
            # Who may not list a bucket hears the same of an object that is not there.
            if not occupied and denied.s3_code == "AccessDenied":
                raise told from None
            raise
        if ours:
            return Stored(already=True)
        if ours is not None:
            raise conflict(key)
        if occupied:
            raise DestinationUnavailable(f"what was stored under the key {key} is gone again", s3_code=told.s3_code)
        raise told from None

    async def give_up(self) -> bool:
        """Stop what is on its way and abort the upload; returns whether nothing of it can be left.

        A part that was on its way may arrive after the abort, and is kept, and charged, until there is another one:
        https://docs.aws.amazon.com/AmazonS3/latest/API/API_AbortMultipartUpload.html (checked 2026-11).
        """
        cut_off = any(not flight.done() for flight in self._flights)
        for flight in self._flights:
            flight.cancel()
        await asyncio.gather(*self._flights, return_exceptions=True)
        try:
            async with asyncio.timeout(_GIVING_UP_SECONDS):
                await abort(self._s3, self._place)
        except (DestinationError, TimeoutError):
            return False
        return not cut_off


@asynccontextmanager
async def open_upload(
    s3: S3,
    spec: BucketSpec,
    key: str,
    *,
    media_type: str,
    metadata: Mapping[str, str],
    ledger: Ledger,
    parts_in_flight: int,
    seconds: float = REQUEST_SECONDS,
) -> AsyncIterator[Upload]:
    """Lend an upload; one that is not completed when the block ends, however it ends, is aborted.

    metadata: ASCII; the upload's mark is added to it, which stands for the digest that is not known yet. seconds: for
    each request; a part has as much more as it takes at 256 KiB a second. Raises DestinationDenied or
    DestinationUnavailable, also from what is done with the upload.
    """
    mark = await ledger.begin(key)
    reach("copy.upload_begun")
    request = {
        **spec.place(key),
        **spec.write_settings(),
        "ChecksumAlgorithm": "SHA256",
        "ContentType": media_type,
        "Metadata": {**metadata, MARK: mark},
    }
    answer = await _create(s3, request, ledger, seconds)
    reach("copy.upload_created")
    place = {**spec.place(key), "UploadId": answer["UploadId"]}
    upload = Upload(s3, place, mark=mark, parts_in_flight=parts_in_flight, seconds=seconds)
    try:
        await ledger.name(answer["UploadId"])
        if answer["ResponseMetadata"].get("RetryAttempts"):
            # What became of the first request is not known: it may have made another upload.
            await ledger.doubt()
        reach("copy.upload_named")
        yield upload
    finally:
        await _end(upload, ledger)


async def _create(s3: S3, request: Mapping[str, Any], ledger: Ledger, seconds: float) -> dict[str, Any]:
    try:
        with as_destination_errors():
            async with asyncio.timeout(seconds):
                return check_told(await s3.create_multipart_upload(**request), "UploadId")
    except DestinationDenied:
        await ledger.end()
        raise
    except BaseException:
        await _to_the_end(ledger.leave())
        raise


async def _end(upload: Upload, ledger: Ledger) -> None:
    async def give_up() -> None:
        await (ledger.end() if upload.completed or await upload.give_up() else ledger.leave())

    await _to_the_end(give_up())


async def _to_the_end(what: Any) -> None:
    """Await what must be done also when we are cancelled meanwhile."""
    task = asyncio.ensure_future(what)
    _giving_up.add(task)
    task.add_done_callback(_giving_up.discard)
    await asyncio.shield(task)


async def abort(s3: S3, place: Mapping[str, Any]) -> None:
    """Abort an upload; one that is gone already is fine. place: bucket, key, upload id."""
    try:
        await s3.abort_multipart_upload(**place)
    except ClientError as error:
        told = decide_s3_error(error)
        if told.s3_code not in {"NoSuchUpload", "404"}:
            raise told from None
    except S3_ERRORS as error:
        raise decide_s3_error(error) from None


async def list_uploads(s3: S3, spec: BucketSpec, key: str) -> list[str]:
    """Return the ids of the uploads that are open under exactly this key; needs s3:ListBucketMultipartUploads."""
    place = spec.place(key)
    place["Prefix"] = place.pop("Key")
    with as_destination_errors():
        answer = await s3.list_multipart_uploads(**place)
    return [upload["UploadId"] for upload in answer.get("Uploads", ()) if upload["Key"] == key]
