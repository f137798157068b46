"""Reading the files that an answer of ModelsLab's lists.

https://docs.modelslab.com/webhooks (`output`), https://docs.modelslab.com/enterprise-api/flux/text2img (`proxy_links`)
checked 2026-09

With `"base64": "yes"` the files come as base64, or as links to texts that hold it: nothing documents which, so the items
themselves decide. `future_links` are URLs that do not exist yet: they are never looked at.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Sequence
from dataclasses import replace
from urllib.parse import urlsplit

from service.providers.contract import Json, OutputKind, Source
from service.providers.replies import MOST_ITEMS, read_text, read_url

LISTS = ("output", "proxy_links", "links")
# The smallest PNG has 92 characters; what is shorter is a word, though it may read as base64.
SHORTEST_BASE64 = 64
ENCODED = (".base64", ".txt")
KINDS: dict[str, OutputKind] = {
    **dict.fromkeys((".mp4", ".webm", ".mov"), "video"),
    **dict.fromkeys((".wav", ".mp3", ".flac", ".ogg"), "audio"),
}
ANY: tuple[OutputKind, ...] = ("image", "video", "audio")


def read_sources(said: dict[str, Json], kinds: Sequence[OutputKind]) -> tuple[Source, ...]:
    """Return the files of the first list that has any. kinds: what the operation makes, its main kind first."""
    for name in LISTS:
        listed = said.get(name)
        # One link instead of a list of one: `links` in some answers, and whoever else does so.
        found = tuple(_read_items(listed if isinstance(listed, list) else [listed], kinds))
        if found:
            return tuple(_with_nsfw(found, said.get("nsfw_content_detected")))
    return ()


def _read_items(listed: Sequence[Json], kinds: Sequence[OutputKind]) -> Iterator[Source]:
    index = 0
    for item in listed[:MOST_ITEMS]:
        source = _read_link(item, kinds) or _read_inline(item, kinds)
        if source is not None:
            yield replace(source, index=index)
            index += 1


def _read_link(item: Json, kinds: Sequence[OutputKind]) -> Source | None:
    url = read_url(item)
    if url is None:
        return None
    path = urlsplit(url).path.lower()
    kind: OutputKind = next((kind for ending, kind in KINDS.items() if path.endswith(ending)), "image")
    return Source(0, kind if kind in kinds else kinds[0], url, encoded=path.endswith(ENCODED))


def _read_inline(item: Json, kinds: Sequence[OutputKind]) -> Source | None:
    text = read_text(item)
    if text is None:
        return None
    head, comma, rest = text.partition(",")
    is_uri = bool(comma) and head[:5].lower() == "data:" and head[-7:].lower() == ";base64"
    data = _decode(rest if is_uri else text)
    if not data or not (is_uri or len(text) >= SHORTEST_BASE64):
        return None
    return Source(0, kinds[0], inline=data, claimed_type=_read_type(head) if is_uri else None)


def _decode(text: str) -> bytes | None:
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (ValueError, binascii.Error):
        return None


def _read_type(head: str) -> str | None:
    """Return the media type of a data URI's head, None unless it looks like one."""
    said = head[5:].split(";", maxsplit=1)[0].lower()
    return said if len(said) <= 50 and said.isascii() and said.replace("/", "").replace("-", "").isalnum() else None


def _with_nsfw(found: Sequence[Source], said: Json) -> Iterator[Source]:
    """Add what the answer says about each file: one boolean for all of them, or a list of one each."""
    for source in found:
        flag = said[source.index] if isinstance(said, list) and source.index < len(said) else said
        yield replace(source, nsfw={"nsfw_content_detected": flag}) if isinstance(flag, bool) else source
