"""Is each output in the bucket as the API says, and nothing besides?"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from typing import Any

from service.demo.evidence import Evidence

_FORMATS = {"image/jpeg": "JPEG", "image/png": "PNG", "image/webp": "WEBP", "image/gif": "GIF"}


def find_lost(evidence: Evidence) -> Iterator[str]:
    """Yield every output that is not there, or is not what the API says."""
    for one in evidence.played:
        for output in one.stored:
            body = evidence.objects.get(output["key"])
            if body is None:
                yield f"{output['key']} is not in the bucket"
            else:
                yield from (f"{output['key']}: {mistake}" for mistake in _compare(output, body))


def _compare(output: dict[str, Any], body: bytes) -> Iterator[str]:
    if hashlib.sha256(body).hexdigest() != output["sha256"]:
        yield "the digest is another one"
    if len(body) != output["bytes"]:
        yield "the size is another one"
    if output["kind"] == "image":
        yield from _compare_picture(output, body)


def _compare_picture(output: dict[str, Any], body: bytes) -> Iterator[str]:
    from PIL import Image, UnidentifiedImageError  # noqa: PLC0415 - the command line starts without it

    try:
        with Image.open(io.BytesIO(body)) as image:
            if (image.format, image.size) != (_FORMATS.get(output["media_type"]), (output["width"], output["height"])):
                yield f"it is a {image.format} of {image.size[0]} by {image.size[1]} pixels"
    except UnidentifiedImageError:
        yield "it is no picture"


def find_remains_of_tests(evidence: Evidence) -> Iterator[str]:
    """Yield every test job that was paid for, claims an output of its own, or has an object in the bucket."""
    for one in evidence.played:
        if one.scenario.is_test and evidence.paid(one.scenario):
            yield f"{one.scenario.label}: a test job was paid for"
    for job in evidence.test_jobs:
        copied = [output for output in job["outputs"] if output["status"] != "mock" or output["key"]]
        if copied or any(job["id"] in key for key in evidence.objects):
            yield f"{job['id']}: a test job has copied something"


def find_strays(evidence: Evidence) -> Iterator[str]:
    """Yield every object that no job lists."""
    listed = {output["key"] for one in evidence.played for output in one.stored}
    yield from (f"{key} belongs to no job" for key in evidence.objects if key not in listed)
