"""An output without a job, and what lies in a bucket afterwards."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from service.outputs.bucket import S3
from service.outputs.spec import BucketSpec
from service.outputs.transfer import Written


@dataclass
class NotedOrder:
    """Notes what is committed on the way. refuses: `fix` says that the file is not wanted any more.

    loses: it is fixed anew by another.
    """

    name_: str = field(default_factory=lambda: uuid4().hex)
    mark: str = field(default_factory=lambda: uuid4().hex)
    metadata: dict[str, str] = field(default_factory=lambda: {"genrelay-job": "job_1"})
    refuses: bool = False
    loses: bool = False
    noted: list[str] = field(default_factory=list)

    @property
    def key(self) -> str:
        return f"{self.name_}.bmp"

    def key_for(self, extension: str) -> str:
        return f"{self.name_}.{extension}"

    async def fix(self, written: Written) -> Written | None:
        self.noted.append("fix")
        return None if self.refuses else written

    async def is_fixed(self, written: Written) -> bool:
        self.noted.append("is_fixed")
        return not self.loses

    async def begin(self, key: str) -> str:
        assert key == self.key
        self.noted.append("begin")
        return self.mark

    async def name(self, upload_id: str) -> None:
        assert upload_id
        self.noted.append("name")

    async def doubt(self) -> None:
        self.noted.append("doubt")

    async def end(self) -> None:
        self.noted.append("end")

    async def leave(self) -> None:
        self.noted.append("leave")


async def read_object(s3: S3, spec: BucketSpec, key: str) -> bytes:
    answer = await s3.get_object(Bucket=spec.bucket, Key=key)
    async with answer["Body"] as stream:
        body: bytes = await stream.read()
    return body


async def list_keys(s3: S3, spec: BucketSpec) -> list[str]:
    answer = await s3.list_objects_v2(Bucket=spec.bucket)
    return [found["Key"] for found in answer.get("Contents", ())]


async def find_uploads(s3: S3, spec: BucketSpec) -> list[tuple[str, str]]:
    """Return key and id of every upload that is open."""
    answer = await s3.list_multipart_uploads(Bucket=spec.bucket)
    return [(found["Key"], found["UploadId"]) for found in answer.get("Uploads", ())]


async def head(s3: S3, spec: BucketSpec, key: str) -> dict[str, Any]:
    found: dict[str, Any] = await s3.head_object(Bucket=spec.bucket, Key=key, ChecksumMode="ENABLED")
    return found


def composite(body: bytes, part_bytes: int) -> str:
    """Return S3's checksum of an object in parts."""
    digests = [hashlib.sha256(body[at : at + part_bytes]).digest() for at in range(0, len(body), part_bytes)]
    return f"{base64.b64encode(hashlib.sha256(b''.join(digests)).digest()).decode()}-{len(digests)}"
