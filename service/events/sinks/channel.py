"""The way to deliver to a queue, a topic or a bus of AWS."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Any

from config.settings import Settings
from service.aws.auth import AccessKey, Ambient, AssumedRole, Auth, ambient_rule
from service.aws.clients import Clients, Place
from service.aws.errors import DestinationDenied, DestinationError, DestinationUnavailable
from service.aws.roles import Roles
from service.aws.sts_errors import decide_sts_error
from service.crypto import Keyring
from service.events.letter import Letter, Reply
from service.events.sinks.calls import SinkCall, sink_call
from service.events.sinks.replies import SINK_ERRORS, decide_reply, read_reply
from service.events.subscription import Subscription
from service.net import GuardPolicy, Resolver
from service.net.resolver import ask_dns

_SERVICES = {"sqs": "sqs", "sns": "sns", "eventbridge": "events"}


def sink_clients(settings: Settings, *, roles: Roles | None = None, resolver: Resolver = ask_dns) -> Clients:
    """Return the clients of sinks. roles: those of destinations, so that a role that serves both is assumed once."""
    seconds = settings.delivery.timeout_seconds

    def of(_place: Place) -> Mapping[str, Any]:
        # Deliveries are tried again by us, later and counted: never by botocore.
        return {"read_timeout": seconds, "retries": {"mode": "standard", "total_max_attempts": 1}}

    return Clients(GuardPolicy(tuple(settings.allowed_private_subnets)), of, roles=roles, resolver=resolver)


class SinkChannel:
    """Gives letters to AWS. clients: as sink_clients makes them; closed by whoever made them."""

    def __init__(self, clients: Clients, keyring: Keyring, settings: Settings) -> None:
        self._clients = clients
        self._keyring = keyring
        self._seconds = settings.delivery.timeout_seconds
        self._keep = settings.delivery.response_bytes
        self._ambient_accounts = settings.outputs.ambient_accounts

    async def send(self, subscription: Subscription, letter: Letter) -> Reply:
        """Try once, within the time that an endpoint has; never raises for what AWS or an endpoint does."""
        sink = subscription.sink
        assert sink is not None
        service = _SERVICES[sink["type"]]
        # What the operator put into AWS's place is as good as AWS.
        at_aws = sink["endpoint_url"] is None
        try:
            call = sink_call(sink, letter)
            place = Place(service, sink["region"], self._read_auth(subscription), sink["endpoint_url"])
            answer = await self._ask(place, call, cause=letter.subject)
            return read_reply(call, answer, keep=self._keep, at_aws=at_aws)
        except SINK_ERRORS as error:
            return decide_reply(service, error, at_aws=at_aws)

    async def _ask(self, place: Place, call: SinkCall, *, cause: str) -> Mapping[str, Any]:
        end = asyncio.get_running_loop().time() + self._seconds
        async with AsyncExitStack() as stack:
            try:
                async with asyncio.timeout_at(end):
                    client = await stack.enter_async_context(self._clients.client(place, cause))
            except TimeoutError as error:
                # Before anything was asked of the sink, which has nothing to do with it.
                raise _not_ready(place, error) from None
            async with asyncio.timeout_at(end):
                answer: Mapping[str, Any] = await getattr(client, call.operation)(**call.parameters)
                return answer

    def _read_auth(self, subscription: Subscription) -> Auth:
        assert subscription.sink is not None
        said = subscription.sink["auth"]
        match said["type"]:
            case "assume_role":
                return AssumedRole(said["role_arn"], subscription.external_id)
            case "ambient":
                if subscription.account_name not in self._ambient_accounts:
                    rule = ambient_rule(subscription.account_name)
                    raise DestinationDenied("the account may not use the service's own AWS credentials", rule)
                return Ambient()
        assert subscription.sink_secret is not None
        secret = json.loads(self._keyring.decrypt(subscription.sink_secret))
        return AccessKey(said["access_key_id"], secret["secret_access_key"])


def _not_ready(place: Place, error: TimeoutError) -> DestinationError:
    if isinstance(place.auth, AccessKey):
        return DestinationUnavailable("no client for it was ready in time", ours=True)
    return decide_sts_error(error, own=isinstance(place.auth, Ambient))
