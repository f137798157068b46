"""Servers that repeat our requests in their errors."""

from __future__ import annotations

import time

import pytest
from botocore.exceptions import ClientError

from service.aws.scrubbing import scrub
from service.aws.sts_errors import decide_sts_error
from service.outputs.s3_errors import decide_s3_error

SIGNATURE = "fe5f80f77d5fa3beca038a248ff027d0445342fe2855ddc963176630326f1024"
TOKEN = "IQoJb3JpZ2luX2VjEXAMPLE" + "aB3/+" * 60 + "=="
KEY = "ASIAEXAMPLEOFAROLE00"
SCOPE = f"{KEY}/20261101/us-east-1/s3/aws4_request"

REPEATED = [
    f"Authorization: AWS4-HMAC-SHA256 Credential={SCOPE}, SignedHeaders=host;x-amz-date, Signature={SIGNATURE}",
    f"authorization=AWS {KEY}:short+signature=",
    f"bad header AWS4-HMAC-SHA256 Credential={SCOPE},Signature={SIGNATURE}",
    f"Credential={SCOPE}, Signature = {SIGNATURE}",
    f"x-amz-security-token: {TOKEN}",
    f"X-Amz-Security-Token:{TOKEN[:40]}",
    f"GET /?X-Amz-Credential={SCOPE.replace('/', '%2F')}&X-Amz-Security-Token={TOKEN[:40]}&X-Amz-Signature={SIGNATURE}",
    f"GET /?X-Amz-Credential%3D{KEY}%26X-Amz-Signature%253D{SIGNATURE[:20]}",
    f'{{"X-Amz-Security-Token": "{TOKEN[:40]}", "Signature":"{SIGNATURE[:20]}"}}',
    f"<SignatureProvided>{SIGNATURE}</SignatureProvided>",
    f"you sent {SIGNATURE} but",
    f"\\u003d{SIGNATURE}",
    f"you sent {TOKEN} but",
    f"The Canonical String for this request should have been 'GET\n/\n\nx-amz-security-token\n{TOKEN[:40]}'",
    f"CanonicalRequest:\nGET\n/\n\n{KEY}",
    f"<StringToSign>AWS4-HMAC-SHA256\n20261101T000000Z\n{KEY}",
    f"Signa\u200bture={SIGNATURE[:20]}",
    f"Signature=\n{SIGNATURE[:20]}",
    f"secretAccessKey={SIGNATURE[:20]}",
]


@pytest.mark.parametrize("repeated", REPEATED)
@pytest.mark.parametrize("before", ["", "The request is wrong. ", "word " * 56])
def test_a_request_that_a_server_repeats_is_not_told_further(repeated: str, before: str) -> None:
    response = {
        "Error": {"Code": "AccessDenied", "Message": before + repeated},
        "ResponseMetadata": {"HTTPStatusCode": 403},
    }
    for error in (
        decide_s3_error(ClientError(response, "PutObject")),
        decide_sts_error(ClientError(response, "AssumeRole")),
    ):
        told = f"{error!r} {error.message} {error.hint} {error.s3_code}"
        assert not [part for part in (SIGNATURE[:12], TOKEN[:12], KEY[:12], "short+sig") if part in told], told
        assert before.strip() in error.message


def test_neither_the_code_nor_the_region_carries_a_credential() -> None:
    response = {
        "Error": {"Code": SIGNATURE, "Message": "", "Region": SIGNATURE},
        "ResponseMetadata": {"HTTPStatusCode": 301, "HTTPHeaders": {"x-amz-bucket-region": SIGNATURE}},
    }
    moved = {**response, "Error": {"Code": "PermanentRedirect", "Message": ""}}
    for each in (response, moved):
        error = decide_s3_error(ClientError(each, "PutObject"))
        assert SIGNATURE[:12] not in f"{error.message} {error.hint} {error.s3_code}"


@pytest.mark.parametrize(
    "said",
    [
        "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256.",
        "The authorization header is malformed; the region 'us-east-1' is wrong; expecting 'eu-west-1'",
        "Signature expired: 20261101T000000Z is now earlier than 20261101T001000Z (20261101T001500Z - 5 min.)",
        "The request signature we calculated does not match the signature you provided. Check your key and signing method.",
        "User: arn:aws:sts::123456789012:assumed-role/genrelay/job_01 is not authorized to perform: s3:PutObject on"
        ' resource: "arn:aws:s3:::acme-renders/a/b/c" with an explicit deny in a resource-based policy',
        "The AWS Access Key Id you provided does not exist in our records.",
    ],
)
def test_what_amazon_usually_says_stays_word_for_word(said: str) -> None:
    assert scrub(said, 300) == said


def test_a_text_becomes_one_line_and_is_cut() -> None:
    assert scrub("one\r\n two\x00\x1b[0m", 300) == "one two[0m"
    assert scrub("long " * 100, 300) == ("long " * 100)[:300]


@pytest.mark.parametrize(
    "piece", ["signature=", "a", "0", "canonical ", "x-amz-", "AWS4-", " ", "%25", "authorization "]
)
def test_megabytes_of_whatever_are_scrubbed_at_once(piece: str) -> None:
    began = time.process_time()
    assert len(scrub(piece * 1_000_000, 300)) <= 300
    assert time.process_time() - began < 0.5
