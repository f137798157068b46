"""Whose request is it, and may the account make another one?"""

from __future__ import annotations

from uuid import UUID

from starlette.requests import Request

from handlers.places import take_place
from handlers.problems import Problem, unavailable
from service import metrics
from service.accounts import Holder, TooManyStrangersError
from service.app import Service
from service.limits import merge_limits


async def account_of(service: Service, request: Request) -> UUID:
    """Return the account whose API key the request carries, once its limits let the request in.

    Raises Problem 401, and TooManyError.
    """
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    key = key.strip()
    if scheme.lower() != "bearer" or not key or len(key) > 512:
        raise _unauthorized("send Authorization: Bearer <api key>")
    holder = await _find_holder(service, key)
    if holder is None:
        raise _unauthorized("the API key is unknown or revoked")
    limits = merge_limits(service.settings.limits, holder.limits)
    take_place(request.scope, service.limits, holder.account_id, limits)
    return holder.account_id


async def _find_holder(service: Service, key: str) -> Holder | None:
    try:
        return await service.accounts.find_holder(key)
    except TooManyStrangersError:
        metrics.REQUESTS_LIMITED.labels("unknown_keys").inc()
        raise unavailable("more unknown API keys are tried than can be looked up") from None


def _unauthorized(detail: str) -> Problem:
    return Problem(401, "unauthorized", detail, headers={"WWW-Authenticate": 'Bearer realm="genrelay"'})
