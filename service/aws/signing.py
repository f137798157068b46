"""Signs a client's requests with credentials that may be renewed in between, or refused before they end."""

from __future__ import annotations

from functools import partial
from typing import Any

from service.aws.errors import DestinationUnavailable
from service.aws.renewal import SharedCredentials
from service.aws.sts_errors import BAD_KEY, EXPIRED, OPERATOR

_ONCE = "genrelay_renewed"
_STAYS = "The session is renewed by itself. If it stays so, check that the region is enabled in the role's account."
# What a revoked session looks like, and much else: only believed of credentials that we have had for a while.
_OLD_SECONDS = 60.0
_DENIED = frozenset({"AccessDenied", "AccessDeniedException", "AuthorizationError"})


def sign_with(client: Any, credentials: SharedCredentials) -> None:
    """Sign every request of the client with these credentials; one that they are refused for is sent once more."""
    service = client.meta.service_model.service_id.hyphenize()
    client.meta.events.register(f"before-sign.{service}", partial(_lend, credentials))
    client.meta.events.register(f"needs-retry.{service}", partial(_renew_once, credentials))


async def _lend(credentials: SharedCredentials, request: Any, **_rest: object) -> None:
    """Tell botocore whose credentials to use: those are in the request's context when it is refused."""
    signing = request.context.get("signing") or {}
    request.context["signing"] = {**signing, "request_credentials": await credentials.get()}


async def _renew_once(
    credentials: SharedCredentials, response: Any, operation: Any, request_dict: dict[str, Any], **_rest: object
) -> float | None:
    """Return 0 when the request is to be signed anew and sent again, None when botocore decides alone."""
    if response is None or response[0].status_code < 300:
        return None
    context = request_dict["context"]
    used, code = context["signing"]["request_credentials"], response[1].get("Error", {}).get("Code")
    if code in EXPIRED or (credentials.ours and code in BAD_KEY):
        if context.get(_ONCE) or not credentials.drop(used):
            raise _refused(credentials, operation.service_model.service_id, code)
    elif context.get(_ONCE) or not (
        _may_be_revoked(code, operation.name) and credentials.drop(used, older_than=_OLD_SECONDS)
    ):
        return None
    context[_ONCE] = True
    return 0


def _refused(credentials: SharedCredentials, service: str, code: str) -> DestinationUnavailable:
    if credentials.ours:
        message = f"{service} answered {code} to the service's own AWS credentials"
        return DestinationUnavailable(message, OPERATOR, s3_code=code, ours=True)
    return DestinationUnavailable(f"{service} answered {code} to credentials that are new", _STAYS, s3_code=code)


def _may_be_revoked(code: str | None, operation: str) -> bool:
    """Whether this is what AWS says to a session that was revoked; S3 says 400 to HEAD when it has expired.

    A 403 to HEAD is what S3 says of objects that are not there, to whoever may not list the bucket.
    """
    return code == "400" if operation.startswith("Head") else code in _DENIED
