"""Jobs, their outputs and their callbacks."""

from __future__ import annotations

from handlers.openapi.schema import (
    anything,
    choice,
    constant,
    flag,
    identifier,
    links,
    list_of,
    nullable,
    page_of,
    record,
    ref,
    text,
    texts,
    time,
    whole,
)
from service.callbacks.verdict import Verdict
from service.events.deliveries import STATUSES
from service.jobs.errors import ErrorCode
from service.jobs.lifecycle import Status
from service.providers.registry import PROVIDERS

OUTPUT = record(
    "A file that a job has made. The provider's URL of it is never shown.",
    {
        "index": whole("Its place among the job's outputs, from 0."),
        "kind": choice("What kind of file it is.", ["image", "video", "audio"]),
        "status": choice(
            "Whether it is in the bucket. A `mock` is a test job's output: it is never copied.",
            ["pending", "writing", "stored", "mock"],
        ),
        "media_type": nullable(text("The media type by the file's content, once it was looked at.")),
        "bytes": nullable(whole("The size of the file.")),
        "width": nullable(whole("Pixels across.")),
        "height": nullable(whole("Pixels down.")),
        "frames": nullable(whole("How many pictures it holds, where it may be more than one.")),
        "sha256": nullable(text("The digest of the content.", pattern="^[0-9a-f]{64}$")),
        "bucket": nullable(text("The bucket that it is stored in.")),
        "key": nullable(text("Its key in that bucket.")),
        "url": nullable(text("`s3://bucket/key`, once it is stored.")),
        "nsfw": nullable(anything("What the provider's own detection said, if it was asked for.")),
        "source_expires_at": nullable(time("When the provider deletes its copy, if that is known.")),
        "spooled_until": nullable(time("Until when the service keeps a copy for a bucket that can't be written yet.")),
    },
)

JOB_ERROR = record(
    "Why a job has failed, what to do about it, and what the provider said.",
    {
        "code": choice("Why it failed, from a closed list.", [code.value for code in ErrorCode]),
        "message": text("What happened."),
        "hint": text("What to do about it; may be empty."),
        "provider": nullable(
            record(
                "What the provider said.",
                {
                    "status": nullable(whole("Its HTTP status; null when it came inside a result.")),
                    "code": nullable(text("Its own code.")),
                    "message": nullable(text("Its own words, shortened.")),
                },
            )
        ),
    },
)

JOB = record(
    "A job: one request to a provider, and what became of it.",
    {
        "id": identifier("job", "the job"),
        "object": constant("job"),
        "status": choice("Where the job is. The last three are ends.", [status.value for status in Status]),
        "test": flag("Whether it is a test job: never billed, never copied."),
        "provider": choice("Who makes it.", PROVIDERS),
        "operation": text("Which of the provider's operations it is."),
        "provider_task_id": nullable(text("The provider's own id of it.")),
        "provider_status": nullable(text("The provider's own word about it.")),
        "progress": nullable(whole("Percent, where the provider tells.", maximum=100)),
        "verified_by": nullable(
            choice(
                "How its result was proven: the provider was asked (`readback`), its answer to the submit held it (`sync`), "
                "or, for a test job, the callback's token.",
                ["readback", "sync", "token"],
            )
        ),
        "run": whole("1, and one more with each retry.", minimum=1),
        "outputs": list_of(ref("Output"), "What it has made, in order."),
        "error": nullable(ref("JobError")),
        "metadata": texts("What you gave it."),
        "track_id": nullable(text("The `track_id` inside a ModelsLab request.")),
        "destination": nullable(text("The name of the destination that its outputs go to.")),
        "copy_of": nullable(identifier("job", "the job whose outputs this one stores once more")),
        "source_expires_at": nullable(time("When the first output that is not stored yet is gone at the provider.")),
        "created_at": time("When it was taken in."),
        "submitted_at": nullable(time("When the provider took it.")),
        "completed_at": nullable(time("When it ended.")),
        "deadline_at": time("When it is given up."),
        "links": links("self", "events", "callbacks", "deliveries", "cancel", "copy"),
        "deliveries": record(
            "How many deliveries of its events there are, by status; absent without any, and inside of events.",
            {status: whole(f"How many are {status}.") for status in STATUSES},
        ),
    },
    optional=["deliveries"],
)

CALLBACK = record(
    "What a provider has posted for a job: how large it was, what it claimed, and what came of it. Never the body itself.",
    {
        "id": identifier("cb", "the callback"),
        "object": constant("callback"),
        "attempt": whole("Which attempt of the job it was posted for."),
        "received_at": time("When it came."),
        "bytes": whole("How long its body was."),
        "sha256": text("The digest of its body.", pattern="^[0-9a-f]{64}$"),
        "claimed": nullable(
            record(
                "What its body says of itself, which nothing proves; null when it can't be read.",
                {
                    "known_event": flag("Whether it is of a kind that the service knows."),
                    "provider_task_id": nullable(text("The task that it names.")),
                    "provider_status": nullable(text("The status that it names.")),
                },
            )
        ),
        "verdict": nullable(choice("What became of it; null while it waits.", [each.value for each in Verdict])),
        "judged_at": nullable(time("When it was judged.")),
    },
)

OUTPUT_LINK = record(
    "A signed URL of a stored output: whoever has it can read the file until it ends.",
    {
        "url": {"type": "string", "format": "uri", "description": "Where the file is read from."},
        "expires_at": time("When the URL ends."),
    },
)

SCHEMAS = {
    "Job": JOB,
    "JobError": JOB_ERROR,
    "JobPage": page_of("Job"),
    "Output": OUTPUT,
    "OutputLink": OUTPUT_LINK,
    "Callback": CALLBACK,
    "CallbackPage": page_of("Callback"),
}
