"""Pictures drawn from a request: hills under a sky, the same for the same prompt, size, seed and index.

Nothing is drawn before somebody downloads it; a drawn picture is kept while there is room.
"""

from __future__ import annotations

import colorsys
import functools
import hashlib
import io
import math
import unicodedata
from collections import OrderedDict
from dataclasses import dataclass, field
from random import Random

from anyio import CapacityLimiter, to_thread
from PIL import Image, ImageDraw, ImageFont, ImageOps

Color = tuple[int, int, int]
_SMOOTH_PIXELS = 512 * 512  # up to here edges are drawn at twice the size
_DRAWN_PIXELS = 1_500_000  # beyond, a smaller picture is enlarged: hills don't get better by more pixels
_LEAST_SIDE = 64  # nothing is drawn smaller than that, but for being reduced


@dataclass(frozen=True, slots=True)
class Picture:
    """Everything a picture is drawn from.

    source: an image to start from, of which `1 - strength` shows through. mask: only its white part is drawn anew then
    (with invert_mask its black part), the rest is the source. resized: the source in another size, and nothing else.
    """

    caption: str
    width: int
    height: int
    seed: int
    index: int
    image_type: str
    source: bytes | None = field(default=None, repr=False)
    strength: float = 1.0
    mask: bytes | None = field(default=None, repr=False)
    invert_mask: bool = False
    resized: bool = False
    watermark: bool = False


class Gallery:
    """Draws pictures in threads and keeps the latest ones, up to `room` bytes."""

    def __init__(self, room: int = 32 * 1024 * 1024) -> None:
        """Make an empty gallery."""
        self._room = room
        self._kept: OrderedDict[Picture, bytes] = OrderedDict()
        self._limiter: CapacityLimiter | None = None

    async def encoded(self, picture: Picture) -> bytes:
        """Return the picture's file."""
        kept = self._kept.get(picture)
        if kept is not None:
            self._kept.move_to_end(picture)
            return kept
        if self._limiter is None:
            self._limiter = CapacityLimiter(2)  # drawing is all CPU: more threads only make each of them slower
        data = await to_thread.run_sync(draw_picture, picture, limiter=self._limiter)
        self._keep(picture, data)
        return data

    def _keep(self, picture: Picture, data: bytes) -> None:
        self._kept[picture] = data
        while sum(map(len, self._kept.values())) > self._room and len(self._kept) > 1:
            self._kept.popitem(last=False)


def draw_picture(picture: Picture) -> bytes:
    """Draw a picture and return it as a file of its image_type (png, jpeg or webp)."""
    source = _open_source(picture)
    if picture.resized and source is not None:
        return _encode(source, picture.image_type)
    image = _draw_scene(_random_of(picture), picture.width, picture.height)
    if source is not None:
        image = _draw_over(source, image, picture)
    _write_caption(image, f"{picture.caption}  /  seed {picture.seed}, image {picture.index + 1}")
    if picture.watermark:
        _write_watermark(image)
    return _encode(image, picture.image_type)


def _random_of(picture: Picture) -> Random:
    seen = f"{picture.caption}\0{picture.width}\0{picture.height}\0{picture.seed}\0{picture.index}"
    return Random(hashlib.sha256(seen.encode("utf-8", "replace")).digest())  # noqa: S311 - a picture is no secret


def draw_lean_jpeg(size: int) -> bytes:
    """Return a real JPEG of about `size` bytes: a picture under enough noise."""
    side = max(16, int(math.sqrt(size / 0.9)))
    for _ in range(4):
        data = _encode(_draw_noise(side), "jpeg", quality=90)
        side = max(16, int(side * math.sqrt(size / len(data))))
    return data


def _draw_noise(side: int) -> Image.Image:
    random = Random(1)  # noqa: S311 - a picture is no secret
    noise = Image.frombytes("L", (side, side), random.randbytes(side * side)).convert("RGB")
    return Image.blend(_draw_scene(random, side, side), noise, 0.5)


def _draw_scene(random: Random, width: int, height: int) -> Image.Image:
    shrunk = min(1.0, math.sqrt(_DRAWN_PIXELS / (width * height)))
    scale = 2 if width * height <= _SMOOTH_PIXELS else 1
    sides = (max(_LEAST_SIDE, round(width * shrunk)) * scale, max(_LEAST_SIDE, round(height * shrunk)) * scale)
    hue = random.random()
    sky = [_color(hue, 0.62, 0.62), _color(hue + 0.07, 0.48, 0.86), _color(hue + 0.14, 0.34, 1.0)]
    image = _draw_sky(sky, *sides)
    _draw_sun(image, random, _color(hue + 0.17, 0.18, 1.0))
    _draw_hills(image, random, sky[2], _color(hue + 0.03, 0.65, 0.16))
    image = image.reduce(scale) if scale > 1 else image
    return image if image.size == (width, height) else image.resize((width, height), Image.Resampling.BILINEAR)


