"""The settings of each provider, and of each operation at one."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import NoDecode

from config.shapes import Section, check_origin, split_list

_BASE_URL = "Origin of the provider's API; the operator's own choice, so not guarded."
_OUTPUT_HOSTS = "Hosts outputs may be downloaded from: names, `*.name`, or `*` for any public host."


_IMAGES_PER_MINUTE = (
    "At most so many images in any minute, over all processes; a job that asks for more goes alone. None: no limit."
)
_CONCURRENCY = (
    "At most so many jobs that wait for the provider at a time, over all processes (a canceled one waits no more,"
    " though the provider may still work on it). None: no limit."
)
OutputKind = Literal["image", "video", "audio"]


class OperationSettings(Section):
    """One operation: `…__OPERATIONS__<NAME>__…`, where NAME is written like TXT2IMG or SEEDREAM_4_0."""

    enabled: bool = Field(
        True,
        description="`false` takes the operation away: jobs that wait for it fail at once."
        " One that a worker's settings don't name at all is left to other workers, until its jobs' deadlines.",
    )
    path: str | None = Field(
        None,
        description="Where the operation lives below the base URL; with it, operations can be added (of Novita's those"
        " that answer with a task: `/v3/async/…` and `/v3beta/…`).",
    )
    webhook: bool | None = Field(
        None, description="Whether an added operation takes our callback URL; else it is polled."
    )
    outputs: Annotated[list[OutputKind] | None, NoDecode] = Field(
        None, description="What an added operation makes: image, video, audio."
    )
    images_per_minute: int | None = Field(None, ge=1, description=_IMAGES_PER_MINUTE)
    concurrency: int | None = Field(None, ge=1, description=_CONCURRENCY)

    _lists = field_validator("outputs", mode="before")(split_list)

    @field_validator("outputs")
    @classmethod
    def _some(cls, outputs: list[OutputKind] | None) -> list[OutputKind] | None:
        if outputs == []:
            raise ValueError(
                "must name one of image, video and audio at least; leave it out for what is known or images"
            )
        return outputs

    @field_validator("path")
    @classmethod
    def _absolute(cls, path: str | None) -> str | None:
        if path is not None and (not path.startswith("/") or any(c in path for c in "?# ")):
            raise ValueError("must begin with / and carry no query")
        return path


class ProviderSettings(Section):
    """One provider: our key there and where it lives."""

    api_key: SecretStr | None = Field(
        None, description="Our API key at the provider; without it jobs for it are refused."
    )
    base_url: str = Field("", description=_BASE_URL)
    output_hosts: Annotated[list[str], NoDecode] = Field(default_factory=list, description=_OUTPUT_HOSTS)
    submit_timeout_seconds: float = Field(
        60.0, gt=0, description="How long one submit may take before it counts as unclear."
    )
    call_timeout_seconds: float = Field(
        300.0, gt=0, description="How long a call may take that the provider answers with the result itself."
    )
    look_up_timeout_seconds: float = Field(15.0, gt=0, description="How long one read-back may take.")
    images_per_minute: int | None = Field(None, ge=1, description=_IMAGES_PER_MINUTE)
    concurrency: int | None = Field(None, ge=1, description=_CONCURRENCY)
    operations: dict[str, OperationSettings] = Field(
        default_factory=dict, description="Operations to limit, switch off, re-point or add, by name."
    )

    _lists = field_validator("output_hosts", mode="before")(split_list)
    _base_url = field_validator("base_url")(check_origin)

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
        description=_OUTPUT_HOSTS + " The default holds for operations whose hosts are documented; others (Seedream,"
        " added ones) may come from any public host unless this is set.",
    )


class ModelsLabSettings(ProviderSettings):
    """ModelsLab enterprise."""

    base_url: str = Field("https://modelslab.com", description=_BASE_URL)
    output_hosts: Annotated[list[str], NoDecode] = Field(default_factory=lambda: ["*"], description=_OUTPUT_HOSTS)


class ProvidersSettings(Section):
    """All providers."""

    novita: NovitaSettings = Field(default_factory=NovitaSettings)
    modelslab: ModelsLabSettings = Field(default_factory=ModelsLabSettings)
