"""Every setting of genrelay, with its default and what it is for; `config.loading` reads them."""

from __future__ import annotations

import re
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import NoDecode

from config.providers import ProvidersSettings
from config.shapes import Section, check_origin, check_prefix, split_list

PREFIX = "GENRELAY_"
# Whom a policy's Principal can name as AWS: an account, a user, a role, or a session of these. Never everybody.
_PRINCIPAL = re.compile(
    r"[0-9]{12}|arn:aws(?:-[a-z]{1,10}){0,3}:"
    r"(?:iam::[0-9]{12}:(?:root|(?:user|role)/[!-)+-~]{1,1024})"
    r"|sts::[0-9]{12}:(?:assumed-role|federated-user)/[!-)+-~]{1,1024})"
)


class SubmitSettings(Section):
    """How a job is sent to its provider."""

    unknown_seconds: float = Field(600, ge=0, description="How long an unclear submit waits for its callback.")
    window_seconds: float = Field(
        5, gt=0, le=60, description="A worker sends only this long (monotonic) after its committed intent."
    )
    max_attempts: int | None = Field(
        None,
        ge=1,
        description="Submits that could not reach the provider before the job fails as provider_unavailable; none: it waits"
        " until its deadline.",
    )


class BreakerSettings(Section):
    """When a provider that is down is left alone."""

    failures: int = Field(
        5, ge=1, description="Calls in a row without an answer, or with a 5xx, that open the breaker."
    )
    first_seconds: float = Field(5, gt=0, description="The first pause before one call tries whether it is back.")
    max_seconds: float = Field(60, gt=0, description="The longest such pause.")


class ReconcileSettings(Section):
    """When a job is read back although no callback came."""

    first_seconds: float = Field(30, gt=0, description="First poll after the submit.")
    max_seconds: float = Field(300, gt=0, description="Longest pause between two polls.")


class OutputSettings(Section):
    """What may be downloaded, and how much of it at a time."""

    max_image_bytes: int = Field(128 * 2**20, ge=1, description="Largest image in bytes.")
    max_video_bytes: int = Field(2 * 2**30, ge=1, description="Largest video or audio file in bytes.")
    max_pixels: int = Field(100_000_000, ge=1, description="Largest image in pixels; of an animated one, each frame.")
    max_frames: int = Field(3000, ge=1, description="Most frames of an animated image.")
    memory_bytes: int = Field(512 * 2**20, ge=2**20, description="Bytes of outputs in memory at once, per process.")
    whole_bytes: int = Field(
        16 * 2**20, ge=2**16, description="Files up to this size are written in one piece, larger ones in parts."
    )
    part_bytes: int = Field(
        8 * 2**20, ge=5 * 2**20, le=2**30, description="Size of a part in bytes; S3 takes none below 5 MiB."
    )
    parts_in_flight: int = Field(
        2, ge=1, le=16, description="Parts of one file on their way to the bucket at a time, while another one is read."
    )
    max_answer_bytes: int = Field(
        64 * 2**20, ge=2**20, description="Largest answer of a provider in bytes; some carry the images themselves."
    )
    concurrency: int = Field(16, ge=1, description="Jobs whose outputs one process copies at the same time.")
    max_attempts: int = Field(
        30, ge=1, description="Tries to copy a job's outputs, 46 minutes by default, before it fails."
    )
    alert_seconds: float = Field(
        600,
        gt=0,
        description="Outputs whose source expires within this time without being stored count as about to be lost.",
    )
    ambient_accounts: Annotated[list[str], NoDecode] = Field(
        default_factory=list,
        description="Accounts, by name, whose destinations may use the service's own AWS credentials (IRSA, Pod Identity).",
    )
    check_seconds: float = Field(
        10, gt=0, le=50, description="How long the check of a bucket may take when its destination is put."
    )
    _lists = field_validator("ambient_accounts", mode="before")(split_list)


