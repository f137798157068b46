"""`genrelay jobs`: submit, read, watch, cancel, retry and copy jobs over HTTP, and links to their outputs."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from service.cli import following
from service.cli.failures import ExitStatus, Failure
from service.cli.job_files import choose_file, read_job
from service.cli.output import Json, Output, answering, printable
from service.cli.service_client import ServiceClient, open_service, place

app = typer.Typer(no_args_is_help=True, help="Jobs of your account.")

JobId = Annotated[str, typer.Argument(metavar="ID", help="The job's id, job_…")]
Wait = Annotated[bool, typer.Option("--wait", help="Wait for its end; exit status 1 unless it succeeded.")]
_FILE = "JSON (the body of POST /v1/jobs), or a curl command as the provider's documentation has it; - reads standard input."
Pairs = Annotated[list[str] | None, typer.Option("--metadata", metavar="KEY=VALUE", help="May be given many times.")]


@app.command()
def submit(
    argument: Annotated[str | None, typer.Argument(metavar="FILE", help=_FILE)] = None,
    file: Annotated[str | None, typer.Option(help="The same as FILE.")] = None,
    provider: Annotated[str | None, typer.Option(help="Then a JSON file is this provider's own body.")] = None,
    operation: Annotated[str | None, typer.Option(help="What the provider is asked for, such as txt2img.")] = None,
    destination: Annotated[str | None, typer.Option(help="Where the outputs go.")] = None,
    test: Annotated[bool, typer.Option("--test", help="A test job: not paid, nothing is copied.")] = False,
    test_status: Annotated[
        str | None, typer.Option(help="How a test job shall end: succeed or failed. Implies --test.")
    ] = None,
    webhook: Annotated[str | None, typer.Option(help="Where the job's events are posted to.")] = None,
    webhook_event: Annotated[
        list[str] | None, typer.Option(help="Only these, such as job.succeeded; may be given many times.")
    ] = None,
    webhook_payload: Annotated[
        str | None, typer.Option(help="full, thin, or provider: what the provider itself would have posted.")
    ] = None,
    metadata: Pairs = None,
    idempotency_key: Annotated[str | None, typer.Option(help="The same key never makes a second job.")] = None,
    wait: Wait = False,
    as_json: Json = False,
) -> None:
    """Submit a job; what options say wins over the file. No key that is in the file is sent or shown."""
    with answering(as_json) as output:
        body = read_job(choose_file(argument, file), provider, operation, _list_providers)
        given = {"destination": destination, "webhook": webhook, "webhook_payload": webhook_payload}
        body |= {name: value for name, value in {**given, "webhook_events_filter": webhook_event}.items() if value}
        if test or test_status:
            body["test_mode"] = _test_mode(test_status)
        if metadata:
            body["metadata"] = {**_object(body, "metadata"), **_read_pairs(metadata)}
        headers = {} if idempotency_key is None else {"Idempotency-Key": _header(idempotency_key)}
        service = open_service()
        job = service.call("POST", "/v1/jobs", body=body, headers=headers)
        _show(service, output, job, wait)


@app.command()
def get(job_id: JobId, wait: Wait = False, as_json: Json = False) -> None:
    """Show a job."""
    with answering(as_json) as output:
        service = open_service()
        _show(service, output, service.get(place("jobs", job_id)), wait)


@app.command("list")
def list_jobs(
    status: Annotated[str | None, typer.Option(help="Only these.")] = None,
    provider: Annotated[str | None, typer.Option(help="Only these.")] = None,
    operation: Annotated[str | None, typer.Option(help="Only these.")] = None,
    destination: Annotated[str | None, typer.Option(help="Only these.")] = None,
    test: Annotated[bool | None, typer.Option("--test/--no-test", help="Only test jobs, or none.")] = None,
    metadata: Pairs = None,
    limit: Annotated[int, typer.Option(min=1, max=100, help="So many at most.")] = 20,
    cursor: Annotated[str | None, typer.Option(help="Where the page before ended.")] = None,
    as_json: Json = False,
) -> None:
    """List jobs, newest first."""
    from service.cli.drawing import draw_jobs

    with answering(as_json) as output:
        wanted = {f"metadata[{key}]": value for key, value in _read_pairs(metadata or []).items()}
        page = open_service().get(
            "/v1/jobs",
            status=status,
            provider=provider,
            operation=operation,
            destination=destination,
            test=None if test is None else str(test).lower(),
            limit=limit,
            cursor=cursor,
            **wanted,
        )
        output.show(page, draw_jobs)


@app.command()
def watch(job_id: JobId, as_json: Json = False) -> None:
    """Print a job's events until it ends; exit status 1 unless it succeeded. With --json, one line per event."""
    from service.cli.drawing import draw_event

    with answering(as_json) as output:
        service = open_service()
        for event in following.follow_events(service, job_id):
            output.show_line(event, draw_event)
        _exit_as(service.get(place("jobs", job_id)))


