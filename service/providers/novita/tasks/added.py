"""Operations that only the settings know: any other `/v3/async/…`, whose page nobody has turned into a shape here.

What answers with its images all the same, as Seedream does, has made them and was paid for them: they are kept.

https://novita.ai/docs/api-reference/model-apis-introduction (the list of pages, most of which document no `extra` at
all), checked 2026-09
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import NotRequired

from pydantic import ConfigDict, with_config
from typing_extensions import TypedDict  # pydantic takes typing's own only from Python 3.12 on

from service.providers.checking import InputCheck
from service.providers.contract import Finished, HttpReply, Operation, SubmitOutcome, Unclear
from service.providers.novita import submits
from service.providers.novita.dialect import Dialect
from service.providers.novita.seedream import answers
from service.providers.novita.tasks.task import check_body, count_asked
from service.providers.ours import CustomStorageSettings, WebhookSettings

OPEN = ConfigDict(strict=True, extra="allow", allow_inf_nan=False)


@with_config(OPEN)
class AnyExtra(TypedDict):
    """`extra`: what is ours in it has its shape, the rest is the provider's."""

    webhook: NotRequired[WebhookSettings]
    custom_storage: NotRequired[CustomStorageSettings]


@with_config(OPEN)
class AnyInput(TypedDict):
    """Any JSON object."""

    extra: NotRequired[AnyExtra | None]


_CHECK = InputCheck(AnyInput)


def describe_added(operation: Operation) -> Dialect:
    """Return the dialect of an operation that takes any JSON object, and of which nothing else is known.

    Nobody can say whether it obeys Novita's test mode, so it is taken to have none: a test job must never be paid.
    """
    shown = replace(operation, input_schema=_CHECK.schema)
    return Dialect(shown, partial(check_body, _CHECK, count_asked), count_asked, read_submit)


def read_submit(operation: str, reply: HttpReply) -> SubmitOutcome:
    """Read the answer to a submit: a task, or else images in a success; never raises."""
    outcome = submits.read_submit(operation, reply)
    if not isinstance(outcome, Unclear):
        return outcome
    made = answers.read_submit(operation, reply)
    return made if isinstance(made, Finished) and made.sources else outcome
