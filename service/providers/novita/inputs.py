"""Checking a Novita body, and taking out of it what is ours to obey: webhook, test mode, storage."""

from __future__ import annotations

from service.providers.checking import InputCheck
from service.providers.contract import CheckedInput, CustomStorage, Json, Mistake, TestMode
from service.providers.novita import schema

CHECKS = {"txt2img": InputCheck(schema.Txt2ImgInput), "img2img": InputCheck(schema.Img2ImgInput)}
# Habits from other APIs. Our own key goes into a header, the customer's goes nowhere.
KEYS = frozenset({"key", "api_key"})
OURS = frozenset({"webhook", "custom_storage"})


def check_input(operation: str, given: Json) -> CheckedInput | list[Mistake]:
    """Check `input` of a job; every mistake at once, paths begin with `input`."""
    check = CHECKS.get(operation)
    if check is None:
        return [Mistake("operation", f"unknown operation; known are {', '.join(CHECKS)}")]
    body = _drop_keys(given)
    return check.find_mistakes(body) or _read_checked(body)


def _drop_keys(given: Json) -> Json:
    if not isinstance(given, dict):
        return given
    return {name: value for name, value in given.items() if name not in KEYS}


def _read_checked(body: dict[str, Json]) -> CheckedInput:
    extra = body.get("extra", {})
    webhook = extra.get("webhook", {})
    mode = webhook.get("test_mode", {})
    return CheckedInput(
        body=_take_ours_out(body),
        images=body["request"]["image_num"],
        webhook=webhook.get("url"),
        test_mode=TestMode(mode["return_task_status"]) if mode.get("enabled") else None,
        test_mode_disabled=mode.get("enabled") is False,
        storage=_read_storage(extra.get("custom_storage", {}).get("aws_s3")),
    )


def _read_storage(said: dict[str, Json] | None) -> CustomStorage | None:
    if said is None:
        return None
    return CustomStorage(
        region=said["region"],
        bucket=said["bucket"],
        path=said["path"],
        save_to_path_directly=said.get("save_to_path_directly", False),
    )


def _take_ours_out(body: dict[str, Json]) -> dict[str, Json]:
    """Return the body without what is ours; the rest keeps its words and their order."""
    given = body.get("extra", {})
    kept = {name: value for name, value in given.items() if name not in OURS}
    if len(kept) == len(given):
        return body
    return {name: kept if name == "extra" else value for name, value in body.items() if name != "extra" or kept}
