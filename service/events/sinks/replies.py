"""What came of a try to give a message to AWS: whose fault it is, and whether trying again can help."""

from __future__ import annotations

import json
import ssl
from collections.abc import Mapping
from typing import Any

import aiohttp
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
from botocore.exceptions import ConnectionError as BotoConnectionError
from botocore.parsers import ResponseParserError

from service.aws.answers import read_s3_code, read_s3_message, read_status
from service.aws.errors import DestinationError
from service.aws.scrubbing import scrub
from service.crypto import UndecryptableError
from service.events.letter import Reply
from service.events.sinks.calls import SinkCall, read_entry_error, read_message_id
from service.events.sinks.sink_hints import decide_verdict, sink_hint
from service.net import Refused

# Everything that a call raises when something outside is wrong. The second line: what botocore makes of answers that are
# JSON, but not what was to be answered; an own endpoint may be anybody's.
SINK_ERRORS = (
    *(
        DestinationError,
        ClientError,
        BotoCoreError,
        ResponseParserError,
        Refused,
        aiohttp.ClientError,
        OSError,
        ValueError,
    ),
    *(AttributeError, LookupError, TypeError, RecursionError, UndecryptableError),
)
_NAMES = {"sqs": "SQS", "sns": "SNS", "events": "EventBridge"}
_CONNECTION = (BotoConnectionError, HTTPClientError, aiohttp.ClientError, OSError)
_UNREADABLE = (ResponseParserError, AttributeError, LookupError, TypeError, RecursionError)


def read_reply(call: SinkCall, answer: Mapping[str, Any], *, keep: int, at_aws: bool) -> Reply:
    """Read an answer of 200. keep: so much of it, in bytes. at_aws: whether AWS itself answered."""
    refused = read_entry_error(answer)
    if refused is not None:
        code, said = scrub(refused[0], 64), scrub(refused[1], 300)
        return _decide_answer(call.service, code, said, read_status(dict(answer)), at_aws=at_aws)
    found = read_message_id(answer)
    if found is None:
        return _unreadable(call.service)
    kept = {"MessageId": found[:200]}
    if isinstance(answer.get("SequenceNumber"), str):
        kept["SequenceNumber"] = answer["SequenceNumber"][:200]
    return Reply("delivered", status=200, response=json.dumps(kept).encode()[:keep])


def decide_reply(service: str, error: BaseException, *, at_aws: bool) -> Reply:
    """Decide what one of SINK_ERRORS means. service: botocore's name. at_aws: whether it was AWS itself that was asked."""
    match error:
        case DestinationError():
            hint = "" if error.hint == error.usual_hint else error.hint
            return Reply("ours" if error.ours else "failed", error=_join(error.message, hint))
        case UndecryptableError():
            return Reply("ours", error=f"the sink's secret can't be read: {error}")
        case Refused():
            return Reply("failed", error=f"the sink's endpoint is not allowed: {error}", final=True)
        case ClientError():
            status = read_status(error.response)
            return _decide_answer(service, read_s3_code(error), read_s3_message(error), status, at_aws=at_aws)
        case UnicodeDecodeError():
            return Reply(
                "failed", error="the event's body is not text, which a sink can't take", final=True, this_one=True
            )
        case TimeoutError():
            return Reply("failed", error=f"{_NAMES[service]} did not answer in time")
        case error if isinstance(error, _CONNECTION):
            return _decide_connection(service, error)
        case error if isinstance(error, _UNREADABLE):
            return _unreadable(service)
    # Parameters, names and credentials that botocore itself does not take. Its texts name them, so ours does not.
    return Reply("failed", error=f"the sink's description can't be used ({type(error).__name__})")


def _decide_answer(service: str, code: str, said: str, status: int, *, at_aws: bool) -> Reply:
    verdict = decide_verdict(code, said, status)
    unfit = verdict in {"too_large", "refused"}
    error = _join(f"{_NAMES[service]} answered {code}" + (f": {said}" if said else ""), sink_hint(verdict, service))
    return Reply(
        # A stranger's server may say what it likes of our clock.
        "ours" if verdict == "clock" and at_aws else "failed",
        status=status or None,
        error=error,
        final=unfit,
        this_one=unfit,
        slow_down=verdict == "throttled",
    )


def _decide_connection(service: str, error: BaseException) -> Reply:
    if _has_certificate_trouble(error):
        return Reply("failed", error="the endpoint's TLS certificate is not trusted")
    return Reply("failed", error=f"the connection to {_NAMES[service]} failed ({type(error).__name__})")


def _has_certificate_trouble(error: BaseException) -> bool:
    causes = [error, error.__cause__, error.__context__, getattr(error, "kwargs", {}).get("error")]
    causes += [getattr(cause, "certificate_error", None) for cause in causes]
    return any(isinstance(cause, ssl.SSLCertVerificationError) for cause in causes)


def _unreadable(service: str) -> Reply:
    return Reply("failed", error=f"the answer is not one of {_NAMES[service]}. Check the sink's endpoint_url.")


def _join(message: str, hint: str) -> str:
    return f"{message.removesuffix('.')}. {hint}" if hint else message
