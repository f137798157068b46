"""What every provider must do, whoever it is. A provider without recorded samples fails here."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.jobs.errors import JobError
from service.providers import contract
from service.providers.contract import (
    CallbackHint,
    CallbackUnreadable,
    CheckedInput,
    HttpReply,
    LookUpUnavailable,
    Mistake,
    NotRun,
    Operation,
    Ours,
    ProviderAccess,
    ReadBack,
    TaskNotFound,
)
from service.providers.registry import PROVIDERS

from .arbitrary import QUICK, answer_headers, as_bytes, json_values, names_in, swapped
from .recorded import Sample, fits, load_samples

ACCESS = ProviderAccess("https://provider.example", "sk_our-own-key")
CALLBACK = "https://relay.example/v1/callbacks/some/secret-token"
OURS = Ours(CALLBACK, "job_01-1")
SUBMIT_OUTCOMES = contract.SubmitOutcome.__args__
LOOK_UP_OUTCOMES = contract.LookUpOutcome.__args__
STATES = contract.State.__args__

each_provider = pytest.mark.parametrize("name", PROVIDERS)
each_operation = pytest.mark.parametrize(
    ("name", "operation"),
    [(name, operation) for name, provider in PROVIDERS.items() for operation in provider.operations],
)
SAMPLES = [sample for name in PROVIDERS for sample in load_samples(name)]
INPUTS = [sample for sample in SAMPLES if sample.reads == "input"]


def find_missing_samples(name: str, operations: Iterable[Operation]) -> list[str]:
    """Return what a provider's samples fail to show."""
    samples = load_samples(name)
    shown = {(sample.reads, sample.expected_type) for sample in samples}
    inputs = {sample.said["operation"] for sample in samples if sample.reads == "input"}
    results = {s.said["operation"] for s in samples if (s.reads, s.expected_type) == ("submit", "Finished")}
    missing = [f"input of {each.name}" for each in operations if each.name not in inputs]
    missing += [f"submit: Finished of {o.name}" for o in operations if o.answers == "result" and o.name not in results]
    wanted = {"submit": ["Rejected", "NotRun", "Unclear"]}
    if any(each.answers == "task" for each in operations):
        wanted["submit"] += ["Accepted"]
        wanted["look_up"] = ["StillRunning", "Succeeded", "Failed", "TaskNotFound", "LookUpUnavailable"]
        wanted["callback"] = ["Succeeded", "Failed", "StillRunning", "CallbackUnreadable"]
    missing += [f"{reads}: {kind}" for reads, kinds in wanted.items() for kind in kinds if (reads, kind) not in shown]
    return missing


def find_values(value: Any, name: str) -> Iterator[Any]:
    """Yield what every field of the name holds, however deep."""
    if isinstance(value, dict):
        yield from (part for key, part in value.items() if key == name)
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else []:
        yield from find_values(part, name)


def first_input(name: str, operation: str) -> Any:
    return next(s.said["body"] for s in INPUTS if s.provider == name and s.said["operation"] == operation)


@each_provider
def test_provider_has_a_sample_of_everything_it_reads(name: str) -> None:
    assert find_missing_samples(name, PROVIDERS[name].operations.values()) == []


def test_provider_without_samples_is_noticed() -> None:
    operations = [Operation("txt2img", "/txt2img", {}), Operation("at-once", "/at-once", {}, answers="result")]
    missing = find_missing_samples("nobody", operations)
    assert {"input of txt2img", "submit: Finished of at-once", "look_up: Failed"} <= set(missing)
    callbacks = {"callback: Succeeded", "callback: Failed", "callback: StillRunning", "callback: CallbackUnreadable"}
    assert callbacks <= set(missing)


@pytest.mark.parametrize("sample", SAMPLES, ids=str)
def test_sample_reads_as_recorded(sample: Sample) -> None:
    read = sample.read(PROVIDERS[sample.provider])
    assert fits(read, sample.said["expect"]), read


@pytest.mark.parametrize("sample", SAMPLES, ids=str)
def test_sample_says_where_it_was_seen(sample: Sample) -> None:
    assert sample.said["source"]


