"""What became of a trial, in four steps: submitted, arrived, parsed, and the status that was asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from service.jobs.lifecycle import Status
from service.providers.contract import Failed, Mistake, Succeeded, TaskStatus
from service.webhook_checks.report import OF_A_JOB, Step, fill, skipped
from service.webhook_checks.trial import Came, Evidence, no_connection

_SUBMITTED, _ARRIVED, _PARSED, _AS_ASKED = OF_A_JOB
_ENDS = {"TASK_STATUS_SUCCEED": Status.SUCCEEDED, "TASK_STATUS_FAILED": Status.FAILED}


def decide_refused(wanted: TaskStatus, mistakes: Sequence[Mistake]) -> list[Step]:
    """Return the steps of a test job that was not taken in."""
    said = "; ".join(f"{mistake.path}: {mistake.rule}" for mistake in mistakes[:5])
    if any(mistake.path == "provider" for mistake in mistakes):
        step = Step(_SUBMITTED, False, "no_api_key", said, "Set the provider's API key in the service's settings.")
    else:
        hint = "The operation's own example is refused; check with an operation that has a better one."
        step = Step(_SUBMITTED, False, "refused", said, hint)
    return [replace(each, return_task_status=wanted) for each in fill([step], OF_A_JOB)]


def decide_steps(found: Evidence) -> list[Step]:
    """Return the steps of a test job that was waited for."""
    submitted = decide_submitted(found)
    steps = [submitted, decide_arrived(found, submitted)]
    if found.callbacks:
        came = best_of(found.callbacks)
        parsed = decide_parsed(came)
        steps += [parsed, decide_as_asked(found, came) if parsed.ok else skipped(_AS_ASKED)]
    return [
        replace(step, job_id=found.job_id, return_task_status=found.wanted) for step in fill(steps, OF_A_JOB)
    ]  # fmt: skip


def best_of(callbacks: Sequence[Came]) -> Came:
    """Return the callback that says most: the one that was believed, else one that can be read, else the first."""
    believed = [came for came in callbacks if came.verdict == "mock"]
    readable = [came for came in callbacks if came.hint is not None and came.hint.known_event]
    return (believed or readable or list(callbacks))[0]


def decide_submitted(found: Evidence) -> Step:
    """Say whether the provider has the job; a callback that came proves it better than any answer."""
    job, last = found.job, next((row for row in reversed(found.attempts) if row["outcome"]), None)
    # The attempt's own time: what came before are pauses of ours, and attempts that failed.
    seconds = None if last is None else (last["ended_at"] - last["started_at"]).total_seconds()
    if job.provider_task_id is not None or found.callbacks:
        return Step(_SUBMITTED, True, None, _name_task(found), None, seconds)
    code, message, hint = _explain_not_submitted(found, last)
    return Step(_SUBMITTED, False, code, message, hint, seconds)


def _name_task(found: Evidence) -> str:
    task = found.job.provider_task_id
    if task is None:
        return "its callback came before the submit was answered"
    return f"accepted as task {task}" if found.native else f"the service posts the mock itself, as task {task}"


def _explain_not_submitted(found: Evidence, last: Any) -> tuple[str, str, str]:
    job = found.job
    if last is not None and last["outcome"] == "unclear":
        return "submit_unclear", last["note"] or "the submit's answer was lost", _what_unclear_means(found)
    if job.error is not None:
        return job.error["code"], _with_providers_words(job.error), job.error["hint"]
    if last is not None and no_connection(last):
        return "not_sent", f"the provider can't be connected to ({last['note']})", _name_the_way_out(job.provider)
    if last is not None:
        hint = "It is sent again until its deadline; `genrelay jobs get` tells what becomes of it."
        return "not_sent", f"the provider has not taken it yet: {last['note']}", hint
    if job.status is Status.QUEUED:
        hint = (
            "Is a worker running (`genrelay serve --role worker`)? If so, a limit holds the job back, or the provider is "
            "left alone for a while after failures."
        )
        return "not_taken_up", f"no worker has sent it within {found.seconds:.0f} s", hint
    hint = "The provider is slow, or does not answer; `genrelay jobs get` tells what becomes of it."
    return "no_answer", f"the provider has not answered the submit within {found.seconds:.0f} s", hint


def _name_the_way_out(provider: str) -> str:
    return (
        f"Is GENRELAY_PROVIDERS__{provider.upper()}__BASE_URL right? Else look at the way out of the worker's machine: its "
        "DNS, and a firewall or an egress policy. Calls to providers take no proxy from the environment."
    )


def _what_unclear_means(found: Evidence) -> str:
    if found.native:
        return (
            "In test mode the provider calls back from inside of the submit, and answers 500 when that fails: look at the "
            "steps before, and for a firewall that lets this machine through and not the provider."
        )
    return "The service posts this provider's mocks itself, to its own public URL: look at the steps before."


def _with_providers_words(error: dict[str, Any]) -> str:
    said = error["provider"] or {}
    words = [str(said[name]) for name in ("status", "code", "message") if said.get(name) is not None]
    return f"{error['message']} (the provider said: {' '.join(words)})" if words else str(error["message"])


def decide_arrived(found: Evidence, submitted: Step) -> Step:
    """Say whether a callback came, and how long it took from the submit's beginning."""
    if found.callbacks:
        came = best_of(found.callbacks)
        began = next((r["started_at"] for r in found.attempts if r["number"] == came.attempt), found.job.created_at)
        seconds = max(0.0, (came.received_at - began).total_seconds())
        return Step(_ARRIVED, True, None, f"it came {seconds:.3f} s after the submit began", None, seconds)
    if submitted.ok is False and submitted.code != "submit_unclear":
        return skipped(_ARRIVED)
    message = f"no callback came within {found.seconds:.0f} s"
    if submitted.ok is False:
        return Step(_ARRIVED, False, "no_callback", f"{message}: {submitted.message}", submitted.hint)
    return Step(_ARRIVED, False, "no_callback", message, _what_keeps_it_away(found))


