"""`genrelay listen`: the account's feed as it happens, printed, or posted to a URL while its receiver is being written."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import typer

from service.cli.event_stream import Following, Frame
from service.cli.failures import ExitStatus, Failure
from service.cli.forwarding import Forwarder
from service.cli.output import Json, Output, answering, complain
from service.cli.service_client import ServiceClient, open_service, place


def listen(
    forward_to: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Post each event there, signed as a delivery is; nothing is tried again."),
    ] = None,
    types: Annotated[
        list[str] | None,
        typer.Option("--type", help="Only these, such as job.succeeded or 'destination.*'; many times."),
    ] = None,
    job: Annotated[
        str | None, typer.Option(metavar="ID", help="Only this job's, from its first; ends with the job.")
    ] = None,
    since: Annotated[
        str | None, typer.Option(metavar="ID|start", help="Begin behind this event, or at the start; else from now on.")
    ] = None,
    secret: Annotated[
        str | None, typer.Option(metavar="whsec_…", help="What to sign with; else one is made and printed.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Print what happens in the account, or forward it, until Ctrl-C; goes on by itself after the service was away.

    With --json each event is one line; with --forward-to too, each line is what
    became of one event.
    """
    with answering(as_json) as output:
        try:
            if secret is not None and forward_to is None:
                raise Failure("--secret goes with --forward-to", status=ExitStatus.USAGE)
            forwarder = None if forward_to is None else Forwarder(forward_to, secret)
            service = open_service()
            if forwarder is not None:
                complain(f"genrelay: forwarding to {forwarder.origin}, signed with {forwarder.secret}")
            for frame in _follow(service, types or [], job, since):
                _tell(output, frame, forwarder)
        except KeyboardInterrupt:
            # How it is meant to end.
            complain("genrelay: stopped listening")


def _follow(service: ServiceClient, types: list[str], job: str | None, since: str | None) -> Iterator[Frame]:
    following = Following(
        service,
        "/v1/events" if job is None else place("jobs", job, "events"),
        {"type": ",".join(types)} if types and job is None else {},
        since if job is None or since is not None else "start",
        away=lambda why: complain(
            f"genrelay: the service at {service.url} is away ({why}); trying again until it is back"
        ),
        here=lambda: complain(f"genrelay: listening to {service.url}"),
    )
    if job is None or not types:
        return following.frames()
    wanted = _read_types(types)
    return (frame for frame in following.frames() if _kinds(frame) & wanted)


def _read_types(types: list[str]) -> set[str]:
    """Check the patterns, as the service does where it filters itself; a job's own stream has no filter."""
    from service.events.types import PATTERNS

    given = {pattern for text in types for pattern in text.split(",")}
    if not given <= set(PATTERNS):
        raise Failure(f"--type must be one of {', '.join(PATTERNS)}", status=ExitStatus.USAGE)
    return given


def _kinds(frame: Frame) -> set[str]:
    kind = frame.event["type"]
    return {"*", kind, f"{kind.partition('.')[0]}.*"}


def _tell(output: Output, frame: Frame, forwarder: Forwarder | None) -> None:
    from service.cli.drawing_events import draw_forwarded, draw_told

    if forwarder is not None:
        forwarded = forwarder.post(frame)
        told = forwarded.as_json(frame.event)
        output.show_line(told, draw_forwarded)
    elif output.as_json:
        # As it came, so that it can be compared and signed.
        print(frame.body.decode(), flush=True)
    else:
        output.show_line(frame.event, draw_told)
