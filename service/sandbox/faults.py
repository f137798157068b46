"""The menu of faults: what a prompt can ask this Novita to do wrong.

A marker in the prompt chooses them, so that it works through every client: `a lighthouse [fault:slow=2.5]`,
`[fault:lost] [fault:v2_envelope]`, or several in one: `[fault:429=2, retry_after=7]`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

ALWAYS = math.inf


@dataclass(frozen=True, slots=True)
class Fault:
    """One entry of the menu. default: the value of a marker without one; None means that it takes no value."""

    sentence: str
    default: float | None = None


FAULTS: Mapping[str, Fault] = {
    # --- The submit's answer
    "400": Fault("The submit is rejected as ILLEGAL_PROMPT; nothing runs."),
    "403_html": Fault("The submit is answered 403 with a proxy's HTML page; nothing runs."),
    "429": Fault("The first N submits of this prompt answer 429 RATE_LIMIT_EXCEEDED; nothing runs.", 1),
    "retry_after": Fault("Every 429 carries `Retry-After` with this many seconds.", 1),
    "500_before": Fault("The submit answers 500 and nothing runs."),
    "500_after": Fault("The task is accepted, runs and calls back, but its submit answers 500."),
    "reset_after": Fault("The task is accepted, runs and calls back, but its submit's connection is reset."),
    "hang": Fault("The task is accepted, and its submit is answered this many seconds later.", 5),
    "early": Fault("The submit is answered this many seconds after the first try of the callback.", 0.1),
    "v2_envelope": Fault('The submit answers in the envelope of V2: `{"code": 0, "msg": "", "data": {"task_id": …}}`.'),
    # --- How the task goes
    "slow": Fault("The task takes this many seconds.", 2),
    "held": Fault("The task is PROCESSING until `POST /_sandbox/release/{task_id}`, then it ends as usual."),
    "stuck": Fault("The task is PROCESSING for ever and never calls back."),
    "failed": Fault(
        "The first N submits of this prompt end as TASK_STATUS_FAILED with a reason; default: all.", ALWAYS
    ),
    "no_outputs": Fault("The task succeeds without any image."),
    "no_outputs_once": Fault("The callback and the first N look-ups after the end show no image; later ones do.", 1),
    "more_images": Fault("The task makes twice as many images as were asked for."),
    # --- Callbacks
    "lost": Fault("The callback is never sent."),
    "duplicated": Fault("The callback is sent three times, two of them at once."),
    "reordered": Fault("An outdated event that says PROCESSING is sent after the final one."),
    "forged": Fault("First a stranger's callback claims success with URLs of his own; the task succeeds later."),
    "forged_failure": Fault("First a stranger's callback claims failure; the task succeeds later."),
    "foreign": Fault("First comes a callback that names another task's id."),
    "malformed": Fault("First comes a callback whose body is garbage."),
    "unknown_event": Fault("First comes a callback with an unknown event_type and a status nobody knows."),
    "oversized": Fault("First comes a callback with a body of more than 1 MiB."),
    # --- Look-ups
    "not_found": Fault("The first N look-ups answer 404 TASK_NOT_FOUND.", 1),
    "lookup_500": Fault("The first N look-ups answer 500 GET_RESULT_FAILED.", 1),
    "lookup_429": Fault("The first N look-ups answer 429 RATE_LIMIT_EXCEEDED.", 1),
    "lookup_foreign": Fault("The first N look-ups answer with another task's result.", 1),
    "queued": Fault("Until the task ends its look-ups say TASK_STATUS_QUEUED."),
    "unknown_status": Fault("Until the task ends its look-ups say TASK_STATUS_UNKNOWN."),
    "no_echo": Fault("Neither callback nor look-up repeats the callback URL."),
    # --- Images
    "expired": Fault("The URLs in the callback and the first N look-ups are expired; later look-ups sign anew.", 1),
    "expired_forever": Fault("Every image URL is already expired."),
    "private_url": Fault("The image URLs point at http://169.254.169.254/."),
    "redirect": Fault("An image URL answers 302 to http://169.254.169.254/."),
    "image_404": Fault("The images do not exist."),
    "image_503": Fault("The first N downloads of an image answer 503 SlowDown.", 1),
    "slow_image": Fault("The body of an image trickles in over this many seconds.", 5),
    "truncated": Fault("The first N downloads of an image carry half of it, with an honest length.", ALWAYS),
    "cut": Fault("The connection closes in the middle of the first N downloads of an image.", ALWAYS),
    "wrong_type": Fault("The image is said to be a picture, and its content is an HTML page."),
    "mislabeled": Fault("The image is said to be JPEG in every place, and its content is PNG."),
    "huge": Fault("The image is a stream without end."),
}

_MARKER = re.compile(r"\[fault:([^\]]*)\]")


class BadFault(ValueError):  # noqa: N818 - what the prompt has, not what went wrong here
    """A marker that is not on the menu."""


@dataclass(frozen=True, slots=True)
class Faults:
    """The faults that one prompt asks for, with their values."""

    values: Mapping[str, float]

    def __contains__(self, name: str) -> bool:
        """Tell whether the prompt asks for this one."""
        return name in self.values

    def value(self, name: str) -> float:
        """Return a fault's number (seconds or a count); 0 when it was not asked for."""
        return self.values.get(name, 0.0)


NONE = Faults({})


def read_faults(prompt: str) -> Faults:
    """Return the faults of a prompt; raises BadFault for one that is not on the menu or has a bad value."""
    if "[fault:" not in prompt:
        return NONE
    markers = [item for inside in _MARKER.findall(prompt) for item in re.split(r"[,\s]+", inside.strip()) if item]
    return Faults(dict(_read_marker(marker) for marker in markers))


def strip_faults(prompt: str) -> str:
    """Return the prompt without its markers: what the picture is drawn from."""
    return prompt if "[fault:" not in prompt else " ".join(_MARKER.sub(" ", prompt).split())


def _read_marker(marker: str) -> tuple[str, float]:
    name, equals, text = marker.partition("=")
    fault = FAULTS.get(name)
    if fault is None:
        raise BadFault(f"this sandbox has no fault {name!r}; see /_sandbox/faults")
    if not equals:
        return name, 0.0 if fault.default is None else fault.default
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if fault.default is None or not 0 <= value < math.inf:
        raise BadFault(f"{marker!r} is not how the fault {name!r} is written; see /_sandbox/faults")
    return name, value
