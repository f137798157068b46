"""Keeps S3 clients open: making one costs about a tenth of a second, so that they are shared and reused."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import aioboto3
import httpx
from aiobotocore.config import AioConfig

from service.net import GuardPolicy, NameNotFound, Refused, Resolver, check_url
from service.net.resolver import ask_dns, find_addresses
from service.outputs.aws_session import lean_session
from service.outputs.bucket import S3
from service.outputs.errors import DestinationDenied, DestinationUnavailable
from service.outputs.renewal import SharedCredentials
from service.outputs.roles import Roles
from service.outputs.s3_errors import S3_ERRORS, decide_s3_error
from service.outputs.s3_http import S3HttpSession
from service.outputs.s3_signing import sign_with
from service.outputs.spec import AccessKey, AssumedRole, BucketSpec

_Key = tuple[object, ...]


@dataclass
class _Open:
    """A client that is open, and how many use it right now."""

    client: S3
    stack: AsyncExitStack
    users: int = field(default=0)


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
        self._policy = policy
        self.roles = roles or Roles()
        self._resolver = resolver
        self._max_clients = max_clients
        self._open: OrderedDict[_Key, _Open] = OrderedDict()
        self._making = asyncio.Lock()
        self._session = aioboto3.Session(botocore_session=lean_session())

    @asynccontextmanager
    async def client(self, spec: BucketSpec, cause: str = "genrelay") -> AsyncIterator[S3]:
        """Lend a client for the bucket; cause: the job on whose behalf, after which a role's session is named.

        Raises DestinationDenied when the bucket's description can't be used or its role does not let us in, and
        DestinationUnavailable when no credentials can be had now. With a role, every request can raise both.
        """
        self._read_endpoint(spec)
        credentials = self._credentials(spec, cause)
        if credentials is not None:
            await credentials.get(cause)
        key = (spec.region, spec.endpoint_url, credentials or spec.auth)
        async with self._making:
            found = self._open.get(key) or await self._make(key, spec, credentials)
            found.users += 1
            self._open.move_to_end(key)
        try:
            yield found.client
        finally:
            found.users -= 1
            await self._close_some(self._max_clients)

    def seconds_left(self, spec: BucketSpec) -> float | None:
        """Return for how long what a client signs is good that was lent to a job just now; None: for ever."""
        credentials = self._credentials(spec, "job_")
        return None if credentials is None else credentials.seconds_left()

    async def check_endpoint(self, spec: BucketSpec) -> None:
        """Check a custom endpoint's URL and its addresses; raises DestinationDenied or DestinationUnavailable."""
        url = self._read_endpoint(spec)
        if url is None:
            return
        port = url.port or (443 if url.scheme == "https" else 80)
        try:
            await find_addresses(url.host, port, scheme=url.scheme, policy=self._policy, resolver=self._resolver)
        except NameNotFound:
            raise DestinationUnavailable(
                f"the host name {url.host} can't be resolved", "Check the destination's endpoint."
            ) from None
        except Refused as refused:
            raise decide_s3_error(refused) from None

    async def asks_for_external_id(self, role: AssumedRole, region: str) -> bool:
        """Assume a customer's role anew, and tell whether it does ask for the external id; raises DestinationError."""
        return await self.roles.asks_for_external_id(role, region)

    async def whoami(self) -> str | None:
        """Return the ARN by which customers let us in, None when AWS does not tell now; takes at most 5 seconds."""
        return await self.roles.whoami()

    async def aclose(self) -> None:
        """Close every client that nobody uses."""
        await self._close_some(0)
        await self.roles.aclose()

    def _credentials(self, spec: BucketSpec, cause: str) -> SharedCredentials | None:
        if isinstance(spec.auth, AccessKey):
            return None
        # A job's writes are not to be found under the name of the check that came before it.
        return self.roles.credentials(spec.auth, spec.region, kind=cause.partition("_")[0])

    def _read_endpoint(self, spec: BucketSpec) -> httpx.URL | None:
        if spec.endpoint_url is None:
            return None
        try:
            url = check_url(spec.endpoint_url, self._policy)
        except Refused as refused:
            raise decide_s3_error(refused) from None
        if url.query or url.fragment:
            raise DestinationDenied("the destination's endpoint must not have a query or a fragment")
        return url

    async def _make(self, key: _Key, spec: BucketSpec, credentials: SharedCredentials | None) -> _Open:
        stack = AsyncExitStack()
        # A role's client gets its credentials at every request; botocore looks for some now unless there are any.
        who = spec.auth if isinstance(spec.auth, AccessKey) else AccessKey("replaced", "replaced")
        try:
            client = await stack.enter_async_context(
                self._session.client(
                    "s3",
                    region_name=spec.region,
                    endpoint_url=spec.endpoint_url,
                    aws_access_key_id=who.access_key_id,
                    aws_secret_access_key=who.secret_access_key,
                    config=self._config(spec),
                )
            )
        except S3_ERRORS as error:
            raise decide_s3_error(error) from None
        client.meta.events.register("before-call.s3", _stay_in_region)
        if credentials is not None:
            sign_with(client, credentials)
        self._open[key] = _Open(client, stack)
        return self._open[key]

    def _config(self, spec: BucketSpec) -> AioConfig:
        guard = None
        if spec.endpoint_url is not None:
            guard = (spec.endpoint_url.partition(":")[0].lower(), self._policy, self._resolver)
        return AioConfig(
            http_session_cls=partial(S3HttpSession, guard=guard),
            signature_version="s3v4",
            user_agent="genrelay",
            connect_timeout=5,
            read_timeout=60,
            max_pool_connections=64,
            # Our own engine tries again too; this one only covers a connection that was closed while idle.
            retries={"mode": "standard", "total_max_attempts": 2},
            # Every write brings its own SHA-256, which is signed, so that the body is neither hashed nor signed again.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            s3={"payload_signing_enabled": False, "addressing_style": "path" if spec.endpoint_url else "auto"},
        )

    async def _close_some(self, keep: int) -> None:
        unused = [key for key, found in self._open.items() if found.users == 0]
        closing = [self._open.pop(key) for key in unused[: max(0, len(self._open) - keep)]]
        for found in closing:
            await found.stack.aclose()


def _stay_in_region(context: dict[str, Any], **_rest: object) -> None:
    """Tell botocore that it has followed a redirect already: a wrong region is for the customer to correct."""
    context.setdefault("s3_redirect", {})["redirected"] = True
