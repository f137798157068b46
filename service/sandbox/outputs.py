"""The files that a task makes: their names, their types, their content."""

from __future__ import annotations

import base64

from anyio import to_thread

from service.sandbox.clips import make_mp4, make_wav
from service.sandbox.pictures import Picture
from service.sandbox.state import Sandbox, Task

PRIVATE_URL = "http://169.254.169.254/latest/meta-data/"


def claimed_type(sandbox: Sandbox, task: Task) -> str:
    """Return the extension that the files of a task are said to have."""
    wanted = task.submission.wanted
    if wanted.kind != "image":
        return "mp4" if wanted.kind == "video" else "wav"
    return "jpeg" if sandbox.settings.lean or "mislabeled" in task.submission.faults else wanted.image_type


def media_type(sandbox: Sandbox, task: Task) -> str:
    """Return the media type that a download says."""
    wanted = task.submission.wanted
    return "text/plain" if wanted.encoded else f"{wanted.kind}/{claimed_type(sandbox, task)}"


def file_name(sandbox: Sandbox, task: Task, index: int) -> str:
    """Return the name of one file."""
    extension = "base64" if task.submission.wanted.encoded else claimed_type(sandbox, task)
    return f"{task.names[index]}.{extension}"


def shows_outputs(task: Task, look: int = 0) -> bool:
    """Tell whether a task shows its outputs; look: 0 in a callback, then 1, 2, … for the look-ups after the end."""
    faults = task.submission.faults
    if not task.succeeded or "no_outputs" in faults:
        return False
    return not ("no_outputs_once" in faults and look <= faults.value("no_outputs_once"))


async def content(sandbox: Sandbox, task: Task, index: int) -> bytes:
    """Return the content of one file."""
    data = await _make(sandbox, task, index)
    return base64.b64encode(data) if task.submission.wanted.encoded else data


async def _make(sandbox: Sandbox, task: Task, index: int) -> bytes:
    asked, wanted = task.submission, task.submission.wanted
    if wanted.kind == "video":
        return make_mp4(f"{asked.caption}, seed {task.seed}, number {index + 1}")
    if wanted.kind == "audio":
        return await to_thread.run_sync(make_wav, task.seed + index)
    if sandbox.settings.lean:
        return sandbox.lean_jpeg
    return await sandbox.gallery.encoded(_picture(task, index))


def _picture(task: Task, index: int) -> Picture:
    asked, wanted = task.submission, task.submission.wanted
    return Picture(
        caption=asked.caption,
        width=wanted.width,
        height=wanted.height,
        seed=task.seed,
        index=index,
        image_type="png" if "mislabeled" in asked.faults else wanted.image_type,
        source=wanted.source,
        strength=wanted.strength if wanted.source is not None else 1.0,
        mask=wanted.mask,
        invert_mask=wanted.invert_mask,
        resized=wanted.resized,
        watermark=wanted.watermark,
    )
