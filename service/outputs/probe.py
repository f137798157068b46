"""A small object that a check writes, looks at and deletes again."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from botocore.exceptions import ClientError

from service.aws.answers import read_s3_code
from service.outputs.bucket import S3, put_once
from service.outputs.errors import DestinationDenied, DestinationError
from service.outputs.refused_settings import find_refused_settings, leave_out
from service.outputs.s3_errors import S3_ERRORS, as_destination_errors, decide_s3_error
from service.outputs.s3_hints import hint_for_setting
from service.outputs.spec import BucketSpec
from service.outputs.steps import Note

_BODY = b"A probe of genrelay; it may be deleted.\n"
_OTHER_BODY = b"A second probe, which must not replace the first one.\n"
_TYPE = "text/plain"
_MARK = {"genrelay": "probe"}
_TAKEN = frozenset({"PreconditionFailed", "412", "ConditionalRequestConflict"})


@dataclass
class Probe:
    """The object that is tried, under `key`, which nothing else has.

    spec: how it is written; without the settings that the bucket refused. refused: what it said to each of these.
    """

    s3: S3
    spec: BucketSpec
    key: str
    written: bool = False
    refused: dict[str, DestinationError] = field(default_factory=dict)
    maybe_there: list[str] = field(default_factory=list)
    head_answer: dict[str, Any] = field(default_factory=dict)
    _creating: asyncio.Future[Any] | None = None
    _trials: int = 0

    async def put(self) -> None:
        """Write the object; if it is refused, find out why, and write it without the settings that are the reason."""
        try:
            await self._write(self.key, self.spec)
        except DestinationError as error:
            await self._write_otherwise(error)
        self.written = True
        for name in ("storage_class", "acl"):
            if name in self.refused:
                raise _naming(name, self.refused[name])

    async def conditional_put(self) -> None:
        """Write again: it must be refused, else an output could replace what a customer has under its key."""
        request = {
            **self.spec.place(self.key),
            **self.spec.write_settings(),
            "Body": _OTHER_BODY,
            "IfNoneMatch": "*",
            "ChecksumSHA256": _checksum(_OTHER_BODY),
            "ContentType": _TYPE,
            "Metadata": _MARK,
        }
        with as_destination_errors():
            try:
                await self.s3.put_object(**request)
            except ClientError as error:
                if read_s3_code(error) in _TAKEN:
                    return
                raise
        raise _ignored("PutObject")

    async def head(self) -> None:
        """Look at the object: length and metadata have to be those that were written."""
        with as_destination_errors():
            self.head_answer = await self.s3.head_object(**self.spec.place(self.key))
        if self.head_answer.get("Metadata", {}).get("sha256") != hashlib.sha256(_BODY).hexdigest():
            raise DestinationDenied(
                "the object that was written is not the one that is there",
                "The S3 server must keep an object's metadata.",
                s3_code="MetadataLost",
            )

    async def get(self) -> Note | None:
        """Read the object back."""
        try:
            with as_destination_errors():
                answer = await self.s3.get_object(**self.spec.place(self.key))
                async with answer["Body"] as stream:
                    body = await _read_start(stream.content, len(_BODY) + 1)
        except DestinationDenied as denied:
            if denied.s3_code == "InvalidObjectState":  # archived at once, as the destination asks for
                return Note(denied.message, denied.hint)
            raise
        if body != _BODY:
            raise DestinationDenied(
                "the object came back with other content",
                "Look for what changes objects on their way to the S3 server or in it.",
                s3_code="ContentChanged",
            )
        return None

    async def multipart(self) -> None:
        """Write an object in parts over the one that is there: all of it has to work but for the end."""
        with as_destination_errors():
            upload = {**self.spec.place(self.key), "UploadId": await self._create_upload()}
            part = {"PartNumber": 1, "ChecksumSHA256": _checksum(_OTHER_BODY)}
            answer = await self.s3.upload_part(**upload, **part, Body=_OTHER_BODY)
            parts = {"Parts": [{**part, "ETag": answer.get("ETag", "")}]}
            try:
                await self.s3.complete_multipart_upload(**upload, MultipartUpload=parts, IfNoneMatch="*")
            except ClientError as error:
                if read_s3_code(error) in _TAKEN:
                    return
                raise
        raise _ignored("CompleteMultipartUpload")

    async def abort(self) -> None:
        """End the upload; one that is gone is as good as ended."""
        try:
            upload_id = (await self._created()).get("UploadId", "")
            await self.s3.abort_multipart_upload(**self.spec.place(self.key), UploadId=upload_id)
        except ClientError as error:
            if read_s3_code(error) not in {"NoSuchUpload", "404"}:
                raise _staying(
                    decide_s3_error(error),
                    f"The upload of {self.key} stays until the bucket's life-cycle rule for incomplete uploads ends it.",
                ) from None
        except S3_ERRORS as error:
            raise decide_s3_error(error) from None

    @property
    def began_upload(self) -> bool:
        """Whether an upload in parts may be open."""
        creating = self._creating
        return creating is not None and not (creating.done() and (creating.cancelled() or creating.exception()))

    async def kms(self) -> Note | None:
        """Compare how the object is encrypted with what was asked for."""
        if "encryption" in self.refused:
            raise _naming("encryption", self.refused["encryption"])
        asked = self.spec.encryption
        assert asked is not None
        # The answer to an upload's creation says the same, for whom the head is refused.
        found = self.head_answer or await self._created()
        if found.get("ServerSideEncryption") != asked.type:
            raise DestinationDenied(
                f"the object is not encrypted with {asked.type}, as the destination asks for",
                "Use an S3 server that knows this encryption, or remove `encryption` from the destination.",
                s3_code="EncryptionIgnored",
            )
        if asked.key_id is not None and not _is_same_key(asked.key_id, str(found.get("SSEKMSKeyId", ""))):
            raise DestinationDenied(
                "the object is encrypted with another key than the destination's",
                "Look at the bucket's own encryption, and at the destination's `encryption.key_id`.",
                s3_code="OtherEncryptionKey",
            )
        if asked.bucket_key and not found.get("BucketKeyEnabled"):
            return Note("the bucket key is not used, so that every object makes a request to KMS")
        return None

    async def tags(self) -> Note | None:
        """Compare the object's tags with those that were asked for, where they can be read."""
        if "tags" in self.refused:
            raise _naming("tags", self.refused["tags"])
        try:
            with as_destination_errors():
                answer = await self.s3.get_object_tagging(**self.spec.place(self.key))
        except DestinationDenied as denied:
            if denied.s3_code in {"AccessDenied", "403"}:
                return Note("the tags were taken; they can't be read back without s3:GetObjectTagging")
            raise
        if {each.get("Key"): each.get("Value") for each in answer.get("TagSet", ())} != dict(self.spec.tags):
            raise DestinationDenied(
                "the object does not have the tags that the destination asks for",
                "Use an S3 server that knows object tags, or remove `tags` from the destination.",
                s3_code="TagsIgnored",
            )
        return None

    async def delete(self) -> None:
        """Delete whatever was written, or may have been."""
        for key in list(self.maybe_there):
            try:
                with as_destination_errors():
                    await self.s3.delete_object(**self.spec.place(key))
            except DestinationDenied as denied:
                raise _staying(
                    denied,
                    f"The probe stays as {key}. Outputs are stored without s3:DeleteObject; only this check needs it.",
                ) from None
            self.maybe_there.remove(key)

    async def _write(self, key: str, spec: BucketSpec) -> None:
        self.maybe_there.append(key)
        digest = hashlib.sha256(_BODY).digest()
        try:
            await put_once(self.s3, spec, key, _BODY, sha256=digest, media_type=_TYPE, metadata=_MARK)
        except DestinationDenied:
            self.maybe_there.remove(key)
            raise

    async def _write_otherwise(self, said: DestinationError) -> None:
        if said.s3_code == "AccessDenied" and await self._is_of_another_owner():
            raise DestinationDenied(
                f"the bucket does not belong to the AWS account {self.spec.expected_bucket_owner}",
                "Correct the destination's `expected_bucket_owner`, or its `bucket` if it should be another one.",
                s3_code="AccessDenied",
            )
        self.refused = await find_refused_settings(self.spec, said, self._try)
        if not self.refused:
            raise said
        self.spec = leave_out(self.spec, list(self.refused))
        await self._write(self.key, self.spec)

    async def _try(self, spec: BucketSpec) -> DestinationError | None:
        self._trials += 1
        try:
            await self._write(f"{self.key}-{self._trials}", spec)
        except DestinationError as error:
            return error
        return None

    async def _is_of_another_owner(self) -> bool:
        """Ask for the end of an upload that never was, with the expected owner and without: nothing can come of it."""
        if self.spec.expected_bucket_owner is None:
            return False
        place = self.spec.place(self.key)
        bare = {name: value for name, value in place.items() if name != "ExpectedBucketOwner"}
        return await self._end_nothing(place) == "AccessDenied" and await self._end_nothing(bare) == "NoSuchUpload"

    async def _end_nothing(self, place: dict[str, str]) -> str:
        with as_destination_errors():
            try:
                await self.s3.abort_multipart_upload(**place, UploadId="genrelay-probe")
            except ClientError as error:
                return read_s3_code(error)
        return ""

    async def _create_upload(self) -> str:
        # In a task of its own, so that its id becomes known, and the upload is aborted, also if the step is given up.
        self._creating = asyncio.ensure_future(
            self.s3.create_multipart_upload(
                **self.spec.place(self.key),
                **self.spec.write_settings(),
                ChecksumAlgorithm="SHA256",
                ContentType=_TYPE,
                Metadata=_MARK,
            )
        )
        return str((await self._created()).get("UploadId", ""))

    async def _created(self) -> dict[str, Any]:
        assert self._creating is not None
        answer: dict[str, Any] = await asyncio.shield(self._creating)
        return answer

    async def forget(self) -> None:
        """Give up what is still under way."""
        if self._creating is not None:
            self._creating.cancel()
            await asyncio.gather(self._creating, return_exceptions=True)


