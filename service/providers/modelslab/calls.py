"""Requests to ModelsLab: everything is a POST, and our key goes into its body and nowhere else.

https://docs.modelslab.com/enterprise-api/text-to-image/fetch-queue-image
https://docs.modelslab.com/enterprise-api/realtime/fetchimage
checked 2026-09
"""

from __future__ import annotations

from urllib.parse import quote

from pydantic_core import to_json

from service.providers.contract import HttpCall, Json, Operation, Ours, ProviderAccess

DEFAULT_PATH = "/api/v1/enterprise/text2img"
HEADERS = {"Content-Type": "application/json", "Accept": "application/json"}
# Folders of the API whose look-up takes the task's id in the body; every other product has its own `fetch/{id}`.
ENTERPRISE, IMAGES = "/api/v1/enterprise", "/api/v6/images"


def submit_call(access: ProviderAccess, operation: Operation, body: dict[str, Json], ours: Ours) -> HttpCall:
    """Build the submit. Raises ValueError for a test job: ModelsLab has no test mode, so it would be a paid one."""
    if ours.test_mode is not None:
        raise ValueError("ModelsLab has no test mode: a test job must not be sent to it")
    said: dict[str, Json] = {"key": access.api_key, **body}
    if ours.callback_url is not None and operation.takes_webhook:
        said["webhook"] = ours.callback_url
    if ours.reference:
        said["track_id"] = ours.reference
    return _post(access, operation.path, said)


def look_up_call(access: ProviderAccess, path: str | None, task_id: str) -> HttpCall:
    """Build the read-back of one task.

    path: of its submit, or None when nobody knows it; ids are counted per product, so elsewhere the same id is another
    task. Never follow the `fetch_result` of an answer: it is always the v6 one, whose key is another, and it comes from
    outside.
    """
    folder = (path or DEFAULT_PATH).rstrip("/").rpartition("/")[0]
    if _takes_id_in_path(folder):
        return _post(access, f"{folder}/fetch/{quote(task_id, safe='')}", {"key": access.api_key})
    return _post(access, f"{folder}/fetch", {"key": access.api_key, "request_id": task_id})


def _takes_id_in_path(folder: str) -> bool:
    if folder.startswith(f"{ENTERPRISE}/"):
        return True
    return folder.startswith("/api/v6/") and folder != IMAGES


def _post(access: ProviderAccess, path: str, said: dict[str, Json]) -> HttpCall:
    # Pictures in base64 make megabytes: pydantic's encoder takes a quarter of the standard library's time.
    return HttpCall("POST", access.base_url.rstrip("/") + path, HEADERS, to_json(said))
