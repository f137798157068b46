"""Serving the images: signature and age first, then the picture, or what a fault makes of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from service.sandbox.connections import CutShort
from service.sandbox.pictures import Picture
from service.sandbox.results import PRIVATE_URL, claimed_image_type, image_path
from service.sandbox.signing import explain_refusal
from service.sandbox.state import Sandbox, Task

HTML = b"<!doctype html><html><head><title>Sign in</title></head><body><h1>Please sign in</h1></body></html>"
TEST_PICTURE = Picture("a mock image of test mode", 512, 512, 1, 0, "jpeg")
_SLICES = 10


async def download_image(request: Request) -> Response:
    """Answer `GET /prod/{task_id}/{name}`."""
    sandbox: Sandbox = request.app.state.sandbox
    refused = _refuse(sandbox, request)
    if refused is not None:
        return refused
    found = _find(sandbox, request)
    if found is None:
        return _s3_error(404, "NoSuchKey", "The specified key does not exist.")
    return await _serve(sandbox, *found)


async def download_test_image(request: Request) -> Response:
    """Answer `GET /test_data/image_01.jpeg`, the image of every test-mode event."""
    sandbox: Sandbox = request.app.state.sandbox
    refused = _refuse(sandbox, request)
    return refused or Response(await sandbox.gallery.encoded(TEST_PICTURE), media_type="image/jpeg")


def _refuse(sandbox: Sandbox, request: Request) -> Response | None:
    path, query = request.scope["path"], request.scope["query_string"].decode("latin-1")
    refusal = explain_refusal(sandbox.signing_key, path, query, sandbox.now())
    return None if refusal is None else _s3_error(403, *refusal)


def _s3_error(status: int, code: str, message: str) -> Response:
    body = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>{message}</Message></Error>'
    return Response(body, status_code=status, media_type="application/xml")


def _find(sandbox: Sandbox, request: Request) -> tuple[Task, int] | None:
    """Return the task and the index of the image that a path names."""
    task = sandbox.tasks.get(request.path_params["task_id"])
    if task is None or task.finished_at is None or "image_404" in task.submission.faults:
        return None
    name = request.path_params["name"].partition(".")[0]
    if name not in task.image_names:
        return None
    index = task.image_names.index(name)
    known = image_path(task, index, claimed_image_type(sandbox, task)) == request.scope["path"]
    return (task, index) if known else None


async def _serve(sandbox: Sandbox, task: Task, index: int) -> Response:
    faults = task.submission.faults
    media_type = f"image/{claimed_image_type(sandbox, task)}"
    if not faults.values:
        return Response(await _content(sandbox, task, index), media_type=media_type)
    task.downloads[index] += 1
    nth = task.downloads[index]
    if nth <= faults.value("image_503"):
        return _s3_error(503, "SlowDown", "Please reduce your request rate.")
    if "redirect" in faults:
        return Response(status_code=302, headers={"location": PRIVATE_URL})
    if "wrong_type" in faults:
        return Response(HTML, media_type="text/html")
    content = await _content(sandbox, task, index)
    if "huge" in faults:
        return StreamingResponse(_without_end(content), media_type=media_type)
    if nth <= faults.value("truncated"):
        return Response(content[: len(content) // 2], media_type=media_type)
    if nth <= faults.value("cut"):
        return CutShort(content, media_type=media_type)
    if "slow_image" in faults:
        headers = {"content-length": str(len(content))}
        return StreamingResponse(_trickle(content, faults.value("slow_image")), headers=headers, media_type=media_type)
    return Response(content, media_type=media_type)


async def _content(sandbox: Sandbox, task: Task, index: int) -> bytes:
    if sandbox.settings.lean:
        return sandbox.lean_jpeg
    image_type = "png" if "mislabeled" in task.submission.faults else task.submission.image_type
    return await sandbox.gallery.encoded(task.picture(index, image_type))


async def _without_end(content: bytes) -> AsyncIterator[bytes]:
    yield content
    filling = bytes(64 * 1024)
    while True:
        yield filling
        await asyncio.sleep(0)


async def _trickle(content: bytes, seconds: float) -> AsyncIterator[bytes]:
    step = len(content) // _SLICES + 1
    for start in range(0, len(content), step):
        await asyncio.sleep(seconds / _SLICES)
        yield content[start : start + step]
