"""Prometheus metrics; names follow Prometheus' conventions, units are in the names."""

from __future__ import annotations

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
SUBMITS = Counter(
    "genrelay_submits_total", "Submits by what became of them.", ["provider", "operation", "outcome", "test"]
)
CALLBACKS_JUDGED = Counter(
    "genrelay_callbacks_judged_total",
    "Callbacks by their verdict; `mock` is that of test jobs.",
    ["provider", "verdict"],
)
TASKS = Counter("genrelay_tasks_total", "Tasks by how they ended.", ["task", "outcome"])
TASK_SECONDS = Histogram("genrelay_task_duration_seconds", "How long tasks took.", ["task"])
DEAD_LETTERS = Counter("genrelay_dead_letters_total", "Tasks that were given up.", ["task"])
WORKER_RESTARTS = Counter("genrelay_worker_restarts_total", "Workers rebuilt after they stopped.", ["worker"])
SWEPT = Counter("genrelay_swept_total", "Overdue work that the sweep enqueued.", ["task"])
BYTES_STORED = Counter("genrelay_bytes_stored_total", "Bytes written to customers' buckets.")
REQUESTS = Counter("genrelay_http_requests_total", "Requests by route and status.", ["route", "status"])
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
