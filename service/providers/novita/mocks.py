"""The callback of a task that never was, for operations that Novita has no test mode for; we post it ourselves.

Its shape is that of Novita's own mock, as far as the page shows one:
https://novita.ai/docs/api-reference/model-apis-webhook, checked 2026-09
"""

from __future__ import annotations

import uuid

from service.providers.contract import Json, MockCallback, Ours, OutputKind
from service.providers.novita.dialect import Dialect
from service.providers.novita.events import echo_extra, name_file, write_event

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
    status, task_id = ours.test_mode.return_task_status, str(uuid.uuid5(NAMESPACE, ours.reference))
    succeeded = status == "TASK_STATUS_SUCCEED"
    kinds = dialect.operation.outputs
    files = [mock_file(kind, number) for kind in kinds for number in range(1, dialect.count_outputs(body) + 1)]
    event = write_event(
        dialect.operation.name,
        task_id,
        status,
        reason="" if succeeded else REASON,
        extra=echo_extra(body, ours.callback_url),
        files=files if succeeded else [],
    )
    return MockCallback(task_id, event)


def mock_file(kind: OutputKind, number: int) -> tuple[OutputKind, dict[str, Json]]:
    """Return one output of a task that never was; numbers begin with 1."""
    folder, suffix = FILES[kind]
    return name_file(kind, f"{folder}/{kind}_{number:02}.{suffix}", 3600, suffix)
