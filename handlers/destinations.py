"""`/v1/destinations`: customers' buckets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from handlers.auth import account_of
from handlers.bodies import read_body, read_json
from handlers.problems import invalid, not_found
from handlers.query import Query, page
from service.app import Service
from service.db.sql import queries
from service.ids import new_uuid
from service.net import Refused, check_url
from service.net.policy import GuardPolicy
from service.outputs.bucket_check import Step, check_bucket
from service.outputs.destinations import (
    NAME,
    NAME_RULE,
    DestinationIn,
    destination_json,
    encrypt_secret,
    read_target,
)
from service.outputs.errors import DestinationDenied
from service.providers.checking import InputCheck
from service.providers.contract import Mistake

_CHECK = InputCheck(DestinationIn, root="")
_LATER = ("assume_role", "ambient")


class Destinations:
    """The routes of destinations."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def put(self, request: Request) -> Response:
        """Make or replace a destination; the bucket is not asked, `check` does that."""
        account = await account_of(self._service, request)
        name = request.path_params["name"]
        given = await read_json(await read_body(request.scope, request.receive, 64 * 1024))
        wanted = self._read(name, given)
        row = await queries().put_destination(
            self._service.pool,
            id=new_uuid(),
            account_id=account,
            name=name,
            spec=wanted.public(),
            secret=encrypt_secret(self._service.keyring, wanted),
        )
        return JSONResponse(destination_json(row), 201 if row["created"] else 200)

    async def get(self, request: Request) -> Response:
        """Show a destination without its secret."""
        return JSONResponse(destination_json(await self._require(request)))

    async def delete(self, request: Request) -> Response:
        """Delete a destination; jobs under way still reach its bucket."""
        account = await account_of(self._service, request)
        name = request.path_params["name"]
        if await queries().delete_destination(self._service.pool, account_id=account, name=_storable(name)) is None:
            raise not_found("destination")
        return Response(status_code=204)

    async def list(self, request: Request) -> Response:
        """List the account's destinations by name."""
        account = await account_of(self._service, request)
        query = Query(request)
        limit = query.take_limit()
        after = query.take_text("cursor")
        query.end()
        rows = queries().list_destinations(self._service.pool, account_id=account, after=after or "", limit=limit + 1)
        return JSONResponse(page([(row["name"], destination_json(row)) async for row in rows], limit))

    async def check(self, request: Request) -> Response:
        """Really write, read and delete a probe; always 200, with what became of each step."""
        steps = await self._try(await self._require(request))
        shown = [{"step": s.step, "ok": s.ok, "code": s.code, "message": s.message, "hint": s.hint} for s in steps]
        return JSONResponse({"ok": all(step.ok for step in steps), "steps": shown})

    async def _try(self, row: Any) -> Sequence[Step]:
        try:
            target = read_target(self._service.keyring, row, None)
        except DestinationDenied as denied:
            return [Step("credentials", ok=False, code=denied.code.value, message=denied.message, hint=denied.hint)]
        return await check_bucket(self._service.context.buckets, target.spec, target.path)

    async def _require(self, request: Request) -> Any:
        account = await account_of(self._service, request)
        name = _storable(request.path_params["name"])
        row = await queries().get_destination(self._service.pool, account_id=account, name=name)
        if row is None:
            raise not_found("destination")
        return row

    def _read(self, name: str, given: Any) -> DestinationIn:
        mistakes = [] if NAME.fullmatch(name) else [Mistake("name", NAME_RULE, name[:100])]
        mistakes += _find_mistakes(given)
        url = given.get("endpoint_url") if isinstance(given, dict) else None
        if isinstance(url, str) and not any(mistake.path == "endpoint_url" for mistake in mistakes):
            mistakes += self._check_endpoint(url)
        if mistakes:
            raise invalid(*mistakes)
        return DestinationIn.model_validate(given)

    def _check_endpoint(self, url: str) -> Sequence[Mistake]:
        try:
            read = check_url(url, GuardPolicy(tuple(self._service.settings.allowed_private_subnets)))
        except Refused as refused:
            return [Mistake("endpoint_url", f"must be a public https address: {refused}")]
        if read.query or read.fragment:
            return [Mistake("endpoint_url", "must not have a query or a fragment")]
        return []


def _find_mistakes(given: Any) -> Sequence[Mistake]:
    mistakes = _CHECK.find_mistakes(given)
    auth = given.get("auth") if isinstance(given, dict) else None
    kind = auth.get("type") if isinstance(auth, dict) else None
    if kind in _LATER:
        others = [mistake for mistake in mistakes if mistake.path.partition(".")[0] != "auth"]
        return [*others, Mistake("auth.type", "must be access_key; roles are not supported by this version", kind)]
    # What came for a secret is not shown, not even to who sent it: answers are logged by others.
    return [replace(mistake, got=None) if mistake.path.partition(".")[0] == "auth" else mistake for mistake in mistakes]


def _storable(name: str) -> str:
    if not NAME.fullmatch(name):
        raise not_found("destination")
    return name
