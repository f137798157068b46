"""What every provider module offers, and the types it speaks in.

A provider never does I/O: it builds an `HttpCall`, somebody else sends it, and it reads the `HttpReply`. Whatever comes
back, it answers with one of the types below; only `read_callback` raises, and only `CallbackUnreadable`.
How to write one: docs/adding-a-provider.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from service.jobs.errors import JobError

Json = Any
TaskStatus = Literal["TASK_STATUS_SUCCEED", "TASK_STATUS_FAILED"]
OutputKind = Literal["image", "video", "audio"]


# --- What goes in ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Mistake:
    """One thing wrong with a request: where (`input.request.width`), which rule, what came (shortened, never a secret)."""

    path: str
    rule: str
    got: str | None = None


@dataclass(frozen=True, slots=True)
class TestMode:
    """The job asks for a mock result instead of a paid one."""

    __test__ = False  # not a test class, whatever its name says

    return_task_status: TaskStatus


@dataclass(frozen=True, slots=True)
class CustomStorage:
    """The bucket a provider's own body names (`extra.custom_storage.aws_s3`)."""

    region: str
    bucket: str
    path: str
    save_to_path_directly: bool


@dataclass(frozen=True, slots=True)
class CheckedInput:
    """A request body that may be sent.

    body: JSON for the provider, without what is ours (webhook, test mode, storage, `key`), otherwise word for word.
    images: how many outputs it asks for (what rate limits count).
    webhook, test_mode, storage, track_id: what the body said about delivery, to be obeyed by us; none of it goes out.
    test_mode_disabled: the body said `enabled: false` in so many words (a contradiction to a top-level `true`).
    """

    body: dict[str, Json]
    images: int = 1
    webhook: str | None = None
    test_mode: TestMode | None = None
    test_mode_disabled: bool = False
    storage: CustomStorage | None = None
    track_id: str | None = None


@dataclass(frozen=True, slots=True)
class ProviderAccess:
    """What a module needs to know to build calls: where the provider lives and our key there."""

    base_url: str
    api_key: str


@dataclass(frozen=True, slots=True)
class Ours:
    """What we add to a submit.

    callback_url: where the provider shall post, a secret; None when we can't be reached. reference: our own name for the
    attempt, for providers that repeat one in their callbacks (ModelsLab's `track_id`); unique, and worth nothing to a forger.
    test_mode: the job asks for a mock.
    """

    callback_url: str | None = field(default=None, repr=False)
    reference: str = ""
    test_mode: TestMode | None = None


@dataclass(frozen=True, slots=True)
class MockCallback:
    """The callback of a task that never was, in the provider's own shape; we post it ourselves."""

    task_id: str
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class EndedFile:
    """One output of a job that has ended, as whoever made the job may fetch it.

    url: a signed link, a secret, good for `ttl_seconds`; None: there is nothing to link to, or it is a test job's, whose
    outputs are in the provider's own mock. media_type, width, height: of the stored file. nsfw: as in Source.
    """

    kind: OutputKind
    url: str | None = field(default=None, repr=False)
    ttl_seconds: int = 0
    media_type: str | None = None
    width: int | None = None
    height: int | None = None
    nsfw: Mapping[str, Json] | None = None


@dataclass(frozen=True, slots=True)
class EndedJob:
    """How a job ended, for a receiver that was written for the provider's own webhook.

    task_id: the provider's; None: there never was a task. job_id: as we show it. words: why it failed, None when it succeeded.
    test: it had a mock. body: what was sent to the provider, {} when it is not kept any more. webhook, track_id: what the
    customer gave. began, ended: Unix seconds.
    """

    job_id: str
    succeeded: bool
    files: tuple[EndedFile, ...] = ()
    task_id: str | None = None
    words: str | None = None
    test: bool = False
    body: Mapping[str, Json] = field(default_factory=dict, repr=False)
    webhook: str | None = field(default=None, repr=False)
    track_id: str | None = None
    began: float | None = None
    ended: float | None = None


@dataclass(frozen=True, slots=True)
class SentCallback:
    """What the provider would have posted to the customer's webhook."""

    body: bytes = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=lambda: {"content-type": "application/json"})


@dataclass(frozen=True, slots=True)
class HttpCall:
    """One request for somebody else to send; `body` is JSON or None; `headers` may hold our key, so never log them."""

    method: Literal["GET", "POST"]
    url: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class HttpReply:
    """A whole answer. Header names are lower case; the body was capped by whoever read it."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)


# --- What comes back ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Source:
    """One file the provider made: where to fetch it, and what the provider claims about it (only a claim).

    url: http(s) URL; a secret while it is signed, so never log its query; None when the file came with the answer.
    inline: the file itself, then. encoded: what the URL gives is the file's base64 text. ttl_seconds: None when not said.
    """

    index: int
    kind: OutputKind
    url: str | None = field(default=None, repr=False)
    ttl_seconds: int | None = None
    claimed_type: str | None = None
    nsfw: dict[str, Json] | None = None
    inline: bytes | None = field(default=None, repr=False)
    encoded: bool = False


@dataclass(frozen=True, slots=True)
class Accepted:
    """Submit: the provider has the task and will call back."""

    task_id: str


@dataclass(frozen=True, slots=True)
class Finished:
    """Submit: the provider answered with the result itself."""

    task_id: str | None
    sources: tuple[Source, ...]


@dataclass(frozen=True, slots=True)
class Rejected:
    """Submit: refused for good, in the provider's own envelope; nothing ran and nothing is owed."""

    error: JobError


@dataclass(frozen=True, slots=True)
class NotRun:
    """Submit: proven not to have run, but worth another try (429). retry_after: seconds, None when not said."""

    reason: str
    retry_after: float | None = None


