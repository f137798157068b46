"""The file that `genrelay jobs submit` is given: a job's body, a provider's own body, or a whole curl command."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from service.cli.curl_command import is_curl, read_curl
from service.cli.documents import name_of, parse_document, read_bytes
from service.cli.failures import ExitStatus, Failure

# The service has keys of its own, and drops these; they don't even leave this machine.
_KEYS = ("key", "api_key")


def choose_file(argument: str | None, option: str | None) -> str:
    """Return the file that was named in either way; raises Failure."""
    if (argument is None) == (option is None):
        raise Failure(
            "which file?" if argument is None else "the file is named twice",
            detail="give FILE or --file; - reads standard input",
            status=ExitStatus.USAGE,
        )
    return str(argument or option)


def read_job(
    file: str, provider: str | None, operation: str | None, list_providers: Callable[[], Sequence[dict[str, Any]]]
) -> dict[str, Any]:
    """Return the body of `POST /v1/jobs` for a file; raises Failure.

    list_providers: asks the service for its providers, only done for a curl command whose options leave it open.
    """
    given = read_bytes(file)
    text = given.decode("utf-8", errors="replace")
    if is_curl(text):
        _check_encoding(given, file)
        return _from_curl(text, file, provider, operation, list_providers)
    if (provider is None) != (operation is None):
        raise Failure("--provider and --operation go together", status=ExitStatus.USAGE)
    body = parse_document(given, name_of(file))
    if provider is not None and operation is not None:
        return _wrap(provider, operation, body)
    return {**body, "input": _without_keys(body["input"])} if isinstance(body.get("input"), dict) else body


def _from_curl(
    text: str,
    file: str,
    provider: str | None,
    operation: str | None,
    list_providers: Callable[[], Sequence[dict[str, Any]]],
) -> dict[str, Any]:
    command = read_curl(text, file)
    if provider is not None and operation is not None:
        return _wrap(provider, operation, command.body)
    found = [
        (p["name"], o["name"])
        for p in list_providers()
        for o in p["operations"]
        if o["path"].rstrip("/") == command.path and provider in {None, p["name"]} and operation in {None, o["name"]}
    ]
    if len(found) == 1:
        return _wrap(*found[0], command.body)
    options = "; ".join(f"--provider {name} --operation {what}" for name, what in found)
    raise Failure(
        f"several operations live at {command.path}"
        if found
        else f"no operation that is known lives at {command.path}",
        detail=f"say which: {options}" if found else None,
        hint=None if found else "Say what it is with --provider and --operation.",
        status=ExitStatus.USAGE,
    )


def _check_encoding(given: bytes, file: str) -> None:
    """Raise Failure for another encoding than UTF-8: a shell would send its bytes, which are no JSON."""
    try:
        given.decode()
    except UnicodeDecodeError:
        title = f"the curl command in {name_of(file)} is not UTF-8"
        raise Failure(title, hint="Save the file as UTF-8.", status=ExitStatus.USAGE) from None


def _wrap(provider: str, operation: str, body: dict[str, Any]) -> dict[str, Any]:
    return {"provider": provider, "operation": operation, "input": _without_keys(body)}


def _without_keys(body: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if name not in _KEYS}