class SpoolSettings(Section):
    """The operator's own bucket, where paid outputs wait while a customer's bucket refuses them; encrypted by us."""

    bucket: str | None = Field(None, description="The bucket; none: there is no spool.")
    region: str = Field("us-east-1", description="The bucket's region.")
    path: str = Field("", description="Prefix of all keys.")
    endpoint_url: str | None = Field(None, description="An S3 endpoint that is not AWS's.")
    access_key_id: str | None = Field(None, description="None: the service's own AWS credentials.")
    secret_access_key: SecretStr | None = Field(None, validate_default=True, description="Goes with the access key id.")
    keep_seconds: float = Field(7 * 86_400, gt=0, description="How long an output waits there before it is deleted.")

    @field_validator("bucket")
    @classmethod
    def _bucket_name(cls, name: str | None) -> str | None:
        if name and not re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", name):
            raise ValueError("must be a bucket's name: 3 to 63 lower-case letters, digits, dots or hyphens")
        return name or None

    @field_validator("region")
    @classmethod
    def _region_name(cls, name: str) -> str:
        if not re.fullmatch(r"[a-z0-9-]{1,40}", name):
            raise ValueError("must be a region's name, such as eu-central-1")
        return name

    @field_validator("path")
    @classmethod
    def _safe_prefix(cls, value: str) -> str:
        return check_prefix(value)

    @field_validator("endpoint_url")
    @classmethod
    def _endpoint(cls, value: str | None) -> str | None:
        return check_origin(value) if value else None

    @field_validator("secret_access_key")
    @classmethod
    def _both_or_none(cls, secret: SecretStr | None, others: ValidationInfo) -> SecretStr | None:
        if (secret is None) != (others.data.get("access_key_id") is None):
            raise ValueError("goes together with the access key id: give both, or neither")
        return secret


class CallbackSettings(Section):
    """How callbacks are received."""

    max_bytes: int = Field(2**20, ge=1024, description="Largest callback body in bytes; more is 413.")
    kept_per_run: int = Field(
        32,
        ge=1,
        description="Callbacks kept per run of a job (per submit, if it has several); later ones are only acknowledged.",
    )


class HttpSettings(Section):
    """Our own HTTP interface."""

    max_body_bytes: int = Field(
        64 * 2**20, ge=1024, description="Largest request body of the API in bytes; more is 413."
    )
    idempotency_wait_seconds: float = Field(
        10, gt=0, le=50, description="How long a request waits for its twin with the same Idempotency-Key; then 409."
    )
    linger_seconds: float = Field(
        0,
        ge=0,
        le=300,
        description="After SIGTERM the process says at `/readyz` that it leaves, and serves on for this long, so that whoever"
        " balances the load has heard of it. Set it where there is somebody to hear.",
    )


class LimitSettings(Section):
    """What one account may ask for, unless it has limits of its own (`genrelay accounts limits`); more is 429."""

    requests_per_second: float | None = Field(
        None, ge=1e-3, lt=1e9, description="Requests to one process in a second, on average; none: no limit."
    )
    requests_burst: int = Field(
        50, ge=1, lt=2**31, description="Requests that may come at once before that average holds."
    )
    requests_at_once: int = Field(
        1000,
        ge=1,
        lt=2**31,
        description="Requests of an account under way in one process; streams are counted apart.",
    )
    jobs_per_minute: float | None = Field(
        None,
        ge=1e-3,
        lt=1e9,
        description="Jobs an account may submit, copy or retry in a minute, over all processes; so many may come at once, and"
        " they come back evenly. None: no limit.",
    )
    open_jobs: int | None = Field(
        None,
        ge=1,
        lt=2**31,
        description="Jobs of an account that have not ended, over all processes; none: no limit.",
    )


class DeliverySettings(Section):
    """How events are delivered to subscribers."""

    retry_schedule: Annotated[list[float], NoDecode] = Field(
        default_factory=lambda: [5.0, 30, 120, 600, 1800, 3600, 7200, 14400, 28800, 43200, 57600, 86400, 86400],
        description="Pauses in seconds between tries, comma-separated, 1 to 20 numbers; the default covers 72 hours.",
        min_length=1,
        max_length=20,
    )
    timeout_seconds: float = Field(
        15, gt=0, le=60, description="How long an endpoint may take to answer, everything included."
    )
    concurrency: int = Field(128, ge=1, description="Deliveries one process has under way at a time.")
    endpoint_concurrency: int = Field(
        16, ge=1, description="Deliveries under way to one subscription at a time, over all processes."
    )
    breaker_failures: int = Field(
        5, ge=1, description="Failures in a row after which an endpoint is left alone for a while."
    )
    breaker_first_seconds: float = Field(
        5, gt=0, description="The first such pause; it doubles while nothing gets through."
    )
    breaker_max_seconds: float = Field(300, gt=0, description="The longest such pause.")
    max_retry_after_seconds: float = Field(
        21_600, ge=0, description="The longest pause that an endpoint may ask for with Retry-After."
    )
    warn_after_seconds: float = Field(
        86_400,
        gt=0,
        description="An endpoint that has only failed for this long is told of, with subscription.failing.",
    )
    disable_after_seconds: float = Field(
        5 * 86_400, gt=0, description="An endpoint that has only failed for this long is disabled."
    )
    response_bytes: int = Field(
        1024, ge=0, le=65_536, description="How much of an endpoint's answer is kept, in bytes."
    )
    link_seconds: int = Field(
        86_400, ge=60, le=604_800, description="How long the links in a body of a provider's own shape are good."
    )
    subscriptions_per_account: int = Field(
        1000, ge=0, description="Subscriptions an account may have; the webhooks of its jobs don't count."
    )
    _lists = field_validator("retry_schedule", mode="before")(split_list)

    @field_validator("retry_schedule")
    @classmethod
    def _not_negative(cls, pauses: list[float]) -> list[float]:
        if any(not 0 <= pause < float("inf") for pause in pauses):
            raise ValueError("every pause must be a number of seconds, 0 or more")
        return pauses


