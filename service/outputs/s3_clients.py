"""Keeps S3 clients open: making one costs about a tenth of a second, so that they are shared and reused."""

from __future__ import annotations

import asyncio
import json
import os
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any

import aioboto3
import httpx
from aiobotocore.config import AioConfig
from aiobotocore.session import AioSession
from botocore.loaders import Loader

from service.net import GuardPolicy, NameNotFound, Refused, Resolver, check_url
from service.net.resolver import ask_dns, find_addresses
from service.outputs.bucket import S3
from service.outputs.errors import DestinationDenied, DestinationUnavailable
from service.outputs.s3_errors import S3_ERRORS, decide_s3_error
from service.outputs.s3_http import S3HttpSession
from service.outputs.spec import AccessKey, BucketSpec

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
    """

    def __init__(self, policy: GuardPolicy, *, resolver: Resolver = ask_dns, max_clients: int = 32) -> None:
        self._policy = policy
        self._resolver = resolver
        self._max_clients = max_clients
        self._open: OrderedDict[_Key, _Open] = OrderedDict()
        self._making = asyncio.Lock()
        self._session = aioboto3.Session(botocore_session=_lean_session())

    @asynccontextmanager
    async def client(self, spec: BucketSpec) -> AsyncIterator[S3]:
        """Lend a client for the bucket; raises DestinationDenied when its description can't be used."""
        self._read_endpoint(spec)
        key = (spec.region, spec.endpoint_url, spec.auth)
        async with self._making:
            found = self._open.get(key) or await self._make(key, spec)
            found.users += 1
            self._open.move_to_end(key)
        try:
            yield found.client
        finally:
            found.users -= 1
            await self._close_some(self._max_clients)

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

    async def aclose(self) -> None:
        """Close every client that nobody uses."""
        await self._close_some(0)

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

    async def _make(self, key: _Key, spec: BucketSpec) -> _Open:
        stack = AsyncExitStack()
        if not isinstance(spec.auth, AccessKey):
            raise DestinationDenied("roles are not supported yet")
        try:
            client = await stack.enter_async_context(
                self._session.client(
                    "s3",
                    region_name=spec.region,
                    endpoint_url=spec.endpoint_url,
                    aws_access_key_id=spec.auth.access_key_id,
                    aws_secret_access_key=spec.auth.secret_access_key,
                    config=self._config(spec),
                )
            )
        except S3_ERRORS as error:
            raise decide_s3_error(error) from None
        client.meta.events.register("before-call.s3", _stay_in_region)
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


def _lean_session() -> AioSession:
    """Return a session whose S3 endpoints are worked out once per bucket instead of once per object."""
    session = AioSession()
    session.register_component("data_loader", _lean_loader(session.get_config_variable("data_path")))
    return session


@cache
def _lean_loader(data_path: str | None) -> _LeanLoader:
    """Return the one loader of this process: it keeps the files, whose reading is most of what a client costs."""
    return _LeanLoader(data_path.split(os.pathsep) if data_path else None)


class _LeanLoader(Loader):  # type: ignore[misc]
    """Loads AWS's data files, the rules for S3 endpoints without the object's key.

    botocore remembers endpoints by all parameters of the rules. The key is one of them although no rule looks at it, so
    that it remembers nothing: a quarter of the CPU time of a small write went into evaluating rules.
    """

    def load_service_model(self, service_name: str, type_name: str, api_version: str | None = None) -> Any:
        """Return a data file as botocore has it, or without what makes it slow."""
        model = super().load_service_model(service_name, type_name, api_version)
        if (service_name, type_name) != ("s3", "endpoint-rule-set-1") or '{"ref": "Key"}' in json.dumps(model["rules"]):
            return model
        return {**model, "parameters": {name: each for name, each in model["parameters"].items() if name != "Key"}}
