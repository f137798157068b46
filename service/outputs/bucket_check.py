"""Tries a bucket for real: writes a probe, reads it, deletes it, and says what S3 answered to each."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field

import aiohttp

from service.ids import new_uuid
from service.outputs.bucket import REQUEST_SECONDS, S3, find_ours, put_once
from service.outputs.errors import DestinationConflict, DestinationDenied, DestinationError
from service.outputs.keys import clean_path
from service.outputs.s3_clients import Buckets
from service.outputs.s3_errors import S3_ERRORS, decide_s3_error
from service.outputs.spec import BucketSpec

_BODY = b"A probe of genrelay; it may be deleted.\n"
_OTHER_BODY = b"A second probe, which must not replace the first one.\n"


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a check. code: S3's own, "skipped" after a failure, None when all is well."""

    step: str
    ok: bool
    code: str | None = None
    message: str | None = None
    hint: str | None = None


@dataclass
class _Report:
    """What the steps came to. seconds: how long each may take."""

    seconds: float
    steps: list[Step] = field(default_factory=list)

    @property
    def failed(self) -> bool:
        return not all(step.ok for step in self.steps)

    async def run(self, name: str, act: Callable[[], Awaitable[None]]) -> None:
        """Do a step unless one before it failed, and note what came of it."""
        if self.failed:
            self.skip(name)
            return
        try:
            async with asyncio.timeout(self.seconds):
                await act()
        except (DestinationError, TimeoutError) as error:
            told = decide_s3_error(error)
            code = told.s3_code or told.code.value
            self.steps.append(Step(name, ok=False, code=code, message=told.message, hint=told.hint))
        else:
            self.steps.append(Step(name, ok=True))

    def skip(self, name: str) -> None:
        self.steps.append(Step(name, ok=False, code="skipped", message="not tried after the failure before it"))


async def check_bucket(
    buckets: Buckets, spec: BucketSpec, prefix: str, *, seconds: float = REQUEST_SECONDS
) -> list[Step]:
    """Return what each step came to: endpoint, put, conditional_put, head, get, delete; never raises for S3's sake.

    prefix: the destination's path; the probe lies directly in it, and is deleted again whenever it was written.
    seconds: for each step.
    """
    report = _Report(seconds)
    name = f"genrelay-probe-{new_uuid().hex}"
    async with AsyncExitStack() as stack:
        probe = _Probe(spec, key="/".join(filter(None, (clean_path(prefix), name))))

        async def open_client() -> None:
            await buckets.check_endpoint(spec)
            probe.s3 = await stack.enter_async_context(buckets.client(spec))

        await report.run("endpoint", open_client)
        try:
            for step in (probe.put, probe.conditional_put, probe.head, probe.get):
                await report.run(step.__name__, step)
        finally:
            await _clean_up(report, probe)
    return report.steps


async def _clean_up(report: _Report, probe: _Probe) -> None:
    """Delete the probe if it was written, or may have been; what came of it is only told of one that surely was."""
    if probe.written is False:
        report.skip("delete")
        return
    deleted = _Report(report.seconds)
    await deleted.run("delete", probe.delete)
    if probe.written:
        report.steps += deleted.steps
    else:
        report.skip("delete")


@dataclass
class _Probe:
    """The object that is tried. written: None while nobody can tell."""

    spec: BucketSpec
    key: str
    s3: S3 = None
    written: bool | None = False

    async def put(self) -> None:
        self.written = None
        try:
            await self._put(_BODY)
        except DestinationDenied:
            self.written = False
            raise
        self.written = True

    async def conditional_put(self) -> None:
        """Write again: it must be refused, else an output could replace what a customer has under its key."""
        try:
            await self._put(_OTHER_BODY)
        except DestinationConflict:
            return
        raise DestinationDenied(
            "a second object replaced the first one under the same key",
            "The S3 server ignores `If-None-Match: *`; use one that knows conditional writes.",
            s3_code="ConditionalWriteIgnored",
        )

    async def head(self) -> None:
        if not await find_ours(self.s3, self.spec, self.key, sha256=_digest(_BODY), size=len(_BODY)):
            raise DestinationDenied(
                "the object that was written is not the one that is there",
                "The S3 server must keep an object's metadata.",
                s3_code="MetadataLost",
            )

    async def get(self) -> None:
        with _as_destination_errors():
            answer = await self.s3.get_object(**self.spec.place(self.key))
            async with answer["Body"] as stream:
                body = await _read_start(stream.content, len(_BODY) + 1)
        if body != _BODY:
            raise DestinationDenied("the object came back with other content", s3_code="ContentChanged")

    async def delete(self) -> None:
        try:
            with _as_destination_errors():
                await self.s3.delete_object(**self.spec.place(self.key))
        except DestinationDenied as denied:
            hint = (
                f"The probe stays as {self.key}. Outputs are stored without s3:DeleteObject; only this check needs it."
            )
            raise DestinationDenied(denied.message, hint, s3_code=denied.s3_code) from None

    async def _put(self, body: bytes) -> None:
        await put_once(
            self.s3,
            self.spec,
            self.key,
            body,
            sha256=_digest(body),
            media_type="text/plain",
            metadata={"genrelay": "probe"},
        )


async def _read_start(stream: aiohttp.StreamReader, most: int) -> bytes:
    """Read a body up to a length: whatever a server sends beyond it is not what we have written."""
    body = b""
    while len(body) < most and (chunk := await stream.read(most - len(body))):
        body += chunk
    return body


def _digest(body: bytes) -> bytes:
    return hashlib.sha256(body).digest()


@contextmanager
def _as_destination_errors() -> Iterator[None]:
    try:
        yield
    except S3_ERRORS as error:
        raise decide_s3_error(error) from None
