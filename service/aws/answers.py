"""What an answer of S3, STS or another service of AWS says went wrong."""

from __future__ import annotations

from typing import Any

from botocore.exceptions import ClientError

from service.aws.scrubbing import scrub


def read_s3_code(error: ClientError) -> str:
    """Return the server's own code, at most 64 visible characters; the status where there is none."""
    code = str(error.response.get("Error", {}).get("Code") or read_status(error.response))
    return scrub(code, 64)


def read_s3_message(error: ClientError) -> str:
    """Return the server's own words, at most 300 visible characters without credentials; "" where there are none."""
    return scrub(str(error.response.get("Error", {}).get("Message") or ""), 300)


def read_status(response: dict[str, Any]) -> int:
    """Return the HTTP status of an answer as botocore read it; 0 when there is none."""
    return int(response.get("ResponseMetadata", {}).get("HTTPStatusCode") or 0)