def _color(hue: float, saturation: float, value: float) -> Color:
    red, green, blue = colorsys.hsv_to_rgb(hue % 1.0, saturation, value)
    return round(red * 255), round(green * 255), round(blue * 255)


def _draw_sky(colors: list[Color], width: int, height: int) -> Image.Image:
    column = Image.new("RGB", (1, len(colors)))
    column.putdata(colors)
    return column.resize((1, height), Image.Resampling.BICUBIC).resize((width, height), Image.Resampling.NEAREST)


def _draw_sun(image: Image.Image, random: Random, color: Color) -> None:
    width, height = image.size
    radius = int(min(width, height) * random.uniform(0.06, 0.13))
    x, y = int(width * random.uniform(0.15, 0.85)), int(height * random.uniform(0.18, 0.5))
    halo = _halo().resize((6 * radius, 6 * radius), Image.Resampling.BILINEAR)
    image.paste(color, (x - 3 * radius, y - 3 * radius), halo)
    ImageDraw.Draw(image).ellipse((x - radius, y - radius, x + radius, y + radius), fill=color)


@functools.cache
def _halo() -> Image.Image:
    # Pillow's gradient has reached 181 where the square's sides are; the halo has to end there.
    return Image.radial_gradient("L").point([max(0, 181 - dark) ** 2 // 200 for dark in range(256)])


def _draw_hills(image: Image.Image, random: Random, far: Color, near: Color) -> None:
    draw, (width, height) = ImageDraw.Draw(image), image.size
    layers = random.randint(4, 6)
    for layer in range(1, layers + 1):
        share = layer / layers
        color = tuple(round(a + (b - a) * share**0.8) for a, b in zip(far, near, strict=True))
        base = height * (0.42 + 0.46 * share)
        waves = [(height * 0.09 / n, n * random.uniform(1.6, 3.4), random.uniform(0, 6.3)) for n in (1, 2, 5)]
        step = max(2, width // 96)
        ridge = [
            (x, base + sum(high * math.sin(x / width * turns + phase) for high, turns, phase in waves))
            for x in range(0, width + step, step)
        ]
        draw.polygon([(0, height), *ridge, (width + step, height)], fill=color)


def _open_source(picture: Picture) -> Image.Image | None:
    """Return the source in the picture's size; None when there is none, or when more than its header can't be read."""
    return _fit(picture.source, "RGB", (picture.width, picture.height)) if picture.source else None


def _fit(data: bytes, mode: str, size: tuple[int, int]) -> Image.Image | None:
    try:
        with Image.open(io.BytesIO(data)) as image:
            return ImageOps.fit(image.convert(mode), size)
    except (OSError, ValueError, SyntaxError, EOFError):  # what Pillow raises for half an image
        return None


def _draw_over(source: Image.Image, image: Image.Image, picture: Picture) -> Image.Image:
    blended = Image.blend(source, image, 0.25 + 0.75 * picture.strength)
    mask = _fit(picture.mask, "L", image.size) if picture.mask else None
    if mask is None:
        return blended
    return Image.composite(blended, source, ImageOps.invert(mask) if picture.invert_mask else mask)


@functools.cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _write_caption(image: Image.Image, text: str) -> None:
    width, height = image.size
    # The one font that comes with Pillow has ASCII only.
    text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    font = _font(max(9, min(width, height) // 32))
    while text and font.getlength(text) > width * 0.94:
        text = text[: int(len(text) * 0.9) - 1]
    ImageDraw.Draw(image).text((width * 0.03, height * 0.955), text, font=font, fill=(255, 255, 255), anchor="lm")


def _write_watermark(image: Image.Image) -> None:
    width, height = image.size
    font = _font(max(9, min(width, height) // 24))
    place = (width * 0.97, height * 0.9)
    ImageDraw.Draw(image).text(place, "AI generated", font=font, fill=(255, 255, 255), anchor="rm")


def _encode(image: Image.Image, image_type: str, quality: int = 85) -> bytes:
    file = io.BytesIO()
    if image_type == "jpeg":
        image.save(file, "JPEG", quality=quality)
    elif image_type == "webp":
        image.save(file, "WEBP", quality=quality, method=1)
    else:
        image.save(file, "PNG", compress_level=1)
    return file.getvalue()
