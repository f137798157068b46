"""A small S3 server whose every answer a test can choose, for what no real one does when asked to."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import parse_qsl

from aiohttp import web

Answer = tuple[int, str] | tuple[int, str, str]  # status, code, message
Rule = Callable[[str, web.Request], Answer | None]
# What a server does not know, and ignores.
Unknown = str  # "conditions", "conditions of parts", "metadata", "encryption", "tags"

DENIED: Answer = (403, "AccessDenied", "Access Denied")


@dataclass
class TinyS3:
    """The server: objects by key with their headers, and the uploads that are open.

    rule: answers an operation ("PutObject", …) with an error. unknown: what it ignores. asked: the operations so far.
    hangs_on: the operation that it answers after `release` only. garbles: the one that it answers with what is no XML.
    """

    url: str = ""
    rule: Rule = lambda _operation, _request: None
    unknown: set[Unknown] = field(default_factory=set)
    objects: dict[str, tuple[bytes, dict[str, str]]] = field(default_factory=dict)
    uploads: dict[str, str] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    hangs_on: str | None = None
    garbles: str | None = None
    hanging: asyncio.Event = field(default_factory=asyncio.Event)
    release: asyncio.Event = field(default_factory=asyncio.Event)

    def refuse(self, operation: str, *answer: int | str, when: Callable[[web.Request], bool] = bool) -> None:
        """Answer an operation with an error from now on, if the request is such a one."""
        said: Answer = answer or DENIED  # type: ignore[assignment]

        def rule(asked: str, request: web.Request) -> Answer | None:
            return said if asked == operation and (when is bool or when(request)) else None

        self.rule = rule

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Serve a request."""
        body = await request.read()
        operation = _operation(request)
        self.asked.append(operation)
        if operation == self.hangs_on:
            self.hanging.set()
            await self.release.wait()
        if operation == self.garbles:
            return web.Response(text="it is not here")
        answer = self.rule(operation, request)
        if answer is not None:
            return _error(operation, *answer)
        return getattr(self, f"_{operation}")(request.path, request, body)  # type: ignore[no-any-return]

    def _PutObject(self, key: str, request: web.Request, body: bytes) -> web.Response:  # noqa: N802 - S3's name
        if "If-None-Match" in request.headers and key in self.objects and "conditions" not in self.unknown:
            return _error("PutObject", 412, "PreconditionFailed")
        self.objects[key] = (body, self._kept(request))
        return web.Response(headers={"ETag": '"x"'})

    def _kept(self, request: web.Request) -> dict[str, str]:
        kept = {}
        for name, value in request.headers.items():
            low = name.lower()
            what = {"x-amz-meta": "metadata", "x-amz-serv": "encryption", "x-amz-tagg": "tags"}.get(low[:10])
            if what is not None and what not in self.unknown:
                kept[low] = value
        return kept

    def _HeadObject(self, key: str, _request: web.Request, _body: bytes) -> web.Response:  # noqa: N802
        if key not in self.objects:
            return web.Response(status=404)
        body, headers = self.objects[key]
        return web.Response(headers={**headers, "Content-Length": str(len(body))})

    def _GetObject(self, key: str, _request: web.Request, _body: bytes) -> web.Response:  # noqa: N802
        body, headers = self.objects[key]
        return web.Response(body=body, headers=headers)

    def _GetObjectTagging(self, key: str, _request: web.Request, _body: bytes) -> web.Response:  # noqa: N802
        tags = parse_qsl(self.objects[key][1].get("x-amz-tagging", ""))
        shown = "".join(f"<Tag><Key>{name}</Key><Value>{value}</Value></Tag>" for name, value in tags)
        return _xml(f"<Tagging><TagSet>{shown}</TagSet></Tagging>")

    def _DeleteObject(self, key: str, _request: web.Request, _body: bytes) -> web.Response:  # noqa: N802
        self.objects.pop(key, None)
        return web.Response(status=204)

    def _CreateMultipartUpload(self, key: str, request: web.Request, _body: bytes) -> web.Response:  # noqa: N802
        upload_id = f"upload-{len(self.asked)}"
        self.uploads[upload_id] = key
        answer = _xml(
            f"<InitiateMultipartUploadResult><UploadId>{upload_id}</UploadId></InitiateMultipartUploadResult>"
        )
        answer.headers.update({k: v for k, v in self._kept(request).items() if k.startswith("x-amz-server-side")})
        return answer

    def _UploadPart(self, _key: str, _request: web.Request, body: bytes) -> web.Response:  # noqa: N802
        return web.Response(headers={"ETag": f'"{hashlib.md5(body).hexdigest()}"'})

    def _CompleteMultipartUpload(self, key: str, request: web.Request, _body: bytes) -> web.Response:  # noqa: N802
        if key in self.objects and "conditions of parts" not in self.unknown:
            return _error("CompleteMultipartUpload", 412, "PreconditionFailed")
        del self.uploads[request.query["uploadId"]]
        self.objects[key] = (b"", {})
        return _xml("<CompleteMultipartUploadResult><ETag>x-1</ETag></CompleteMultipartUploadResult>")

    def _AbortMultipartUpload(self, _key: str, request: web.Request, _body: bytes) -> web.Response:  # noqa: N802
        if self.uploads.pop(request.query["uploadId"], None) is None:
            return _error("AbortMultipartUpload", 404, "NoSuchUpload")
        return web.Response(status=204)


def _operation(request: web.Request) -> str:
    query = request.query
    match request.method:
        case "POST":
            return "CreateMultipartUpload" if "uploads" in query else "CompleteMultipartUpload"
        case "PUT":
            return "UploadPart" if "partNumber" in query else "PutObject"
        case "DELETE":
            return "AbortMultipartUpload" if "uploadId" in query else "DeleteObject"
        case "GET":
            return "GetObjectTagging" if "tagging" in query else "GetObject"
    return "HeadObject"


def _error(operation: str, status: int, code: str, message: str = "Told by S3.") -> web.Response:
    text = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>"
    return web.Response(status=status) if operation == "HeadObject" else _xml(text, status)


def _xml(text: str, status: int = 200) -> web.Response:
    return web.Response(status=status, text=f"<?xml version='1.0'?>{text}", content_type="application/xml")


@asynccontextmanager
async def tiny_s3() -> AsyncIterator[TinyS3]:
    """Serve until the block ends."""
    server = TinyS3()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield server
    finally:
        server.release.set()
        await runner.cleanup()
