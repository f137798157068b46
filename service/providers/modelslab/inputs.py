"""Checking a ModelsLab body, and taking out of it what is ours to obey: webhook, track_id, test mode, storage."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic_core import PydanticCustomError

from service.providers.checking import InputCheck
from service.providers.contract import CheckedInput, Json, Mistake
from service.providers.fields import MIB, Base64Image
from service.providers.modelslab import schema
from service.providers.modelslab.scalars import read_number, split_list
from service.providers.ours import drop_keys, take_ours
from service.providers.replies import read_url

CHECKS = {
    "text2img": InputCheck(schema.Text2ImgInput),
    "img2img": InputCheck(schema.Img2ImgInput),
    "inpaint": InputCheck(schema.InpaintInput),
}
FREE = InputCheck(schema.FreeInput)

# ModelsLab documents no limit; this one keeps two pictures within what an HTTP body of ours may weigh.
PICTURE = Base64Image(20 * MIB)
PICTURES = ("init_image", "mask_image")
MOST_SAMPLES = 64  # of an operation that only the settings know
OURS = frozenset({"webhook", "track_id", "extra"})


def check_input(operation: str, given: Json) -> CheckedInput | list[Mistake]:
    """Check `input` of a job; every mistake at once, paths begin with `input`.

    An operation without a shape here is one that only the settings know: it takes any JSON object.
    """
    body, check = drop_keys(given), CHECKS.get(operation)
    mistakes = (check or FREE).find_mistakes(body)
    if isinstance(body, dict):
        told = {mistake.path for mistake in mistakes}
        found = _find_contradictions(body) if check is not None else _find_two_webhooks(body)
        mistakes += [mistake for mistake in found if mistake.path not in told]
    return mistakes or _take_ours(body)


def count_images(body: dict[str, Json]) -> int:
    """Return how many outputs a checked body asks for; 1 when it does not say."""
    said = read_number(body.get("samples"), whole=True)
    return int(said) if said is not None and 1 <= said <= MOST_SAMPLES else 1


def _take_ours(body: dict[str, Json]) -> CheckedInput:
    track_id = body.get("track_id")
    checked = take_ours(
        body,
        images=count_images(body),
        webhook=body.get("webhook"),
        track_id=None if track_id in (None, "") else str(track_id),
    )
    kept = {name: value for name, value in body.items() if name not in OURS}
    return CheckedInput(
        body=kept,
        images=checked.images,
        webhook=checked.webhook,
        test_mode=checked.test_mode,
        test_mode_disabled=checked.test_mode_disabled,
        storage=checked.storage,
        track_id=checked.track_id,
    )


# --- What two fields together may not say ---------------------------------------------------------------------------


def _find_contradictions(body: dict[str, Json]) -> Iterator[Mistake]:
    yield from _find_two_webhooks(body)
    if "steps" in body and "num_inference_steps" in body:
        yield Mistake("input.steps", "is another name of `num_inference_steps`: give one of them")
    yield from _find_odd_strengths(body.get("lora_model"), body.get("lora_strength"))
    for name in PICTURES:
        if isinstance(body.get(name), str) and body[name]:
            yield from _find_odd_picture(name, body[name], encoded=body.get("base64") == "yes")


def _find_two_webhooks(body: dict[str, Json]) -> Iterator[Mistake]:
    extra = body.get("extra")
    inner = extra.get("webhook") if isinstance(extra, dict) else None
    url = inner.get("url") if isinstance(inner, dict) else None
    if url is not None and body.get("webhook") not in (None, url):
        yield Mistake("input.webhook", "is not the URL that `extra.webhook.url` has: give one of them")


def _find_odd_strengths(models: Json, strengths: Json) -> Iterator[Mistake]:
    if not isinstance(strengths, str) or not (models is None or isinstance(models, str)):
        return
    wanted, came = len(split_list(models or "")), len(split_list(strengths))
    if came > 1 and came != wanted:
        rule = f"must have one number, or as many as `lora_model` has names: {wanted}"
        yield Mistake("input.lora_strength", rule, f"{came} numbers")


def _find_odd_picture(name: str, text: str, *, encoded: bool) -> Iterator[Mistake]:
    """With `"base64": "yes"` pictures go in as base64 and come back so; else they are links. Neither is ever shown."""
    path = f"input.{name}"
    if not encoded:
        if read_url(text) is None:
            yield Mistake(path, 'must be an http or https URL; base64 needs `"base64": "yes"`')
    elif read_url(text) is not None:
        yield Mistake(path, 'must be the picture in base64, because `base64` is "yes"')
    else:
        try:
            PICTURE.check(_strip_data_uri(text))
        except PydanticCustomError as error:
            yield Mistake(path, error.message(), f"a string of {len(text)} characters")


def _strip_data_uri(text: str) -> str:
    """Return the base64 of a `data:image/…;base64,…` URI, which other pages of ModelsLab ask for; else the text."""
    head, comma, data = text[:64].partition(",")
    if comma and head[:11].lower() == "data:image/" and head[-7:].lower() == ";base64":
        return data + text[64:]
    return text
