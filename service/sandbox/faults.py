"""The menu of faults: what a prompt can ask a provider to do wrong, and which providers obey.

A marker in the prompt chooses them, so that it works through every client: `a lighthouse [fault:slow=2.5]`,
`[fault:lost] [fault:v2_envelope]`, or several in one: `[fault:429=2, retry_after=7]`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

ALWAYS = math.inf

# Seedream is Novita's too, but it answers with the result itself, so most of what can go wrong is another thing there.
Speaker = Literal["novita", "seedream", "modelslab"]

_ALL: tuple[Speaker, ...] = ("novita", "seedream", "modelslab")
_TASKS: tuple[Speaker, ...] = ("novita", "modelslab")


@dataclass(frozen=True, slots=True)
class Fault:
    """One entry of the menu. default: the value of a marker without one; None means that it takes no value."""

    sentence: str
    default: float | None = None
    obeyed_by: tuple[Speaker, ...] = _ALL


_SUBMITS: Mapping[str, Fault] = {
    "400": Fault("The submit is rejected in the provider's own words for a prompt it does not like; nothing runs."),
    "403_html": Fault("The submit is answered 403 with a proxy's HTML page; nothing runs."),
    "retired": Fault("The submit is answered 404 in the provider's own words for an unknown API; nothing runs."),
    "gone": Fault("The submit is answered 410 with a gateway's plain text; nothing runs."),
    "429": Fault("The first N submits of this prompt answer 429; nothing runs.", 1),
    "retry_after": Fault(
        "Every 429 says how many seconds to wait: Novita in the header `Retry-After`, ModelsLab in the body.", 1
    ),
    "500_before": Fault("The submit answers 500 and nothing runs."),
    "500_after": Fault("The task is accepted, runs and calls back, but its submit answers 500."),
    "reset_after": Fault("The task is accepted, runs and calls back, but its submit's connection is reset."),
    "hang": Fault("The task is accepted, and its submit is answered this many seconds later.", 5),
    "early": Fault("The submit is answered this many seconds after the first try of the callback.", 0.1, _TASKS),
    "v2_envelope": Fault(
        'The submit answers in the envelope of V2: `{"code": 0, "msg": "", "data": {"task_id": …}}`.', None, ("novita",)
    ),
    # --- A result in the submit's own answer
    "url_objects": Fault('The outputs are objects, `{"url": …}`.', None, ("seedream",)),
    "data_uri": Fault("The outputs are data URIs.", None, ("seedream",)),
    "base64": Fault("The outputs are bare base64.", None, ("seedream",)),
    "fewer": Fault("There is one image fewer than was asked for.", None, ("seedream",)),
    "ark_error": Fault("The answer is 200 with an `error` of Ark's in it; nothing is paid.", None, ("seedream",)),
    "ark_400": Fault("The submit is refused with 400 in Ark's envelope; nothing is paid.", None, ("seedream",)),
    # --- ModelsLab's many shapes
    "instant": Fault("The submit answers with the result itself, once the task is done.", None, ("modelslab",)),
    "error_200": Fault("The submit is refused with HTTP 200; nothing runs.", None, ("modelslab",)),
    "message_object": Fault("The submit is refused with an object as `message`; nothing runs.", None, ("modelslab",)),
    "id_null": Fault("The submit's answer has `null` for an id; `fetch_result` ends with it.", None, ("modelslab",)),
    "no_id": Fault("The submit's answer does not tell the id in any place.", None, ("modelslab",)),
    "id_text": Fault("The id is a text that is no number, in every place.", None, ("modelslab",)),
    "messege": Fault(
        'Until the task ends its look-ups say `{"status": "processing", "messege": "Request processing"}`.',
        None,
        ("modelslab",),
    ),
    "output_text": Fault("Wherever `output` would be an empty list it is an empty text.", None, ("modelslab",)),
    "empty_webhook": Fault("The callback claims success without any URL; look-ups have them.", None, ("modelslab",)),
}

_COURSE: Mapping[str, Fault] = {
    "slow": Fault("The task takes this many seconds.", 2),
    "held": Fault("The task goes on until `POST /_sandbox/release/{task_id}`, then it ends as usual."),
    "stuck": Fault("The task goes on for ever and never calls back.", None, _TASKS),
    "failed": Fault("The first N submits of this prompt end as failures with a reason; default: all.", ALWAYS, _TASKS),
    "no_outputs": Fault("The task succeeds without any output."),
    "no_outputs_once": Fault(
        "The callback and the first N look-ups after the end show no output; later ones do.", 1, _TASKS
    ),
    "more_images": Fault("The task makes twice as many outputs as were asked for."),
}

_CALLBACKS: Mapping[str, Fault] = {
    "lost": Fault("The callback is never sent.", None, _TASKS),
    "duplicated": Fault("The callback is sent three times, two of them at once.", None, _TASKS),
    "reordered": Fault("An outdated event that says PROCESSING is sent after the final one.", None, _TASKS),
    "forged": Fault(
        "First a stranger's callback claims success with URLs of his own; the task succeeds later.", None, _TASKS
    ),
    "forged_failure": Fault("First a stranger's callback claims failure; the task succeeds later.", None, _TASKS),
    "foreign": Fault("First comes a callback that names another task's id.", None, _TASKS),
    "malformed": Fault("First comes a callback whose body is garbage.", None, _TASKS),
    "unknown_event": Fault(
        "First comes a callback about something nobody knows, with an unknown status.", None, _TASKS
    ),
    "oversized": Fault("First comes a callback with a body of more than 1 MiB.", None, _TASKS),
}

_LOOK_UPS: Mapping[str, Fault] = {
    "not_found": Fault("The first N look-ups know no such task (404).", 1, _TASKS),
    "lookup_500": Fault("The first N look-ups answer 500.", 1, _TASKS),
    "lookup_429": Fault("The first N look-ups answer 429.", 1, _TASKS),
    "lookup_foreign": Fault("The first N look-ups answer with another task's result.", 1, _TASKS),
    "queued": Fault("Until the task ends its look-ups say TASK_STATUS_QUEUED.", None, ("novita",)),
    "unknown_status": Fault("Until the task ends its look-ups say a status that nobody knows.", None, _TASKS),
    "no_echo": Fault("Neither callback nor look-up repeats the callback URL.", None, _TASKS),
}

_OUTPUTS: Mapping[str, Fault] = {
    "expired": Fault(
        "The URLs in the callback (Seedream: the answer) and the first N look-ups are expired; later look-ups sign anew.",
        1,
        ("novita", "seedream"),
    ),
    "expired_forever": Fault("Every output URL is already expired.", None, ("novita", "seedream")),
    "private_url": Fault("The output URLs point at http://169.254.169.254/."),
    "redirect": Fault("An output URL answers 302 to http://169.254.169.254/."),
    "image_404": Fault("The outputs do not exist."),
    "image_503": Fault("The first N downloads of an output answer 503 SlowDown.", 1),
    "slow_image": Fault("The body of an output trickles in over this many seconds.", 5),
    "truncated": Fault("The first N downloads of an output carry half of it, with an honest length.", ALWAYS),
    "cut": Fault("The connection closes in the middle of the first N downloads of an output.", ALWAYS),
    "wrong_type": Fault("The output is said to be a picture, and its content is an HTML page."),
    "mislabeled": Fault("The image is said to be JPEG in every place, and its content is PNG."),
    "huge": Fault("The output is a stream without end."),
}

FAULTS: Mapping[str, Fault] = {**_SUBMITS, **_COURSE, **_CALLBACKS, **_LOOK_UPS, **_OUTPUTS}

_MARKER = re.compile(r"\[fault:([^\]]*)\]")


class BadFault(ValueError):  # noqa: N818 - what the prompt has, not what went wrong here
    """A marker that is not on the menu of the provider that was asked."""


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


def read_faults(prompt: str, speaker: Speaker) -> Faults:
    """Return the faults of a prompt; raises BadFault for one that this provider does not obey or with a bad value."""
    if "[fault:" not in prompt:
        return NONE
    markers = [item for inside in _MARKER.findall(prompt) for item in re.split(r"[,\s]+", inside.strip()) if item]
    return Faults(dict(_read_marker(marker, speaker) for marker in markers))


def strip_faults(prompt: str) -> str:
    """Return the prompt without its markers: what the picture is drawn from."""
    return prompt if "[fault:" not in prompt else " ".join(_MARKER.sub(" ", prompt).split())


def _read_marker(marker: str, speaker: Speaker) -> tuple[str, float]:
    name, equals, text = marker.partition("=")
    fault = FAULTS.get(name)
    if fault is None or speaker not in fault.obeyed_by:
        raise BadFault(f"this sandbox has no fault {name!r} for {speaker}; see /_sandbox/faults")
    if not equals:
        return name, 0.0 if fault.default is None else fault.default
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if fault.default is None or not 0 <= value < math.inf:
        raise BadFault(f"{marker!r} is not how the fault {name!r} is written; see /_sandbox/faults")
    return name, value
