"""Tells file formats by their first bytes, and whether a file ends where it says it does."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Body = bytes | bytearray
Family = Literal["image", "video", "audio"]
_TAIL = 4096  # bytes at the end in which a format's end mark may be followed by padding


@dataclass(frozen=True, slots=True)
class Format:
    """One format that we store. is_whole: whether a body of it ends where it should; cheap, never decodes."""

    extension: str
    media_type: str
    family: Family
    is_whole: Callable[[Body], bool]


def _jpeg_is_whole(body: Body) -> bool:
    return body.rfind(b"\xff\xd9", max(2, len(body) - _TAIL)) != -1


def _png_is_whole(body: Body) -> bool:
    return body.rfind(b"IEND\xaeB`\x82", max(8, len(body) - _TAIL)) != -1


def _gif_is_whole(body: Body) -> bool:
    return bytes(body[-64:]).rstrip(b"\0\r\n").endswith(b";")


def _riff_is_whole(body: Body) -> bool:
    announced = int.from_bytes(body[4:8], "little")
    # Who writes WAV as a stream does not know its length yet, and puts 0 or all ones there.
    return announced in (0, 0xFFFFFFFF) or len(body) >= announced + 8


def _bmp_is_whole(body: Body) -> bool:
    return len(body) >= int.from_bytes(body[2:6], "little")


def _mp4_is_whole(body: Body) -> bool:
    """Walk the boxes on the top level: each must end within the file, and one of them must be the movie's index."""
    position, boxes = 0, set()
    while position + 8 <= len(body):
        size = int.from_bytes(body[position : position + 4], "big")
        boxes.add(bytes(body[position + 4 : position + 8]))
        if size == 1:
            size = int.from_bytes(body[position + 8 : position + 16], "big")
        if size == 0:  # up to the end
            return b"moov" in boxes
        if size < 8:
            break
        position += size
    return position == len(body) and b"moov" in boxes


def _vint(body: Body, position: int, *, keep_marker: bool) -> tuple[int, int]:
    """Read one of Matroska's numbers; returns it and the position after it, (-1, position) if it means "unknown"."""
    first = body[position]
    length = 9 - first.bit_length()
    value = int.from_bytes(body[position : position + length], "big")
    if keep_marker:
        return value, position + length
    value &= (1 << (7 * length)) - 1
    return (-1 if value == (1 << (7 * length)) - 1 else value), position + length


def _webm_is_whole(body: Body) -> bool:
    """Look at the segment's announced length, which a live recording leaves unknown."""
    try:
        size, position = _vint(body, 4, keep_marker=False)
        segment, position = _vint(body, position + size, keep_marker=True)
        size, position = _vint(body, position, keep_marker=False)
    except IndexError:
        return False
    return segment == 0x18538067 and (size == -1 or len(body) >= position + size)


def _always(_body: Body) -> bool:
    return True


JPEG = Format("jpeg", "image/jpeg", "image", _jpeg_is_whole)
PNG = Format("png", "image/png", "image", _png_is_whole)
WEBP = Format("webp", "image/webp", "image", _riff_is_whole)
GIF = Format("gif", "image/gif", "image", _gif_is_whole)
BMP = Format("bmp", "image/bmp", "image", _bmp_is_whole)
TIFF = Format("tiff", "image/tiff", "image", _always)  # its strips are looked at with its header
MP4 = Format("mp4", "video/mp4", "video", _mp4_is_whole)
WEBM = Format("webm", "video/webm", "video", _webm_is_whole)
WAV = Format("wav", "audio/wav", "audio", _riff_is_whole)
MP3 = Format("mp3", "audio/mpeg", "audio", _always)

_MP4_BRANDS = (b"isom", b"iso", b"mp4", b"avc1", b"M4V", b"MSNV", b"dash", b"3gp", b"f4v")
# MPEG 1, 2 or 2.5, layer III, neither the free nor the forbidden bit rate, no reserved sampling rate.
_MP3_FRAME = re.compile(rb"\xff[\xe2\xe3\xf2\xf3\xfa\xfb][\x10-\xef]", re.DOTALL)


def tell_format(body: Body) -> Format | None:
    """Return the format the first bytes announce, None for everything that we don't store."""
    head = bytes(body[:64])
    for mark, known in _MARKS:
        if head.startswith(mark):
            return known
    if head.startswith(b"RIFF"):
        return {b"WEBP": WEBP, b"WAVE": WAV}.get(head[8:12])
    if head[4:8] == b"ftyp" and head[8:12].startswith(_MP4_BRANDS):
        return MP4
    # Matroska's header names who may read the rest.
    if head.startswith(b"\x1a\x45\xdf\xa3") and b"webm" in head:
        return WEBM
    return MP3 if _is_mp3_frame(head) else None


def _is_mp3_frame(head: bytes) -> bool:
    return _MP3_FRAME.match(head) is not None and (head[2] >> 2) & 3 != 3


_MARKS = (
    (b"\xff\xd8\xff", JPEG),
    (b"\x89PNG\r\n\x1a\n", PNG),
    (b"GIF87a", GIF),
    (b"GIF89a", GIF),
    (b"BM", BMP),
    (b"II*\x00", TIFF),
    (b"MM\x00*", TIFF),
    (b"ID3", MP3),
)

_STRANGERS = (
    (b"MZ", "a Windows program"),
    (b"\x7fELF", "a Linux program"),
    (b"\xcf\xfa\xed\xfe", "a macOS program"),
    (b"\xca\xfe\xba\xbe", "a program"),
    (b"#!", "a script"),
    (b"%PDF", "a PDF document"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"\x1a\x45\xdf\xa3", "a Matroska video"),
    (b"fLaC", "FLAC audio"),
    (b"OggS", "Ogg audio"),
)


def describe_stranger(body: Body) -> str:
    """Say what a body that we don't store looks like."""
    if not body:
        return "an empty file"
    head = bytes(body[:1024])
    for mark, name in _STRANGERS:
        if head.startswith(mark):
            return name
    if head[4:8] == b"ftyp":
        return (
            "AVIF or HEIC" if head[8:12] in (b"avif", b"avis", b"heic", b"heix", b"mif1") else "a video of another kind"
        )
    return _describe_text(head)


def _describe_text(head: bytes) -> str:
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if text.startswith((b"<!doctype html", b"<html", b"<head", b"<body", b"<script")):
        return "an HTML page"
    if b"<svg" in text and text.startswith(b"<"):
        return "SVG"
    if text.startswith(b"<?xml") or re.match(rb"<[a-z]", text):
        return "XML"
    if text.startswith((b"{", b"[")):
        return "JSON"
    if text and all(byte >= 0x20 or byte in b"\t\r\n\f" for byte in text):
        return "text"
    return "no known format"
