"""`/v1/deliveries`: what became of each event on its way to each subscription."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from handlers.auth import account_of
from handlers.problems import invalid, not_found
from handlers.query import Query, page, read_time
from service.app import Service
from service.events.deliveries import STATUSES, DeliveryFilter, delivery_json, find_delivery, list_deliveries
from service.events.recovery import resend
from service.ids import BadId, read, show
from service.providers.contract import Mistake


class Deliveries:
    """The routes of deliveries."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def list(self, request: Request) -> Response:
        """List the account's deliveries, newest first."""
        account = await account_of(self._service, request)
        return await answer_deliveries(self._service, request, account)

    async def get(self, request: Request) -> Response:
        """Show a delivery with its attempts."""
        account = await account_of(self._service, request)
        Query(request).end()
        found = await find_delivery(self._service.pool, account, _delivery_id(request))
        if found is None:
            raise not_found("delivery")
        return JSONResponse(found)

    async def resend(self, request: Request) -> Response:
        """Send a delivery again, whatever became of it: 202."""
        account = await account_of(self._service, request)
        Query(request).end()
        row = await resend(self._service.pool, account, _delivery_id(request))
        return JSONResponse(delivery_json(row), 202, {"Location": f"/v1/deliveries/{show('dlv', row['id'])}"})


async def answer_deliveries(
    service: Service, request: Request, account: UUID, *, subscription_id: UUID | None = None
) -> Response:
    """Answer with a page of an account's deliveries, of one subscription if it is given, else of whichever the query says."""
    query = Query(request)
    limit, before = query.take_limit(), query.take_id("dlv")
    job = query.take("job", lambda text: read("job", text), "must be a job's id")
    if subscription_id is None:
        subscription_id = query.take("subscription", lambda text: read("sub", text), "must be a subscription's id")
    wanted = DeliveryFilter(
        job_id=job,
        subscription_id=subscription_id,
        status=query.take_choice("status", list(STATUSES)),
        event_type=query.take_text("event_type"),
    )
    query.end()
    rows = await list_deliveries(service.pool, account, wanted, before, limit + 1)
    return JSONResponse(page([(show("dlv", row["id"]), delivery_json(row)) for row in rows], limit))


def read_since(given: Any) -> datetime:
    """Read the body of `…/recover`: `{"since": RFC 3339}`, a time that is over; raises Problem."""
    if not isinstance(given, dict):
        raise invalid(Mistake("body", "must be an object"))
    unknown = [Mistake(str(name)[:64], "unknown field") for name in given if name != "since"]
    if unknown:
        raise invalid(*unknown)
    text = given.get("since")
    try:
        since = read_time(text) if isinstance(text, str) else None
    except (ValueError, OverflowError):
        since = None
    if since is None:
        raise invalid(Mistake("since", "must be a time as in RFC 3339", None if text is None else str(text)[:64]))
    if since > datetime.now(UTC):
        raise invalid(Mistake("since", "must be a time that is over"))
    return since


def _delivery_id(request: Request) -> UUID:
    try:
        return read("dlv", request.path_params["id"])
    except BadId:
        raise not_found("delivery") from None
