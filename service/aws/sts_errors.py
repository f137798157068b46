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

from service.aws.answers import read_s3_code, read_s3_message
from service.aws.errors import DestinationDenied, DestinationError, DestinationUnavailable

# What getting credentials raises when something outside is wrong.
STS_ERRORS = (ClientError, BotoCoreError, OSError, ValueError)

# The credentials have ended although we thought them good. S3's names, and those of everything else.
EXPIRED = frozenset({"ExpiredToken", "ExpiredTokenException", "InvalidToken", "TokenRefreshRequired"})
# The key that signed is no good (any more). To a request that we sign with our own, it is ours.
BAD_KEY = frozenset(
    {
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
        "MissingAuthenticationToken",
        "IncompleteSignature",
        "InvalidIdentityToken",
        "OptInRequired",
    }
)

OPERATOR = "The operator of this service has to correct its own AWS credentials; the customer need not change anything."
_CLOCK = "The clock of the machine that runs this service is wrong; its operator has to correct it."
_ROLE = (
    "Let the service assume the role: the role's trust policy has to name the service's principal and your external id, "
    "as the policy for it shows them. A role that does not exist is refused alike."
)
_ACTIVATE = "STS is not active in this region for the service's account; the operator of this service activates it."

# https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html and CommonErrors.html (checked 2026-11)
_HINTS = {
    "AccessDenied": _ROLE,
    "AccessDeniedException": _ROLE,
    "ValidationError": "Correct the role's ARN.",
}
_OUR_HINTS = {
    "RegionDisabledException": _ACTIVATE,
    # Also what a region of another partition answers: China's, GovCloud's.
    "InvalidClientTokenId": f"{OPERATOR} Unless the region belongs to another part of AWS (China, GovCloud).",
}
_PASSING = frozenset({"Throttling", "ThrottlingException", "RequestLimitExceeded", "IDPCommunicationError", *EXPIRED})
_CONNECTION = (BotoConnectionError, HTTPClientError, OSError)


def decide_sts_error(error: BaseException, *, own: bool = False) -> DestinationError:
    """Decide what one of STS_ERRORS means. own: the service's own credentials were asked for, nobody's role.

    What is wrong with these is a passing trouble, however long the operator takes: no customer can change it, and the
    outputs are paid for.
    """
    whose = "the service's own AWS credentials" if own else "the role"
    match error:
        case DestinationError():
            return error
        case ClientError():
            return _decide_answer(error, own=own)
        case TimeoutError():
            return DestinationUnavailable(f"asking for {whose} timed out", OPERATOR if own else None, ours=own)
        case OSError() | BotoConnectionError() | HTTPClientError():
            return DestinationUnavailable(
                f"the connection to STS failed ({type(error).__name__})",
                OPERATOR if own else "Check the region.",
                ours=own,
            )
        case CredentialRetrievalError() | MetadataRetrievalError() | RuntimeError():
            # Only our own are asked of a machine or a file.
            return no_own_credentials(f"can't be had now ({type(error).__name__})")
    # Settings that botocore itself does not take. Its texts name them, so ours does not.
    if own:
        return no_own_credentials(f"can't be used ({type(error).__name__})")
    hint = "Correct the role's ARN and the region."
    return DestinationDenied(f"{whose} can't be used ({type(error).__name__})", hint)


def no_own_credentials(why: str) -> DestinationUnavailable:
    """Return the error of a service whose own credentials are missing or no good; why: what is said of them."""
    return DestinationUnavailable(f"the service's own AWS credentials {why}", OPERATOR, ours=True)


def _decide_answer(error: ClientError, *, own: bool) -> DestinationError:
    code, said = read_s3_code(error), read_s3_message(error)
    message = f"STS answered {code}" + (f": {said}" if said else "")
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") or 0)
    if code in _PASSING or status == 429 or status >= 500:
        return DestinationUnavailable(message, OPERATOR if own or code in EXPIRED else None, s3_code=code, ours=True)
    # STS has no code of its own for a wrong clock. The fault is this machine's, and the role is as good as before.
    if code == "RequestExpired" or "Signature expired" in said or "Signature not yet current" in said:
        return DestinationUnavailable(message, _CLOCK, s3_code=code, ours=True)
    if own or code in BAD_KEY or code in _OUR_HINTS:
        return DestinationUnavailable(message, _OUR_HINTS.get(code, OPERATOR), s3_code=code, ours=True)
    return DestinationDenied(message, _HINTS.get(code), s3_code=code)
