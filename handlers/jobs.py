"""`/v1/jobs`: submit, read, wait, list, cancel, retry, and what belongs to a job."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from typing import Any
from uuid import UUID

import structlog
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from handlers.accept import asks_for_json
from handlers.auth import account_of
from handlers.bodies import Body, read_body, read_json
from handlers.places import limits_of
from handlers.problems import Problem, invalid, not_found
from handlers.query import MAX_WAIT, Query, page, read_flag, read_path_id, read_seconds, read_time
from handlers.room import Room
from handlers.waiting import while_connected
from service.app import Service
from service.engine.commands import cancel, retry
from service.engine.copies import copy_job, read_copy_request
from service.engine.deleting import delete_job
from service.engine.idempotency import Taken, digest_request
from service.engine.intake import find_more_mistakes, take_in
from service.engine.links import make_link
from service.ids import show
from service.jobs.lifecycle import Status
from service.jobs.model import Job, Output, job_json, moment
from service.jobs.request import read_request
from service.providers.contract import Mistake, Provider
from service.reading import JobFilter

_LINK_SECONDS, _SHORTEST, _LONGEST = 300, 60, 604_800
_BIG = 256 * 1024  # bytes
_PREFER_WAIT = re.compile(r"(?:^|[,;\s])wait\s*=\s*\"?(\d{1,6})\"?", re.IGNORECASE)


class Jobs:
    """The routes of jobs."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._reading = service.reading
        self._room = Room(service.settings.http.max_body_bytes)

    async def create(self, request: Request) -> Response:
        """Take a job in: 202 once it is committed."""
        account = await account_of(self._service, request)
        Query(request).end()
        key = _idempotency_key(request)
        body = Body(request.scope, request.receive, self._service.settings.http.max_body_bytes)
        async with self._room.hold(account, body):
            given, wanted, digest = await self._read(await body.read())
        if isinstance(wanted, list):
            raise invalid(*await find_more_mistakes(self._service.context, account, given, wanted))
        limits = limits_of(request.scope)
        taken = await take_in(self._service.context, account, wanted, key=key, digest=digest, limits=limits)
        return await self._accepted(taken, None if taken.replayed else [])

    async def _accepted(self, taken: Taken, outputs: list[Output] | None = None) -> Response:
        headers = {"Location": f"/v1/jobs/{show('job', taken.job.id)}"}
        structlog.contextvars.bind_contextvars(job_id=show("job", taken.job.id))
        if taken.replayed:
            headers["Idempotency-Replayed"] = "true"
        outputs = await self._reading.list_outputs(taken.job.id) if outputs is None else outputs
        shown = job_json(taken.job, outputs)
        return JSONResponse(shown, 202, headers)

    async def _read(self, body: bytes) -> tuple[Any, Any, bytes]:
        given = await read_json(body)
        # Checking megabytes of base64 would hold up everybody else on this loop.
        providers = self._service.context.providers
        big = len(body) > _BIG
        wanted, digest = await asyncio.to_thread(_read, given, providers) if big else _read(given, providers)
        return given, wanted, digest

    async def get(self, request: Request) -> Response:
        """Show a job, after waiting for its end if asked to."""
        account = await account_of(self._service, request)
        job_id = read_path_id(request, "job")
        query = Query(request)
        wait = query.take("wait", read_seconds, "must be whole seconds")
        query.end()
        preferred = _prefer_wait(request)
        seconds = preferred if wait is None else wait
        if seconds:
            # One that was hung up on would keep the account's place until its time is over.
            job = await while_connected(request.receive, self._reading.wait(account, job_id, seconds))
        else:
            job = await self._own(account, job_id)
        if job is None:
            raise not_found("job")
        headers = {"Preference-Applied": f"wait={preferred}"} if preferred is not None and wait is None else {}
        return JSONResponse(await self._reading.show_job(job), headers=headers)

    async def list(self, request: Request) -> Response:
        """List the account's jobs, newest first."""
        account = await account_of(self._service, request)
        query = Query(request)
        limit, before = query.take_limit(), query.take_id("job")
        wanted = JobFilter(
            status=query.take_choice("status", [status.value for status in Status]),
            provider=query.take_text("provider"),
            operation=query.take_text("operation"),
            destination=query.take_text("destination"),
            test=query.take("test", read_flag, "must be true or false"),
            created_after=query.take("created_after", read_time, "must be a time as in RFC 3339"),
            created_before=query.take("created_before", read_time, "must be a time as in RFC 3339"),
            metadata=query.take_map("metadata"),
        )
        query.end()
        rows = await self._reading.list_jobs(account, wanted, before, limit + 1)
        return JSONResponse(page([(show("job", job_id), job) for job_id, job in rows], limit))

    async def cancel(self, request: Request) -> Response:
        """Cancel a job."""
        account = await account_of(self._service, request)
        Query(request).end()
        job = await cancel(self._service.context, account, read_path_id(request, "job"))
        return JSONResponse(await self._reading.show_job(job))

    async def delete(self, request: Request) -> Response:
        """Delete a job that has ended, and everything about it: 204."""
        account = await account_of(self._service, request)
        Query(request).end()
        await delete_job(self._service.context, account, read_path_id(request, "job"))
        return Response(status_code=204)

    async def retry(self, request: Request) -> Response:
        """Begin the next run of a failed or canceled job."""
        account = await account_of(self._service, request)
        job_id = read_path_id(request, "job")
        Query(request).end()
        accept = await _read_acceptance(request)
        limits = limits_of(request.scope)
        job = await retry(self._service.context, account, job_id, accept_second_charge=accept, limits=limits)
        return JSONResponse(await self._reading.show_job(job), 202, {"Location": f"/v1/jobs/{show('job', job.id)}"})

    async def copy(self, request: Request) -> Response:
        """Store the outputs of a job that has ended in another destination: 202 with the new job."""
        account = await account_of(self._service, request)
        key, job_id = _idempotency_key(request), read_path_id(request, "job")
        # A stranger's job is not there, whatever is wrong with the request.
        job = await self._own(account, job_id)
        if job is None:
            raise not_found("job")
        Query(request).end()
        given = await read_json(await read_body(request.scope, request.receive, _BIG))
        wanted = read_copy_request(given)
        if isinstance(wanted, list):
            raise invalid(*wanted)
        digest = digest_request({"copy_of": show("job", job_id), "body": given})
        limits = limits_of(request.scope)
        taken = await copy_job(self._service.context, account, job_id, wanted, key=key, digest=digest, limits=limits)
        return await self._accepted(taken)

    async def callbacks(self, request: Request) -> Response:
        """List what the provider sent for a job, redacted, with each verdict."""
        job = await self._require(request)
        query = Query(request)
        limit, after = query.take_limit(), query.take_id("cb")
        query.end()
        rows = await self._reading.list_callbacks(job, after, limit + 1)
        return JSONResponse(page([(show("cb", row_id), row) for row_id, row in rows], limit))

    async def output(self, request: Request) -> Response:
        """Redirect to a signed URL of a stored output, or tell it to a client that asks for JSON."""
        job = await self._require(request)
        query = Query(request)
        wanted = query.take("expires_in", _link_seconds, f"must be whole seconds from {_SHORTEST} to {_LONGEST}")
        query.end()
        output = await self._require_stored(job, request.path_params["index"])
        seconds = _LINK_SECONDS if wanted is None else wanted
        link = await make_link(self._service.context, job, output, seconds)
        headers = {"Cache-Control": "no-store", "Vary": "Accept"}
        if asks_for_json(request):
            return JSONResponse({"url": link.url, "expires_at": moment(link.expires_at)}, headers=headers)
        return RedirectResponse(link.url, 307, headers)

    async def _require_stored(self, job: Job, index: str) -> Output:
        outputs = {str(output.index): output for output in await self._reading.list_outputs(job.id)}
        if index not in outputs:
            raise not_found("output")
        output = outputs[index]
        if output.status != "stored" or output.key is None:
            raise Problem(409, "not_stored", f"output {index} is {output.status}")
        return output

    async def _own(self, account: UUID, job_id: UUID) -> Job | None:
        return await self._reading.find_job(account, job_id)

    async def _require(self, request: Request) -> Job:
        account = await account_of(self._service, request)
        job = await self._own(account, read_path_id(request, "job"))
        if job is None:
            raise not_found("job")
        return job


