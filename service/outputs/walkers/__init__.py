"""Walks through files of each format as their bytes pass: one generator a format, nothing decoded, little held."""

from __future__ import annotations

from collections.abc import Callable

from service.outputs.walkers.bmp import walk_bmp
from service.outputs.walkers.gif import walk_gif
from service.outputs.walkers.jpeg import walk_jpeg
from service.outputs.walkers.movies import walk_mp4, walk_webm
from service.outputs.walkers.picture import Picture
from service.outputs.walkers.png import walk_png
from service.outputs.walkers.sounds import walk_mp3, walk_wav
from service.outputs.walkers.steps import Walk
from service.outputs.walkers.tiff import walk_tiff
from service.outputs.walkers.webp import walk_webp

# By the format's extension. Pillow would tell an image's size too, but it wants a whole file that it can seek in.
WALKS: dict[str, Callable[[Picture], Walk]] = {
    "jpeg": walk_jpeg,
    "png": walk_png,
    "webp": walk_webp,
    "gif": walk_gif,
    "bmp": walk_bmp,
    "tiff": walk_tiff,
    "mp4": walk_mp4,
    "webm": walk_webm,
    "wav": walk_wav,
    "mp3": walk_mp3,
}
