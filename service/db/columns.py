"""The columns of tables that statements read whole: what `{jobs.*}` stands for in `queries/*.sql`.

`jobs.*` itself would be whatever columns the table has, and a migration that adds one would change the rows of statements that
processes of the version before have prepared: PostgreSQL refuses those then, and within a transaction they can't be prepared
anew. A new column is added here, too, by whoever reads it; one that goes is left out here a release before.
"""

from __future__ import annotations

import re

_COLUMNS = {
    "attempts": """
        job_id, number, run, worker_id, outcome, task_id, note, started_at, ended_at, path, is_call, silence_seconds,
        window_seconds, timeout_seconds, token_key
    """,
    "callbacks": """
        id, job_id, attempt, received_at, headers, body, digest, verdict, judged_at
    """,
    "dead_letters": """
        id, job_id, task, reason, created_at, retried_at
    """,
    "deliveries": """
        id, account_id, subscription_id, event_id, job_id, sequence, type, payload, status, reason, attempts,
        failures, forgiven, response_status, worker_id, created_at, due_at, ended_at
    """,
    "delivery_attempts": """
        delivery_id, number, started_at, seconds, outcome, status, error, response
    """,
    "destinations": """
        id, account_id, name, spec, secret, created_at, updated_at, deleted_at, checked_at, check_steps,
        failing_since, failure, told_failing
    """,
    "events": """
        job_id, sequence, id, account_id, run, type, time, data, source
    """,
    "jobs": """
        id, account_id, provider, operation, status, test_status, destination, destination_id, storage, run, attempt,
        version, submit_state, provider_task_id, provider_status, progress, verified_by, error, metadata, webhook,
        webhook_events, on_unclear, tries, starts, rereads, read_back_at, last_event, created_at, submitted_at,
        completed_at, deadline_at, due_at, nudged_at, deadline_seconds, images, track_id, copy_of, source_expires_at,
        input_sha256, webhook_id, webhook_payload, traceparent
    """,
    "outputs": """
        job_id, index, kind, status, source_url, source_expires_at, nsfw, media_type, extension, bytes, width, height,
        sha256, bucket, key, encoded, inline, region, endpoint_url, key_run, frames, mark, part_bytes, checksum,
        stored_at, spool_bucket, spool_key, spool_secret, spool_bytes, spooled_until
    """,
    "subscriptions": """
        id, account_id, origin, url, sink, event_types, filter, payload, include_test, rate_limit, description,
        header_names, headers, signing, sink_secret, failures, ours, failing_since, warned_at, open_until, next_at,
        look_at, last_success_at, disabled_at, disabled_reason, created_at, updated_at, deleted_at
    """,
    "uploads": """
        id, job_id, index, destination_id, bucket, region, endpoint_url, key, upload_id, worker_id, tries, begun_at,
        due_at
    """,
}
_WHOLE_ROW = re.compile(r"\{(?P<prefix>\w+)\.\*(?: of (?P<table>\w+))?\}")


def name_columns(statements: str) -> str:
    """Return SQL with the columns in the place of `{jobs.*}`, and of `{taken.* of jobs}` where the rows have another name."""
    return _WHOLE_ROW.sub(_expand, statements)


def _expand(found: re.Match[str]) -> str:
    columns = _COLUMNS[found["table"] or found["prefix"]].split(",")
    return ", ".join(f"{found['prefix']}.{column.strip()}" for column in columns)
