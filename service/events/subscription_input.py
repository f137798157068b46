"""What `POST /v1/subscriptions` and `PATCH /v1/subscriptions/{id}` take: every mistake at once, nothing secret in any."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal, NotRequired

from pydantic import Field, with_config
from typing_extensions import TypedDict

from service.events.endpoint_rules import MAX_HEADERS, check_header_name, check_header_value, check_webhook_url
from service.events.sinks import read_sink
from service.events.types import PATTERNS
from service.jobs.request import Metadata
from service.net.policy import GuardPolicy
from service.providers.checking import STRICT, InputCheck, suggest
from service.providers.contract import Mistake

MAX_VALUES = 50  # of a list in a filter, and of patterns
_LISTED = ("provider", "operation", "destination")
# What came there is not shown, not even to who sent it: answers are logged by others.
_SECRET = frozenset({"url", "headers", "sink"})

DEFAULTS: dict[str, Any] = {
    "url": None,
    "sink": None,
    "event_types": ["job.*"],
    "filter": {},
    "payload": "full",
    "include_test": False,
    "headers": {},
    "rate_limit": None,
    "description": "",
}


@with_config(STRICT)
class FilterIn(TypedDict):
    """`filter`: only jobs with one of these values, and all of these pairs. A text is a list of one."""

    provider: NotRequired[Any]
    operation: NotRequired[Any]
    destination: NotRequired[Any]
    metadata: NotRequired[Metadata | None]


@with_config(STRICT)
class SubscriptionIn(TypedDict):
    """A subscription, or what shall change of it; null stands for the default."""

    url: NotRequired[str | None]
    sink: NotRequired[Any]
    event_types: NotRequired[Annotated[list[str], Field(min_length=1, max_length=MAX_VALUES)] | None]
    filter: NotRequired[FilterIn | None]
    payload: NotRequired[Literal["full", "thin"] | None]
    include_test: NotRequired[bool | None]
    headers: NotRequired[Annotated[dict[str, Any], Field(max_length=MAX_HEADERS)] | None]
    rate_limit: NotRequired[Annotated[int, Field(ge=1, le=10_000)] | None]
    description: NotRequired[Annotated[str, Field(max_length=1000)] | None]


_CHECK = InputCheck(SubscriptionIn, root="")


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What decides besides the body itself. operations: of each provider. ambient_accounts: those that may use the service's
    own AWS credentials.
    """

    policy: GuardPolicy
    account_name: str
    ambient_accounts: Collection[str]
    operations: Mapping[str, Collection[str]]


def read_subscription_input(given: Any, surroundings: Surroundings) -> dict[str, Any] | list[Mistake]:
    """Read the body of a POST: every field, `sink_secret` among them, which is what of `sink` has to be encrypted."""
    mistakes, values = _read(given, surroundings)
    if isinstance(given, dict):
        ways = [name for name in ("url", "sink") if given.get(name) is not None]
        if len(ways) != 1:
            mistakes.insert(
                0, Mistake("url", "give one of url and sink" if ways else "required, unless there is a sink")
            )
    return mistakes or {**DEFAULTS, "sink_secret": None, **values}


def read_subscription_changes(
    given: Any, surroundings: Surroundings, *, of_sink: bool
) -> dict[str, Any] | list[Mistake]:
    """Read the body of a PATCH: only the fields that it names, null standing for the default.

    A field is replaced as a whole, `filter` and `headers` too. of_sink: what it is about; a webhook stays one, a sink too.
    """
    mistakes, values = _read(given, surroundings)
    own, other = ("sink", "url") if of_sink else ("url", "sink")
    if own in values and values[own] is None:
        mistakes.append(Mistake(own, "can be replaced, but not taken away; delete the subscription instead"))
    if values.get(other) is not None:
        mistakes.append(Mistake(other, f"this subscription has a {own} and keeps one; make another subscription"))
    if own == "sink" and values.get("headers"):
        mistakes.append(Mistake("headers", "go with a url only"))
    return mistakes or {name: value for name, value in values.items() if name != other}


