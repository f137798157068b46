"""The service over HTTP, as the account whose key is in the environment."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from service.cli.failures import ExitStatus, Failure
from service.cli.output import complain

if TYPE_CHECKING:
    import httpx

DEFAULT_URL = "http://127.0.0.1:8080"
_HINTS = {
    "unauthorized": "GENRELAY_API_KEY must hold a key that `genrelay keys create` made.",
    "event_gone": "Begin with the first one that is kept: start.",
    "not_ended": "Cancel it first: `genrelay jobs cancel`.",
}
_LOOPBACK = {"127.0.0.1", "localhost", "::1"}
_LONGEST_KEY = 64 * 1024  # no header may be longer
_SECONDS = 90.0  # longer than the longest long poll
_PATIENCE = 60.0  # seconds that a command waits in all until the account's limits let it in
_WAITED_FOR = {"too_many_requests", "too_many_requests_at_once", "too_many_jobs"}
_SILENCE = 60.0  # seconds; a stream says every 15 that it is still there


class AwayError(Exception):
    """The service can't be reached or can't answer now, and may later; the message says which."""


class ServiceClient:
    """Calls to one service; every answer is its JSON, everything else is a Failure."""

    def __init__(self, url: str, key: str) -> None:
        import httpx

        self.url = url
        # A proxy from the environment is for the outside, not for a service on this machine.
        outside = urlsplit(url).hostname not in _LOOPBACK
        headers = {"Authorization": f"Bearer {key}"}
        self._http = httpx.Client(base_url=url, headers=headers, timeout=_SECONDS, trust_env=outside)

    def get(self, path: str, **params: Any) -> Any:
        """Return what is at a path; parameters that are None are left out."""
        return self.call("GET", path, params={name: value for name, value in params.items() if value is not None})

    def call(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """Make one call; returns the answer's JSON, None for an answer without a body. Raises Failure."""
        import httpx

        try:
            answer = self._ask(method, path, params=params, json=body, headers=headers)
        except httpx.TransportError as error:
            raise Failure(
                f"the service at {self.url} can't be reached",
                detail=str(error) or type(error).__name__,
                hint="Start it with `genrelay serve`, or say where it is with GENRELAY_URL.",
            ) from None
        except (httpx.InvalidURL, UnicodeError):
            raise _wrong("GENRELAY_URL names no host that there can be") from None
        return _read(self.url, answer)

    def _ask(self, method: str, path: str, **request: Any) -> httpx.Response:
        """Make a request, and make it again when the account has to wait for a while; nothing was done before that."""
        left = _PATIENCE
        while True:
            answer = self._http.request(method, path, **request)
            pause = _pause(answer)
            if pause is None or pause > left:
                return answer
            left -= pause
            complain(f"genrelay: the account's limit is reached; trying again in {pause} s")
            time.sleep(pause)

    @contextmanager
    def stream(self, path: str, *, params: Mapping[str, Any], headers: Mapping[str, str]) -> Iterator[httpx.Response]:
        """Lend an answer that goes on. Raises AwayError, also while it is read, and Failure for what no trying helps."""
        import httpx

        accept = {"Accept": "text/event-stream", **headers}
        timeout = httpx.Timeout(10, read=_SILENCE)
        try:
            with self._http.stream("GET", path, params=params, headers=accept, timeout=timeout) as answer:
                if answer.status_code >= 500 or answer.status_code == 429:
                    raise AwayError(f"it answered {answer.status_code}")
                if not answer.is_success:
                    answer.read()
                    _read(self.url, answer)
                yield answer
        except httpx.TransportError as error:
            raise AwayError(str(error) or type(error).__name__) from None
        except (httpx.InvalidURL, UnicodeError):
            raise _wrong("GENRELAY_URL names no host that there can be") from None


def _pause(answer: httpx.Response) -> int | None:
    """Return the seconds after which a request that was one too many can be made again; None for any other answer."""
    if answer.status_code != 429:
        return None
    try:
        said, seconds = answer.json(), int(answer.headers.get("retry-after", ""))
    except ValueError:
        return None
    waits = isinstance(said, dict) and said.get("code") in _WAITED_FOR
    return max(1, seconds) if waits else None


def _read(url: str, answer: httpx.Response) -> Any:
    if answer.status_code == 204:
        return None
    try:
        said = answer.json()
    except ValueError:
        said = None
    if answer.is_success and said is not None:
        return said
    if not isinstance(said, dict) or "title" not in said:
        raise Failure(f"{url} answered {answer.status_code} with something else than JSON; is it a genrelay?")
    raise _problem(said, answer.headers.get("retry-after") if answer.status_code == 429 else None)


def _problem(said: dict[str, Any], retry_after: str | None = None) -> Failure:
    found = [mistake for mistake in said.get("errors") or () if isinstance(mistake, dict)]
    return Failure(
        str(said["title"]),
        detail=None if said.get("detail") is None else str(said["detail"]),
        mistakes=[str(mistake.get("detail")) for mistake in found],
        hint=_HINTS.get(str(said.get("code"))) if retry_after is None else f"Try again in {retry_after} seconds.",
        problem=said,
    )


def open_service() -> ServiceClient:
    """Return a client by GENRELAY_URL and GENRELAY_API_KEY (or …_FILE); raises Failure when they can't be used."""
    url = (os.environ.get("GENRELAY_URL") or DEFAULT_URL).rstrip("/")
    if not _is_origin(url):
        raise _wrong("GENRELAY_URL must be an http or https URL without a query")
    return ServiceClient(url, _read_key())


def _is_origin(url: str) -> bool:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return False
    return bool(
        parts.scheme in {"http", "https"}
        and parts.hostname
        and parts.username is None
        and not parts.query
        and not parts.fragment
    )


def _read_key() -> str:
    key, path = os.environ.get("GENRELAY_API_KEY"), os.environ.get("GENRELAY_API_KEY_FILE")
    if key and path:
        raise _wrong("GENRELAY_API_KEY and GENRELAY_API_KEY_FILE are both given; give one of them")
    if path:
        try:
            with Path(path).open(encoding="utf-8") as file:
                key = file.read(_LONGEST_KEY).strip()
        except (OSError, UnicodeDecodeError) as error:
            raise _wrong(f"GENRELAY_API_KEY_FILE can't be read ({type(error).__name__})") from None
    if not key:
        raise _wrong("GENRELAY_API_KEY is not set; `genrelay keys create` makes a key")
    if not key.isascii() or not key.isprintable() or " " in key:
        raise _wrong("GENRELAY_API_KEY must be visible ASCII characters")
    return key


def _wrong(what: str) -> Failure:
    return Failure(what, status=ExitStatus.USAGE)


def place(collection: str, name: str, *more: str) -> str:
    """Return the path of one thing: `/v1/jobs/job_…/cancel`; a name can't leave its place in it. Raises Failure for none."""
    if not name:
        raise _wrong(f"which of the {collection}? The name is empty")
    return "/".join(["/v1", collection, quote(name, safe="").replace(".", "%2E"), *more])