@dataclass(frozen=True, slots=True)
class Unclear:
    """Submit: nobody can tell whether the task runs (5xx, not JSON, no task id)."""

    reason: str


SubmitOutcome = Accepted | Finished | Rejected | NotRun | Unclear


@dataclass(frozen=True, slots=True)
class StillRunning:
    """Read-back: not finished; any status we don't know counts as this."""

    provider_status: str | None
    progress: int | None = None  # percent, 0 to 100


@dataclass(frozen=True, slots=True)
class Succeeded:
    """Read-back: finished well. `sources` may be empty: the caller reads again a bounded number of times."""

    provider_status: str
    sources: tuple[Source, ...]


@dataclass(frozen=True, slots=True)
class Failed:
    """Read-back: finished badly."""

    provider_status: str
    error: JobError


@dataclass(frozen=True, slots=True)
class TaskNotFound:
    """Read-back: the provider does not know this task (yet, or any more)."""


@dataclass(frozen=True, slots=True)
class LookUpUnavailable:
    """Read-back: no answer that says anything about the task; ask again later. retry_after: seconds."""

    reason: str
    retry_after: float | None = None


State = StillRunning | Succeeded | Failed
LookUpOutcome = State | TaskNotFound | LookUpUnavailable


@dataclass(frozen=True, slots=True)
class ReadBack:
    """A read-back: what it says, and the callback URL that the provider echoes for this task (None: it echoes none)."""

    outcome: LookUpOutcome
    callback_url: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class CallbackHint:
    """What a callback's body claims. Nothing in it is authenticated.

    known_event: its kind is one that we understand. task_id: as text, None when missing. state: the claimed state.
    """

    known_event: bool
    task_id: str | None
    state: State | None


class CallbackUnreadable(Exception):  # noqa: N818 - a verdict more than an error
    """The body of a callback is not what this provider sends; the message says why, without quoting the body."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One thing a provider can be asked for.

    path: below the base URL. input_schema: JSON Schema of `input`, shown at `/v1/providers`. example: an input as the
    documentation has one, which passes the check; None for an operation that only the settings know.
    answers: "task" when the submit names a task that is read back later, "result" when the submit's own answer, minutes
    later, is the result. takes_webhook: whether the submit carries our callback URL. native_test_mode: whether the provider
    sends mocks itself; else we do. outputs: the kinds it makes. outputs_anywhere: nobody documents where its outputs lie, so
    they may come from any public host, unless the operator names some.
    """

    name: str
    path: str
    input_schema: dict[str, Json] = field(repr=False)
    example: Json = field(default=None, repr=False)
    answers: Literal["task", "result"] = "task"
    takes_webhook: bool = True
    native_test_mode: bool = False
    outputs: tuple[OutputKind, ...] = ("image",)
    outputs_anywhere: bool = False


@dataclass(frozen=True, slots=True)
class OperationConfig:
    """What the operator says about one operation; None leaves a known one as it is.

    enabled: False takes it away. path: where it lives now, or, of an operation that we don't know, where it is.
    """

    enabled: bool = True
    path: str | None = None
    takes_webhook: bool | None = None
    outputs: tuple[OutputKind, ...] | None = None


class Provider(Protocol):
    """A provider module's one object; registered in `service/providers/registry.py`.

    A method that is given an operation also copes with one that the settings have taken away since, but for
    `check_input` and `submit_call`, which are never asked about those.
    """

    @property
    def name(self) -> str:
        """Return the provider's name in our API."""
        ...

    @property
    def echoes_callback_url(self) -> bool:
        """Return whether a read-back repeats the callback URL, which then is the proof that a task is the job's own."""
        ...

    @property
    def operations(self) -> Mapping[str, Operation]:
        """Return every operation by its name."""
        ...

    @property
    def taken_away(self) -> Mapping[str, Operation]:
        """Return the operations that the settings have switched off; jobs that went out before are asked about as ever."""
        ...

    def configured(self, operations: Mapping[str, OperationConfig]) -> Provider:
        """Return the provider with the operator's word on its operations; raises ValueError for what can't be."""
        ...

    def check_input(self, operation: str, given: Json) -> CheckedInput | list[Mistake]:
        """Check `input` of a job against the documentation; every mistake at once, paths begin with `input`."""
        ...

    def submit_call(self, access: ProviderAccess, operation: str, body: dict[str, Json], ours: Ours) -> HttpCall:
        """Build the submit; `body` is a CheckedInput's."""
        ...

    def read_submit(self, operation: str, reply: HttpReply) -> SubmitOutcome:
        """Read the answer to a submit; never raises."""
        ...

    def look_up_call(
        self, access: ProviderAccess, operation: str, task_id: str, sent_to: str | None = None
    ) -> HttpCall:
        """Build the read-back of one task. sent_to: the path of its submit, which the settings may have moved since."""
        ...

    def read_look_up(self, operation: str, task_id: str, reply: HttpReply) -> ReadBack:
        """Read the answer to a read-back; never raises. An answer about another task is LookUpUnavailable."""
        ...

    def mock_callback(self, operation: str, body: dict[str, Json], ours: Ours) -> MockCallback:
        """Build the callback that the provider would send for a test job, from `ours` and `body` alone."""
        ...

    def sent_callback(self, operation: str, job: EndedJob) -> SentCallback:
        """Build what the provider would have posted to the customer about a job; an output without a link is left out."""
        ...

    def read_callback(self, body: bytes) -> CallbackHint:
        """Read a callback's body; raises CallbackUnreadable and nothing else."""
        ...
