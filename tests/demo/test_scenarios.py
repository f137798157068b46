"""What the demo asks of providers: every operation there is, without anybody having to list it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from service.demo.scenarios import make_scenarios
from service.providers.contract import CheckedInput
from service.providers.novita import DIALECTS, Novita
from service.providers.registry import PROVIDERS

README = Path(__file__).parents[2] / "README.md"


def test_a_newly_registered_operation_joins_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    known = DIALECTS["txt2img"]
    poster = replace(known, operation=replace(known.operation, name="poster", path="/v3/async/poster"))
    monkeypatch.setitem(PROVIDERS, "novita", Novita({**DIALECTS, "poster": poster}))
    joined = [scenario for scenario in make_scenarios() if scenario.operation.name == "poster"]
    assert [(scenario.label, scenario.status, scenario.paid) for scenario in joined] == [
        ("novita poster lighthouse", "succeeded", 1)
    ]


def test_no_two_scenarios_could_be_taken_for_each_other() -> None:
    scenarios = make_scenarios()
    assert len({scenario.label for scenario in scenarios}) == len(scenarios)
    for scenario in scenarios:
        line = {
            "provider": scenario.provider,
            "endpoint": scenario.operation.path.rpartition("/")[2],
            "prompt": _prompt(scenario.body["input"]),
        }
        assert [other.label for other in scenarios if other.owns(line)] == [scenario.label]


def test_only_what_shall_be_refused_has_mistakes() -> None:
    refused = [
        scenario.name
        for scenario in make_scenarios()
        if not isinstance(
            PROVIDERS[scenario.provider].check_input(scenario.operation.name, scenario.body["input"]), CheckedInput
        )
    ]
    assert refused == ["castle"]


def test_each_provider_has_test_jobs_with_both_ends_for_an_operation_without_a_test_mode_of_its_own() -> None:
    for name in PROVIDERS:
        mocks = [
            scenario.body["test_mode"]["return_task_status"]
            for scenario in make_scenarios()
            if scenario.provider == name and scenario.is_test and not scenario.operation.native_test_mode
        ]
        assert mocks == ["TASK_STATUS_SUCCEED", "TASK_STATUS_FAILED"]


def test_the_readme_knows_the_number_of_jobs() -> None:
    assert f" {len(make_scenarios())} jobs, " in README.read_text()


def _prompt(given: dict[str, object]) -> object:
    request = given.get("request", given)
    assert isinstance(request, dict)
    return request.get("prompt", "")