@each_provider
def test_provider_goes_by_its_name_in_the_registry(name: str) -> None:
    assert PROVIDERS[name].name == name


@each_operation
def test_operation_shows_a_schema_that_is_json(name: str, operation: str) -> None:
    shown = PROVIDERS[name].operations[operation]
    assert shown.name == operation
    assert shown.path.startswith("/")
    schema = json.loads(json.dumps(shown.input_schema))
    assert schema["type"] == "object"
    assert schema["additionalProperties"] is False


@each_operation
@pytest.mark.parametrize("given", [None, True, 5, "text", [], {}, {"request": None}, {"request": []}, {"extra": 1}])
def test_wrong_input_gives_mistakes_with_paths(name: str, operation: str, given: Any) -> None:
    mistakes = PROVIDERS[name].check_input(operation, given)
    assert isinstance(mistakes, list)
    assert mistakes
    assert all(mistake.path.split(".")[0] == "input" and mistake.rule for mistake in mistakes)


@pytest.mark.parametrize("sample", INPUTS, ids=str)
def test_unknown_field_is_a_mistake(sample: Sample) -> None:
    given = {**sample.said["body"], "no_such_field": 1}
    mistakes = PROVIDERS[sample.provider].check_input(sample.said["operation"], given)
    assert mistakes == [Mistake("input.no_such_field", "unknown field")]


@pytest.mark.parametrize("sample", INPUTS, ids=str)
def test_key_in_the_input_is_never_kept(sample: Sample) -> None:
    given = {"key": "sk_customers-own", **sample.said["body"]}
    checked = PROVIDERS[sample.provider].check_input(sample.said["operation"], given)
    assert "sk_customers-own" not in repr(checked)
    assert checked == PROVIDERS[sample.provider].check_input(sample.said["operation"], sample.said["body"])


@pytest.mark.parametrize("sample", INPUTS, ids=str)
def test_checking_leaves_the_given_input_alone(sample: Sample) -> None:
    before = json.dumps(sample.said["body"])
    PROVIDERS[sample.provider].check_input(sample.said["operation"], sample.said["body"])
    assert json.dumps(sample.said["body"]) == before


@pytest.mark.parametrize("sample", INPUTS, ids=str)
def test_submit_carries_our_key_and_our_callback_and_shows_neither(sample: Sample) -> None:
    provider, operation = PROVIDERS[sample.provider], sample.said["operation"]
    checked = provider.check_input(operation, sample.said["body"])
    assert isinstance(checked, CheckedInput)
    call = provider.submit_call(ACCESS, operation, checked.body, OURS)
    sent = repr(call.headers) + (call.body or b"").decode()
    assert call.method == "POST"
    assert call.url.startswith(ACCESS.base_url + "/")
    assert ACCESS.api_key in sent
    assert (CALLBACK in sent) is provider.operations[operation].takes_webhook
    assert checked.webhook is None or checked.webhook not in sent
    assert ACCESS.api_key not in repr(call)
    assert CALLBACK not in repr(call)


@each_operation
def test_submit_without_callback_names_none(name: str, operation: str) -> None:
    checked = PROVIDERS[name].check_input(operation, first_input(name, operation))
    assert isinstance(checked, CheckedInput)
    call = PROVIDERS[name].submit_call(ACCESS, operation, checked.body, Ours())
    assert not any(find_values(json.loads(call.body or b""), "webhook"))


@each_provider
def test_look_up_asks_for_the_task_and_keeps_its_id_together(name: str) -> None:
    call = PROVIDERS[name].look_up_call(ACCESS, next(iter(PROVIDERS[name].operations)), "a+b=c")
    assert "a+b=c" not in call.url
    assert ACCESS.api_key not in repr(call)


@each_operation
def test_random_bytes_read_as_something(name: str, operation: str) -> None:
    @QUICK
    @given(body=st.binary(max_size=200), status=st.integers(100, 999), headers=answer_headers())
    def read(body: bytes, status: int, headers: dict[str, str]) -> None:
        assert_readers_stand(name, operation, HttpReply(status, headers, body))

    read()