class EventSettings(Section):
    """How events are read as they happen."""

    streams: int = Field(
        24_000, ge=1, description="Streams of events (SSE) one process has open at a time; more get 503."
    )
    streams_per_account: int = Field(12_000, ge=1, description="Of these, an account's; more get 429.")
    comment_seconds: float = Field(
        15, gt=0, le=300, description="Pause after which a quiet stream gets a comment line."
    )
    stream_seconds: float = Field(
        3600, gt=0, description="A stream ends after this time, and the client resumes it: so a revoked key ends, too."
    )
    stream_events: int = Field(256, ge=1, description="Events that wait for a slow reader before it is cut off.")
    send_seconds: float = Field(30, gt=0, description="A reader that takes nothing for this long is cut off.")


class EngineSettings(Section):
    """The workers."""

    sweep_seconds: float = Field(5, gt=0, description="Pause between two sweeps for overdue work.")
    heartbeat_seconds: float = Field(
        12,
        gt=0,
        description="A worker silent for this long is taken for dead. All leases follow from it, such that its work is"
        " taken up within twice this, as long as sweeps come more often than every three quarters of it.",
    )
    drain_seconds: float = Field(
        320,
        gt=0,
        description="After SIGTERM, work under way may take this long; what is left then is handed back. Keep it above the"
        " longest call's timeout: a call that is cut off ends as submit_unknown.",
    )
    concurrency: int = Field(
        64,
        ge=4,
        description="Submits one process has under way at one provider at a time, and half as many read-backs; twice as many"
        " tasks in all, so that a provider that hangs leaves room for the others.",
    )
    calls: int = Field(
        32,
        ge=1,
        description="Calls one process has under way that a provider answers with the result itself, minutes later.",
    )
    max_starts: int = Field(
        5, ge=1, description="Times a task may crash its worker or raise before it becomes a dead letter."
    )


class RetentionSettings(Section):
    """How long things are kept. Nothing that is still needed is deleted: no open job, no pending delivery."""

    retry_inputs_seconds: float = Field(
        86_400, ge=0, description="Inputs of failed and canceled jobs, so that `retry` can send them again."
    )
    callbacks_seconds: float | None = Field(
        30 * 86_400, ge=3600, description="What providers really sent, after the job's end; none: as long as the job."
    )
    deliveries_seconds: float | None = Field(
        30 * 86_400, ge=3600, description="Deliveries with their attempts, after their end; none: as long as the event."
    )
    events_seconds: float | None = Field(
        90 * 86_400,
        ge=3600,
        description="Events, in the feed and of a job that has ended, so that a consumer can go on from there; none: as long as"
        " the job.",
    )
    jobs_seconds: float | None = Field(
        180 * 86_400,
        ge=86_400,
        description="Jobs, after their end, with everything about them; the objects in buckets stay. None: until they are"
        " deleted by hand.",
    )
    dead_letters_seconds: float | None = Field(
        90 * 86_400, ge=86_400, description="Dead letters that nobody retried; none: for ever."
    )
    engine_log_seconds: float = Field(3600, ge=60, description="The queue's own log.")

    @field_validator(
        "callbacks_seconds",
        "deliveries_seconds",
        "events_seconds",
        "jobs_seconds",
        "dead_letters_seconds",
        mode="before",
    )
    @classmethod
    def _no_limit(cls, seconds: object) -> object:
        """Read the word `none`: neither a variable nor TOML has a null."""
        return None if isinstance(seconds, str) and seconds.strip().lower() == "none" else seconds

    @property
    def places_seconds(self) -> float:
        """How long a consumer can go on behind an event whose job is deleted: like any other, 90 days where there is no end."""
        return self.events_seconds or 90 * 86_400


