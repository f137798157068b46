"""Every setting of genrelay, with its default and what it is for.

Settings come from environment variables prefixed `GENRELAY_` (nested with `__`), from a TOML file named by
`GENRELAY_CONFIG`, and, for secrets, from files named by `…_FILE`. Nothing is read at import: call `load_settings()`.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import NoDecode

PREFIX = "GENRELAY_"
# Where a test makes the process end or stop (service/points.py).
_FOR_TESTS = (PREFIX + "CRASH_AT", PREFIX + "STOP_AT")


class SettingsError(Exception):
    """The settings can't be used; the message lists every mistake, one per line, by variable name."""


def _split(value: object) -> object:
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return value


def _origin(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("must be an http or https URL")
    if parts.port == 0:  # reading it raises ValueError for one that is no number up to 65535
        raise ValueError("must not have port 0")
    if parts.query or parts.fragment or parts.username:
        raise ValueError("must not carry a query, a fragment or user information")
    return value.rstrip("/")


class _Section(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)


_BASE_URL = "Origin of the provider's API; the operator's own choice, so not guarded."
_OUTPUT_HOSTS = "Hosts outputs may be downloaded from: names, `*.name`, or `*` for any public host."


class ProviderSettings(_Section):
    """One provider: our key there and where it lives."""

    api_key: SecretStr | None = Field(
        None, description="Our API key at the provider; without it jobs for it are refused."
    )
    base_url: str = Field("", description=_BASE_URL)
    output_hosts: Annotated[list[str], NoDecode] = Field(default_factory=list, description=_OUTPUT_HOSTS)
    submit_timeout_seconds: float = Field(
        60.0, gt=0, description="How long one submit may take before it counts as unclear."
    )
    look_up_timeout_seconds: float = Field(15.0, gt=0, description="How long one read-back may take.")

    _lists = field_validator("output_hosts", mode="before")(_split)
    _base_url = field_validator("base_url")(_origin)

    @field_validator("output_hosts")
    @classmethod
    def _host_names(cls, hosts: list[str]) -> list[str]:
        for host in hosts:
            bare = host.removeprefix("*.")
            if host != "*" and (not bare or any(c in bare for c in "/:*@ ")):
                raise ValueError(f"{host!r}: a host name without port or path, `*.name`, or `*`")
        return [host.lower() for host in hosts]


class NovitaSettings(ProviderSettings):
    """Novita AI."""

    base_url: str = Field("https://api.novita.ai", description=_BASE_URL)
    output_hosts: Annotated[list[str], NoDecode] = Field(
        default_factory=lambda: [
            "faas-output-image.s3.ap-southeast-1.amazonaws.com",
            "faas-output-video.s3.ap-southeast-1.amazonaws.com",
        ],
        description=_OUTPUT_HOSTS,
    )


class ModelsLabSettings(ProviderSettings):
    """ModelsLab enterprise."""

    base_url: str = Field("https://modelslab.com", description=_BASE_URL)
    output_hosts: Annotated[list[str], NoDecode] = Field(default_factory=lambda: ["*"], description=_OUTPUT_HOSTS)


class ProvidersSettings(_Section):
    """All providers."""

    novita: NovitaSettings = Field(default_factory=NovitaSettings)
    modelslab: ModelsLabSettings = Field(default_factory=ModelsLabSettings)


class SubmitSettings(_Section):
    """How a job is sent to its provider."""

    unknown_seconds: float = Field(600, ge=0, description="How long an unclear submit waits for its callback.")
    window_seconds: float = Field(
        5, gt=0, description="A worker sends only this long (monotonic) after its committed intent."
    )
    max_attempts: int = Field(
        20, ge=1, description="Submits that were proven not to run before the job fails as provider_unavailable."
    )


class ReconcileSettings(_Section):
    """When a job is read back although no callback came."""

    first_seconds: float = Field(30, gt=0, description="First poll after the submit.")
    max_seconds: float = Field(300, gt=0, description="Longest pause between two polls.")


class OutputSettings(_Section):
    """What may be downloaded, and how much of it at a time."""

    max_image_bytes: int = Field(128 * 2**20, ge=1, description="Largest image in bytes.")
    max_video_bytes: int = Field(2 * 2**30, ge=1, description="Largest video or audio file in bytes.")
    max_pixels: int = Field(100_000_000, ge=1, description="Largest image in pixels.")
    memory_bytes: int = Field(512 * 2**20, ge=2**20, description="Bytes of outputs in memory at once, per process.")
    concurrency: int = Field(16, ge=1, description="Jobs whose outputs one process copies at the same time.")
    max_attempts: int = Field(
        30, ge=1, description="Tries to copy a job's outputs, 46 minutes by default, before it fails."
    )


class CallbackSettings(_Section):
    """How callbacks are received."""

    max_bytes: int = Field(2**20, ge=1024, description="Largest callback body in bytes; more is 413.")
    kept_per_run: int = Field(
        32,
        ge=1,
        description="Callbacks kept per run of a job (per submit, if it has several); later ones are only acknowledged.",
    )


class HttpSettings(_Section):
    """Our own HTTP interface."""

    max_body_bytes: int = Field(
        64 * 2**20, ge=1024, description="Largest request body of the API in bytes; more is 413."
    )
    idempotency_wait_seconds: float = Field(
        10, gt=0, le=50, description="How long a request waits for its twin with the same Idempotency-Key; then 409."
    )


class DeliverySettings(_Section):
    """How events are delivered to subscribers."""

    retry_schedule: Annotated[list[float], NoDecode] = Field(
        default_factory=lambda: [5.0, 30, 120, 600, 1800, 3600, 7200, 14400, 28800, 43200, 57600, 86400, 86400],
        description="Pauses in seconds between tries, comma-separated, 1 to 20 numbers; the default covers 72 hours.",
        min_length=1,
        max_length=20,
    )
    _lists = field_validator("retry_schedule", mode="before")(_split)

    @field_validator("retry_schedule")
    @classmethod
    def _not_negative(cls, pauses: list[float]) -> list[float]:
        if any(not 0 <= pause < float("inf") for pause in pauses):
            raise ValueError("every pause must be a number of seconds, 0 or more")
        return pauses


class EngineSettings(_Section):
    """The workers."""

    sweep_seconds: float = Field(5, gt=0, description="Pause between two sweeps for overdue work.")
    heartbeat_seconds: float = Field(
        12,
        gt=0,
        description="A worker silent for this long is taken for dead. All leases follow from it, such that its work is"
        " taken up within twice this, as long as sweeps come more often than every three quarters of it.",
    )
    drain_seconds: float = Field(
        75,
        gt=0,
        description="After SIGTERM, work under way may take this long; what is left then is handed back."
        " Keep it above a submit's timeout.",
    )
    concurrency: int = Field(64, ge=4, description="Provider calls and verdicts one process has under way at a time.")
    max_starts: int = Field(
        5, ge=1, description="Times a task may crash its worker or raise before it becomes a dead letter."
    )


class RetentionSettings(_Section):
    """How long things are kept."""

    retry_inputs_seconds: float = Field(
        86_400, ge=0, description="Inputs of failed and canceled jobs, so that `retry` can send them again."
    )


class Settings(_Section):
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
    reconcile: ReconcileSettings = Field(default_factory=ReconcileSettings)
    outputs: OutputSettings = Field(default_factory=OutputSettings)
    callbacks: CallbackSettings = Field(default_factory=CallbackSettings)
    http: HttpSettings = Field(default_factory=HttpSettings)
    delivery: DeliverySettings = Field(default_factory=DeliverySettings)
    engine: EngineSettings = Field(default_factory=EngineSettings)
    retention: RetentionSettings = Field(default_factory=RetentionSettings)
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
        return _split(value)

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
        return _origin(value) if value else None

    @field_validator("allowed_private_subnets", mode="before")
    @classmethod
    def _networks(cls, value: object) -> object:
        parts = _split(value)
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


def _is_secret(name: str) -> bool:
    return name.endswith(("_KEY", "_URL"))


def _from_environment(environ: Mapping[str, str]) -> tuple[dict[str, Any], list[str]]:
    """Nest the `GENRELAY_` variables; a `…_FILE` twin of a secret is read, its last newline dropped."""
    tree: dict[str, Any] = {}
    mistakes: list[str] = []
    reserved = {PREFIX + "CONFIG", PREFIX + "URL", PREFIX + "API_KEY", PREFIX + "API_KEY_FILE"}
    for name, value in sorted(environ.items()):
        if not name.startswith(PREFIX) or name in reserved or value == "":
            continue
        path = name
        if name.endswith("_FILE") and _is_secret(name.removesuffix("_FILE")):
            path = name.removesuffix("_FILE")
            if environ.get(path):
                mistakes.append(f"{name}: {path} is given too; give one of them")
                continue
            try:
                value = Path(value).read_text(encoding="utf-8").rstrip("\r\n")  # noqa: PLW2901
            except (OSError, UnicodeDecodeError) as error:
                mistakes.append(f"{name}: can't be read ({type(error).__name__})")
                continue
        _put(tree, path.removeprefix(PREFIX).lower().split("__"), value)
    return tree, mistakes


def _put(tree: dict[str, Any], path: list[str], value: object) -> None:
    for part in path[:-1]:
        below = tree.setdefault(part, {})
        if not isinstance(below, dict):
            return
        tree = below
    tree[path[-1]] = value


def _merge(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    merged = dict(under)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merge(merged[key], value) if both else value
    return merged


def _from_toml(environ: Mapping[str, str]) -> tuple[dict[str, Any], list[str]]:
    path = environ.get(PREFIX + "CONFIG")
    if not path:
        return {}, []
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8")), []
    except (OSError, UnicodeDecodeError) as error:
        return {}, [f"{PREFIX}CONFIG: {path} can't be read ({type(error).__name__})"]
    except tomllib.TOMLDecodeError as error:
        return {}, [f"{PREFIX}CONFIG: {path} is not TOML ({error})"]


def _variable(location: tuple[int | str, ...]) -> str:
    return PREFIX + "__".join(str(part).upper() for part in location if isinstance(part, str))


def load_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """Read the settings from the environment and from the TOML file it names; the environment wins.

    Raises SettingsError with every mistake at once, each with its variable's name and never with a secret's value.
    """
    environ = os.environ if environ is None else environ
    from_file, mistakes = _from_toml(environ)
    from_env, more = _from_environment(environ)
    mistakes += more
    given = _merge(from_file, from_env)
    try:
        settings = Settings.model_validate(given)
    except ValidationError as error:
        mistakes += [f"{_variable(e['loc'])}: {e['msg'].removeprefix('Value error, ')}" for e in error.errors()]
    if given.get("database_url") and not _split(given.get("secret_key")):
        mistakes.append(f"{PREFIX}SECRET_KEY: required with a database of your own ({PREFIX}DATABASE_URL)")
    if mistakes:
        raise SettingsError("\n".join(mistakes))
    return settings


def unknown_variables(environ: Mapping[str, str] | None = None) -> list[str]:
    """Names of `GENRELAY_` variables, and of keys in the TOML file written like them, that no setting reads.

    Most likely they are misspelt, so start-up warns of them.
    """
    environ = os.environ if environ is None else environ
    known = {
        PREFIX + "CONFIG",
        PREFIX + "URL",
        PREFIX + "API_KEY",
        PREFIX + "API_KEY_FILE",
        *_FOR_TESTS,
        *_known(Settings, PREFIX),
    }
    known |= {name + "_FILE" for name in known if _is_secret(name)}
    given = {name for name in environ if name.startswith(PREFIX)} | _names(_from_toml(environ)[0], PREFIX)
    return sorted(given - known)


def _names(tree: dict[str, Any], prefix: str) -> set[str]:
    names: set[str] = set()
    for key, value in tree.items():
        below = isinstance(value, dict)
        names |= _names(value, f"{prefix}{key.upper()}__") if below else {prefix + key.upper()}
    return names


def _known(model: type[BaseModel], prefix: str) -> set[str]:
    names: set[str] = set()
    for name, field in model.model_fields.items():
        below = field.annotation
        if isinstance(below, type) and issubclass(below, BaseModel):
            names |= _known(below, f"{prefix}{name.upper()}__")
        else:
            names.add(prefix + name.upper())
    return names
