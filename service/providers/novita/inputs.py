"""Checking a Novita body, and taking out of it what is ours to obey: webhook, test mode, storage."""

from __future__ import annotations

from service.providers.checking import InputCheck
from service.providers.contract import CheckedInput, Json, Mistake
from service.providers.novita import schema
from service.providers.ours import drop_keys, take_ours

CHECKS = {"txt2img": InputCheck(schema.Txt2ImgInput), "img2img": InputCheck(schema.Img2ImgInput)}


def check_input(operation: str, given: Json) -> CheckedInput | list[Mistake]:
    """Check `input` of a job; every mistake at once, paths begin with `input`."""
    check = CHECKS.get(operation)
    if check is None:
        return [Mistake("operation", f"unknown operation; known are {', '.join(CHECKS)}")]
    body = drop_keys(given)
    return check.find_mistakes(body) or take_ours(body, images=body["request"]["image_num"])
