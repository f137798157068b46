"""The operator's bucket: what is put there comes back, and tells nobody else anything."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from pydantic import SecretStr

from config.settings import OutputSettings, SpoolSettings
from service.aws.auth import Ambient
from service.crypto import Keyring
from service.demo.s3server import Identity, S3Server
from service.outputs.errors import DestinationDenied, DestinationError, OutputRefused, SourceUnavailable
from service.outputs.files import File, InMemory
from service.outputs.inspected import Inspected, Resumed
from service.outputs.inspecting import Limits
from service.outputs.sealing import PIECE, BrokenSeal, sealed_size
from service.outputs.spool import UNNAMED, Spool, Spooled
from tests.world import free_port

JOB, OTHER = UUID(int=7), UUID(int=8)
MIB = 2**20
KEYS = Keyring(["a secret key for tests - 32 characters or more"])
OUTPUTS = OutputSettings(part_bytes=5 * MIB, parts_in_flight=2)


class Ledger:
    """Notes what it is told, as the database would."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.upload_id: str | None = None

    async def begin(self, key: str) -> str:
        self.told.append("begin")
        return "a-mark"

    async def name(self, upload_id: str) -> None:
        self.told.append("name")
        self.upload_id = upload_id

    async def doubt(self) -> None:
        self.told.append("doubt")

    async def end(self) -> None:
        self.told.append("end")

    async def leave(self) -> None:
        self.told.append("leave")


def _settings(server: S3Server, bucket: str, who: Identity | None = None, **more: Any) -> SpoolSettings:
    who = who or server.admin
    return SpoolSettings(
        bucket=bucket,
        path="waiting",
        endpoint_url=server.endpoint_url,
        access_key_id=who.access_key_id,
        secret_access_key=SecretStr(who.secret_access_key),
        **more,
    )


@pytest.fixture
async def spool(s3_server: S3Server, bucket: str) -> AsyncIterator[Spool]:
    opened = Spool(_settings(s3_server, bucket), OUTPUTS, KEYS)
    yield opened
    await opened.aclose()


async def _stored(spool: Spool, body: bytes, ledger: Ledger | None = None) -> Spooled:
    return await spool.store(spool.new_key(JOB, 0), JOB, 0, InMemory(body), ledger or Ledger())


async def _read(file: File) -> bytes:
    found = bytearray()
    while piece := await file.read(100_000):
        found += piece
    return bytes(found)


async def _taken(spool: Spool, waiting: Spooled, job_id: UUID = JOB, index: int = 0) -> bytes | None:
    async with spool.open(waiting, job_id, index) as file:
        return None if file is None else await _read(file)


@pytest.mark.parametrize("size", [1, 100_000, 5 * MIB, 12 * MIB + 3])
async def test_what_is_stored_comes_back(spool: Spool, s3_server: S3Server, bucket: str, size: int) -> None:
    body = os.urandom(size)
    waiting = await _stored(spool, body)
    assert s3_server.list_keys(bucket) == [waiting.key]
    assert waiting.bytes == sealed_size(size)
    async with spool.open(waiting, JOB, 0) as file:
        assert file is not None
        assert file.size == size
        assert await _read(file) == body


async def test_an_object_tells_nothing_but_its_job_and_its_size(spool: Spool, s3_server: S3Server, bucket: str) -> None:
    body = b"\xff\xd8\xff\xe0 a lighthouse at dawn " * 40_000
    first, second = await _stored(spool, body), await _stored(spool, body)
    assert first.key.startswith("waiting/job_")
    assert first.key.rpartition("-")[0] == second.key.rpartition("-")[0]
    written, again = (s3_server.read(bucket, each.key) for each in (first, second))
    assert not any(written.find(body[start : start + 8]) >= 0 for start in range(30))
    assert written != again
    async with spool._buckets.client(spool.spec) as s3:
        head = await s3.head_object(Bucket=bucket, Key=first.key)
    assert head["ContentType"] == "application/octet-stream"
    assert "job" not in str(head["Metadata"])
    assert "secret" not in repr(first)


async def test_a_large_file_goes_in_parts_of_which_few_are_in_memory(spool: Spool) -> None:
    ledger = Ledger()
    waiting = await _stored(spool, bytes(16 * MIB), ledger)
    assert ledger.told[:2] == ["begin", "name"]
    assert ledger.told[-1] == "end"
    assert spool.memory == 3 * 5 * MIB
    async with spool._buckets.client(spool.spec) as s3:
        head = await s3.head_object(Bucket=spool.spec.bucket, Key=waiting.key)
    assert head["ETag"].strip('"').endswith("-4")


