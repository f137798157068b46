"""What an error of S3 means for a job: may it be tried again, and if not, what has to be changed."""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import aiohttp
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
from botocore.exceptions import ConnectionError as BotoConnectionError
from botocore.parsers import ResponseParserError

from service.aws.answers import read_s3_code, read_s3_message, read_status
from service.net import Refused
from service.outputs.errors import DestinationDenied, DestinationError, DestinationUnavailable
from service.outputs.s3_hints import hint_for, needs_region

# Everything that a call of an S3 client raises when something outside is wrong. ValueError: an endpoint it can't read.
# ResponseParserError: an answer that is no XML, which botocore does not count among its own errors.
S3_ERRORS = (
    *(ClientError, BotoCoreError, ResponseParserError),
    *(Refused, aiohttp.ClientError, OSError, TimeoutError, ValueError),
)

# Passing troubles that S3 reports with a 4xx, or whose code says more than their status.
_PASSING = frozenset(
    {
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "TooManyRequests",
        "RequestLimitExceeded",
        "Busy",
        "RequestTimeout",
        "RequestTimeoutException",
        "OperationAborted",
        "ConditionalRequestConflict",
        # Of an upload that was ended meanwhile: the file begins anew.
        "NoSuchUpload",
        # Keys have no sessions, so that this is one of ours (a role's), which is renewed.
        "ExpiredToken",
        "TokenRefreshRequired",
        # The fault is this machine's, and the bucket is as good as before.
        "RequestTimeTooSkewed",
        "RequestExpired",
        "BadDigest",
        "IncompleteBody",
        "XAmzContentSHA256Mismatch",
        "XAmzContentChecksumMismatch",
        "KMS.ThrottlingException",
        "KMS.KMSInternalException",
        "KMS.DependencyTimeoutException",
        "KMS.KeyUnavailableException",
        "InternalError",
        "ServiceUnavailable",
    }
)


def decide_s3_error(error: BaseException) -> DestinationError:
    """Decide what an error of an S3 call means; it is one of S3_ERRORS, or one of ours, which is returned as it is."""
    match error:
        case DestinationError():
            return error
        case Refused():
            return DestinationDenied(
                f"the destination's endpoint is not allowed: {error}",
                "Use an https endpoint at a public address, or ask the operator to open its subnet.",
            )
        case ClientError():
            return _decide_answer(error)
        case ResponseParserError():
            return DestinationUnavailable(
                "the S3 endpoint gave an answer that can't be read",
                "Check that the destination's endpoint is that of S3.",
            )
        case BotoConnectionError() | HTTPClientError() | aiohttp.ClientError() | OSError():
            return _decide_connection(error)
    # Parameters, names and credentials that botocore itself does not take. Its texts name them, so ours does not.
    return DestinationDenied(f"the destination's description can't be used ({type(error).__name__})")


@contextmanager
def as_destination_errors() -> Iterator[None]:
    """Turn what a call of an S3 client raises into what it means."""
    try:
        yield
    except S3_ERRORS as error:
        raise decide_s3_error(error) from None


def _decide_answer(error: ClientError) -> DestinationError:
    code, status = read_s3_code(error), read_status(error.response)
    said = read_s3_message(error)
    message = f"S3 answered {code}" + (f": {said}" if said else "")
    hint = hint_for(code, said, str(error.operation_name))
    # A 501 is a 5xx that stays; what S3 names itself is told by its code.
    if code in _PASSING or status in {408, 425, 429, 503} or (status >= 500 and (hint is None or code.isdigit())):
        return DestinationUnavailable(message, hint, s3_code=code)
    if needs_region(hint) and (region := _region(error.response)):
        hint = f"{str(hint).removesuffix('.')}: {region}."
    return DestinationDenied(message, hint, s3_code=code)


def _region(response: dict[str, Any]) -> str:
    headers = response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    told = str(headers.get("x-amz-bucket-region") or response.get("Error", {}).get("Region") or "")
    return told if re.fullmatch(r"[a-z0-9-]{1,40}", told) else ""


def _decide_connection(error: BaseException) -> DestinationError:
    if _has_certificate_trouble(error):
        return DestinationDenied(
            "the S3 endpoint's TLS certificate is not trusted", "Use an endpoint with a certificate of a public CA."
        )
    kind = "timed out" if isinstance(error, TimeoutError) else f"failed ({type(error).__name__})"
    return DestinationUnavailable(f"the connection to S3 {kind}", "Check the destination's region and endpoint.")


def _has_certificate_trouble(error: BaseException) -> bool:
    """Look through an error and what it wraps: botocore keeps the cause in its arguments, aiohttp in its context."""
    causes = [error, error.__cause__, error.__context__, getattr(error, "kwargs", {}).get("error")]
    causes += [getattr(cause, "certificate_error", None) for cause in causes]
    return any(isinstance(cause, ssl.SSLCertVerificationError) for cause in causes)
