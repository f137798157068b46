"""Reading Seedream's answer, which comes minutes after the request and is the result.

https://novita.ai/docs/api-reference/model-apis-seedream-4-0 (`{"images": ["<url>"]}`)
https://docs.byteplus.com/en/docs/ModelArk/1541523 (`{"data": [{"url"} | {"b64_json"} | {"error"}]}`, of the original)
checked 2026-09

Only the first shape is documented at Novita; clients also saw objects, data URIs and plain base64 in it. An image that
was not made is missing; only what was made is charged for.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator

from service.providers.contract import Finished, HttpReply, Json, NotRun, Rejected, Source, SubmitOutcome, Unclear
from service.providers.novita import submits
from service.providers.novita.seedream.ark import ArkError, decide_ark_error, is_transient, read_ark_error
from service.providers.replies import read_object, read_reply_json, read_url, show_code

DATA_URI = re.compile(r"data:([^,;]{0,100})(?:;[^,;]{0,100}){0,4};base64,", re.IGNORECASE)


def read_submit(operation: str, reply: HttpReply) -> SubmitOutcome:
    """Read the answer to a submit; never raises."""
    answer = read_object(read_reply_json(reply))
    error = read_ark_error(answer.get("error"))
    if 200 <= reply.status < 300:
        return _read_result(operation, reply, answer, error)
    if error is not None:
        return decide_ark_error(reply, error)
    return submits.read_submit(operation, reply)


def _read_result(operation: str, reply: HttpReply, answer: dict[str, Json], error: ArkError | None) -> SubmitOutcome:
    items = _find_items(answer)
    if sources := tuple(_read_sources(items or [])):
        return Finished(None, sources)
    error = error or _find_error(items or [])
    if error is not None:
        return decide_ark_error(reply, error)
    refusal = submits.read_submit(operation, reply)
    if isinstance(refusal, Rejected | NotRun):
        return refusal
    # A task id, should there be one, means nothing here.
    return Unclear(f"HTTP {reply.status} without images") if items is None else Finished(None, ())


def _find_items(answer: dict[str, Json]) -> list[Json] | None:
    """Return what stands where images would be; None when there is no such place. `null` is a place without images."""
    data = answer.get("data")
    said = [holder["images"] for holder in (answer, read_object(data)) if "images" in holder]
    said += [data] if isinstance(data, list) else []
    lists = [items or [] for items in said if items is None or isinstance(items, list)]
    return next(filter(None, lists), []) if lists else None


def _find_error(items: list[Json]) -> ArkError | None:
    """Return why no image was made: one that waiting won't mend, if there is one; None unless all say why."""
    errors = [error for item in items if (error := read_ark_error(read_object(item).get("error")))]
    if len(errors) < len(items):
        return None
    return next((error for error in errors if not is_transient(error)), errors[0] if errors else None)


def _read_sources(items: list[Json]) -> Iterator[Source]:
    index = 0
    for item in items:
        source = _read_item(index, item)
        if source is not None:
            yield source
            index += 1


def _read_item(index: int, item: Json) -> Source | None:
    if isinstance(item, str):
        return _read_link(index, item) or _read_base64(index, item)
    said = read_object(item)
    links = (_read_link(index, said.get(name)) for name in ("url", "image_url", "b64_json"))
    return next(filter(None, links), None) or _read_base64(index, said.get("b64_json"))


def _read_link(index: int, value: Json) -> Source | None:
    """Read what says by itself how it is meant: a URL or a data URI."""
    if read_url(value) is not None:
        return Source(index, "image", url=value)
    match = DATA_URI.match(value) if isinstance(value, str) else None
    return _read_base64(index, value[match.end() :], show_code(match[1])) if match else None


def _read_base64(index: int, value: Json, claimed_type: str | None = None) -> Source | None:
    if not isinstance(value, str):
        return None
    try:
        # Some encoders break lines; anything else between the letters is no base64.
        inline = base64.b64decode(value.replace("\r", "").replace("\n", ""), validate=True)
    except (ValueError, binascii.Error):
        return None
    return Source(index, "image", claimed_type=claimed_type, inline=inline) if inline else None
