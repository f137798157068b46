"""What a subscription's `sink` takes, and how it is shown: secrets go in, and never come out."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from service.aws.auth import ambient_rule
from service.aws.auth_input import VISIBLE, AccessKeyAuth, AmbientAuth, AssumeRoleAuth, Region, Strict
from service.events.sinks.places import Located, read_event_bus, read_queue_url, read_topic_arn
from service.net import GuardPolicy, Refused, check_url
from service.providers.checking import InputCheck
from service.providers.contract import Mistake

_Text = Annotated[str, VISIBLE, Field(min_length=1)]


class _Sink(Strict):
    region: Region | None = None
    endpoint_url: _Text | None = None
    # Looked at by itself, as what it says it is.
    auth: dict[str, Any]


class SqsSink(_Sink):
    """An SQS queue."""

    type: Literal["sqs"]
    queue_url: _Text


class SnsSink(_Sink):
    """An SNS topic."""

    type: Literal["sns"]
    topic_arn: _Text


class EventBridgeSink(_Sink):
    """An EventBridge bus."""

    type: Literal["eventbridge"]
    event_bus: _Text


class AnySink(_Sink):
    """What came when it is none of these."""

    type: Literal["sqs", "sns", "eventbridge"]


class _AnyAuth(Strict):
    type: Literal["access_key", "assume_role", "ambient"]


_SINKS: dict[object, type[BaseModel]] = {"sqs": SqsSink, "sns": SnsSink, "eventbridge": EventBridgeSink}
_AUTHS: dict[object, type[BaseModel]] = {
    "access_key": AccessKeyAuth,
    "assume_role": AssumeRoleAuth,
    "ambient": AmbientAuth,
}
_SINK_CHECKS = {kind: InputCheck(shape, root="sink") for kind, shape in _SINKS.items()}
_AUTH_CHECKS = {kind: InputCheck(shape, root="sink.auth") for kind, shape in _AUTHS.items()}
_ANY_SINK, _ANY_AUTH = InputCheck(AnySink, root="sink"), InputCheck(_AnyAuth, root="sink.auth")
_NAMES = {"sqs": "queue_url", "sns": "topic_arn", "eventbridge": "event_bus"}

Sink = dict[str, Any]


def read_sink(
    given: Any, account_name: str, ambient_accounts: Collection[str], policy: GuardPolicy | None = None
) -> tuple[Sink, dict[str, Any] | None] | list[Mistake]:
    """Read a subscription's `sink`: what is stored and shown of it, and what has to be encrypted, if anything.

    ambient_accounts: those that may use the service's own credentials, by name. policy: the guard, to which the URL of an
    own endpoint is shown right away; without it, at the first delivery. Otherwise returns every mistake.
    """
    kind = _type_of(given)
    if kind not in _SINKS:
        # Which fields there should be, only a type tells.
        return [each for each in _ANY_SINK.find_mistakes(given) if each.path in {"sink", "sink.type"}] or [
            Mistake("sink.type", "must be one of 'sqs', 'sns' or 'eventbridge'")
        ]
    mistakes = list(_SINK_CHECKS[kind].find_mistakes(given))
    mistakes += _find_auth_mistakes(given.get("auth"), account_name, ambient_accounts)
    mistakes += _find_endpoint_mistakes(given.get("endpoint_url"), policy)
    if mistakes:
        return list({each.path: each for each in reversed(mistakes)}.values())[::-1]
    return _read_place(given)


def sink_json(sink: Mapping[str, Any], external_id: str | None = None) -> Sink:
    """Return a stored sink as the API shows it. external_id: of its account, shown with the role that asks for it."""
    auth = dict(sink["auth"])
    if auth["type"] == "assume_role" and external_id is not None:
        auth["external_id"] = external_id
    return {**sink, "auth": auth}


def _read_place(given: Mapping[str, Any]) -> tuple[Sink, dict[str, Any] | None] | list[Mistake]:
    kind, endpoint_url = given["type"], given.get("endpoint_url")
    name = _NAMES[kind]
    place = _find_place(kind, given[name], endpoint_url)
    if isinstance(place, str):
        return [Mistake(f"sink.{name}", place)]
    region = given.get("region") or place.region
    if region is None:
        return [Mistake("sink.region", f"required: {name} does not tell it")]
    if place.region not in {None, region}:
        return [Mistake("sink.region", f"contradicts {name}, which is in {place.region}; leave it out")]
    auth = {field: value for field, value in given["auth"].items() if field not in {"secret_access_key", "external_id"}}
    shown = {"type": kind, name: given[name], "region": region}
    if kind != "eventbridge":
        shown["fifo"] = place.fifo
    shown |= {"endpoint_url": endpoint_url, "auth": auth}
    secret = given["auth"].get("secret_access_key")
    return shown, None if secret is None else {"secret_access_key": secret}


def _find_place(kind: str, name: str, endpoint_url: str | None) -> Located | str:
    match kind:
        case "sqs":
            return read_queue_url(name, endpoint_url)
        case "sns":
            return read_topic_arn(name)
    return read_event_bus(name)


def _find_auth_mistakes(given: Any, account_name: str, ambient_accounts: Collection[str]) -> Iterator[Mistake]:
    if not isinstance(given, dict):
        return  # told with the sink
    kind = _type_of(given)
    check = _AUTH_CHECKS.get(kind)
    if check is None:
        yield from (replace(each, got=None) for each in _ANY_AUTH.find_mistakes({"type": given.get("type")}))
        return
    # What came for a secret is not shown, not even to who sent it: answers are logged by others.
    yield from (replace(each, got=None) for each in check.find_mistakes(given))
    if kind == "ambient" and account_name not in ambient_accounts:
        yield Mistake("sink.auth.type", f"ambient is not allowed for this account. {ambient_rule(account_name)}")


def _find_endpoint_mistakes(given: Any, policy: GuardPolicy | None) -> Iterator[Mistake]:
    if not isinstance(given, str) or policy is None:
        return
    try:
        read = check_url(given, policy)
    except Refused as refused:
        yield Mistake("sink.endpoint_url", f"must be a public https address: {refused}")
        return
    if read.query or read.fragment:
        yield Mistake("sink.endpoint_url", "must not have a query or a fragment")


def _type_of(given: Any) -> str | None:
    kind = given.get("type") if isinstance(given, dict) else None
    return kind if isinstance(kind, str) else None
