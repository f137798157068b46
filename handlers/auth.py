"""Whose request is it?"""

from __future__ import annotations

from uuid import UUID

from starlette.requests import Request

from handlers.problems import Problem
from service.app import Service


async def account_of(service: Service, request: Request) -> UUID:
    """Return the account whose API key the request carries; raises Problem 401."""
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    key = key.strip()
    if scheme.lower() != "bearer" or not key or len(key) > 512:
        raise _unauthorized("send Authorization: Bearer <api key>")
    account = await service.accounts.authenticate(key)
    if account is None:
        raise _unauthorized("the API key is unknown or revoked")
    return account


def _unauthorized(detail: str) -> Problem:
    return Problem(401, "unauthorized", detail, headers={"WWW-Authenticate": 'Bearer realm="genrelay"'})