def _read(given: Any, surroundings: Surroundings) -> tuple[list[Mistake], dict[str, Any]]:
    """Return the mistakes, and every field that was given as it will be stored; of use only without mistakes."""
    mistakes = [
        replace(mistake, got=None) if mistake.path.partition(".")[0] in _SECRET else mistake
        for mistake in _CHECK.find_mistakes(given)
    ]
    if not isinstance(given, dict) or [each for each in mistakes if each.path == "body"]:
        return mistakes, {}
    told = {mistake.path for mistake in mistakes}
    values = {name: DEFAULTS[name] if value is None else value for name, value in given.items() if name in DEFAULTS}
    mistakes += [found for found in _find_more(given, surroundings) if found.path not in told]
    _read_filter(values)
    if isinstance(values.get("event_types"), list):
        values["event_types"] = list(dict.fromkeys(map(str, values["event_types"])))
    if values.get("sink") is not None:
        mistakes += [found for found in _read_sink_into(values, surroundings) if found.path not in told]
    return mistakes, values


def _find_more(given: dict[str, Any], surroundings: Surroundings) -> Iterator[Mistake]:
    if isinstance(given.get("url"), str):
        rule = check_webhook_url(given["url"], surroundings.policy)
        if rule is not None:
            yield Mistake("url", rule)
    yield from _find_pattern_mistakes(given.get("event_types"))
    if isinstance(given.get("filter"), dict):
        yield from _find_filter_mistakes(given["filter"], surroundings.operations)
    if isinstance(given.get("headers"), dict):
        yield from _find_header_mistakes(given["headers"])
        if given["headers"] and given.get("sink") is not None:
            yield Mistake("headers", "go with a url only")


def _find_pattern_mistakes(given: Any) -> Iterator[Mistake]:
    for index, pattern in _bounded(given):
        if isinstance(pattern, str) and pattern not in PATTERNS:
            rule = f"must be a type of event, or one of *, job.*, output.*{suggest(pattern, list(PATTERNS))}"
            yield Mistake(f"event_types.{index}", rule, _show(pattern))


def _find_filter_mistakes(given: dict[str, Any], operations: Mapping[str, Collection[str]]) -> Iterator[Mistake]:
    known = {
        "provider": list(operations),
        "operation": list(dict.fromkeys(o for each in operations.values() for o in each)),
    }
    for name in _LISTED:
        said = given.get(name)
        if said is None:
            continue
        if not isinstance(said, str | list):
            yield Mistake(f"filter.{name}", "must be a string or a list of strings")
        elif isinstance(said, list) and not 1 <= len(said) <= MAX_VALUES:
            yield Mistake(f"filter.{name}", f"must have 1 to {MAX_VALUES} items")
        for place, value in [(f"filter.{name}", said)] if isinstance(said, str) else _places(f"filter.{name}", said):
            rule = _check_value(value, known.get(name))
            if rule is not None:
                yield Mistake(place, rule, _show(value))


def _check_value(value: Any, known: list[str] | None) -> str | None:
    if not isinstance(value, str):
        return "must be a string"
    if not 1 <= len(value) <= 64:
        return "must have 1 to 64 characters"
    return None if known is None or value in known else f"there is none of that name{suggest(value, known)}"


def _find_header_mistakes(given: dict[str, Any]) -> Iterator[Mistake]:
    seen: set[str] = set()
    for name, value in [(str(name), value) for name, value in given.items()][: MAX_HEADERS + 1]:
        rule = check_header_name(name) or check_header_value(value)
        if rule is None and name.lower() in seen:
            rule = "given more than once: capital letters make no difference"
        seen.add(name.lower())
        if rule is not None:
            yield Mistake(f"headers.{_printable(name)}", rule)


def _read_filter(values: dict[str, Any]) -> None:
    said = values.get("filter")
    if isinstance(said, dict):
        lists = {
            name: [said[name]] if isinstance(said[name], str) else said[name] for name in _LISTED if said.get(name)
        }
        pairs = {"metadata": said["metadata"]} if said.get("metadata") else {}
        values["filter"] = {**lists, **pairs}


def _read_sink_into(values: dict[str, Any], surroundings: Surroundings) -> list[Mistake]:
    read = read_sink(values["sink"], surroundings.account_name, surroundings.ambient_accounts, surroundings.policy)
    if isinstance(read, list):
        return read
    values["sink"], values["sink_secret"] = read
    return []


def _bounded(given: Any) -> Iterable[tuple[int, Any]]:
    """Return the items of a list that are worth a mistake each; that there are too many is told once."""
    return enumerate(given[:MAX_VALUES]) if isinstance(given, list) else ()


def _places(path: str, given: Any) -> list[tuple[str, Any]]:
    return [(f"{path}.{index}", value) for index, value in _bounded(given)]


def _show(value: Any) -> str | None:
    return _printable(value) if isinstance(value, str) else None


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "\ufffd" for c in text[:64])
