"""Lends S3 clients for buckets, and says what it means when none can be had."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import httpx

from service.aws.auth import AssumedRole
from service.aws.clients import Clients, Place
from service.aws.roles import Roles
from service.net import GuardPolicy, NameNotFound, Resolver
from service.net.resolver import ask_dns
from service.outputs.bucket import S3
from service.outputs.errors import DestinationDenied, DestinationUnavailable
from service.outputs.s3_errors import as_destination_errors
from service.outputs.spec import BucketSpec


class Buckets:
    """Open S3 clients by region, endpoint and credentials; at most `max_clients` of them stay open unused.

    Custom endpoints pass the guard: their URL whenever a client is asked for, their addresses at every connection. AWS
    itself, and what the operator set with AWS's own variables (`AWS_ENDPOINT_URL_S3`), is not guarded.
    roles: the credentials that are not access keys.
    """

    def __init__(
        self,
        policy: GuardPolicy,
        *,
        resolver: Resolver = ask_dns,
        max_clients: int = 32,
        roles: Roles | None = None,
    ) -> None:
        self._clients = Clients(
            policy, _settings, prepare=_prepare, resolver=resolver, max_clients=max_clients, roles=roles
        )

    @property
    def roles(self) -> Roles:
        """The credentials that are not access keys."""
        return self._clients.roles

    @asynccontextmanager
    async def client(self, spec: BucketSpec, cause: str = "genrelay") -> AsyncIterator[S3]:
        """Lend a client for the bucket; cause: the job on whose behalf, after which a role's session is named.

        Raises DestinationDenied when the bucket's description can't be used or its role does not let us in, and
        DestinationUnavailable when no credentials can be had now. With a role, every request can raise both.
        """
        self._read_endpoint(spec)
        async with AsyncExitStack() as stack:
            with as_destination_errors():
                client = await stack.enter_async_context(self._clients.client(_place(spec), cause))
            yield client

    def seconds_left(self, spec: BucketSpec) -> float | None:
        """Return for how long what a client signs is good that was lent to a job just now; None: for ever."""
        credentials = self._clients.credentials(_place(spec), "job_")
        return None if credentials is None else credentials.seconds_left()

    async def check_endpoint(self, spec: BucketSpec) -> None:
        """Check a custom endpoint's URL and its addresses; raises DestinationDenied or DestinationUnavailable."""
        url = self._read_endpoint(spec)
        if url is None:
            return
        try:
            with as_destination_errors():
                await self._clients.find_addresses(url)
        except NameNotFound:
            raise DestinationUnavailable(
                f"the host name {url.host} can't be resolved", "Check the destination's endpoint."
            ) from None

    async def asks_for_external_id(self, role: AssumedRole, region: str) -> bool:
        """Assume a customer's role anew, and tell whether it does ask for the external id; raises DestinationError."""
        return await self.roles.asks_for_external_id(role, region)

    async def whoami(self) -> str | None:
        """Return the ARN by which customers let us in, None when AWS does not tell now; takes at most 5 seconds."""
        return await self.roles.whoami()

    async def aclose(self) -> None:
        """Close every client that nobody uses."""
        await self._clients.aclose()

    def _read_endpoint(self, spec: BucketSpec) -> httpx.URL | None:
        with as_destination_errors():
            url = self._clients.read_endpoint(_place(spec))
        if url is not None and (url.query or url.fragment):
            raise DestinationDenied("the destination's endpoint must not have a query or a fragment")
        return url


def _place(spec: BucketSpec) -> Place:
    return Place("s3", spec.region, spec.auth, spec.endpoint_url)


def _settings(place: Place) -> Mapping[str, Any]:
    return {
        "signature_version": "s3v4",
        "read_timeout": 60,
        # Our own engine tries again too; this one only covers a connection that was closed while idle.
        "retries": {"mode": "standard", "total_max_attempts": 2},
        # Every write brings its own SHA-256, which is signed, so that the body is neither hashed nor signed again.
        "request_checksum_calculation": "when_required",
        "response_checksum_validation": "when_required",
        "s3": {"payload_signing_enabled": False, "addressing_style": "path" if place.endpoint_url else "auto"},
    }


def _prepare(client: S3) -> None:
    client.meta.events.register("before-call.s3", _stay_in_region)


def _stay_in_region(context: dict[str, Any], **_rest: object) -> None:
    """Tell botocore that it has followed a redirect already: a wrong region is for the customer to correct."""
    context.setdefault("s3_redirect", {})["redirected"] = True
