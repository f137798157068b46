"""What `POST /v1/jobs` takes around the provider's own body, and how the two are brought together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, NotRequired

from pydantic import AfterValidator, Field, WithJsonSchema, with_config
from typing_extensions import TypedDict

from service.jobs.lifecycle import EventType
from service.providers.checking import STRICT, InputCheck, suggest
from service.providers.contract import CheckedInput, CustomStorage, Mistake, Provider, TaskStatus
from service.providers.fields import check_http_url

_EVENTS = frozenset({*(event.value for event in EventType), "job.*", "output.*", "*"})
DEADLINE_SECONDS = 3600
Metadata = Annotated[
    dict[Annotated[str, Field(min_length=1, max_length=64)], Annotated[str, Field(max_length=512)]],
    Field(max_length=50),
]


def _event_name(value: str) -> str:
    if value not in _EVENTS:
        raise ValueError(f"must be one of {', '.join(sorted(_EVENTS))}{suggest(value, sorted(_EVENTS))}")
    return value


_EventName = Annotated[str, AfterValidator(_event_name), WithJsonSchema({"type": "string", "enum": sorted(_EVENTS)})]


@with_config(STRICT)
class TestModeIn(TypedDict):
    """`test_mode` of a job."""

    __test__ = False  # type: ignore[misc]

    enabled: bool
    return_task_status: NotRequired[Literal["TASK_STATUS_SUCCEED", "TASK_STATUS_FAILED"]]


@with_config(STRICT)
class JobIn(TypedDict):
    """The body of `POST /v1/jobs`; `input` is checked by the provider's own rules."""

    provider: str
    operation: str
    input: Any
    destination: NotRequired[Annotated[str, Field(max_length=64)] | None]
    test_mode: NotRequired[TestModeIn | None]
    webhook: NotRequired[Annotated[str, Field(max_length=2048), AfterValidator(check_http_url)] | None]
    webhook_events_filter: NotRequired[Annotated[list[_EventName], Field(max_length=20)] | None]
    webhook_payload: NotRequired[Literal["full", "thin", "provider"] | None]
    metadata: NotRequired[Metadata]
    deadline_seconds: NotRequired[Annotated[int, Field(ge=30, le=86_400)]]
    on_unclear: NotRequired[Literal["fail", "resubmit"]]


_CHECK = InputCheck(JobIn, root="")


@dataclass(frozen=True, slots=True)
class JobRequest:
    """A request that may become a job: what was said in either place, brought together.

    webhook_path: where the webhook stood. webhook_payload: full, thin, or what the provider would have sent.
    """

    provider: str
    operation: str
    checked: CheckedInput
    destination: str | None
    storage: CustomStorage | None
    test_status: TaskStatus | None
    webhook: str | None = field(repr=False)  # it may hold a token
    webhook_path: str
    webhook_events: list[str] | None
    webhook_payload: str
    metadata: dict[str, str]
    deadline_seconds: int
    on_unclear: str


def read_request(given: Any, providers: Mapping[str, Provider]) -> JobRequest | list[Mistake]:
    """Read the body of `POST /v1/jobs`; every mistake at once, the provider's own body included."""
    outer = dict(given, input=None) if isinstance(given, dict) and "input" in given else given
    mistakes = _CHECK.find_mistakes(outer)
    if not isinstance(given, dict):
        return mistakes
    checked = _check_input(providers, given, mistakes)
    if given.get("destination") is None and not _wants_a_test(given) and not _names_a_bucket(given):
        mistakes.append(
            Mistake("destination", "required unless it is a test job or the input's own storage names a bucket")
        )
    if checked is None:
        return mistakes
    test_status = _test_status(given.get("test_mode"), checked, mistakes)
    webhook = given.get("webhook")
    if isinstance(webhook, str) and checked.webhook is not None and webhook != checked.webhook:
        mistakes.append(Mistake("webhook", "contradicts the webhook inside input; give one of them, or the same twice"))
    return mistakes or _bring_together(given, checked, test_status)


def _check_input(
    providers: Mapping[str, Provider], given: dict[str, Any], mistakes: list[Mistake]
) -> CheckedInput | None:
    name, operation = given.get("provider"), given.get("operation")
    if not isinstance(name, str):
        return None
    if name not in providers:
        mistakes.append(Mistake("provider", f"must be one of {', '.join(providers)}", name[:100]))
        return None
    if not isinstance(operation, str):
        return None
    if operation not in providers[name].operations:
        known = ", ".join(providers[name].operations)
        mistakes.append(Mistake("operation", f"must be one of {known}", operation[:100]))
        return None
    if "input" not in given:
        return None
    checked = providers[name].check_input(operation, given["input"])
    if isinstance(checked, list):
        mistakes.extend(checked)
        return None
    return checked


def destination_to_look_up(given: Any) -> str | None:
    """Return the destination that a request with mistakes names, if it would have to be there; it may be any text."""
    named = given.get("destination") if isinstance(given, dict) else None
    return named if isinstance(named, str) and not _wants_a_test(given) else None


def find_webhook(given: Any) -> tuple[str, str | None]:
    """Return where a request, checked or not, says its webhook, and what it says there; the first place wins."""
    inner = _part(given, "input")
    places = (
        ("webhook", _part(given, "webhook")),
        ("input.extra.webhook.url", _part(_part(_part(inner, "extra"), "webhook"), "url")),
        ("input.webhook", _part(inner, "webhook")),
    )
    return next(((path, said) for path, said in places if said and isinstance(said, str)), ("webhook", None))


def _wants_a_test(given: dict[str, Any]) -> bool:
    """Tell whether a request, checked or not, says in either place that it is a test."""
    inner = _part(_part(_part(given.get("input"), "extra"), "webhook"), "test_mode")
    return any(_part(mode, "enabled") is True for mode in (given.get("test_mode"), inner))


def _names_a_bucket(given: dict[str, Any]) -> bool:
    return _part(_part(_part(given.get("input"), "extra"), "custom_storage"), "aws_s3") is not None


def _part(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, dict) else None


def _bring_together(given: dict[str, Any], checked: CheckedInput, test_status: TaskStatus | None) -> JobRequest:
    return JobRequest(
        provider=given["provider"],
        operation=given["operation"],
        checked=checked,
        destination=given.get("destination"),
        storage=checked.storage,
        test_status=test_status,
        webhook=given.get("webhook") or checked.webhook,
        webhook_path=find_webhook(given)[0],
        webhook_events=given.get("webhook_events_filter"),
        webhook_payload=given.get("webhook_payload") or "full",
        metadata=given.get("metadata", {}),
        deadline_seconds=given.get("deadline_seconds", DEADLINE_SECONDS),
        on_unclear=given.get("on_unclear", "fail"),
    )


def _test_status(outer: Any, checked: CheckedInput, mistakes: list[Mistake]) -> TaskStatus | None:
    """Decide whether it is a test job, and which status it shall end with; a contradiction is a mistake."""
    inner = checked.test_mode.return_task_status if checked.test_mode else None
    if outer is None or not isinstance(_part(outer, "enabled"), bool):
        return inner
    if not outer["enabled"]:
        if inner is not None:
            mistakes.append(Mistake("test_mode.enabled", "contradicts test_mode inside input, which is enabled"))
        return None
    asked: TaskStatus = outer.get("return_task_status", inner or "TASK_STATUS_SUCCEED")
    if checked.test_mode_disabled:
        mistakes.append(Mistake("test_mode.enabled", "contradicts test_mode inside input, which is disabled"))
    elif inner is not None and inner != asked:
        mistakes.append(Mistake("test_mode.return_task_status", "contradicts test_mode inside input"))
    return asked
