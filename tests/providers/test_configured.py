"""The operator's word on operations, whoever the provider is."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from service.providers.configured import configure_operations
from service.providers.contract import Operation, OperationConfig
from service.providers.registry import PROVIDERS

KNOWN = {
    "txt2img": Operation("txt2img", "/v3/async/txt2img", {}, example={"a": 1}, native_test_mode=True),
    "seedream-4.0": Operation("seedream-4.0", "/v3/seedream-4.0", {}, answers="result", takes_webhook=False),
}


def configure(**said: OperationConfig) -> Mapping[str, Operation]:
    return configure_operations(KNOWN, said, add=add).operations


def add(name: str, path: str, config: OperationConfig) -> Operation:
    return Operation(name, path, {}, outputs=config.outputs or ("image",))


def test_nothing_said_changes_nothing() -> None:
    assert configure() == KNOWN
    assert configure(txt2img=OperationConfig()) == KNOWN


@pytest.mark.parametrize("name", ["seedream-4.0", "SEEDREAM_4_0", "Seedream 4 0", "seedream_4.0"])
def test_names_are_compared_without_case_and_signs(name: str) -> None:
    assert set(configure(**{name: OperationConfig(enabled=False)})) == {"txt2img"}


def test_moved_operation_keeps_all_but_its_path() -> None:
    moved = configure(TXT2IMG=OperationConfig(path="/v4/txt2img"))["txt2img"]
    assert (moved.path, moved.example, moved.native_test_mode) == ("/v4/txt2img", {"a": 1}, True)


def test_webhook_and_outputs_of_a_known_operation_can_be_said() -> None:
    changed = configure(txt2img=OperationConfig(takes_webhook=False, outputs=("video",)))["txt2img"]
    assert (changed.takes_webhook, changed.outputs) == (False, ("video",))


@pytest.mark.parametrize(
    ("name", "path", "shown"),
    [
        ("WAN_2_5_T2V", "/v3/async/wan-2.5-t2v", "wan-2.5-t2v"),
        ("wan-2.5-t2v", "/v3/async/wan-2.5-t2v", "wan-2.5-t2v"),
        ("MY_VIDEO", "/v3/async/wan-2.5-t2v", "my-video"),
    ],
)
def test_added_operation_is_spelled_like_its_path_where_they_agree(name: str, path: str, shown: str) -> None:
    operations = configure(**{name: OperationConfig(path=path, outputs=("video",))})
    assert set(operations) == {*KNOWN, shown}
    assert operations[shown] == Operation(shown, path, {}, outputs=("video",))


@pytest.mark.parametrize("provider", PROVIDERS)
def test_name_of_an_added_operation_may_have_what_paths_have(provider: str) -> None:
    path = {"novita": "/v3/async/foo_bar-2.0", "modelslab": "/api/v1/enterprise/realtime/foo_bar-2.0"}[provider]
    assert "foo_bar-2.0" in PROVIDERS[provider].configured({"foo_bar_2_0": OperationConfig(path=path)}).operations


def test_added_operation_can_be_switched_off_without_deleting_it_from_the_settings() -> None:
    assert configure(new=OperationConfig(enabled=False, path="/new")) == KNOWN


def test_operations_switched_off_are_remembered_as_the_settings_have_them() -> None:
    gone = configure_operations(
        KNOWN,
        {
            "SEEDREAM_4_0": OperationConfig(enabled=False, path="/v4/seedream"),
            "NEW": OperationConfig(enabled=False, path="/new", outputs=("video",)),
        },
        add=add,
    ).taken_away
    assert {name: (each.path, each.answers, each.outputs) for name, each in gone.items()} == {
        "seedream-4.0": ("/v4/seedream", "result", ("image",)),
        "new": ("/new", "task", ("video",)),
    }
    assert configure_operations(KNOWN, {"txt2img": OperationConfig()}, add=add).taken_away == {}


def test_known_operations_keep_their_order() -> None:
    assert list(configure(txt2img=OperationConfig(path="/x"), new=OperationConfig(path="/new"))) == [*KNOWN, "new"]


def test_known_operations_are_left_alone() -> None:
    before = dict(KNOWN)
    configure(txt2img=OperationConfig(enabled=False), new=OperationConfig(path="/new"))
    assert before == KNOWN


WRONG = [
    ({"txt3img": OperationConfig()}, "txt3img: no operation of this provider"),
    ({"txt3img": OperationConfig(enabled=False)}, "known are txt2img, seedream-4.0"),
    ({"new": OperationConfig(path="new")}, "must begin with /"),
    ({"txt2img": OperationConfig(path="")}, "must begin with /"),
    ({"txt2img": OperationConfig(path="/a?b=c")}, "carry no query"),
    ({"txt2img": OperationConfig(path="/a#b")}, "carry no query"),
    ({"txt2img": OperationConfig(path="/a b")}, "must begin with /"),
    ({"txt2img": OperationConfig(path="/" * 5000 + " ")}, "must begin with /"),
    ({"seedream-4.0": OperationConfig(takes_webhook=True)}, "takes no webhook"),
    ({"txt2img": OperationConfig(outputs=())}, "one kind at least"),
    ({"new": OperationConfig(path="/new", outputs=())}, "one kind at least"),
    ({"txt2img": OperationConfig(), "TXT2IMG": OperationConfig()}, "the same operation as txt2img"),
]


@pytest.mark.parametrize(("said", "words"), WRONG)
def test_what_cannot_be_is_refused(said: dict[str, OperationConfig], words: str) -> None:
    with pytest.raises(ValueError) as caught:
        configure_operations(KNOWN, said, add=add)
    assert words in str(caught.value)


def test_every_mistake_is_told_at_once() -> None:
    said = {"a": OperationConfig(), "b": OperationConfig(path="b"), "c": OperationConfig(path="/c")}
    with pytest.raises(ValueError, match=r"a: .*; b: "):
        configure_operations(KNOWN, said, add=add)
