"""What an error of S3 means for a job: may it be tried again, and if not, what has to be changed."""

from __future__ import annotations

import ssl
from typing import Any

import aiohttp
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
from botocore.exceptions import ConnectionError as BotoConnectionError

from service.net import Refused
from service.outputs.errors import DestinationDenied, DestinationError, DestinationUnavailable

# Everything that a call of an S3 client raises when something outside is wrong. ValueError: an endpoint it can't read.
S3_ERRORS = (ClientError, BotoCoreError, Refused, aiohttp.ClientError, OSError, TimeoutError, ValueError)

_CREDENTIALS = "Check the access key id and the secret access key of the destination."
_PERMISSION = "Allow s3:PutObject and s3:GetObject on the bucket and prefix; look at the bucket policy and KMS key too."
_REGION = "Set the destination's region to the one the bucket is in."
_KMS = "Check that the KMS key exists, is enabled, and may be used (kms:GenerateDataKey) by these credentials."
_ACL = "The bucket does not take ACLs; remove `acl` from the destination."

# https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html (checked 2026-11). HEAD has no body, so that the
# status is its code.
_HINTS = {
    "AccessDenied": _PERMISSION,
    "403": _PERMISSION,
    "AllAccessDisabled": "All access to this bucket has been disabled; ask its owner or AWS.",
    "AccountProblem": "There is a problem with the AWS account of the bucket; ask AWS.",
    "InvalidAccessKeyId": _CREDENTIALS,
    "SignatureDoesNotMatch": _CREDENTIALS,
    "ExpiredToken": "The credentials have expired; renew them.",
    "InvalidToken": _CREDENTIALS,
    "TokenRefreshRequired": "The credentials have expired; renew them.",
    "NoSuchBucket": "Create the bucket, or correct its name.",
    "InvalidBucketName": "Correct the bucket's name.",
    "PermanentRedirect": _REGION,
    "TemporaryRedirect": _REGION,
    "301": _REGION,
    "307": _REGION,
    "400": _REGION,
    "AuthorizationHeaderMalformed": _REGION,
    "IllegalLocationConstraintException": _REGION,
    "IncorrectEndpoint": _REGION,
    "AccessControlListNotSupported": _ACL,
    "InvalidBucketAclWithObjectOwnership": _ACL,
    "InvalidStorageClass": "Correct the destination's `storage_class`.",
    "InvalidTag": "Correct the destination's `tags`.",
    "NotImplemented": "The S3 server does not know something that is needed here (conditional writes, say).",
    "RequestTimeTooSkewed": "The clock of the machine that runs this service is wrong; its operator has to correct it.",
}

# Passing troubles that S3 reports with a 4xx, or whose code says more than their status.
_PASSING = frozenset(
    {
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "TooManyRequests",
        "RequestLimitExceeded",
        "RequestTimeout",
        "RequestTimeoutException",
        "OperationAborted",
        "ConditionalRequestConflict",
        "BadDigest",
        "IncompleteBody",
        "XAmzContentSHA256Mismatch",
        "KMS.ThrottlingException",
        "KMS.KMSInternalException",
        "KMS.DependencyTimeoutException",
        "InternalError",
        "ServiceUnavailable",
    }
)


def read_s3_code(error: ClientError) -> str:
    """Return S3's own code, at most 64 visible characters; the status where there is none."""
    code = str(error.response.get("Error", {}).get("Code") or _status(error.response))
    return _visible(code, 64)


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
        case BotoConnectionError() | HTTPClientError() | aiohttp.ClientError() | OSError():
            return _decide_connection(error)
    # Parameters, names and credentials that botocore itself does not take. Its texts name them, so ours does not.
    return DestinationDenied(f"the destination's description can't be used ({type(error).__name__})")


def _decide_answer(error: ClientError) -> DestinationError:
    code, status = read_s3_code(error), _status(error.response)
    said = _visible(str(error.response.get("Error", {}).get("Message") or ""), 300)
    message = f"S3 answered {code}" + (f": {said}" if said else "")
    if code in _PASSING or status in {408, 425, 429} or (status >= 500 and code not in _HINTS):
        return DestinationUnavailable(message, s3_code=code)
    return DestinationDenied(message, _hint(code, error.response), s3_code=code)


def _hint(code: str, response: dict[str, Any]) -> str | None:
    if code.startswith("KMS"):
        return _KMS
    hint = _HINTS.get(code)
    if hint is _REGION and (region := _region(response)):
        return f"{_REGION.removesuffix('.')}: {region}."
    return hint


def _region(response: dict[str, Any]) -> str:
    headers = response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    return _visible(str(headers.get("x-amz-bucket-region") or response.get("Error", {}).get("Region") or ""), 64)


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


def _status(response: dict[str, Any]) -> int:
    return int(response.get("ResponseMetadata", {}).get("HTTPStatusCode") or 0)


def _visible(text: str, longest: int) -> str:
    return "".join(c for c in text if c.isprintable())[:longest]
