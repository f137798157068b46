"""AWS on this machine: moto's server for STS, KMS, IAM and S3, and an STS in front of it that does what a test says.

moto hands out keys that only moto knows, so that the front can hand out those of the real S3 server instead.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import cache
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qs
from uuid import uuid4

import aiohttp
import botocore.session
import pytest
from aiohttp import web
from botocore.config import Config

from service.demo.s3server import Identity, S3Server
from tests.world import free_port

ACCOUNT = "123456789012"  # moto's
REGION = "us-east-1"
_START_SECONDS = 30


# --- moto's server --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Moto:
    """A running moto server; it takes any access key, and checks neither signatures nor policies."""

    url: str

    def client(self, service: str) -> Any:
        """Return a client (it blocks) of one of its services."""
        return _session().create_client(
            service,
            region_name=REGION,
            endpoint_url=self.url,
            aws_access_key_id="test",
            aws_secret_access_key="test",
            config=Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}, proxies={}),
        )

    def make_role(self, name: str = "genrelay", external_id: str | None = None) -> str:
        """Make a role that an account may assume, with this external id; returns its ARN."""
        condition = {"StringEquals": {"sts:ExternalId": external_id}} if external_id else {}
        trust = {"Effect": "Allow", "Principal": {"AWS": ACCOUNT}, "Action": "sts:AssumeRole", "Condition": condition}
        policy = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
        made = self.client("iam").create_role(
            RoleName=f"{name}-{uuid4().hex[:12]}", AssumeRolePolicyDocument=policy, Path="/customers/"
        )
        return str(made["Role"]["Arn"])

    def make_key(self, *, enabled: bool = True) -> str:
        """Make a KMS key; returns its ARN."""
        kms = self.client("kms")
        metadata = kms.create_key()["KeyMetadata"]
        if not enabled:
            kms.disable_key(KeyId=metadata["KeyId"])
        return str(metadata["Arn"])

    def make_bucket(self) -> str:
        """Make a bucket that belongs to ACCOUNT; returns its name."""
        name = f"moto-{uuid4().hex}"
        self.client("s3").create_bucket(Bucket=name)
        return name


@cache
def _session() -> botocore.session.Session:
    return botocore.session.Session()


@contextmanager
def running_moto() -> Iterator[Moto]:
    """Run moto's server, in a process of its own, until the block ends; blocks about a second until it answers."""
    with tempfile.TemporaryDirectory(prefix="moto-") as folder:
        for _ in range(5):
            port, log = free_port(), Path(folder) / "log"
            process = _start(port, log)
            try:
                if _is_listening(process, log):
                    yield Moto(f"http://127.0.0.1:{port}")
                    return
            finally:
                process.kill()
                process.wait()
        raise RuntimeError(f"moto's server did not start: {log.read_text()}")


def _start(port: int, log: Path) -> subprocess.Popen[bytes]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "PYTHON"))}
    with log.open("wb") as output:
        return subprocess.Popen(
            [str(Path(sys.executable).parent / "moto_server"), "-H", "127.0.0.1", "-p", str(port)],
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**clean, "PYTHONUNBUFFERED": "1"},
            start_new_session=True,
        )


def _is_listening(process: subprocess.Popen[bytes], log: Path) -> bool:
    """Wait for what the server says; what answers at the port may be somebody else's, who was faster."""
    deadline = time.monotonic() + _START_SECONDS
    while "Running on" not in log.read_text():
        if process.poll() is not None or time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


@pytest.fixture(scope="session")
def moto() -> Iterator[Moto]:
    """A running moto server."""
    with running_moto() as server:
        yield server


# --- An STS in front of it ------------------------------------------------------------------------------------------

Mood = Literal["answer", "deny", "throttle", "fail", "hang", "expired", "bad_key", "skewed", "cut"]

_ERRORS: Mapping[str, tuple[int, str, str]] = {
    "deny": (403, "AccessDenied", "User: arn:aws:iam::1:user/us is not authorized to perform: sts:AssumeRole"),
    "throttle": (400, "Throttling", "Rate exceeded"),
    "fail": (500, "InternalFailure", "An internal error has occurred"),
    "expired": (403, "ExpiredToken", "The security token included in the request is expired"),
    "bad_key": (403, "InvalidClientTokenId", "The security token included in the request is invalid"),
    "skewed": (
        403,
        "SignatureDoesNotMatch",
        "Signature expired: 20261101T000000Z is now earlier than 20261101T001500Z",
    ),
}


@dataclass(frozen=True)
class StsCall:
    """A request that STS got. access_key_id: of whom signed it; region: for which it was signed."""

    action: str
    role_arn: str | None
    session_name: str | None
    external_id: str | None
    seconds: int | None
    access_key_id: str | None
    region: str | None


