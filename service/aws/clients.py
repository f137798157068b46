"""Keeps AWS clients open: making one costs about a tenth of a second, so that they are shared and reused."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import aioboto3
import httpx
from aiobotocore.config import AioConfig

from service.aws.auth import AccessKey, Auth
from service.aws.aws_session import lean_session
from service.aws.http_session import AwsHttpSession
from service.aws.renewal import SharedCredentials
from service.aws.roles import Roles
from service.aws.signing import sign_with
from service.net import GuardPolicy, Resolver, check_url
from service.net.resolver import ask_dns, find_addresses

Client = Any  # an aiobotocore client; its methods are made at run time
_Key = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Place:
    """Where requests go, and as whom. service: botocore's name of it. endpoint_url: a customer's own; None is AWS, or what
    the operator set with AWS's own variables (`AWS_ENDPOINT_URL_S3`).
    """

    service: str
    region: str
    auth: Auth
    endpoint_url: str | None = None


@dataclass
class _Open:
    """A client that is open, and how many use it right now."""

    client: Client
    stack: AsyncExitStack
    users: int = field(default=0)


class Clients:
    """Open clients by service, region, endpoint and credentials; at most `max_clients` of them stay open unused.

    Custom endpoints pass the guard: their URL whenever a client is asked for, their addresses at every connection. AWS
    itself, and what the operator set with AWS's own variables, is not guarded.
    roles: the credentials that are not access keys. settings: botocore's, for a place. prepare: is shown each new client.
    """

    def __init__(
        self,
        policy: GuardPolicy,
        settings: Callable[[Place], Mapping[str, Any]],
        *,
        prepare: Callable[[Client], None] = lambda _client: None,
        resolver: Resolver = ask_dns,
        max_clients: int = 32,
        roles: Roles | None = None,
    ) -> None:
        self._policy = policy
        self._settings = settings
        self._prepare = prepare
        self.roles = roles or Roles()
        self._resolver = resolver
        self._max_clients = max_clients
        self._open: OrderedDict[_Key, _Open] = OrderedDict()
        self._making = asyncio.Lock()
        self._session = aioboto3.Session(botocore_session=lean_session())

    @asynccontextmanager
    async def client(self, place: Place, cause: str = "genrelay") -> AsyncIterator[Client]:
        """Lend a client; cause: the job on whose behalf, after which a role's session is named.

        Raises Refused or botocore's own errors when the place can't be used, and DestinationError when its role does not
        let us in or no credentials can be had now. With a role, every request can raise that, too.
        """
        self.read_endpoint(place)
        credentials = self.credentials(place, cause)
        if credentials is not None:
            await credentials.get(cause)
        key = (place.service, place.region, place.endpoint_url, credentials or place.auth)
        async with self._making:
            found = self._open.get(key) or await self._make(key, place, credentials)
            found.users += 1
            self._open.move_to_end(key)
        try:
            yield found.client
        finally:
            found.users -= 1
            await self._close_some(self._max_clients)

    def credentials(self, place: Place, cause: str) -> SharedCredentials | None:
        """Return what signs there on behalf of somebody; None for an access key."""
        if isinstance(place.auth, AccessKey):
            return None
        # A job's writes are not to be found under the name of the check that came before it.
        return self.roles.credentials(place.auth, place.region, kind=cause.partition("_")[0])

    def read_endpoint(self, place: Place) -> httpx.URL | None:
        """Return a custom endpoint's URL, None where there is none; raises Refused."""
        return None if place.endpoint_url is None else check_url(place.endpoint_url, self._policy)

    async def find_addresses(self, url: httpx.URL) -> None:
        """Check the addresses of a custom endpoint; raises NameNotFound or Refused."""
        port = url.port or (443 if url.scheme == "https" else 80)
        await find_addresses(url.host, port, scheme=url.scheme, policy=self._policy, resolver=self._resolver)

    async def aclose(self) -> None:
        """Close every client that nobody uses."""
        await self._close_some(0)
        await self.roles.aclose()

    async def _make(self, key: _Key, place: Place, credentials: SharedCredentials | None) -> _Open:
        stack = AsyncExitStack()
        # A role's client gets its credentials at every request; botocore looks for some now unless there are any.
        who = place.auth if isinstance(place.auth, AccessKey) else AccessKey("replaced", "replaced")
        client = await stack.enter_async_context(
            self._session.client(
                place.service,
                region_name=place.region,
                endpoint_url=place.endpoint_url,
                aws_access_key_id=who.access_key_id,
                aws_secret_access_key=who.secret_access_key,
                config=self._config(place),
            )
        )
        self._prepare(client)
        if credentials is not None:
            sign_with(client, credentials)
        self._open[key] = _Open(client, stack)
        return self._open[key]

    def _config(self, place: Place) -> AioConfig:
        guard = None
        if place.endpoint_url is not None:
            guard = (place.endpoint_url.partition(":")[0].lower(), self._policy, self._resolver)
        return AioConfig(
            http_session_cls=partial(AwsHttpSession, guard=guard),
            user_agent="genrelay",
            connect_timeout=5,
            max_pool_connections=64,
            **self._settings(place),
        )

    async def _close_some(self, keep: int) -> None:
        unused = [key for key, found in self._open.items() if found.users == 0]
        closing = [self._open.pop(key) for key in unused[: max(0, len(self._open) - keep)]]
        for found in closing:
            await found.stack.aclose()
