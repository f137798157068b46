"""Tells file formats by their first bytes; `walkers` know what follows."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

Body = bytes | bytearray
Family = Literal["image", "video", "audio"]


@dataclass(frozen=True, slots=True)
class Format:
    """One format that we store."""

    extension: str
    media_type: str
    family: Family


JPEG = Format("jpeg", "image/jpeg", "image")
PNG = Format("png", "image/png", "image")
WEBP = Format("webp", "image/webp", "image")
GIF = Format("gif", "image/gif", "image")
BMP = Format("bmp", "image/bmp", "image")
TIFF = Format("tiff", "image/tiff", "image")
MP4 = Format("mp4", "video/mp4", "video")
WEBM = Format("webm", "video/webm", "video")
WAV = Format("wav", "audio/wav", "audio")
MP3 = Format("mp3", "audio/mpeg", "audio")

_MP4_BRANDS = (b"isom", b"iso", b"mp4", b"avc1", b"M4V", b"MSNV", b"dash", b"3gp", b"f4v")
# MPEG 1, 2 or 2.5, layer III, neither the free nor the forbidden bit rate, no reserved sampling rate.
_RATES = bytes(byte for byte in range(0x10, 0xF0) if byte >> 2 & 3 != 3)
MP3_FRAME = re.compile(rb"\xff[\xe2\xe3\xf2\xf3\xfa\xfb][%b]" % re.escape(_RATES), re.DOTALL)


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
    return MP3 if MP3_FRAME.match(head) else None


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
