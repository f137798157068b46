"""Finds out which of a destination's settings is why a write was refused."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any

from service.outputs.errors import DestinationError
from service.outputs.spec import BucketSpec

# What a write without the setting has instead of it.
_WITHOUT: Mapping[str, Any] = {"encryption": None, "tags": {}, "storage_class": None, "acl": None}
# With these the settings were not looked at: no other write would be answered differently.
_NOT_ABOUT_SETTINGS = frozenset(
    {
        *("NoSuchBucket", "InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "ExpiredToken", "SlowDown"),
        *("PermanentRedirect", "TemporaryRedirect", "AuthorizationHeaderMalformed", "RequestTimeTooSkewed", "503"),
        *("AllAccessDisabled", "AccountProblem", "InvalidBucketName", "IllegalLocationConstraintException"),
    }
)

Try = Callable[[BucketSpec], Awaitable[DestinationError | None]]


async def find_refused_settings(spec: BucketSpec, said: DestinationError, attempt: Try) -> dict[str, DestinationError]:
    """Return the settings that the bucket refuses, each with what it said; none when they are not the reason.

    said: the answer to a write with all of them. attempt: writes a probe of its own with other settings. A bucket may
    also demand a setting (encryption, say), so that one is left out alone where a write with none at all is refused.
    """
    given = [name for name, nothing in _WITHOUT.items() if getattr(spec, name) != nothing]
    if not given or said.s3_code is None or said.s3_code in _NOT_ABOUT_SETTINGS:
        return {}
    if await attempt(leave_out(spec, given)) is None:
        return await _try_each_alone(spec, given, attempt)
    for name in given if len(given) > 1 else []:
        if await attempt(leave_out(spec, [name])) is None:
            return {name: said}
    return {}


async def _try_each_alone(spec: BucketSpec, given: list[str], attempt: Try) -> dict[str, DestinationError]:
    refused = {}
    for name in given:
        error = await attempt(leave_out(spec, [other for other in given if other != name]))
        if error is not None:
            refused[name] = error
    return refused


def leave_out(spec: BucketSpec, names: list[str]) -> BucketSpec:
    """Return the bucket's description without some of its settings."""
    return replace(spec, **{name: _WITHOUT[name] for name in names})
