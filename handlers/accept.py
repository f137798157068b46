"""What a client would rather have: weights of media types in `Accept`."""

from __future__ import annotations

from starlette.requests import Request

JSON = "application/json"
EVENT_STREAM = "text/event-stream"


def weight(request: Request, kind: str) -> float:
    """Return how much a media type is asked for, 0 to 1; 0 when `Accept` does not name it, for wildcards ask for nothing."""
    accepted = ",".join(request.headers.getlist("accept")).lower()
    offers = [part.partition(";") for part in accepted.split(",")]
    return max((_quality(rest) for named, _, rest in offers if named.strip() == kind), default=0.0)


def asks_for_json(request: Request) -> bool:
    """Return whether JSON is asked for by name."""
    return weight(request, JSON) > 0


def asks_for_stream(request: Request) -> bool:
    """Return whether a stream of events is asked for, and no less than JSON."""
    asked = weight(request, EVENT_STREAM)
    return asked > 0 and asked >= weight(request, JSON)


def _quality(parameters: str) -> float:
    for parameter in parameters.split(";"):
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                found = float(value)
            except ValueError:
                return 1.0
            return found if 0 <= found <= 1 else 1.0
    return 1.0