class Settings(Section):
    """A service's settings, all of them."""

    database_url: SecretStr | None = Field(None, description="PostgreSQL to use; none starts one in the data folder.")
    data_dir: Path = Field(Path(".genrelay"), description="Where the embedded server and generated secrets live.")
    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8080, ge=0, le=65535, description="Port to listen on; 0 picks a free one.")
    public_url: str | None = Field(None, description="Where providers reach us; without it every job is polled.")
    secret_key: Annotated[list[SecretStr], NoDecode] = Field(
        default_factory=list,
        description="Text of 32 characters or more, comma-separated for rotation; the first one writes.",
    )
    bootstrap_api_key: SecretStr | None = Field(
        None, description="An API key of the account `default` (20-200 visible ASCII)."
    )
    providers: ProvidersSettings = Field(default_factory=ProvidersSettings)
    submit: SubmitSettings = Field(default_factory=SubmitSettings)
    breaker: BreakerSettings = Field(default_factory=BreakerSettings)
    reconcile: ReconcileSettings = Field(default_factory=ReconcileSettings)
    outputs: OutputSettings = Field(default_factory=OutputSettings)
    spool: SpoolSettings = Field(default_factory=SpoolSettings)
    callbacks: CallbackSettings = Field(default_factory=CallbackSettings)
    http: HttpSettings = Field(default_factory=HttpSettings)
    delivery: DeliverySettings = Field(default_factory=DeliverySettings)
    events: EventSettings = Field(default_factory=EventSettings)
    limits: LimitSettings = Field(default_factory=LimitSettings)
    engine: EngineSettings = Field(default_factory=EngineSettings)
    retention: RetentionSettings = Field(default_factory=RetentionSettings)
    aws_principal: str | None = Field(
        None,
        description="The IAM principal that customers let in: an ARN, or an account's 12 digits; none: AWS is asked who we"
        " are.",
    )
    allowed_private_subnets: Annotated[list[IPv4Network | IPv6Network], NoDecode] = Field(
        default_factory=list, description="Subnets the guard lets through, over plain http and any port too."
    )
    log_level: str = Field("info", description="debug, info, warning or error.")
    log_format: str = Field("auto", description="json, console, or auto: console on a terminal.")

    @field_validator("database_url")
    @classmethod
    def _postgres(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not value.get_secret_value().startswith(("postgres://", "postgresql://")):
            raise ValueError("must begin with postgresql://")
        return value

    @field_validator("secret_key", mode="before")
    @classmethod
    def _split_keys(cls, value: object) -> object:
        return split_list(value)

    @field_validator("secret_key")
    @classmethod
    def _long_enough(cls, keys: list[SecretStr]) -> list[SecretStr]:
        for number, key in enumerate(keys, 1):
            if len(key.get_secret_value()) < 32:
                raise ValueError(f"key {number} has fewer than 32 characters")
        return keys

    @field_validator("bootstrap_api_key")
    @classmethod
    def _visible_ascii(cls, key: SecretStr | None) -> SecretStr | None:
        if key is not None:
            text = key.get_secret_value()
            if not 20 <= len(text) <= 200 or not all(33 <= ord(c) <= 126 for c in text):
                raise ValueError("must be 20 to 200 visible ASCII characters without spaces")
        return key

    @field_validator("public_url")
    @classmethod
    def _public_origin(cls, value: str | None) -> str | None:
        return check_origin(value) if value else None

    @field_validator("aws_principal")
    @classmethod
    def _principal(cls, value: str | None) -> str | None:
        if value and not _PRINCIPAL.fullmatch(value):
            raise ValueError("must be an ARN as in arn:aws:iam::123456789012:role/genrelay, or an account's 12 digits")
        return value or None

    @field_validator("allowed_private_subnets", mode="before")
    @classmethod
    def _networks(cls, value: object) -> object:
        parts = split_list(value)
        if isinstance(parts, list):
            return [ip_network(part) if isinstance(part, str) else part for part in parts]
        return parts

    @field_validator("log_level")
    @classmethod
    def _known_level(cls, value: str) -> str:
        if value.lower() not in {"debug", "info", "warning", "error"}:
            raise ValueError("must be debug, info, warning or error")
        return value.lower()

    @field_validator("log_format")
    @classmethod
    def _known_format(cls, value: str) -> str:
        if value not in {"auto", "json", "console"}:
            raise ValueError("must be auto, json or console")
        return value
