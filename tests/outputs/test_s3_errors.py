"""What S3's errors mean."""

from __future__ import annotations

import ssl

import aiohttp
import pytest
from botocore.exceptions import (
    ClientError,
    ConnectionClosedError,
    ConnectTimeoutError,
    EndpointConnectionError,
    NoCredentialsError,
    ParamValidationError,
    ReadTimeoutError,
    SSLError,
)
from botocore.parsers import ResponseParserError

from service.net import Refused
from service.outputs.errors import DestinationConflict, DestinationDenied, DestinationUnavailable
from service.outputs.s3_errors import S3_ERRORS, decide_s3_error

URL = {"endpoint_url": "https://s3.example/?X-Amz-Signature=query-secret"}


def answer(code: str, status: int, message: str = "Told by S3.", **headers: str) -> ClientError:
    response = {
        "Error": {"Code": code, "Message": message, "StringToSign": "query-secret"},
        "ResponseMetadata": {
            "HTTPStatusCode": status,
            "HTTPHeaders": {k.replace("_", "-"): v for k, v in headers.items()},
        },
    }
    return ClientError(response, "PutObject")


DENIED = [
    ("AccessDenied", 403, "s3:PutObject"),
    ("403", 403, "s3:PutObject"),
    ("AllAccessDisabled", 403, "disabled"),
    ("AccountProblem", 403, "AWS account"),
    ("InvalidAccessKeyId", 403, "access key id"),
    ("SignatureDoesNotMatch", 403, "secret access key"),
    ("InvalidToken", 400, "access key"),
    ("NoSuchBucket", 404, "Create the bucket"),
    ("InvalidBucketName", 400, "bucket's name"),
    ("PermanentRedirect", 301, "region"),
    ("TemporaryRedirect", 307, "region"),
    ("301", 301, "region"),
    ("400", 400, "region"),
    ("AuthorizationHeaderMalformed", 400, "region"),
    ("IllegalLocationConstraintException", 400, "region"),
    ("KMS.DisabledException", 400, "KMS key"),
    ("KMS.NotFoundException", 400, "KMS key"),
    ("KMS.KMSInvalidStateException", 400, "KMS key"),
    ("AccessControlListNotSupported", 400, "acl"),
    ("InvalidStorageClass", 400, "storage_class"),
    ("InvalidTag", 400, "tags"),
    ("NotImplemented", 501, "conditional writes"),
    ("KMS.InvalidKeyUsageException", 400, "KMS key"),
    ("InvalidBucketOwnerAWSAccountID", 400, "expected_bucket_owner"),
    ("InvalidEncryptionAlgorithmError", 400, "encryption"),
    ("InvalidObjectState", 403, "storage_class"),
    ("InvalidRequest", 400, "object lock"),
    ("InvalidArgument", 400, "settings"),
    ("EntityTooLarge", 400, "larger than"),
    ("EntityTooSmall", 400, "PART_BYTES"),
    ("KeyTooLongError", 400, "Shorten"),
    ("MethodNotAllowed", 405, "does not know"),
    ("NotSignedUp", 403, "signed up"),
    ("SomethingNobodyKnows", 400, "destination"),
    ("SomethingNobodyKnows", 418, "destination"),
]


@pytest.mark.parametrize(("code", "status", "hint"), DENIED)
def test_what_somebody_must_change_is_denied_with_a_hint(code: str, status: int, hint: str) -> None:
    error = decide_s3_error(answer(code, status))
    assert isinstance(error, DestinationDenied)
    assert error.s3_code == code
    assert hint in error.hint
    assert error.message == f"S3 answered {code}: Told by S3."


@pytest.mark.parametrize(
    ("code", "status"),
    [("SlowDown", 503), ("ServiceUnavailable", 503), ("InternalError", 500), ("RequestTimeout", 400), ("500", 500),
     ("502", 502), ("504", 504), ("Throttling", 400), ("TooManyRequests", 429), ("OperationAborted", 409),
     ("ConditionalRequestConflict", 409), ("BadDigest", 400), ("IncompleteBody", 400), ("Whatever", 599),
     ("KMS.ThrottlingException", 400), ("KMS.KeyUnavailableException", 500), ("NoSuchUpload", 404),
     ("ExpiredToken", 400), ("TokenRefreshRequired", 400), ("RequestTimeTooSkewed", 403), ("AccessDenied", 503)],
)  # fmt: skip
def test_what_passes_by_itself_is_unavailable(code: str, status: int) -> None:
    error = decide_s3_error(answer(code, status))
    assert isinstance(error, DestinationUnavailable)
    assert error.s3_code == code
    assert not error.final
    assert error.hint


