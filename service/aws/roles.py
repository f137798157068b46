"""AWS credentials that are not a customer's access key: customers' roles, and the service's own.

Sources, checked 2026-11: https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_create_for-user_externalid.html and
https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html.
"""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections import OrderedDict
from datetime import datetime
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any

from aiobotocore.config import AioConfig
from aiobotocore.credentials import AioCredentials, get_credentials
from botocore.exceptions import ClientError

from service.aws.answers import read_s3_code
from service.aws.auth import Ambient, AssumedRole
from service.aws.aws_session import lean_session
from service.aws.errors import DestinationError, DestinationUnavailable
from service.aws.http_session import AwsHttpSession
from service.aws.renewal import Clock, Lease, Result, SharedCredentials
from service.aws.sts_errors import BAD_KEY, EXPIRED, STS_ERRORS, decide_sts_error, no_own_credentials

_SESSION_SECONDS = 3600  # what every role allows, and the most that a role may ask for another one
_STS_SECONDS = 10.0
_SHORTEST_SESSION = 900.0
_LOOK_SECONDS = 60.0  # how often botocore is asked whether our own credentials are still the ones that we use
_HOLD_SECONDS = 5.0  # a machine without credentials takes seconds to find that out: not for every request
_WHOAMI_KEPT, _WHOAMI_HELD = 3600.0, 30.0


def session_name(cause: str) -> str:
    """Return the name of a role's session for what caused it (`job_…`), as STS takes it."""
    name = re.sub(r"[^\w+=,.@-]", "-", cause, flags=re.ASCII)[:64]
    return name if len(name) > 1 else "genrelay"


class Roles:
    """Credentials of roles, of which the `max_roles` used last are kept, and the service's own.

    seconds: how long they may take to come; asking who we are, half of that.
    """

    def __init__(self, *, max_roles: int = 1024, seconds: float = _STS_SECONDS, clock: Clock = time.monotonic) -> None:
        self._max_roles = max_roles
        self._seconds = seconds
        self._clock = clock
        self._session = lean_session()
        self._tasks: set[asyncio.Task[Result]] = set()
        self._own = _OwnCredentials(self._tasks, seconds, clock)
        self._roles: OrderedDict[tuple[AssumedRole, str, str], SharedCredentials] = OrderedDict()
        self._whoami: tuple[str | None, float] = (None, float("-inf"))
        self._asking = asyncio.Lock()

    def credentials(self, auth: AssumedRole | Ambient, region: str, *, kind: str = "job") -> SharedCredentials:
        """Return what everybody shares who uses this role in this region for the same kind of cause; or our own."""
        if isinstance(auth, Ambient):
            return self._own
        key = (auth, region, kind)
        found = self._roles.get(key)
        if found is None:
            fetch = partial(self._assume, auth, region)
            found = SharedCredentials(auth.role_arn, fetch, tasks=self._tasks, clock=self._clock)
            self._roles[key] = found
        self._roles.move_to_end(key)
        if len(self._roles) > self._max_roles:
            self._roles.popitem(last=False)
        return found

    async def asks_for_external_id(self, role: AssumedRole, region: str) -> bool:
        """Assume a role for nobody, to see whether it lets us in, and tell whether it does so with the external id only.

        True also where that could not be found out. Raises DestinationError when the role does not let us in at all.
        """
        await self._assume(role, region, "genrelay-check")
        try:
            await self._assume(role, region, "genrelay-check", with_id=False)
        except DestinationError:
            return True
        return False

    async def whoami(self) -> str | None:
        """Return the ARN of who we are at AWS, of a role rather than of its session; None when nobody can tell now.

        Takes at most 5 seconds, and is remembered.
        """
        async with self._asking:
            arn, until = self._whoami
            if self._clock() >= until:
                arn = await self._ask_who_we_are()
                self._whoami = (arn, self._clock() + (_WHOAMI_HELD if arn is None else _WHOAMI_KEPT))
            return arn

    async def aclose(self) -> None:
        """Give up what is being renewed."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _ask_who_we_are(self) -> str | None:
        region = self._session.get_config_variable("region") or "us-east-1"
        try:
            async with asyncio.timeout(self._seconds / 2):
                answer = await self._ask(region, "get_caller_identity")
        except (DestinationError, *STS_ERRORS):
            return None
        return role_of(answer["Arn"])

    async def _assume(self, role: AssumedRole, region: str, cause: str, *, with_id: bool = True) -> Lease:
        asked: dict[str, Any] = {"RoleArn": role.role_arn, "RoleSessionName": session_name(cause)}
        if with_id:
            asked["ExternalId"] = role.external_id
        try:
            async with asyncio.timeout(self._seconds):
                answer = await self._ask(region, "assume_role", **asked, DurationSeconds=_SESSION_SECONDS)
            return _read_lease(answer)
        except STS_ERRORS as error:
            raise decide_sts_error(error) from None

    async def _ask(self, region: str, operation: str, **parameters: Any) -> dict[str, Any]:
        """Ask STS with our own credentials, once more with new ones when these have ended or are no good any more."""
        own = await self._own.get()
        try:
            return await self._ask_as(own, region, operation, **parameters)
        except ClientError as error:
            if read_s3_code(error) not in EXPIRED | BAD_KEY or not self._own.drop(own):
                raise
        return await self._ask_as(await self._own.get(), region, operation, **parameters)

    async def _ask_as(self, own: AioCredentials, region: str, operation: str, **parameters: Any) -> dict[str, Any]:
        # A client of its own for each request, of which there is one per role and hour: it takes two milliseconds.
        async with self._session.create_client(
            "sts",
            region_name=region,
            aws_access_key_id=own.access_key,
            aws_secret_access_key=own.secret_key,
            aws_session_token=own.token,
            config=_sts_config(),
        ) as sts:
            answer: dict[str, Any] = await getattr(sts, operation)(**parameters)
            return answer


class _OwnCredentials(SharedCredentials):
    """The service's own credentials, from wherever botocore finds some. botocore renews them, and is asked for them."""

    ours = True

    def __init__(self, tasks: set[asyncio.Task[Result]], seconds: float, clock: Clock) -> None:
        super().__init__("the service", self._look, tasks=tasks, hold=_HOLD_SECONDS, clock=clock)
        self._seconds = seconds
        self._session = lean_session()
        self._found: AioCredentials | None = None

    def _forget(self) -> None:
        super()._forget()
        self._found = None

    def seconds_left(self) -> float | None:
        """Return for how long what is signed now is good, the least that AWS gives out if nobody tells; None: for ever."""
        ends = getattr(self._found, "_expiry_time", None)  # botocore tells only whether a renewal is due
        if ends is not None:
            return float((ends - datetime.now(ends.tzinfo)).total_seconds())
        return _SHORTEST_SESSION if self._current is not None and self._current.token else None

    async def _look(self, _cause: str) -> Lease:
        try:
            async with asyncio.timeout(self._seconds):
                # Not the session's own method: that one keeps what it has found for ever.
                self._found = self._found or await get_credentials(self._session)
                frozen = await self._found.get_frozen_credentials() if self._found else None
        except (*STS_ERRORS, RuntimeError) as error:  # the latter: what botocore has just fetched has ended already
            raise decide_sts_error(error, own=True) from None
        if frozen is None:
            # Perhaps the machine's metadata service is away for a moment, which botocore does not tell from "none".
            raise no_own_credentials("can't be found")
        return Lease(AioCredentials(frozen.access_key, frozen.secret_key, frozen.token), _LOOK_SECONDS)