@dataclass
class StsFront:
    """Passes requests to moto, notes them, and answers as told.

    identity: whose keys AssumeRole hands out (without a token: SeaweedFS knows none); None leaves moto's own.
    external_id: who comes with another one is denied. mood: what to do, for the next `times` requests (None: all);
    "hang" answers after `release()`. lifetime: of the credentials, in seconds. ahead: how far STS's clock is, in seconds.
    """

    url: str
    moto_url: str
    identity: Identity | None
    external_id: str | None = None
    mood: Mood = "answer"
    times: int | None = None
    lifetime: float = 3600
    ahead: float = 0
    calls: list[StsCall] = field(default_factory=list)
    handed_out: list[str] = field(default_factory=list, repr=False)
    _came: asyncio.Condition = field(default_factory=asyncio.Condition)
    _released: asyncio.Event = field(default_factory=asyncio.Event)

    def be(self, mood: Mood, times: int | None = None) -> None:
        """Answer so from now on, or for so many requests."""
        self.mood, self.times = mood, times
        if mood == "hang":
            self._released.clear()

    def release(self) -> None:
        """Answer those that hang, and whoever comes."""
        self.mood = "answer"
        self._released.set()

    @property
    def assumed(self) -> list[StsCall]:
        """Return the AssumeRole requests."""
        return [call for call in self.calls if call.action == "AssumeRole"]

    async def came(self, count: int, seconds: float = 20) -> None:
        """Wait until so many requests have come in all, whatever became of them."""
        async with asyncio.timeout(seconds), self._came:
            await self._came.wait_for(lambda: len(self.calls) >= count)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Serve a request."""
        body = await request.read()
        call = _read_call(request, body)
        async with self._came:
            self.calls.append(call)
            self._came.notify_all()
        mood = self._next_mood()
        if mood == "hang":
            await self._released.wait()
        if mood == "cut":
            assert request.transport is not None
            request.transport.abort()
        if call.action == "AssumeRole" and self.external_id not in (None, call.external_id):
            mood = "deny"
        return self._refuse(mood) if mood in _ERRORS else await self._pass_on(request, body)

    def _next_mood(self) -> Mood:
        mood = self.mood
        if self.times is not None:
            self.times -= 1
            if self.times <= 0:
                self.mood, self.times = "answer", None
        return mood

    def _refuse(self, mood: Mood) -> web.Response:
        status, code, message = _ERRORS[mood]
        error = f"<Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error>"
        return self._answer(status, f"<ErrorResponse>{error}<RequestId>1</RequestId></ErrorResponse>")

    async def _pass_on(self, request: web.Request, body: bytes) -> web.Response:
        headers = {name: request.headers[name] for name in ("Authorization", "Content-Type") if name in request.headers}
        async with (
            aiohttp.ClientSession(trust_env=False) as session,
            session.post(self.moto_url, data=body, headers=headers) as answer,
        ):
            return self._answer(answer.status, self._alter(await answer.text()))

    def _alter(self, text: str) -> str:
        """Hand out the keys that this front is to hand out, and let them end when told."""
        ends = datetime.now(UTC) + timedelta(seconds=self.ahead + self.lifetime)
        text = re.sub(r"(?<=<Expiration>)[^<]*", ends.strftime("%Y-%m-%dT%H:%M:%SZ"), text)
        if self.identity is not None:
            text = re.sub(r"(?<=<AccessKeyId>)[^<]*", self.identity.access_key_id, text)
            text = re.sub(r"(?<=<SecretAccessKey>)[^<]*", self.identity.secret_access_key, text)
            text = re.sub(r"(?<=<SessionToken>)[^<]*", "", text)
        self.handed_out += re.findall(r"<(?:SecretAccessKey|SessionToken)>([^<]+)", text)
        return text

    def _answer(self, status: int, text: str) -> web.Response:
        date = format_datetime(datetime.now(UTC) + timedelta(seconds=self.ahead), usegmt=True)
        return web.Response(status=status, text=text, content_type="text/xml", headers={"Date": date})


def _read_call(request: web.Request, body: bytes) -> StsCall:
    form = {name: values[0] for name, values in parse_qs(body.decode()).items()}
    signed = re.search(r"Credential=([^/]+)/\d+/([^/]+)/", request.headers.get("Authorization", ""))
    return StsCall(
        action=form["Action"],
        role_arn=form.get("RoleArn"),
        session_name=form.get("RoleSessionName"),
        external_id=form.get("ExternalId"),
        seconds=int(form["DurationSeconds"]) if "DurationSeconds" in form else None,
        access_key_id=signed[1] if signed else None,
        region=signed[2] if signed else None,
    )


@asynccontextmanager
async def sts_front(moto_url: str, identity: Identity | None = None) -> AsyncIterator[StsFront]:
    """Lend an STS that hands out the keys of an identity of the S3 server, or moto's own."""
    front = StsFront("", moto_url, identity)
    app = web.Application()
    app.router.add_post("/", front.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port := free_port()).start()
    front.url = f"http://127.0.0.1:{port}"
    try:
        yield front
    finally:
        front.release()
        await runner.cleanup()


def operators_environment(sts_url: str) -> dict[str, str]:
    """Return the environment of a service that has AWS credentials of its own and this STS; nothing else is asked."""
    return {
        "AWS_ENDPOINT_URL_STS": sts_url,
        "AWS_ACCESS_KEY_ID": "AKIAOPERATOR",
        "AWS_SECRET_ACCESS_KEY": "operators-secret-key",
        **no_credentials(),
    }


def no_credentials() -> dict[str, str]:
    """Return the environment of a machine on which there are no AWS credentials, and no metadata service either."""
    return {
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    }


@pytest.fixture
async def sts(moto: Moto, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[StsFront]:
    """An STS that hands out the keys of the S3 server's administrator, and the environment that leads to it."""
    async with sts_front(moto.url, s3_server.admin) as front:
        for name, value in operators_environment(front.url).items():
            monkeypatch.setenv(name, value)
        yield front