@app.command()
def cancel(job_id: JobId, as_json: Json = False) -> None:
    """Cancel a job; what is stored already stays."""
    with answering(as_json) as output:
        service = open_service()
        _show(service, output, service.call("POST", place("jobs", job_id, "cancel")), wait=False)


@app.command()
def delete(job_id: JobId, as_json: Json = False) -> None:
    """Delete a job that has ended, and everything about it; objects in buckets stay. This can't be undone."""
    with answering(as_json) as output:
        open_service().call("DELETE", place("jobs", job_id))
        output.show({"id": job_id, "deleted": True}, lambda _: f"{printable(job_id)} is deleted")


@app.command()
def retry(
    job_id: JobId,
    accept_second_charge: Annotated[
        bool, typer.Option("--accept-second-charge", help="Submit again although the last submit may have run.")
    ] = False,
    wait: Wait = False,
    as_json: Json = False,
) -> None:
    """Begin the next run of a failed or canceled job."""
    with answering(as_json) as output:
        service = open_service()
        body = {"accept_second_charge": True} if accept_second_charge else None
        _show(service, output, service.call("POST", place("jobs", job_id, "retry"), body=body), wait)


@app.command()
def copy(
    job_id: JobId,
    destination: Annotated[str, typer.Option("--to", metavar="DESTINATION", help="Where the copy's outputs go.")],
    metadata: Pairs = None,
    idempotency_key: Annotated[str | None, typer.Option(help="The same key never makes a second copy.")] = None,
    wait: Wait = False,
    as_json: Json = False,
) -> None:
    """Store the outputs of a job that has ended in another destination too, as a new job that costs nothing."""
    with answering(as_json) as output:
        body: dict[str, Any] = {"destination": destination}
        if metadata:
            body["metadata"] = _read_pairs(metadata)
        headers = {} if idempotency_key is None else {"Idempotency-Key": _header(idempotency_key)}
        service = open_service()
        job = service.call("POST", place("jobs", job_id, "copy"), body=body, headers=headers)
        _show(service, output, job, wait)


@app.command()
def link(
    job_id: JobId,
    index: Annotated[int, typer.Argument(min=0, help="Which of the job's outputs; the first one is 0.")] = 0,
    expires_in: Annotated[int, typer.Option(min=60, max=604_800, metavar="SECONDS", help="How long it works.")] = 300,
    as_json: Json = False,
) -> None:
    """Print a link to a stored output: whoever has it can read the file until it expires."""
    with answering(as_json) as output:
        where, accept = place("jobs", job_id, "outputs", str(index)), {"Accept": "application/json"}
        found = open_service().call("GET", where, params={"expires_in": expires_in}, headers=accept)
        if as_json:
            output.show(found, str)
        else:
            print(printable(found["url"]))  # in one line, however narrow the terminal is


def _show(service: ServiceClient, output: Output, job: dict[str, Any], wait: bool) -> None:
    from service.cli.drawing import draw_job

    ended = following.wait_for_end(service, job, quiet=output.as_json) if wait else job
    output.show(ended, draw_job)
    if wait:
        _exit_as(ended)


def _exit_as(job: dict[str, Any]) -> None:
    if job["status"] != "succeeded":
        raise typer.Exit(ExitStatus.FAILED)


def _list_providers() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = open_service().get("/v1/providers")["data"]
    return found


def _test_mode(status: str | None) -> dict[str, Any]:
    if status is None:
        return {"enabled": True}
    return {"enabled": True, "return_task_status": "TASK_STATUS_" + status.upper().removeprefix("TASK_STATUS_")}


def _object(body: dict[str, Any], name: str) -> dict[str, Any]:
    found = body.get(name) or {}
    if not isinstance(found, dict):
        raise Failure(f"{name} in the file must be an object", status=ExitStatus.USAGE)
    return found


def _read_pairs(pairs: list[str]) -> dict[str, str]:
    read = dict(pair.split("=", 1) for pair in pairs if "=" in pair[1:])
    if len(read) != len(pairs):
        raise Failure("--metadata must be KEY=VALUE, each key once", status=ExitStatus.USAGE)
    return read


def _header(text: str) -> str:
    if not text.isascii() or not text.isprintable():
        raise Failure("--idempotency-key must be printable ASCII", status=ExitStatus.USAGE)
    return text