def _read(given: Any, providers: Mapping[str, Provider]) -> tuple[Any, bytes]:
    wanted = read_request(given, providers)
    return wanted, b"" if isinstance(wanted, list) else digest_request(given)


def _link_seconds(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 9 or not _SHORTEST <= int(text) <= _LONGEST:
        raise ValueError
    return int(text)


def _prefer_wait(request: Request) -> int | None:
    found = _PREFER_WAIT.search(request.headers.get("prefer", ""))
    return min(int(found[1]), MAX_WAIT) if found else None


def _idempotency_key(request: Request) -> str | None:
    key = request.headers.get("idempotency-key")
    if key is None:
        return None
    if not key or len(key) > 255:
        raise invalid(Mistake("Idempotency-Key", "must have 1 to 255 characters", f"{len(key)} characters"))
    return key


async def _read_acceptance(request: Request) -> bool:
    body = await read_body(request.scope, request.receive, 64 * 1024)
    if not body.strip():
        return False
    given = await read_json(body)
    if not isinstance(given, dict):
        raise invalid(Mistake("body", "must be an object"))
    unknown = [Mistake(str(name)[:64], "unknown field") for name in given if name != "accept_second_charge"]
    if unknown:
        raise invalid(*unknown)
    accept = given.get("accept_second_charge", False)
    if not isinstance(accept, bool):
        raise invalid(Mistake("accept_second_charge", "must be true or false"))
    return accept