@each_operation
def test_arbitrary_json_reads_as_something(name: str, operation: str) -> None:
    samples = load_samples(name)
    values = json_values(sorted(set().union(*(names_in(sample.said.get("body")) for sample in samples))))
    recorded = st.sampled_from([s.said["body"] for s in samples if s.reads != "input" and "body" in s.said])

    @QUICK
    @given(
        value=values | recorded.flatmap(lambda body: swapped(body, values)),
        status=st.sampled_from([200, 400, 404, 429, 500]),
        headers=answer_headers(),
    )
    def read(value: Any, status: int, headers: dict[str, str]) -> None:
        assert_readers_stand(name, operation, HttpReply(status, headers, as_bytes(value)))

    read()


@each_operation
def test_arbitrary_json_is_checked_or_answered_with_mistakes(name: str, operation: str) -> None:
    sample = first_input(name, operation)
    values = json_values(sorted(names_in(sample)))

    @QUICK
    @given(value=values | swapped(sample, values))
    def check(value: Any) -> None:
        checked = PROVIDERS[name].check_input(operation, value)
        if isinstance(checked, CheckedInput):
            PROVIDERS[name].submit_call(ACCESS, operation, checked.body, OURS)
            return
        assert checked
        for mistake in checked:
            assert isinstance(mistake, Mistake)
            assert len(mistake.got or "") <= 100
            f"{mistake.path} {mistake.rule} {mistake.got}".encode()

    check()


# --- Callbacks, once more ---------------------------------------------------------------------------------------------

CALLBACKS = [s for s in SAMPLES if s.reads == "callback" and s.expected_type != CallbackUnreadable.__name__]


@pytest.mark.parametrize("sample", CALLBACKS, ids=str)
def test_duplicate_reads_like_the_first(sample: Sample) -> None:
    provider = PROVIDERS[sample.provider]
    assert provider.read_callback(sample.body) == provider.read_callback(sample.body)


@pytest.mark.parametrize("sample", CALLBACKS, ids=str)
def test_callback_that_was_cut_off_is_unreadable(sample: Sample) -> None:
    body = sample.body.rstrip()
    for length in range(0, len(body), 7):
        with pytest.raises(CallbackUnreadable):
            PROVIDERS[sample.provider].read_callback(body[:length])


def assert_readers_stand(name: str, operation: str, reply: HttpReply) -> None:
    """Every reader answers with one of its own types, fit to be stored; read_callback may raise its one error."""
    provider = PROVIDERS[name]
    submitted = provider.read_submit(operation, reply)
    assert isinstance(submitted, SUBMIT_OUTCOMES)
    looked_up = provider.read_look_up(operation, "73fab7c0", reply)
    assert isinstance(looked_up, ReadBack)
    assert isinstance(looked_up.outcome, LOOK_UP_OUTCOMES)
    assert_storable(submitted)
    assert_storable(looked_up.outcome)
    assert_waits_soundly(submitted)
    assert_waits_soundly(looked_up.outcome)
    try:
        hint = provider.read_callback(reply.body)
    except CallbackUnreadable as unreadable:
        assert str(unreadable)
        return
    assert isinstance(hint, CallbackHint)
    assert hint.state is None or isinstance(hint.state, STATES)
    assert_storable(hint)


def assert_waits_soundly(outcome: object) -> None:
    """A wait that an outcome asks for is a number of seconds that a database's interval holds."""
    if isinstance(outcome, NotRun | LookUpUnavailable) and outcome.retry_after is not None:
        assert 0 <= outcome.retry_after <= 1_000_000


def assert_storable(outcome: object) -> None:
    """Everything in an outcome can go into a JSON column: no NUL, no lone surrogates, no number beyond a double."""
    if isinstance(outcome, TaskNotFound):
        return
    text = json.dumps(_plain(outcome), ensure_ascii=False, allow_nan=False)
    text.encode()
    assert "\\u0000" not in text
    assert len(text) < 5000 or "sources" in text


def _plain(value: Any) -> Any:
    if isinstance(value, JobError):
        return value.as_json()
    if hasattr(value, "__dataclass_fields__"):
        return {name: _plain(getattr(value, name)) for name in value.__dataclass_fields__}
    if isinstance(value, bytes):
        return value.hex()
    return [_plain(part) for part in value] if isinstance(value, tuple) else value
