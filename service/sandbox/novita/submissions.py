"""Reading a submit the way Novita does: lightly, and with its error names.

A null is taken as absent, as the official Python client sends one for every parameter that was not given.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

from service.sandbox.faults import BadFault, Faults, Speaker, read_faults, strip_faults
from service.sandbox.novita.requests import find_request, read_member, read_wanted, wrong
from service.sandbox.submissions import ImageType, Submission, find_prompt

IMAGE_TYPES = ("png", "webp", "jpeg")
TEST_STATUSES = ("TASK_STATUS_SUCCEED", "TASK_STATUS_FAILED")


@dataclass(frozen=True, slots=True, kw_only=True)
class NovitaSubmission(Submission):
    """A submit of an asynchronous task."""

    nsfw_detection: bool = False


def read_submission(endpoint: str, whole: dict[str, Any]) -> NovitaSubmission:
    """Read and check the body of a submit; raises Refusal with Novita's reason."""
    extra = read_member(whole, "extra")
    request = find_request(endpoint, whole)
    prompt = find_prompt(request)
    webhook_url, test_status = _read_webhook(extra)
    return NovitaSubmission(
        provider="novita",
        endpoint=endpoint,
        prompt=prompt,
        caption=strip_faults(prompt),
        faults=read_prompts_faults(prompt, "novita"),
        wanted=read_wanted(endpoint, request, _read_image_type(extra)),
        webhook_url=webhook_url,
        test_status=test_status,
        nsfw_detection=extra.get("enable_nsfw_detection") is True,
    )


def read_prompts_faults(prompt: str, speaker: Speaker) -> Faults:
    """Return the faults of a prompt; raises Refusal for one that is not on the menu."""
    try:
        return read_faults(prompt, speaker)
    except BadFault as error:
        raise wrong(str(error)) from error


def _read_image_type(extra: dict[str, Any]) -> ImageType:
    image_type = extra.get("response_image_type")
    if image_type is None:
        return "png"
    if image_type not in IMAGE_TYPES:
        raise wrong("extra.response_image_type must be one of png, webp, jpeg")
    return cast(ImageType, image_type)


def _read_webhook(extra: dict[str, Any]) -> tuple[str | None, str | None]:
    if extra.get("webhook") is None:
        return None, None
    webhook = read_member(extra, "webhook")
    url = webhook.get("url")
    if not isinstance(url, str) or not url.startswith(("http://", "https://")):
        raise wrong("extra.webhook.url must be a URL")
    test_mode = read_member(webhook, "test_mode")
    if test_mode.get("enabled") is not True:
        return url, None
    status = test_mode.get("return_task_status")
    if status not in TEST_STATUSES:
        raise wrong("extra.webhook.test_mode.return_task_status must be TASK_STATUS_SUCCEED or TASK_STATUS_FAILED")
    return url, str(status)