def _what_keeps_it_away(found: Evidence) -> str:
    later = "One that comes later shows up under `genrelay jobs get`."
    if found.native:
        return (
            "If the steps before are fine, something lets this machine through and not the provider: a firewall, an allow "
            f"list, DNS that differs outside. {later}"
        )
    return (
        "The worker posted this operation's mock itself, and something at GENRELAY_PUBLIC_URL acknowledged it: another "
        f"service than this one, or a genrelay with another database. {later}"
    )


def decide_parsed(came: Came) -> Step:
    """Say whether a callback can be read."""
    seconds = None if came.judged_at is None else (came.judged_at - came.received_at).total_seconds()
    hint = "The provider's format has changed, or something on the way rewrites bodies."
    if came.hint is None:
        return Step(_PARSED, False, "unreadable", came.unreadable, hint, seconds)
    if not came.hint.known_event:
        return Step(_PARSED, False, "unknown_event", "it is of a kind that is not known here", hint, seconds)
    if not isinstance(came.hint.state, Succeeded | Failed):
        return Step(_PARSED, False, "no_end", "it does not say how the task ended", hint, seconds)
    claimed = came.hint.state.provider_status
    return Step(_PARSED, True, None, f"it says {claimed}; verdict: {came.verdict or 'none yet'}", None, seconds)


def decide_as_asked(found: Evidence, came: Came) -> Step:
    """Say whether the job ended the way that its mock was asked to say."""
    job, wanted = found.job, _ENDS[found.wanted]
    total = None if job.completed_at is None else (job.completed_at - job.created_at).total_seconds()
    if not job.ended:
        verdict = "has no verdict" if came.verdict is None else f"was judged {came.verdict}"
        hint = "Is a worker running? `genrelay jobs watch` tells what becomes of it."
        return Step(_AS_ASKED, False, "not_ended", f"the callback {verdict}, and the job is {job.status.value}", hint)
    if job.verified_by == "token" and job.status is wanted:
        return Step(_AS_ASKED, True, None, f"the job {job.status.value}, as asked", None, total)
    why = "" if job.error is None else f" ({job.error['code']})"
    message = f"asked for {found.wanted}, and the job is {job.status.value}{why}"
    return Step(_AS_ASKED, False, "other_status", message, "Ask the provider what its test mode does.", total)