async def _read_start(stream: aiohttp.StreamReader, most: int) -> bytes:
    """Read a body up to a length: whatever a server sends beyond it is not what we have written."""
    body = b""
    while len(body) < most and (chunk := await stream.read(most - len(body))):
        body += chunk
    return body


def _checksum(body: bytes) -> str:
    return base64.b64encode(hashlib.sha256(body).digest()).decode()


def _is_same_key(asked: str, found: str) -> bool:
    """Compare a key as it was named (id, ARN, alias) with the ARN or id that S3 tells; of an alias nothing is known."""
    return "alias/" in asked or asked.rpartition("/")[2] == found.rpartition("/")[2]


def _ignored(operation: str) -> DestinationDenied:
    return DestinationDenied(
        "a second object replaced the first one under the same key",
        f"The S3 server ignores `If-None-Match: *` in {operation}; use one that knows conditional writes.",
        s3_code="ConditionalWriteIgnored",
    )


def _naming(setting: str, error: DestinationError) -> DestinationError:
    """Tell which setting is the reason, and what to do about it where S3 itself says nothing but no."""
    says_little = error.s3_code == "AccessDenied" or not error.final
    hint = hint_for_setting(setting, error.message) if says_little else None
    return type(error)(f"{error.message} (because of `{setting}`)", hint or error.hint, s3_code=error.s3_code)


def _staying(error: DestinationError, hint: str) -> DestinationError:
    return type(error)(error.message, f"{error.hint} {hint}", s3_code=error.s3_code)
