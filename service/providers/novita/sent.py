"""The event that Novita would have posted to the customer's webhook, with links to where the outputs are now.

https://novita.ai/docs/api-reference/model-apis-webhook
https://novita.ai/docs/api-reference/model-apis-task-result
checked 2026-09

Seedream has no webhook and no tasks: its jobs are told in the same shape, with the job's own id for a task's. Left out is what
nobody knows here: the seed of a job that left it to Novita, and the times in an audio's metadata.
"""

from __future__ import annotations

from service.providers.contract import EndedFile, EndedJob, Json, SentCallback
from service.providers.novita.events import File, echo_extra, name_file, write_event
from service.providers.novita.mocks import mock_file
from service.providers.replies import read_integer, read_object

# Novita's names of types are those of our files' endings, but for these.
_SUFFIXES = {"audio/mpeg": "mp3", "audio/wave": "wav", "audio/x-wav": "wav"}
_BY_DEFAULT = {"image": "jpeg", "video": "mp4", "audio": "wav"}


def sent_callback(operation: str, job: EndedJob) -> SentCallback:
    """Build the event about a job that has ended."""
    body = write_event(
        operation,
        job.task_id or job.job_id,
        "TASK_STATUS_SUCCEED" if job.succeeded else "TASK_STATUS_FAILED",
        reason="" if job.succeeded else job.words or "",
        extra=_write_extra(job),
        # What a failed job stored before it failed is in the job, and in no list of Novita's.
        files=_list_files(job) if job.succeeded else [],
    )
    return SentCallback(body)


def _list_files(job: EndedJob) -> list[File]:
    if job.test:
        return [mock_file(file.kind, number) for number, file in enumerate(job.files, start=1)]
    return [
        name_file(file.kind, file.url, file.ttl_seconds, _name_type(file), file.nsfw)
        for file in job.files
        if file.url is not None
    ]


def _name_type(file: EndedFile) -> str:
    if file.media_type is None:
        return _BY_DEFAULT[file.kind]
    return _SUFFIXES.get(file.media_type) or file.media_type.rpartition("/")[2]


def _write_extra(job: EndedJob) -> dict[str, Json]:
    """A mock has nothing of a task that never ran."""
    echo = echo_extra(job.body, job.webhook)
    if job.test:
        return echo
    if any(file.nsfw is not None for file in job.files):
        echo["enable_nsfw_detection"] = True  # also when the request is not kept any more
    began, ended = ("" if time is None else str(round(time * 1000)) for time in (job.began, job.ended))
    times = {"submit_time_ms": began, "execute_time_ms": began, "complete_time_ms": ended}
    return {**_read_seed(job), **echo, "debug_info": {"request_info": "", **times}}


def _read_seed(job: EndedJob) -> dict[str, Json]:
    seed = read_integer(read_object(job.body.get("request")).get("seed"))
    return {} if seed is None or seed < 0 else {"seed": str(seed)}