async def test_a_small_file_is_written_with_one_request(spool: Spool) -> None:
    ledger = Ledger()
    await _stored(spool, bytes(MIB), ledger)
    assert ledger.told == []


async def test_parts_are_such_that_the_largest_file_has_no_more_than_s3_takes(s3_server: S3Server, bucket: str) -> None:
    outputs = OutputSettings(part_bytes=5 * MIB, max_video_bytes=10_000 * 5 * MIB)
    spool = Spool(_settings(s3_server, bucket), outputs, KEYS)
    assert spool.memory // 3 * 10_000 >= sealed_size(outputs.max_video_bytes)
    await spool.aclose()


async def test_an_object_of_another_output_is_not_taken_for_this_one(spool: Spool) -> None:
    waiting = await _stored(spool, b"a lighthouse")
    for job_id, index in [(OTHER, 0), (JOB, 1)]:
        with pytest.raises(BrokenSeal):
            await _taken(spool, waiting, job_id, index)


@pytest.mark.parametrize("change", ["altered", "cut", "extended", "another"])
async def test_an_object_that_somebody_changed_is_not_given_out(spool: Spool, bucket: str, change: str) -> None:
    waiting = await _stored(spool, os.urandom(3 * PIECE))
    async with spool._buckets.client(spool.spec) as s3:
        answer = await s3.get_object(Bucket=bucket, Key=waiting.key)
        body = bytearray(await answer["Body"].read())
        if change == "altered":
            body[len(body) // 2] ^= 1
        changed = {"cut": body[:-1], "extended": body + b"x", "another": os.urandom(len(body))}.get(change, body)
        await s3.put_object(Bucket=bucket, Key=waiting.key, Body=bytes(changed))
    with pytest.raises(BrokenSeal):
        await _taken(spool, waiting)


async def test_what_is_gone_is_none(spool: Spool, s3_server: S3Server, bucket: str) -> None:
    waiting = await _stored(spool, b"a lighthouse")
    await spool.delete(waiting.key)
    assert s3_server.list_keys(bucket) == []
    assert await _taken(spool, waiting) is None
    await spool.delete(waiting.key)  # once more is fine


async def test_the_keys_of_objects_outlive_a_rotation_of_ours_but_not_its_end(
    spool: Spool, s3_server: S3Server, bucket: str
) -> None:
    waiting = await _stored(spool, b"a lighthouse")
    old, new = "a secret key for tests - 32 characters or more", "another secret key for tests, as long as that"
    rotated = Spool(_settings(s3_server, bucket), OUTPUTS, Keyring([new, old]))
    assert await _taken(rotated, waiting) == b"a lighthouse"
    ended = Spool(_settings(s3_server, bucket), OUTPUTS, Keyring([new]))
    # Another process may have the key: what it opens is neither lost nor broken.
    with pytest.raises(SourceUnavailable, match="GENRELAY_SECRET_KEY"):
        await _taken(ended, waiting)
    await rotated.aclose()
    await ended.aclose()


async def test_an_object_is_read_and_deleted_where_it_was_put_whatever_bucket_the_settings_name_now(
    spool: Spool, s3_server: S3Server, bucket: str
) -> None:
    waiting = await _stored(spool, b"a lighthouse")
    moved = Spool(_settings(s3_server, "there-is-no-such-bucket"), OUTPUTS, KEYS)
    assert await _taken(moved, waiting) == b"a lighthouse"
    with pytest.raises(SourceUnavailable):
        await _taken(moved, replace(waiting, bucket="there-is-no-such-bucket"))
    await moved.delete(waiting.key, bucket=bucket)
    assert s3_server.list_keys(bucket) == []
    await moved.aclose()


async def test_a_file_that_is_refused_leaves_nothing_there(spool: Spool, s3_server: S3Server, bucket: str) -> None:
    ledger = Ledger()
    page = Inspected(InMemory(b"<html>" + bytes(100_000)), "image", Limits(MIB, 10**6, 10))
    with pytest.raises(OutputRefused):
        await spool.store(spool.new_key(JOB, 0), JOB, 0, page, ledger)
    assert (ledger.told, s3_server.list_keys(bucket)) == ([], [])


async def test_a_file_that_turns_out_bad_in_its_last_part_leaves_no_upload_open(
    spool: Spool, s3_server: S3Server, bucket: str
) -> None:
    class Ending(InMemory):
        async def read(self, most: int) -> bytearray:
            piece = await super().read(most)
            if len(piece) < most:
                raise OutputRefused("bad at its end")
            return piece

    ledger = Ledger()
    with pytest.raises(OutputRefused):
        await spool.store(spool.new_key(JOB, 0), JOB, 0, Ending(bytes(12 * MIB)), ledger)
    assert (ledger.told[-1] in {"end", "leave"}, s3_server.list_keys(bucket)) == (True, [])
    assert await _open_uploads(spool) == []


async def _open_uploads(spool: Spool) -> list[str]:
    async with spool._buckets.client(spool.spec) as s3:
        answer = await s3.list_multipart_uploads(Bucket=spool.spec.bucket)
    return [each["UploadId"] for each in answer.get("Uploads", ())]


@pytest.mark.parametrize("named", [True, False])
async def test_deleting_ends_the_uploads_under_the_key_too(spool: Spool, named: bool) -> None:
    key = spool.new_key(JOB, 0)
    async with spool._buckets.client(spool.spec) as s3:
        answer = await s3.create_multipart_upload(Bucket=spool.spec.bucket, Key=key)
    assert await _open_uploads(spool) == [answer["UploadId"]]
    await spool.delete(key, answer["UploadId"] if named else UNNAMED)
    assert await _open_uploads(spool) == []


async def test_a_spool_that_refuses_says_so_as_a_bucket_when_written_and_as_a_source_when_read(
    spool: Spool, s3_server: S3Server, bucket: str
) -> None:
    waiting = await _stored(spool, b"a lighthouse")
    reader = Spool(_settings(s3_server, bucket, s3_server.reader), OUTPUTS, KEYS)
    with pytest.raises(DestinationDenied):
        await _stored(reader, b"a lighthouse")
    with pytest.raises(DestinationDenied):
        await reader.delete(waiting.key)
    stranger = Identity("nobody", "nobody's secret")
    closed = Spool(_settings(s3_server, bucket, stranger), OUTPUTS, KEYS)
    with pytest.raises(SourceUnavailable, match="spool") as raised:
        await _taken(closed, waiting)
    assert "nobody's secret" not in str(raised.value)
    for each in (reader, closed):
        await each.aclose()


async def test_a_spool_that_is_away_is_a_source_that_may_come_back() -> None:
    settings = SpoolSettings(
        bucket="relay-spool", endpoint_url=f"http://127.0.0.1:{free_port()}",
        access_key_id="id", secret_access_key=SecretStr("secret"),
    )  # fmt: skip
    spool = Spool(settings, OUTPUTS, KEYS)
    secret = KEYS.encrypt("AAAA")
    with pytest.raises(SourceUnavailable):
        await _taken(spool, Spooled("relay-spool", "key", secret, 100))
    with pytest.raises(DestinationError):
        await _stored(spool, b"a lighthouse")
    await spool.aclose()


async def test_the_spool_may_be_on_a_private_network_that_no_customers_bucket_is_let_into(
    spool: Spool, buckets: Any, s3_server: S3Server
) -> None:
    # Nothing was opened for it: its policy is its own.
    assert spool.spec.endpoint_url == s3_server.endpoint_url
    waiting = await _stored(spool, b"a lighthouse")
    assert await _taken(spool, waiting) == b"a lighthouse"


def test_without_a_key_the_services_own_credentials_are_used() -> None:
    spool = Spool(SpoolSettings(bucket="relay-spool"), OUTPUTS, KEYS)
    assert (spool.spec.auth, spool.spec.endpoint_url) == (Ambient(), None)
    assert spool.new_key(JOB, 3).split("/")[1].startswith("03-")


async def test_a_resumed_file_is_the_whole_file() -> None:
    body = os.urandom(10_000)
    for head_size in (0, 1, 4096, 10_000, 20_000):
        file = InMemory(body)
        resumed = Resumed(await file.read(head_size), file)
        found = bytearray()
        while piece := await resumed.read(999):
            found += piece
        assert bytes(found) == body
