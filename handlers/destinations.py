"""`/v1/destinations`: customers' buckets."""

from __future__ import annotations

import re

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
from service.outputs.bucket_check import check_bucket
from service.outputs.destinations import DestinationIn, destination_json, encrypt_secret, read_target
from service.providers.checking import InputCheck
from service.providers.contract import Mistake

_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")
_CHECK = InputCheck(DestinationIn, root="")
_LATER = {"assume_role", "ambient"}


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
        row = await self._require(request)
        target = read_target(self._service.keyring, row, None)
        steps = await check_bucket(self._service.context.buckets, target.spec, target.path)
        shown = [{"step": s.step, "ok": s.ok, "code": s.code, "message": s.message, "hint": s.hint} for s in steps]
        return JSONResponse({"ok": all(step.ok for step in steps), "steps": shown})

    async def _require(self, request: Request) -> object:
        account = await account_of(self._service, request)
        name = _storable(request.path_params["name"])
        row = await queries().get_destination(self._service.pool, account_id=account, name=name)
        if row is None:
            raise not_found("destination")
        return row

    def _read(self, name: str, given: object) -> DestinationIn:
        mistakes = (
            []
            if _NAME.match(name)
            else [Mistake("name", "must be 1 to 64 letters, digits, `_`, `.` or `-`", name[:100])]
        )
        auth = given.get("auth") if isinstance(given, dict) else None
        if isinstance(auth, dict) and auth.get("type") in _LATER:
            mistakes.append(
                Mistake("auth.type", "must be access_key; roles are not supported by this version", auth["type"])
            )
            raise invalid(*mistakes)
        mistakes += _CHECK.find_mistakes(given)
        if mistakes:
            raise invalid(*mistakes)
        wanted = DestinationIn.model_validate(given)
        if wanted.endpoint_url is not None:
            self._check_endpoint(wanted.endpoint_url)
        return wanted

    def _check_endpoint(self, url: str) -> None:
        try:
            check_url(url, GuardPolicy(tuple(self._service.settings.allowed_private_subnets)))
        except Refused as refused:
            raise invalid(Mistake("endpoint_url", f"must be a public https address: {refused}")) from None


def _storable(name: str) -> str:
    if not _NAME.match(name):
        raise not_found("destination")
    return name
