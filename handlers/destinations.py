"""`/v1/destinations`: customers' buckets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from handlers.auth import account_of
from handlers.bodies import read_body, read_json
from handlers.problems import invalid, not_found
from handlers.query import Query, page, read_flag
from service.app import Service
from service.aws.auth import ambient_rule
from service.db.sql import queries
from service.engine.nearby import wrote_events
from service.ids import new_uuid
from service.net import Refused, check_url
from service.net.policy import GuardPolicy
from service.outputs.bucket_check import CHECK_SECONDS, check_bucket
from service.outputs.destination_input import SHAPES, AmbientDestination, DestinationIn, UnknownDestination, shape_of
from service.outputs.destinations import (
    NAME,
    NAME_RULE,
    Target,
    destination_json,
    encrypt_secret,
    read_target,
)
from service.outputs.errors import DestinationDenied
from service.outputs.health import destination_event_json, record_check
from service.outputs.policy import make_policy
from service.outputs.steps import Step
from service.providers.checking import InputCheck
from service.providers.contract import Mistake

_SHAPES: Sequence[type[DestinationIn]] = [*SHAPES.values(), UnknownDestination]
_CHECKS = {shape: InputCheck(shape, root="") for shape in _SHAPES}


class Destinations:
    """The routes of destinations."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def put(self, request: Request) -> Response:
        """Make or replace a destination, and check its bucket; it is there whatever the check says."""
        account = await account_of(self._service, request)
        name = request.path_params["name"]
        query = Query(request)
        checking = query.take("check", read_flag, "must be true or false") is not False
        query.end()
        given = await read_json(await read_body(request.scope, request.receive, 64 * 1024))
        wanted = await self._read(account, name, given)
        row = await queries().put_destination(
            self._service.pool,
            id=new_uuid(),
            account_id=account,
            name=name,
            spec=wanted.public(),
            secret=encrypt_secret(self._service.keyring, wanted),
        )
        status = 201 if row["created"] else 200
        if not checking:
            return JSONResponse({**destination_json(row), "check": None}, status)
        row, report = await self._check(row, self._service.settings.outputs.check_seconds)
        return JSONResponse({**destination_json(row), "check": report}, status)

    async def get(self, request: Request) -> Response:
        """Show a destination without its secret."""
        row = await self._require(request)
        Query(request).end()
        return JSONResponse(destination_json(row))

    async def delete(self, request: Request) -> Response:
        """Delete a destination; jobs under way still reach its bucket."""
        account = await account_of(self._service, request)
        name = request.path_params["name"]
        Query(request).end()
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
        Query(request).end()
        _, report = await self._check(row, CHECK_SECONDS)
        return JSONResponse(report)

    async def events(self, request: Request) -> Response:
        """List when the destination began to fail and when it recovered, oldest first."""
        row = await self._require(request)
        query = Query(request)
        limit = query.take_limit()
        after = query.take_id("evt")
        query.end()
        rows = queries().list_destination_events(
            self._service.pool, destination_id=row["id"], after=after or UUID(int=0), limit=limit + 1
        )
        source = self._service.reading.source
        events = [destination_event_json(event, source) async for event in rows]
        return JSONResponse(page([(event["id"], event) for event in events], limit))

    async def policy(self, request: Request) -> Response:
        """Show the IAM policies that the destination needs, to paste, and as Terraform; nothing is asked of the bucket."""
        row = await self._require(request)
        Query(request).end()
        return JSONResponse(make_policy(row, await self._principal(row)))

    async def _principal(self, row: Any) -> str | None:
        if row["spec"]["auth"]["type"] == "access_key":
            return None
        return self._service.settings.aws_principal or await self._service.context.buckets.whoami()

    async def _check(self, row: Any, seconds: float) -> tuple[Any, dict[str, Any]]:
        """Check a destination within so many seconds; returns its row with what came of it, and the report."""
        steps = await self._try(row, seconds)
        async with self._service.context.transaction() as connection:
            now = await record_check(connection, row, steps)
            if now is not None and now.get("event") is not None:
                wrote_events()
        return now or row, {"ok": all(step.ok for step in steps), "steps": [step.as_json() for step in steps]}

    async def _try(self, row: Any, seconds: float) -> Sequence[Step]:
        try:
            target = self._target(row)
        except DestinationDenied as denied:
            return [Step("credentials", ok=False, code=denied.code.value, message=denied.message, hint=denied.hint)]
        return await check_bucket(self._service.context.buckets, target.spec, target.path, altogether=seconds)

    async def _require(self, request: Request) -> Any:
        account = await account_of(self._service, request)
        name = _storable(request.path_params["name"])
        row = await queries().get_destination(self._service.pool, account_id=account, name=name)
        if row is None:
            raise not_found("destination")
        return row

    def _target(self, row: Any) -> Target:
        return read_target(self._service.keyring, row, None, self._service.settings.outputs.ambient_accounts)

    async def _read(self, account: UUID, name: str, given: Any) -> DestinationIn:
        mistakes = [] if NAME.fullmatch(name) else [Mistake("name", NAME_RULE, name[:100])]
        shape = shape_of(given)
        mistakes += _find_mistakes(shape, given)
        url = given.get("endpoint_url") if isinstance(given, dict) else None
        if isinstance(url, str) and not any(mistake.path == "endpoint_url" for mistake in mistakes):
            mistakes += self._check_endpoint(url)
        if shape is AmbientDestination:
            mistakes += await self._check_ambient(account)
        if mistakes:
            raise invalid(*mistakes)
        return shape.model_validate(given)

    async def _check_ambient(self, account: UUID) -> Sequence[Mistake]:
        row = await queries().get_account(self._service.pool, id=account)
        if row["account_name"] in self._service.settings.outputs.ambient_accounts:
            return []
        return [Mistake("auth.type", f"ambient is not allowed for this account. {ambient_rule(row['account_name'])}")]

    def _check_endpoint(self, url: str) -> Sequence[Mistake]:
        try:
            read = check_url(url, GuardPolicy(tuple(self._service.settings.allowed_private_subnets)))
        except Refused as refused:
            return [Mistake("endpoint_url", f"must be a public https address: {refused}")]
        if read.query or read.fragment:
            return [Mistake("endpoint_url", "must not have a query or a fragment")]
        return []


def _find_mistakes(shape: type[DestinationIn], given: Any) -> Sequence[Mistake]:
    # What came for a secret is not shown, not even to who sent it: answers are logged by others.
    return [
        replace(mistake, got=None) if mistake.path.partition(".")[0] == "auth" else mistake
        for mistake in _CHECKS[shape].find_mistakes(given)
    ]


def _storable(name: str) -> str:
    if not NAME.fullmatch(name):
        raise not_found("destination")
    return name
