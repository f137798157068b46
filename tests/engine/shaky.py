"""A driven world whose bucket lies behind a proxy that makes S3 go wrong, and files of any size to be copied into it."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import io
import wave
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from functools import cache
from random import Random
from typing import Any
from urllib.parse import urlsplit

import botocore.session
from botocore.config import Config

from service.demo.s3server import Identity, S3Server
from service.engine.uploads import sweep_uploads
from tests.engine.driven import Driven, driven_world, uuid
from tests.faulty_s3 import FaultyS3, Request, Rule
from tests.listening import Listener, listening, ok
from tests.world import destination

SETTINGS = {
    "GENRELAY_OUTPUTS__WHOLE_BYTES": str(2**16),
    "GENRELAY_OUTPUTS__PART_BYTES": str(5 * 2**20),
    "GENRELAY_OUTPUTS__MAX_ATTEMPTS": "8",
}
# Bytes of sound. The large one has three parts.
SIZES: Mapping[str, int] = {"small": 40_000, "large": 12_500_000}
PARTS = 3
_MOST_SWEEPS = 5


@cache
def sound(name: str) -> bytes:
    """Return a WAV of noise; the same for the same name, and of the size of the word it begins with."""
    file = io.BytesIO()
    with wave.open(file, "wb") as made:
        made.setparams((1, 2, 8000, 0, "NONE", "not compressed"))
        made.writeframes(Random(name).randbytes(SIZES[name.partition(" ")[0]]))
    return file.getvalue()


@dataclass
class Shaky:
    """What the tests of a bucket that goes wrong work with."""

    driven: Driven
    proxy: FaultyS3
    files: Listener

    async def copying(self, name: str, count: int = 1) -> dict[str, Any]:
        """Return a job whose outputs, sounds of this size, are to be copied."""
        job = await self.driven.copying("a lighthouse [fault:more_images]" if count == 2 else "a lighthouse")
        await self.driven.sql(
            "UPDATE outputs SET kind = 'audio', source_url = $2 || index WHERE job_id = $1",
            uuid(job),
            f"http://127.0.0.1:{self.files.port}/{name}-",
        )
        return job

    async def drive(self, job: dict[str, Any]) -> dict[str, Any]:
        """Take a job to its end, and then let the sweep do what is left to it."""
        ended = await self.driven.drive(job)
        await self.sweep()
        return ended

    async def run(self, name: str) -> dict[str, Any]:
        """Make a job and take it to its end."""
        return await self.drive(await self.copying(name))

    async def sweep(self) -> None:
        """Run the sweep of uploads, its pauses left out, until it has nothing to do."""
        for _ in range(_MOST_SWEEPS):
            await self.driven.sql("UPDATE uploads SET due_at = now() WHERE due_at IS NOT NULL")
            await sweep_uploads(self.driven.context)
            if not await self.driven.sql("SELECT FROM uploads"):
                return
        raise AssertionError(f"not swept: {await self.driven.sql('SELECT * FROM uploads')}")

    async def settle_with(self, identity: Identity | None = None, **changes: Any) -> None:
        """Put the destination anew: seen by another identity, or otherwise changed."""
        body = destination(self.driven.s3, self.driven.bucket, endpoint_url=self.proxy.endpoint_url) | changes
        if identity is not None:
            body["auth"] |= {
                "access_key_id": identity.access_key_id,
                "secret_access_key": identity.secret_access_key,
            }
        answer = await self.driven.client.put("/v1/destinations/acme?check=false", json=body)
        assert answer.status_code in {200, 201}, answer.text
        self.proxy.forget()

    def forget(self) -> None:
        """Empty the bucket, and forget rules and requests."""
        self.driven.s3.empty_bucket(self.driven.bucket)
        self.proxy.forget()
        self.files.requests.clear()

    def check_stored(self, job: dict[str, Any], name: str, count: int = 1) -> None:
        """The job has succeeded, and the bucket holds its outputs as they came, and nothing else."""
        assert job["status"] == "succeeded", job
        keys = [f"renders/{job['id']}/{index:02}.wav" for index in range(count)]
        assert self.driven.keys() == keys
        for output, key in zip(job["outputs"], keys, strict=True):
            assert (output["status"], output["key"]) == ("stored", key)
            assert output["sha256"] == hashlib.sha256(sound(name)).hexdigest()
            assert self.driven.s3.read(self.driven.bucket, key) == sound(name)
        self.check_no_upload_is_open()

    def check_failed(self, job: dict[str, Any], code: str, hint: str) -> None:
        """The job has failed with this code and something to do, and the bucket is empty."""
        assert (job["status"], job["error"]["code"]) == ("failed", code), job
        assert hint in job["error"]["hint"], job["error"]
        assert self.driven.keys() == []
        self.check_no_upload_is_open()

    def check_no_upload_is_open(self) -> None:
        """No upload is left in the bucket that its owner would pay for."""
        listed = admin(self.driven.s3).list_multipart_uploads(Bucket=self.driven.bucket)
        assert listed.get("Uploads", []) == []


def admin(s3: S3Server) -> Any:
    """Return a plain client that goes straight to the server."""
    return botocore.session.Session().create_client(
        "s3",
        region_name=s3.region,
        endpoint_url=s3.endpoint_url,
        aws_access_key_id=s3.access_key_id,
        aws_secret_access_key=s3.secret_access_key,
        config=Config(s3={"addressing_style": "path"}, proxies={}),
    )


@contextlib.asynccontextmanager
async def shaky_world(
    database_url: str, s3: S3Server, bucket: str, proxy: FaultyS3, **more: str
) -> AsyncIterator[Shaky]:
    """Run a world without workers whose destination `acme` lies behind the proxy."""

    async def answer(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        path = urlsplit(files.requests[-1].split()[1].decode()).path
        writer.write(ok(sound(path.strip("/").rpartition("-")[0].replace("%20", " "))))
        await writer.drain()

    async with (
        listening(answer) as files,
        driven_world(database_url, s3, bucket, sandbox=None, **{**SETTINGS, **more}) as driven,
    ):
        shaky = Shaky(driven, proxy, files)
        await shaky.settle_with()
        yield shaky


@dataclass
class Storm(Rule):
    """Does it to the first `times` requests of each kind and part, so that nothing gets through at once."""

    def __post_init__(self) -> None:
        """Begin to count."""
        self._met: dict[tuple[str, str, int | None], int] = {}

    def takes(self, request: Request) -> bool:
        """Whether this one is in the storm; counts it."""
        kind = (request.operation, request.key, request.part)
        self._met[kind] = self._met.get(kind, 0) + 1
        if self.times is not None and self._met[kind] > self.times:
            return False
        self.hits += 1
        return True
