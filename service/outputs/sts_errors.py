"""What an error on the way to AWS credentials means: who has to change what, or whether it passes."""

from __future__ import annotations

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    HTTPClientError,
    MetadataRetrievalError,
)
from botocore.exceptions import ConnectionError as BotoConnectionError

from service.outputs.errors import DestinationDenied, DestinationError, DestinationUnavailable
from service.outputs.s3_errors import read_s3_code

# What getting credentials raises when something outside is wrong.
STS_ERRORS = (ClientError, BotoCoreError, OSError, ValueError)

# The credentials have ended although we thought them good. S3's names, and those of everything else.
EXPIRED = frozenset({"ExpiredToken", "ExpiredTokenException", "InvalidToken", "TokenRefreshRequired"})

OPERATOR = "The operator of this service has to correct its own AWS credentials; then retry the job."
_CLOCK = "The clock of the machine that runs this service is wrong; its operator has to correct it."
_ROLE = (
    "Let the service assume the role: the role's trust policy has to name the service's principal and your external id, "
    "as the destination's policy shows them. A role that does not exist is refused alike."
)
_ACTIVATE = "STS is not active in this region for the service's account; the operator of this service activates it."

# https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html and CommonErrors.html (checked 2026-11)
_HINTS = {
    "AccessDenied": _ROLE,
    "AccessDeniedException": _ROLE,
    "ValidationError": "Correct the role's ARN.",
    "RegionDisabledException": _ACTIVATE,
    # Also what a region of another partition answers: China's, GovCloud's.
    "InvalidClientTokenId": f"{OPERATOR} Or the destination's region belongs to another part of AWS (China, GovCloud).",
    "SignatureDoesNotMatch": OPERATOR,
    "UnrecognizedClientException": OPERATOR,
    "MissingAuthenticationToken": OPERATOR,
    "IncompleteSignature": OPERATOR,
    "OptInRequired": OPERATOR,
    "InvalidIdentityToken": OPERATOR,
}
_PASSING = frozenset({"Throttling", "ThrottlingException", "RequestLimitExceeded", "IDPCommunicationError", *EXPIRED})
_CONNECTION = (BotoConnectionError, HTTPClientError, OSError)


def decide_sts_error(error: BaseException, *, own: bool = False) -> DestinationError:
    """Decide what one of STS_ERRORS means. own: the service's own credentials were asked for, nobody's role."""
    whose = "the service's own AWS credentials" if own else "the role"
    match error:
        case DestinationError():
            return error
        case ClientError():
            return _decide_answer(error, own=own)
        case TimeoutError():
            return DestinationUnavailable(f"asking for {whose} timed out")
        case OSError() | BotoConnectionError() | HTTPClientError():
            return DestinationUnavailable(
                f"the connection to STS failed ({type(error).__name__})",
                None if own else "Check the destination's region.",
            )
        case CredentialRetrievalError() | MetadataRetrievalError() | RuntimeError():
            return DestinationUnavailable(f"{whose} can't be had now ({type(error).__name__})")
    # Settings that botocore itself does not take. Its texts name them, so ours does not.
    hint = OPERATOR if own else "Correct the role's ARN and the destination's region."
    return DestinationDenied(f"{whose} can't be used ({type(error).__name__})", hint)


def _decide_answer(error: ClientError, *, own: bool) -> DestinationError:
    code = read_s3_code(error)
    said = "".join(c for c in str(error.response.get("Error", {}).get("Message") or "") if c.isprintable())[:300]
    message = f"STS answered {code}" + (f": {said}" if said else "")
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") or 0)
    if code in _PASSING or status == 429 or status >= 500:
        return DestinationUnavailable(message, s3_code=code)
    # STS has no code of its own for a wrong clock. The fault is this machine's, and the role is as good as before.
    if code == "RequestExpired" or "Signature expired" in said or "Signature not yet current" in said:
        return DestinationUnavailable(message, _CLOCK, s3_code=code)
    return DestinationDenied(message, OPERATOR if own else _HINTS.get(code), s3_code=code)