def role_of(arn: str) -> str:
    """Return the ARN of the role of whose session this is the ARN; any other ARN as it is."""
    found = re.fullmatch(r"arn:([\w-]+):sts::(\d+):assumed-role/([^/]+)/[^/]+", arn)
    if found is None:
        return arn
    partition, account, name = found.groups()
    # A session's ARN lacks the role's path, which a trust policy needs. With IRSA the environment has it.
    known = os.environ.get("AWS_ROLE_ARN", "")
    if re.fullmatch(rf"arn:{partition}:iam::{account}:role/(.+/)?{re.escape(name)}", known):
        return known
    return f"arn:{partition}:iam::{account}:role/{name}"


def _read_lease(answer: dict[str, Any]) -> Lease:
    """Read an AssumeRole's answer. How long it is good is told by STS's own clock: ours may be wrong."""
    given = answer["Credentials"]
    date = answer["ResponseMetadata"].get("HTTPHeaders", {}).get("date")
    now = parsedate_to_datetime(date) if date else datetime.now(given["Expiration"].tzinfo)
    seconds = (given["Expiration"] - now).total_seconds()
    if seconds <= 0:
        raise DestinationUnavailable("STS handed out credentials that have ended already")
    credentials = AioCredentials(given["AccessKeyId"], given["SecretAccessKey"], given["SessionToken"] or None)
    return Lease(credentials, seconds)


def _sts_config() -> AioConfig:
    return AioConfig(
        http_session_cls=partial(AwsHttpSession, guard=None),
        user_agent="genrelay",
        connect_timeout=5,
        read_timeout=_STS_SECONDS,
        retries={"mode": "standard", "total_max_attempts": 2},
    )
