"""`/v1/events` and `/v1/jobs/{id}/events`: what happened, in order, as pages or as a stream."""

from __future__ import annotations

from functools import partial
from typing import Literal
from uuid import UUID

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from handlers.accept import asks_for_stream
from handlers.auth import account_of
from handlers.problems import Problem, invalid, not_found
from handlers.query import Query, page, read_flag, read_path_id
from handlers.streams import EventStream, Streams
from service.app import Service
from service.events.feed import UnknownEventError
from service.events.fitting import Wanted
from service.events.types import PATTERNS
from service.ids import read, show
from service.jobs.model import Job
from service.providers.contract import Mistake

_HEADER = "Last-Event-ID"
_RULE = "must be the id of an event in this feed, or start"
_RULE_ID = "must be the id of an event in this feed"
_RULE_OF_JOB = "must be the id or the sequence number of an event of this job"
_RULE_ID_OF_JOB = "must be the id of an event of this job"
_NO_PAGES = "does not apply to a stream, which has no pages"
_VARY = {"Vary": "Accept"}
_Start = Literal["start"]


class Events:
    """The routes of events."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self.streams = Streams(service.settings.events, lambda: service.endings.released, service.limits)

    async def of_account(self, request: Request) -> Response | EventStream:
        """Show what happened to anything of the account."""
        account = await account_of(self._service, request)
        query, streaming = Query(request), asks_for_stream(request)
        wanted, limit = _read_wanted(query), _take_limit(query, streaming)
        given = {
            _HEADER: _take_header(query, request, _RULE_ID) if streaming else None,
            "cursor": query.take("cursor", partial(read, "evt"), _RULE_ID),
            "after": query.take("after", _read_place, _RULE),
        }
        query.end()
        named = next((name for name, value in given.items() if value is not None), "after")
        place = given[named]
        after = place if isinstance(place, UUID) else None
        unknown = partial(_unknown, named, _RULE_ID, after)
        if streaming:
            follow = partial(self._service.feed.follow, account, wanted, after=after, from_start=place == "start")
            return EventStream(self.streams, account, follow, unknown)
        try:
            found = await self._service.feed.page(account, wanted, after, limit)
        except UnknownEventError:
            raise unknown() from None
        cursor = None if found.cursor is None else show("evt", found.cursor)
        body = {"data": found.events, "next_cursor": cursor, "has_more": cursor is not None}
        return JSONResponse(body, headers=_VARY)

    async def of_job(self, request: Request) -> Response | EventStream:
        """Show what happened to a job."""
        account = await account_of(self._service, request)
        job = await self._service.reading.find_job(account, read_path_id(request, "job"))
        if job is None:
            raise not_found("job")
        query, streaming = Query(request), asks_for_stream(request)
        limit = _take_limit(query, streaming)
        header = _take_header(query, request, _RULE_ID_OF_JOB) if streaming else None
        cursor = query.take("cursor", _read_place_in_job, _RULE_OF_JOB)
        after = query.take("after", _read_place_in_job, _RULE_OF_JOB)
        query.end()
        if header is not None:
            number = await self._number(job, _HEADER, header)
        else:
            number = max(await self._number(job, "cursor", cursor), await self._number(job, "after", after))
        if streaming:
            if job.ended and not await self._service.reading.list_events(job.id, number, 1):
                # Nothing comes any more, also where the last events are not kept.
                number = job.last_event
            return self._stream_job(job, number)
        rows = await self._service.reading.list_events(job.id, number, limit + 1)
        return JSONResponse(page([(str(row["data"]["sequence"]), row) for row in rows], limit), headers=_VARY)

    async def _number(self, job: Job, named: str, place: UUID | int | None) -> int:
        """Return the number of the event to go on behind, 0 for the beginning."""
        if not isinstance(place, UUID):
            return place or 0
        try:
            return await self._service.feed.number_of(job.account_id, job.id, place)
        except UnknownEventError:
            raise _unknown(named, _RULE_ID_OF_JOB, place) from None

    def _stream_job(self, job: Job, number: int) -> Response | EventStream:
        if job.ended and number >= job.last_event:
            # Browsers come back after every end of a stream until they are told in this way that there is no more.
            return Response(status_code=204, headers={"Cache-Control": "no-store", **_VARY})
        # A job has few events: reading those that are left out costs less than asking for the id that has the number.
        follow = partial(self._service.feed.follow, job.account_id, Wanted(), from_start=True, job_id=job.id)
        unknown = partial(not_found, "event")
        return EventStream(self.streams, job.account_id, follow, unknown, skip=number, last=job.last_event)


def _read_wanted(query: Query) -> Wanted:
    types = query.take("type", _read_types, f"must be some of {', '.join(PATTERNS)}, with commas between them")
    lists = {name: query.take_text(name) for name in ("provider", "operation", "destination")}
    wanted: dict[str, object] = {name: text.split(",") for name, text in lists.items() if text is not None}
    metadata = query.take_map("metadata")
    if metadata:
        wanted["metadata"] = metadata
    return Wanted(types or ("*",), wanted, query.take("test", read_flag, "must be true or false"))


def _read_types(text: str) -> tuple[str, ...]:
    types = tuple(text.split(","))
    if not set(types) <= set(PATTERNS):
        raise ValueError
    return types


def _take_limit(query: Query, streaming: bool) -> int:
    if not streaming:
        return query.take_limit()
    query.take("limit", _refuse, _NO_PAGES)
    return 0


def _take_header(query: Query, request: Request, rule: str) -> UUID | None:
    text = request.headers.get(_HEADER, "").strip()
    return query.check(_HEADER, text, partial(read, "evt"), rule) if text else None


def _read_place(text: str) -> UUID | _Start:
    return "start" if text == "start" else read("evt", text)


def _read_place_in_job(text: str) -> UUID | int:
    if text == "start":
        return 0
    if text.isascii() and text.isdigit() and len(text) <= 9:
        return int(text)
    return read("evt", text)


def _refuse(_text: str) -> None:
    raise ValueError


def _unknown(named: str, rule: str, event_id: UUID | None) -> Problem:
    return invalid(Mistake(named, rule, None if event_id is None else show("evt", event_id)))
