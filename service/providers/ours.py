"""What a provider's body says about webhooks, test mode and customer storage: understood and obeyed by us, never sent on.

The words are Novita's (`extra.webhook`, `extra.custom_storage.aws_s3`), and mean the same in every provider's body.
https://novita.ai/docs/api-reference/model-apis-webhook
https://novita.ai/docs/guides/model-apis-configure-custom-s3-bucket
checked 2026-09
"""

from __future__ import annotations

from typing import Annotated, NotRequired

from pydantic import AfterValidator, Field, with_config
from typing_extensions import TypedDict  # pydantic takes typing's own only from Python 3.12 on

from service.providers.checking import STRICT
from service.providers.contract import CheckedInput, CustomStorage, Json, TaskStatus, TestMode
from service.providers.fields import check_http_url

HttpUrl = Annotated[str, AfterValidator(check_http_url), Field(json_schema_extra={"format": "uri"})]
_Name = Annotated[str, Field(min_length=1)]

# Habits from other APIs. Our own key goes into a header or a body, the customer's goes nowhere.
KEYS = frozenset({"key", "api_key"})
OURS = frozenset({"webhook", "custom_storage"})


@with_config(STRICT)
class TestModeSettings(TypedDict):
    """A mock event instead of a paid task."""

    enabled: bool
    return_task_status: TaskStatus


@with_config(STRICT)
class WebhookSettings(TypedDict):
    """Where the customer wants to hear; the provider gets our URL instead."""

    url: HttpUrl
    test_mode: NotRequired[TestModeSettings]


@with_config(STRICT)
class AwsS3Settings(TypedDict):
    """The customer's bucket; we write to it, the provider never hears of it."""

    region: _Name
    bucket: _Name
    path: str
    save_to_path_directly: NotRequired[bool]


@with_config(STRICT)
class CustomStorageSettings(TypedDict):
    """Only S3 is documented."""

    aws_s3: NotRequired[AwsS3Settings]


@with_config(STRICT)
class OurExtra(TypedDict):
    """`extra` of a body that has no other use for it."""

    webhook: NotRequired[WebhookSettings]
    custom_storage: NotRequired[CustomStorageSettings]


def drop_keys(given: Json) -> Json:
    """Return the body without a key of the customer's, which is never stored."""
    if not isinstance(given, dict):
        return given
    return {name: value for name, value in given.items() if name not in KEYS}


def take_ours(
    body: dict[str, Json], *, images: int, webhook: str | None = None, track_id: str | None = None
) -> CheckedInput:
    """Take out of a checked body what `extra` says to us; the rest keeps its words and their order.

    images: how many it asks for. webhook, track_id: what the body says elsewhere; `extra.webhook.url` comes first.
    """
    extra = body.get("extra") or {}
    said = extra.get("webhook") or {}
    mode = said.get("test_mode") or {}
    return CheckedInput(
        body=_without_ours(body, extra),
        images=images,
        webhook=said.get("url") or webhook,
        test_mode=TestMode(mode["return_task_status"]) if mode.get("enabled") else None,
        test_mode_disabled=mode.get("enabled") is False,
        storage=_read_storage((extra.get("custom_storage") or {}).get("aws_s3")),
        track_id=track_id,
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


def _without_ours(body: dict[str, Json], extra: dict[str, Json]) -> dict[str, Json]:
    kept = {name: value for name, value in extra.items() if name not in OURS}
    if len(kept) == len(extra):
        return body
    return {name: kept if name == "extra" else value for name, value in body.items() if name != "extra" or kept}
