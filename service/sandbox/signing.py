"""Image URLs that look like S3's pre-signed ones, are checked, and die after an hour or a day.

The signature is an HMAC of ours over path and query, not AWS's algorithm: nobody outside of the sandbox computes it.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from calendar import timegm
from urllib.parse import parse_qsl, urlencode

URL_LIFE_SECONDS = 3600
_DATE = "%Y%m%dT%H%M%SZ"
_NAMES = {
    "X-Amz-Algorithm",
    "X-Amz-Credential",
    "X-Amz-Date",
    "X-Amz-Expires",
    "X-Amz-SignedHeaders",
    "x-id",
    "X-Amz-Signature",
}


def sign_path(key: bytes, path: str, at: float, life_seconds: int = URL_LIFE_SECONDS) -> str:
    """Return path and query of a URL that was signed at `at` (Unix seconds) and lives for an hour, or as long as told."""
    date = time.strftime(_DATE, time.gmtime(at))
    query = urlencode(
        {
            "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
            "X-Amz-Credential": f"SANDBOX/{date[:8]}/ap-southeast-1/s3/aws4_request",
            "X-Amz-Date": date,
            "X-Amz-Expires": life_seconds,
            "X-Amz-SignedHeaders": "host",
            "x-id": "GetObject",
        }
    )
    return f"{path}?{query}&X-Amz-Signature={_signature(key, path, query)}"


def explain_refusal(key: bytes, path: str, query: str, now: float) -> tuple[str, str] | None:
    """Return S3's error code and message for a URL that must not be served, None for a good one."""
    pairs = parse_qsl(query, keep_blank_values=True)
    given = dict(pairs)
    if len(pairs) != len(_NAMES) or given.keys() != _NAMES:
        return "AccessDenied", "Access Denied"
    unsigned = urlencode([pair for pair in pairs if pair[0] != "X-Amz-Signature"])
    if not hmac.compare_digest(given["X-Amz-Signature"].encode(), _signature(key, path, unsigned).encode()):
        return "SignatureDoesNotMatch", "The request signature we calculated does not match the signature you provided."
    signed_at = timegm(time.strptime(given["X-Amz-Date"], _DATE))
    if now >= signed_at + int(given["X-Amz-Expires"]):
        return "AccessDenied", "Request has expired"
    return None


def _signature(key: bytes, path: str, query: str) -> str:
    return hmac.new(key, f"{path}?{query}".encode(), hashlib.sha256).hexdigest()