def test_wrong_clock_is_told_to_be_this_machines() -> None:
    assert "clock of the machine" in decide_s3_error(answer("RequestTimeTooSkewed", 403)).hint


@pytest.mark.parametrize(
    ("message", "operation", "hint"),
    [
        ("Access Denied", "PutObject", "Allow s3:PutObject on"),
        ("Access Denied", "PutObject", "expected_bucket_owner"),
        ("Access Denied", "GetObject", "Allow s3:GetObject on"),
        ("Access Denied", "AbortMultipartUpload", "Allow s3:AbortMultipartUpload on"),
        ("Access Denied", "DeleteObject", "Allow s3:DeleteObject on"),
        ("User: arn:x is not authorized to perform: s3:PutObjectTagging on resource: y", "PutObject",
         "Allow s3:PutObjectTagging on"),
        ("User: arn:x is not authorized to perform: s3:PutObject on resource: y with an explicit deny in a "
         "resource-based policy", "PutObject", "denies s3:PutObject explicitly"),
        ("User: arn:x is not authorized to perform: kms:GenerateDataKey on resource: y", "PutObject", "KMS key"),
        ("User: arn:x is not authorized to perform: kms:Decrypt on this resource", "GetObject", "kms:Decrypt"),
        ("The ciphertext refers to a customer master key that does not exist", "GetObject", "KMS key"),
        ("Access Denied because object protected by object lock.", "DeleteObject", "object lock"),
    ],
)  # fmt: skip
def test_denial_names_what_to_allow_by_its_text_or_by_what_was_asked(message: str, operation: str, hint: str) -> None:
    response = {
        "Error": {"Code": "AccessDenied", "Message": message},
        "ResponseMetadata": {"HTTPStatusCode": 403, "HTTPHeaders": {}},
    }
    error = decide_s3_error(ClientError(response, operation))
    assert isinstance(error, DestinationDenied)
    assert hint in error.hint


CERTIFICATE = ssl.SSLCertVerificationError("self-signed certificate")


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (EndpointConnectionError(error="refused", **URL), DestinationUnavailable),
        (ConnectTimeoutError(error="slow", **URL), DestinationUnavailable),
        (ReadTimeoutError(error="slow", **URL), DestinationUnavailable),
        (ConnectionClosedError(error="gone", request=None, **URL), DestinationUnavailable),
        (SSLError(error=OSError("handshake failed"), **URL), DestinationUnavailable),
        (SSLError(error=CERTIFICATE, **URL), DestinationDenied),
        (aiohttp.ClientPayloadError("query-secret"), DestinationUnavailable),
        (ResponseParserError("Unable to parse response: query-secret"), DestinationUnavailable),
        (ConnectionResetError("query-secret"), DestinationUnavailable),
        (TimeoutError(), DestinationUnavailable),
        (NoCredentialsError(), DestinationDenied),
        (ParamValidationError(report="query-secret"), DestinationDenied),
        (ValueError("Invalid endpoint: query-secret"), DestinationDenied),
        (Refused("private_address", "the host has an address that is not public"), DestinationDenied),
    ],
)
def test_trouble_before_an_answer_is_decided_too_and_quotes_nothing(error: Exception, kind: type[Exception]) -> None:
    assert isinstance(error, S3_ERRORS)
    decided = decide_s3_error(error)
    assert isinstance(decided, kind)
    assert "secret" not in f"{decided!r} {decided.message} {decided.hint}"
    assert decided.hint


def test_right_region_is_named_when_s3_names_it() -> None:
    error = decide_s3_error(answer("PermanentRedirect", 301, x_amz_bucket_region="eu-west-3"))
    assert error.hint == "Set the destination's region to the one the bucket is in: eu-west-3."


def test_servers_words_are_cut_and_cleaned() -> None:
    error = decide_s3_error(answer("E" * 500, 400, "line\nbreak\x1b[31m" + "x" * 5000))
    assert len(error.message) < 400
    assert error.message.isprintable()
    assert len(error.s3_code or "") == 64


def test_answer_without_anything_in_it_is_decided() -> None:
    assert isinstance(decide_s3_error(ClientError({}, "PutObject")), DestinationDenied)


def test_our_own_errors_stay_what_they_are() -> None:
    conflict = DestinationConflict("taken")
    assert decide_s3_error(conflict) is conflict
