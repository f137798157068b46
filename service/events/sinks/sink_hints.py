"""What to change when a queue, a topic or a bus refuses a message, by the code of AWS's answer."""

from __future__ import annotations

import re
from typing import Literal

Verdict = Literal["denied", "missing", "bad_key", "kms", "throttled", "too_large", "refused", "clock", "other"]

# Sources, checked 2026-11: the pages named in calls.py, and
# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/CommonErrors.html.
_VERDICTS: dict[str, Verdict] = {
    **dict.fromkeys(
        ("AccessDenied", "AccessDeniedException", "AuthorizationError", "AuthorizationErrorException", "403"), "denied"
    ),
    **dict.fromkeys(("NotAuthorized", "NotAuthorizedForSourceException", "InvalidSecurity"), "denied"),
    **dict.fromkeys(
        ("AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist", "NonExistentQueue", "InvalidAddress"),
        "missing",
    ),
    **dict.fromkeys(("NotFound", "NotFoundException", "ResourceNotFoundException", "404"), "missing"),
    **dict.fromkeys(("InvalidClientTokenId", "UnrecognizedClientException", "InvalidAccessKeyId"), "bad_key"),
    **dict.fromkeys(("SignatureDoesNotMatch", "InvalidSignatureException", "MissingAuthenticationToken"), "bad_key"),
    **dict.fromkeys(("Throttling", "ThrottlingException", "ThrottledException", "RequestThrottled"), "throttled"),
    **dict.fromkeys(("Throttled", "TooManyRequestsException", "RequestLimitExceeded", "OverLimit"), "throttled"),
    **dict.fromkeys(
        ("KMSThrottling", "KMSThrottlingException", "KmsThrottled", "KMS.ThrottlingException"), "throttled"
    ),
    **dict.fromkeys(("RequestThrottledException", "ServiceUnavailable", "SlowDown"), "throttled"),
    **dict.fromkeys(("RequestEntityTooLarge", "MessageTooLong", "RequestEntityTooLargeException", "413"), "too_large"),
    **dict.fromkeys(("InvalidMessageContents", "MalformedDetail"), "refused"),
    "RequestExpired": "clock",
    "RequestTimeTooSkewed": "clock",
}
# AWS has no code of its own for these: SQS calls it InvalidParameterValue, SNS InvalidParameter, EventBridge
# ValidationException, as much else.
_TOO_LARGE = re.compile(
    r"must be shorter than|too long|over the limit|size.{0,40}(?:exceed|limit|maximum)", re.IGNORECASE
)
_INVALID = frozenset(
    {
        *("InvalidParameterValue", "InvalidParameterValueException", "InvalidParameter", "InvalidParameterException"),
        *("ValidationException", "ValidationError", "ParameterValueInvalid", "InvalidArgument"),
    }
)
_CLOCK = re.compile(r"signature (?:expired|not yet current)", re.IGNORECASE)

_ACTIONS = {"sqs": "sqs:SendMessage", "sns": "sns:Publish", "events": "events:PutEvents"}
_THINGS = {"sqs": "queue", "sns": "topic", "events": "event bus"}
_HINTS: dict[Verdict, str] = {
    "denied": "Allow {action} on the {thing} to these credentials, in its own policy too if it is another account's.",
    "missing": "Create the {thing}, or correct the sink's name of it and its region.",
    "bad_key": "Check the access key id and the secret access key of the sink.",
    "kms": (
        "Check that the KMS key of the {thing} exists and is enabled, and allow kms:GenerateDataKey and kms:Decrypt on it to"
        " these credentials, in the key's own policy too."
    ),
    "throttled": "The {thing} takes no more messages right now; it is tried again by itself.",
    "too_large": 'The event is larger than the {thing} takes; use `"payload": "thin"`.',
    "refused": "The {thing} does not take this message, whatever is changed.",
    "clock": "The clock of the machine that runs this service is wrong; its operator has to correct it.",
    "other": "",
}


def decide_verdict(code: str, said: str, status: int) -> Verdict:
    """Decide what an answer means. said: the error's own words, looked at only where codes stand for many things."""
    if _CLOCK.search(said):
        return "clock"
    found = _VERDICTS.get(code)
    if found is not None:
        return found
    if code.lower().startswith("kms"):
        return "kms"
    if status == 413 or (code in _INVALID and _TOO_LARGE.search(said)):
        return "too_large"
    return "throttled" if status in {429, 503} else "other"


def sink_hint(verdict: Verdict, service: str) -> str:
    """Return what to do about it, "" when nobody knows. service: botocore's name of it."""
    return _HINTS[verdict].format(action=_ACTIONS[service], thing=_THINGS[service])
