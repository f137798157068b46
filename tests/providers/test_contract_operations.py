"""What every provider must do about its operations: examples, mocks, and the operator's word on them."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import get_args

import pytest

from service.providers.contract import (
    CheckedInput,
    EndedFile,
    EndedJob,
    Failed,
    HttpReply,
    OperationConfig,
    Ours,
    ProviderAccess,
    Succeeded,
    TaskStatus,
    TestMode,
)
from service.providers.registry import PROVIDERS

ACCESS = ProviderAccess("https://provider.example", "sk_our-own-key")
CALLBACK = "https://relay.example/v1/callbacks/some/secret-token"
OURS = Ours(CALLBACK, "job_01-1")

each_provider = pytest.mark.parametrize("name", PROVIDERS)
each_operation = pytest.mark.parametrize(
    ("name", "operation"),
    [(name, operation) for name, provider in PROVIDERS.items() for operation in provider.operations],
)


def check_example(name: str, operation: str) -> CheckedInput:
    checked = PROVIDERS[name].check_input(operation, PROVIDERS[name].operations[operation].example)
    assert isinstance(checked, CheckedInput), checked
    return checked


def path_beside(name: str) -> str:
    """Return a path for an operation `all-new` that lies where the provider has its tasks."""
    task = next(each for each in PROVIDERS[name].operations.values() if each.answers == "task")
    return f"{task.path.rpartition('/')[0]}/all-new"


def say_test(status: TaskStatus, reference: str = "job_01-1") -> Ours:
    return Ours(CALLBACK, reference, TestMode(status))


@each_operation
def test_example_passes_the_check_and_asks_nothing_of_us(name: str, operation: str) -> None:
    checked = check_example(name, operation)
    assert checked.images >= 1
    assert (checked.webhook, checked.test_mode, checked.storage, checked.track_id) == (None, None, None, None)


@each_operation
@pytest.mark.parametrize("status", get_args(TaskStatus))
def test_mock_is_a_callback_like_the_providers_own(name: str, operation: str, status: TaskStatus) -> None:
    provider, checked = PROVIDERS[name], check_example(name, operation)
    mock = provider.mock_callback(operation, checked.body, say_test(status))
    hint = provider.read_callback(mock.body)
    assert (hint.known_event, hint.task_id) == (True, mock.task_id)
    if status == "TASK_STATUS_FAILED":
        assert isinstance(hint.state, Failed)
        assert "mock" in hint.state.error.message.lower()
    else:
        assert isinstance(hint.state, Succeeded)
        assert len(hint.state.sources) == checked.images
        assert {source.kind for source in hint.state.sources} == set(provider.operations[operation].outputs)
        assert all(source.url is not None and source.url.startswith("https://") for source in hint.state.sources)


@each_operation
def test_mock_is_the_same_each_time_and_another_for_another_attempt(name: str, operation: str) -> None:
    provider, body = PROVIDERS[name], check_example(name, operation).body
    ours, others = say_test("TASK_STATUS_SUCCEED"), say_test("TASK_STATUS_SUCCEED", "job_01-2")
    mock = provider.mock_callback(operation, body, ours)
    assert provider.mock_callback(operation, body, ours) == mock
    assert provider.mock_callback(operation, body, others).task_id != mock.task_id
    assert CALLBACK not in repr(mock)


@each_operation
def test_customer_is_sent_a_callback_like_the_providers_own(name: str, operation: str) -> None:
    provider, body = PROVIDERS[name], check_example(name, operation).body
    kinds = provider.operations[operation].outputs
    files = tuple(EndedFile(kind, f"https://bucket.example/{kind}?sig=1", 60, f"{kind}/x-any") for kind in kinds)
    job = EndedJob(
        "job_01", True, files, "7", body=body, webhook="https://customer.example/hooks", began=1.0, ended=3.5
    )
    hint = provider.read_callback(provider.sent_callback(operation, job).body)
    assert (hint.known_event, hint.task_id) == (True, "7")
    assert isinstance(hint.state, Succeeded)
    assert [source.url for source in hint.state.sources] == [file.url for file in files]
    failed = replace(job, succeeded=False, words="it was too dark")
    state = provider.read_callback(provider.sent_callback(operation, failed).body).state
    assert isinstance(state, Failed)
    assert "it was too dark" in state.error.message


@each_operation
def test_nothing_known_of_a_job_makes_a_callback_all_the_same(name: str, operation: str) -> None:
    provider = PROVIDERS[name]
    for job in (EndedJob("job_01", True, (EndedFile("image"),)), EndedJob("job_01", False, words="no")):
        sent = provider.sent_callback(operation, job)
        state = provider.read_callback(sent.body).state
        assert isinstance(state, Succeeded if job.succeeded else Failed)
        if isinstance(state, Succeeded):
            assert state.sources == ()


@each_operation
def test_test_job_is_never_sent_where_it_would_be_a_paid_one(name: str, operation: str) -> None:
    provider, body = PROVIDERS[name], check_example(name, operation).body
    if provider.operations[operation].native_test_mode:
        provider.submit_call(ACCESS, operation, body, say_test("TASK_STATUS_SUCCEED"))
    else:
        with pytest.raises(ValueError, match="test"):
            provider.submit_call(ACCESS, operation, body, say_test("TASK_STATUS_SUCCEED"))


@each_provider
def test_operator_who_says_nothing_changes_nothing(name: str) -> None:
    configured = PROVIDERS[name].configured({})
    assert configured.name == name
    assert configured.echoes_callback_url == PROVIDERS[name].echoes_callback_url
    assert dict(configured.operations) == dict(PROVIDERS[name].operations)


@each_operation
def test_operation_is_taken_away_by_its_name_as_a_variable_has_it(name: str, operation: str) -> None:
    before = dict(PROVIDERS[name].operations)
    variable = re.sub(r"[^A-Z0-9]", "_", operation.upper())
    configured = PROVIDERS[name].configured({variable: OperationConfig(enabled=False)})
    assert set(configured.operations) == set(before) - {operation}
    assert isinstance(configured.check_input(operation, before[operation].example), list)
    assert dict(configured.taken_away) == {operation: before[operation]}
    assert (dict(PROVIDERS[name].operations), dict(PROVIDERS[name].taken_away)) == (before, {})


@each_operation
def test_jobs_of_an_operation_taken_away_can_still_end(name: str, operation: str) -> None:
    known = PROVIDERS[name]
    gone = known.configured({operation: OperationConfig(enabled=False)})
    body, ours = check_example(name, operation).body, say_test("TASK_STATUS_SUCCEED")
    reply = HttpReply(200, {}, b"{}")
    assert gone.read_submit(operation, reply) == known.read_submit(operation, reply)
    assert gone.look_up_call(ACCESS, operation, "73fab7c0") == known.look_up_call(ACCESS, operation, "73fab7c0")
    assert gone.read_look_up(operation, "73fab7c0", reply) == known.read_look_up(operation, "73fab7c0", reply)
    assert gone.mock_callback(operation, body, ours) == known.mock_callback(operation, body, ours)


@each_operation
def test_jobs_of_a_moved_operation_taken_away_are_asked_about_where_they_went(name: str, operation: str) -> None:
    said = OperationConfig(path="/api/v1/enterprise/elsewhere/it")
    moved = PROVIDERS[name].configured({operation: said})
    gone = PROVIDERS[name].configured({operation: replace(said, enabled=False)})
    assert gone.look_up_call(ACCESS, operation, "73fab7c0") == moved.look_up_call(ACCESS, operation, "73fab7c0")
    assert dict(gone.taken_away) == {operation: moved.operations[operation]}


@each_provider
def test_jobs_of_an_added_operation_taken_away_can_still_end(name: str) -> None:
    said = OperationConfig(path=path_beside(name), outputs=("video",))
    added = PROVIDERS[name].configured({"all-new": said})
    gone = PROVIDERS[name].configured({"all-new": replace(said, enabled=False)})
    assert "all-new" not in gone.operations
    ours = say_test("TASK_STATUS_SUCCEED")
    assert gone.look_up_call(ACCESS, "all-new", "73fab7c0") == added.look_up_call(ACCESS, "all-new", "73fab7c0")
    assert gone.mock_callback("all-new", {}, ours) == added.mock_callback("all-new", {}, ours)


@each_operation
def test_operation_moves_to_another_path(name: str, operation: str) -> None:
    moved = PROVIDERS[name].configured({operation: OperationConfig(path="/v9/elsewhere")})
    call = moved.submit_call(ACCESS, operation, check_example(name, operation).body, OURS)
    assert call.url == f"{ACCESS.base_url}/v9/elsewhere"
    assert moved.operations[operation].example == PROVIDERS[name].operations[operation].example


@each_provider
def test_operation_nobody_knows_is_added_by_its_path(name: str) -> None:
    before = dict(PROVIDERS[name].operations)
    path = path_beside(name)
    added = PROVIDERS[name].configured({"ALL_NEW": OperationConfig(path=path, outputs=("video",))})
    assert set(added.operations) == {*before, "all-new"}
    assert dict(PROVIDERS[name].operations) == before
    shown = added.operations["all-new"]
    assert (shown.name, shown.path, shown.outputs) == ("all-new", path, ("video",))
    assert shown.native_test_mode is False
    checked = added.check_input("all-new", {"prompt": "a lighthouse at dawn", "steps": 20})
    assert isinstance(checked, CheckedInput)
    call = added.submit_call(ACCESS, "all-new", checked.body, OURS)
    assert call.url == ACCESS.base_url + path
    assert (CALLBACK in (call.body or b"").decode()) is shown.takes_webhook
    with pytest.raises(ValueError, match="test"):
        added.submit_call(ACCESS, "all-new", checked.body, say_test("TASK_STATUS_SUCCEED"))


MISCONFIGURED: dict[str, dict[str, OperationConfig]] = {
    "unknown without a path": {"no-such-thing": OperationConfig()},
    "unknown and switched off": {"no-such-thing": OperationConfig(enabled=False)},
    "path without slash": {"no-such-thing": OperationConfig(path="v3/async/x")},
    "path is a URL": {"no-such-thing": OperationConfig(path="https://elsewhere.example/x")},
    "path with a query": {"no-such-thing": OperationConfig(path="/v3/async/x?a=b")},
    "path with a fragment": {"no-such-thing": OperationConfig(path="/v3/async/x#a")},
    "path with a space": {"no-such-thing": OperationConfig(path="/v3/async/x y")},
    "named twice": {"all-new": OperationConfig(path="/x"), "ALL_NEW": OperationConfig(path="/y")},
}


@each_provider
@pytest.mark.parametrize("said", MISCONFIGURED.values(), ids=MISCONFIGURED)
def test_what_cannot_be_configured_is_told(name: str, said: dict[str, OperationConfig]) -> None:
    with pytest.raises(ValueError, match=re.escape(next(reversed(said)))):
        PROVIDERS[name].configured(said)
