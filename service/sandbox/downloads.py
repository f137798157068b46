"""Serving the outputs: signature and age first where URLs have them, then the file, or what a fault makes of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from service.sandbox.connections import CutShort
from service.sandbox.outputs import PRIVATE_URL, content, file_name, media_type
from service.sandbox.pictures import Picture
from service.sandbox.signing import explain_refusal
from service.sandbox.state import Sandbox, Task

TEST_IMAGE_PATH = "/test_data/image_01.jpeg"
HTML = b"<!doctype html><html><head><title>Sign in</title></head><body><h1>Please sign in</h1></body></html>"
TEST_PICTURE = Picture("a mock image of test mode", 512, 512, 1, 0, "jpeg")
_SLICES = 10


async def download_signed(request: Request) -> Response:
    """Answer `GET /prod/{task_id}/{name}`, where Novita's outputs are."""
    refused = _refuse(request)
    if refused is not None:
        return refused
    found = _find(request)
    if found is None or found[0].task_id != request.path_params["task_id"]:
        return _no_such_key()
    return await _serve(request.app.state.sandbox, *found)


async def download_public(request: Request) -> Response:
    """Answer `GET /generations/{name}`, where ModelsLab's outputs are, for whoever asks."""
    found = _find(request)
    if found is None or found[0].submission.provider != "modelslab":
        return _no_such_key()
    return await _serve(request.app.state.sandbox, *found)


async def download_test_image(request: Request) -> Response:
    """Answer `GET /test_data/image_01.jpeg`, the image of every test-mode event."""
    sandbox: Sandbox = request.app.state.sandbox
    refused = _refuse(request)
    return refused or Response(await sandbox.gallery.encoded(TEST_PICTURE), media_type="image/jpeg")


ROUTES = [
    Route("/prod/{task_id}/{name}", download_signed, methods=["GET"]),
    Route("/generations/{name}", download_public, methods=["GET"]),
    Route(TEST_IMAGE_PATH, download_test_image, methods=["GET"]),
]


def _refuse(request: Request) -> Response | None:
    sandbox: Sandbox = request.app.state.sandbox
    path, query = request.scope["path"], request.scope["query_string"].decode("latin-1")
    refusal = explain_refusal(sandbox.signing_key, path, query, sandbox.now())
    return None if refusal is None else _s3_error(403, *refusal)


def _s3_error(status: int, code: str, message: str) -> Response:
    body = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>{message}</Message></Error>'
    return Response(body, status_code=status, media_type="application/xml")


def _no_such_key() -> Response:
    return _s3_error(404, "NoSuchKey", "The specified key does not exist.")


def _find(request: Request) -> tuple[Task, int] | None:
    """Return the task and the index of the output that a path names."""
    sandbox: Sandbox = request.app.state.sandbox
    name = request.path_params["name"]
    task, index = sandbox.files.get(name.partition(".")[0], (None, 0))
    if task is None or task.finished_at is None or "image_404" in task.submission.faults:
        return None
    return (task, index) if file_name(sandbox, task, index) == name else None


async def _serve(sandbox: Sandbox, task: Task, index: int) -> Response:
    faults, said = task.submission.faults, media_type(sandbox, task)
    if not faults.values:
        return Response(await content(sandbox, task, index), media_type=said)
    task.downloads[index] += 1
    nth = task.downloads[index]
    if nth <= faults.value("image_503"):
        return _s3_error(503, "SlowDown", "Please reduce your request rate.")
    if "redirect" in faults:
        return Response(status_code=302, headers={"location": PRIVATE_URL})
    if "wrong_type" in faults:
        return Response(HTML, media_type="text/html")
    body = await content(sandbox, task, index)
    if "huge" in faults:
        return StreamingResponse(_without_end(body), media_type=said)
    if nth <= faults.value("truncated"):
        return Response(body[: len(body) // 2], media_type=said)
    if nth <= faults.value("cut"):
        return CutShort(body, media_type=said)
    if "slow_image" in faults:
        headers = {"content-length": str(len(body))}
        return StreamingResponse(_trickle(body, faults.value("slow_image")), headers=headers, media_type=said)
    return Response(body, media_type=said)


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
