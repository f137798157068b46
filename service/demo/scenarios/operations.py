"""What every provider gets, whoever it is: each operation once, and test jobs. A newly registered one joins by itself."""

from __future__ import annotations

from collections.abc import Iterator

from service.demo.scenarios.body import count_outputs, job, mock_job
from service.demo.scenarios.scenario import Scenario, confirmed, no_callback
from service.providers.contract import Operation, Provider


def list_operations(provider: Provider) -> Iterator[Scenario]:
    """Yield one paid job per operation, as the documentation's example has it."""
    for operation in provider.operations.values():
        outputs = count_outputs(provider.name, operation)
        answered = operation.answers == "result"
        # The name is in the prompt, and with it in the picture.
        body = job(provider.name, operation.name, f"a lighthouse at dawn, by {operation.name}")
        yield Scenario(
            "lighthouse",
            "as documented",
            body,
            verified_by="sync" if answered else "readback",
            outputs=outputs,
            callbacks=no_callback if answered or not operation.takes_webhook else confirmed,
        )


def list_tests(provider: Provider) -> Iterator[Scenario]:
    """Yield test jobs with both ends, for one operation whose mocks the provider sends and for one where we do."""
    operations = list(provider.operations.values())
    for native in (True, False):
        for operation in [found for found in operations if found.native_test_mode is native][:1]:
            yield from _both_ends(provider, operation)


def _both_ends(provider: Provider, operation: Operation) -> Iterator[Scenario]:
    succeed, failed = (
        mock_job(provider.name, operation.name, f"a {place} in a test", f"TASK_STATUS_{status}")
        for place, status in (("garden", "SUCCEED"), ("pond", "FAILED"))
    )
    yield Scenario(
        "garden",
        "test mode, success",
        succeed,
        verified_by="token",
        outputs=count_outputs(provider.name, operation),
        paid=0,
        callbacks=_mock,
    )
    yield Scenario(
        "pond",
        "test mode, failure",
        failed,
        status="failed",
        verified_by="token",
        outputs=0,
        error="provider_failed",
        paid=0,
        callbacks=_mock,
    )


def _mock(found: dict[str, int]) -> bool:
    return found == {"mock": 1}
