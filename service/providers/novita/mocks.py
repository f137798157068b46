"""The callback of a task that never was, for operations that Novita has no test mode for; we post it ourselves.

Its shape is that of Novita's own mock, as far as the page shows one:
https://novita.ai/docs/api-reference/model-apis-webhook, checked 2026-09
"""

from __future__ import annotations

import uuid

from pydantic_core import to_json

from service.providers.contract import Json, MockCallback, Ours, OutputKind
from service.providers.novita.dialect import Dialect
from service.providers.novita.errors import write_variable
from service.providers.novita.results import EVENT, KINDS
from service.providers.replies import read_object

TASK_TYPES = {"txt2img": "TXT_TO_IMG", "img2img": "IMG_TO_IMG"}
REASON = "This is a mock: the job is a test that asks to fail. Nothing ran."
# Nothing is ever fetched from these: outputs of test jobs are not copied.
IMAGES, OTHERS = (
    f"https://faas-output-{kind}.s3.ap-southeast-1.amazonaws.com/test_data" for kind in ("image", "video")
)
FILES: dict[OutputKind, tuple[str, str]] = {
    "image": (IMAGES, "jpeg"),
    "video": (OTHERS, "mp4"),
    "audio": (OTHERS, "wav"),
}
NAMESPACE = uuid.UUID("0b9d6a5e-6a52-5a0f-9d0c-8a6f2f1f7c3e")


def mock_callback(dialect: Dialect, body: dict[str, Json], ours: Ours) -> MockCallback:
    """Build the event of a test job: the same from the same `ours` and `body`, another task id for another reference.

    Raises ValueError for a job that is no test.
    """
    if ours.test_mode is None:
        raise ValueError("only a test job has a mock")
    name, status = dialect.operation.name, ours.test_mode.return_task_status
    task_id = str(uuid.uuid5(NAMESPACE, ours.reference))
    succeeded = status == "TASK_STATUS_SUCCEED"
    payload = {
        "task": {
            "eta": 0,
            "progress_percent": 0,
            "reason": "" if succeeded else REASON,
            "status": status,
            "task_id": task_id,
            "task_type": TASK_TYPES.get(name) or write_variable(name),
        },
        "extra": _write_extra(body, ours.callback_url),
        **{f"{kind}s": _list_files(kind, dialect, body) if succeeded else [] for kind in KINDS},
    }
    return MockCallback(task_id, to_json({"event_type": EVENT, "payload": payload}))


def _write_extra(body: dict[str, Json], callback_url: str | None) -> dict[str, Json]:
    """Echo what Novita echoes; the callback URL is a secret there too."""
    asked = read_object(body.get("extra")).get("enable_nsfw_detection") is True
    webhook = {} if callback_url is None else {"webhook": {"url": callback_url}}
    return {"enable_nsfw_detection": asked, **webhook}


def _list_files(kind: OutputKind, dialect: Dialect, body: dict[str, Json]) -> list[dict[str, Json]]:
    if kind not in dialect.operation.outputs:
        return []
    folder, suffix = FILES[kind]
    more: dict[str, Json] = {"nsfw_detection_result": None} if kind == "image" else {}
    return [
        {
            f"{kind}_type": suffix,
            f"{kind}_url": f"{folder}/{kind}_{number:02}.{suffix}",
            f"{kind}_url_ttl": "3600",
            **more,
        }
        for number in range(1, dialect.count_outputs(body) + 1)
    ]
