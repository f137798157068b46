"""Prometheus metrics; names follow Prometheus' conventions, units are in the names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import product

from prometheus_client import Counter, Gauge, Histogram

CALLBACKS = Counter(
    "genrelay_callbacks_total",
    "Callbacks by what the sender was told, those of test jobs included: a callback's token does not say whether its job"
    " is one. They are told apart by the verdict `mock` of genrelay_callbacks_judged_total and by the label `test` of"
    " genrelay_jobs_ended_total.",
    ["provider", "result"],
)
CALLBACK_BATCH = Histogram(
    "genrelay_callback_batch_size",
    "Callbacks committed in one transaction.",
    buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256),
)
JOBS_CREATED = Counter("genrelay_jobs_created_total", "Jobs accepted.", ["provider", "operation", "test"])
JOBS_ENDED = Counter(
    "genrelay_jobs_ended_total", "Runs of jobs that ended, by how.", ["provider", "operation", "status", "test"]
)
JOB_SECONDS = Histogram(
    "genrelay_job_duration_seconds",
    "How long jobs took from the moment they were accepted to the end of a run; test jobs are left out, and a retry counts from"
    " the first beginning.",
    ["provider", "operation", "status"],
    buckets=(1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600, 10_800, 43_200, 86_400),
)
SUBMITS = Counter(
    "genrelay_submits_total", "Submits by what became of them.", ["provider", "operation", "outcome", "test"]
)
CALLBACKS_JUDGED = Counter(
    "genrelay_callbacks_judged_total",
    "Callbacks by their verdict; `mock` is that of test jobs.",
    ["provider", "verdict"],
)
PROVIDER_CALLS = Counter(
    "genrelay_provider_calls_total",
    "Calls to providers, `submit` or `look_up`, by what came of them: the status class (`2xx`, …; `429` apart), "
    "`not_sent` when nothing reached the provider, `answer_lost` when no whole answer came, `canceled` when broken off.",
    ["provider", "operation", "call", "outcome"],
)
PROVIDER_CALL_SECONDS = Histogram(
    "genrelay_provider_call_duration_seconds",
    "How long calls to providers took, however they ended.",
    ["provider", "call"],
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 180, 300),
)
TASKS = Counter("genrelay_tasks_total", "Tasks by how they ended.", ["task", "outcome"])
TASK_SECONDS = Histogram("genrelay_task_duration_seconds", "How long tasks took.", ["task"])
DEAD_LETTERS = Counter("genrelay_dead_letters_total", "Tasks that were given up.", ["task"])
WORKER_RESTARTS = Counter("genrelay_worker_restarts_total", "Workers rebuilt after they stopped.", ["worker"])
SWEPT = Counter("genrelay_swept_total", "Overdue work that the sweep enqueued.", ["task"])
BYTES_STORED = Counter("genrelay_bytes_stored_total", "Bytes written to customers' buckets.")
ABOUT_TO_EXPIRE = Gauge(
    "genrelay_outputs_about_to_expire",
    "Jobs being copied, by what is left of their source: `expiring` within GENRELAY_OUTPUTS__ALERT_SECONDS, or `expired`, so"
    " that only the provider's fresh URL can save them; and those that have `failed` because of their bucket, whose outputs"
    " are gone within the same time unless somebody retries them. Every worker counts all jobs: take the maximum, not the sum.",
    ["source"],
)
DESTINATION_EVENTS = Counter(
    "genrelay_destination_events_total",
    "Destinations that began to fail (`destination.failing`), or that took something again (`destination.recovered`).",
    ["type"],
)
PURGED = Counter("genrelay_purged_total", "Rows that housekeeping has deleted, by what they were.", ["kind"])
HOUSEKEEPING_SUCCESS = Gauge(
    "genrelay_housekeeping_last_success_timestamp_seconds",
    "When this process last went through a round of housekeeping, or found another one at it; 0 if it has not yet: take the"
    " maximum.",
)
ERASURE_AGE = Gauge(
    "genrelay_erasure_age_seconds",
    "For how long the oldest erasure of an account has gone on, 0 when there is none; every worker looks at all of them: take"
    " the maximum, not the sum.",
)
SPOOLED = Counter(
    "genrelay_spooled_total",
    "Outputs that a customer's bucket did not take, by what became of them: `spooled`, or not because of their `source`, of"
    " the `spool`, because it took too long or their job had ended (`late`), or because of an `error` of ours.",
    ["outcome"],
)
SPOOL_OBJECTS = Gauge(
    "genrelay_spool_objects",
    "Objects in the operator's spool, `waiting` for their bucket or `leaving`, to be deleted; every worker counts all of"
    " them once a minute: take the maximum, not the sum.",
    ["state"],
)
SPOOL_ENDING = Gauge(
    "genrelay_spool_ending",
    "Outputs in the operator's spool that are deleted within a day (within half of GENRELAY_SPOOL__KEEP_SECONDS, if that is"
    " less) unless somebody retries their job; counted like genrelay_spool_objects.",
)
OUTPUT_MEMORY = Gauge("genrelay_output_memory_bytes", "Bytes of outputs that this process holds in memory.")
OUTPUT_MEMORY_WAITING = Gauge("genrelay_output_memory_waiting", "Outputs that wait for memory.")
UPLOADS_SWEPT = Counter(
    "genrelay_uploads_swept_total", "Multipart uploads that nobody was at any more, by what the sweep did.", ["outcome"]
)
EVENTS_PLACED = Counter("genrelay_events_placed_total", "Events that this process has given their places in the feed.")
EVENTS_UNPLACED_AGE = Gauge(
    "genrelay_events_unplaced_age_seconds",
    "How long the oldest event without a place in the feed has waited, 0 when there is none; every worker looks at all of"
    " them with its heartbeat: take the maximum, not the sum.",
)
LISTENING = Gauge("genrelay_listener_up", "1 while this process listens to what the database tells it.")
LISTENER_LOST = Counter("genrelay_listener_lost_total", "Connections of the listener that were lost, or not to be had.")
FOLLOWERS = Gauge("genrelay_event_followers", "Followers of the feed (streams of events) in this process.")
FOLLOWERS_CUT = Counter("genrelay_event_followers_cut_total", "Followers that were cut off because they were too slow.")
REQUESTS = Counter("genrelay_http_requests_total", "Requests by route and status.", ["route", "status"])
REQUEST_SECONDS = Histogram(
    "genrelay_http_request_duration_seconds",
    "How long requests took until their answers were sent, streams left out; one that waits for a job's end (`wait`) takes as"
    " long as it was asked to.",
    ["route"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120),
)
REQUESTS_LIMITED = Counter(
    "genrelay_requests_limited_total",
    "Requests that were refused because a limit of their account was reached (docs/settings.md, `limits`), or because too many"
    " unknown keys were tried (`unknown_keys`).",
    ["limit"],
)
STREAMS = Gauge("genrelay_streams", "Streams of events (SSE) that this process has open.")
STREAMS_ENDED = Counter(
    "genrelay_streams_ended_total",
    "Streams that ended, by why: their job has (`job_ended`), their `time` was over, the process was `stopping`, the reader was"
    " too `slow` or is `gone`, the `database` was away, or an `error` of ours. All but the first are resumed by their clients.",
    ["reason"],
)
QUEUE_DEPTH = Gauge(
    "genrelay_queue_depth",
    "Pieces of work that are due and not begun, by task: `submit`, `look_up` and `copy` are jobs, `settle` callbacks without a"
    " verdict, `deliver` deliveries to endpoints that are not left alone, `place` events without a place in the feed. Counted"
    " up to 10,000 (of jobs, the 10,000 that are due for longest). Every worker counts all, every 15 s: take the maximum,"
    " not the sum.",
    ["task"],
)
QUEUE_AGE = Gauge(
    "genrelay_queue_oldest_age_seconds",
    "For how long the oldest due piece of work has been overdue, 0 when none is due; counted like genrelay_queue_depth.",
    ["task"],
)
DEAD_LETTERS_WAITING = Gauge(
    "genrelay_dead_letters_waiting",
    "Tasks that were given up and not tried again, up to 10,000; counted like genrelay_queue_depth.",
)
POOL_CONNECTIONS = Gauge(
    "genrelay_pool_connections",
    "Connections to the database, by what they do; `free` ones are not open yet. The pool `inbox` is that of callbacks.",
    ["pool", "state"],
)
POOL_WAIT_SECONDS = Histogram(
    "genrelay_pool_wait_seconds",
    "How long was waited for a connection to the database, its making included.",
    ["pool"],
    buckets=(0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
BUILD = Gauge("genrelay_build_info", "The version that runs; always 1.", ["version"])
ROLE = Gauge("genrelay_process_role_info", "What this process does; always 1.", ["role"])
ENGINE_HEALTHY = Gauge("genrelay_engine_healthy", "1 while every worker of this process is running.")
LINE_WAITING = Gauge(
    "genrelay_line_waiting",
    "Jobs that wait in line for their provider; brought up to date every few seconds.",
    ["provider", "operation"],
)
GRANTS = Counter("genrelay_grants_total", "Jobs that the dispatcher let go on.", ["provider", "operation"])
BREAKER_OPEN = Gauge(
    "genrelay_breaker_open",
    "1 while this process leaves a provider alone; `look_up` stands for its read-backs.",
    ["provider", "operation"],
)
DELIVERIES = Counter(
    "genrelay_deliveries_total", "Deliveries that ended, by how: delivered, failed or canceled.", ["status"]
)
DELIVERY_ATTEMPTS = Counter(
    "genrelay_delivery_attempts_total",
    "Tries to deliver, by what came of them: `ours` are those that failed because of this service, not of the endpoint.",
    ["channel", "outcome"],
)
DELIVERY_SECONDS = Histogram(
    "genrelay_delivery_attempt_duration_seconds", "How long tries to deliver took.", ["channel"]
)
DELIVERIES_UNDER_WAY = Gauge("genrelay_deliveries_under_way", "Deliveries that this process has under way.")
DELIVERIES_OVERDUE = Gauge(
    "genrelay_deliveries_overdue_seconds",
    "For how long the longest due delivery has waited for its turn, 0 when none is due; every worker looks at all of them: take"
    " the maximum, not the sum.",
)
SUBSCRIPTION_TROUBLE = Counter(
    "genrelay_subscription_trouble_total", "Subscriptions that were warned of (`failing`) or `disabled`.", ["kind"]
)


def watch_output_memory(held: int, waiting: int) -> None:
    """Show what the budget of outputs has come to."""
    OUTPUT_MEMORY.set(held)
    OUTPUT_MEMORY_WAITING.set(waiting)


def begin_at_zero(operations: Mapping[str, Iterable[str]]) -> None:
    """Show what alerts count before it first happens: a line that appears with 1 has not increased for Prometheus.

    operations: names by provider. Left out is what alerts take as a share of a whole (statuses of requests and of calls).
    """
    known: dict[Counter, Iterable[tuple[str, ...]]] = {
        SPOOLED: product(("spooled", "source", "spool", "late", "error")),
        SUBSCRIPTION_TROUBLE: product(("failing", "disabled")),
        DELIVERIES: product(("delivered", "failed", "canceled")),
        DELIVERY_ATTEMPTS: product(("url", "sink"), ("delivered", "failed", "ours")),
        REQUESTS_LIMITED: product(
            ("requests_per_second", "requests_at_once", "jobs_per_minute", "open_jobs", "unknown_keys")
        ),
        CALLBACKS: [*product(operations, ("kept", "unavailable", "internal")), ("unknown", "bad_token")],
        DESTINATION_EVENTS: product(("destination.failing", "destination.recovered")),
    }
    for counter, lines in known.items():
        for line in lines:
            counter.labels(*line)
    for provider, names in operations.items():
        for operation, test in product(names, ("false", "true")):
            for outcome in ("Accepted", "Finished", "Rejected", "NotRun", "Unclear"):
                SUBMITS.labels(provider, operation, outcome, test)
            for status in ("succeeded", "failed", "canceled"):
                JOBS_ENDED.labels(provider, operation, status, test)
