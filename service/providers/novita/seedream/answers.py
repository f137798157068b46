"""Reading Seedream's answer, which comes minutes after the request and is the result.

https://novita.ai/docs/api-reference/model-apis-seedream-4-0 (`{"images": ["<url>"]}`)
https://docs.byteplus.com/en/docs/ModelArk/1541523 (`{"data": [{"url"} | {"b64_json"} | {"error"}]}`, of the original)
checked 2026-09

Only the first shape is documented at Novita; clients also saw objects, data URIs and plain base64 in it, so an object's image
is looked for wherever it may be. An image that was not made is missing; only what was made is charged for. What stands in
the place of an image and can't be read may well be one that was paid for: then nobody knows how the call ended.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator

from service.providers.contract import Finished, HttpReply, Json, NotRun, Rejected, Source, SubmitOutcome, Unclear
from service.providers.image_formats import find_format
from service.providers.novita import submits
from service.providers.novita.errors import read_envelope
from service.providers.novita.seedream.ark import ArkError, decide_ark_error, is_transient, read_ark_error
from service.providers.replies import MOST_ITEMS, read_object, read_reply_json, read_url, show_code

# Where images were seen in objects, before any other name is tried.
NAMES = ("url", "image_url", "b64_json")
# The customer's own words come back in some objects; one of them may be a URL.
ECHOES = re.compile(r"prompt|text|caption", re.IGNORECASE)
# The smallest PNG has 92 characters; what is shorter is a word ("fail", "none"), though it may read as base64.
SHORTEST_BASE64 = 64
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
    envelope = read_envelope(answer)
    if items == [] and (envelope is None or submits.is_fine(envelope)):
        return Finished(None, ())
    # A task id, should there be one, means nothing here.
    return Unclear(f"HTTP {reply.status} without images that can be read")


def _find_items(answer: dict[str, Json]) -> list[Json] | None:
    """Return what stands where images would be, 64 items at most; None when there is no such place.

    `null` is a place without images; a lone image may stand there without a list around it.
    """
    data = answer.get("data")
    said = [holder["images"] for holder in (answer, read_object(data)) if "images" in holder]
    said += [data] if isinstance(data, list) else []
    lists = [_read_list(items) for items in said if items is None or isinstance(items, str | dict | list)]
    return next(filter(None, lists), []) if lists else None


def _read_list(items: Json) -> list[Json]:
    if items is None:
        return []
    return items[:MOST_ITEMS] if isinstance(items, list) else [items]


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
        return _read_text(index, item)
    said = read_object(item)
    named = (_read_text(index, said[name]) for name in NAMES if isinstance(said.get(name), str))
    return next(filter(None, named), None) or _read_elsewhere(index, said)


def _read_elsewhere(index: int, said: dict[str, Json]) -> Source | None:
    """Read an image under a name that nobody has seen yet; ids and digests read as base64 too, so it must begin like one."""
    if "error" in said:
        return None
    texts = [
        value
        for name, value in list(said.items())[:MOST_ITEMS]
        if isinstance(value, str) and name not in NAMES and not ECHOES.search(name)
    ]
    found = (_read_text(index, text) for text in texts)
    return next((each for each in found if each and (each.inline is None or find_format(each.inline))), None)


def _read_text(index: int, text: str) -> Source | None:
    return _read_link(index, text) or _read_base64(index, text)


def _read_link(index: int, value: str) -> Source | None:
    """Read what says by itself how it is meant: a URL or a data URI."""
    value = value.strip()
    if read_url(value) is not None:
        return Source(index, "image", url=value)
    match = DATA_URI.match(value)
    inline = _decode(value[match.end() :]) if match else None
    return Source(index, "image", claimed_type=show_code(match[1]), inline=inline) if match and inline else None


def _read_base64(index: int, value: str) -> Source | None:
    inline = _decode(value) if len(value) >= SHORTEST_BASE64 else None
    return Source(index, "image", inline=inline) if inline else None


def _decode(text: str) -> bytes | None:
    # Some encoders break lines, or leave the padding out; anything else between the letters is no base64.
    text = text.strip().replace("\r", "").replace("\n", "").rstrip("=")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (ValueError, binascii.Error):
        return None
