"""The batch that the demo submits: what is special about each job, and how it has to end."""

from __future__ import annotations

from service.demo.scenarios.modelslab import list_modelslab
from service.demo.scenarios.novita import list_novita
from service.demo.scenarios.operations import list_operations, list_tests
from service.demo.scenarios.scenario import Scenario
from service.demo.scenarios.seedream import list_seedream
from service.providers.registry import PROVIDERS

__all__ = ["Scenario", "make_scenarios"]


def make_scenarios() -> list[Scenario]:
    """Return the batch, provider by provider: each operation, then what can go wrong, then test jobs."""
    special = {"novita": [*list_novita(), *list_seedream()], "modelslab": list_modelslab()}
    return [
        scenario
        for name, provider in PROVIDERS.items()
        for scenario in (*list_operations(provider), *special.get(name, ()), *list_tests(provider))
    ]
