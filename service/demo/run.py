"""One demo from its first process to its report."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from botocore.exceptions import BotoCoreError, ClientError

from service.demo.checks import check_all
from service.demo.evidence import Evidence, Played
from service.demo.failures import DemoFailed
from service.demo.playing import check_webhooks, gather, submit_all, wait_for_ends
from service.demo.report import Report, prepare_folder, write_folder
from service.demo.scenarios import make_scenarios
from service.demo.stage import Say, Stage, check_installation, running_stage
from service.providers.registry import PROVIDERS


@contextmanager
def running_demo(folder: Path, say: Say, look: Callable[[list[Played]], None]) -> Iterator[tuple[Stage, Report]]:
    """Play the demo and lend its result while everything still runs; all of it is stopped on the way out.

    say: hears of each step. look: sees the jobs again and again while they run. Raises DemoFailed.
    """
    check_installation()
    began = time.monotonic()
    folder = folder.expanduser().absolute()
    with running_stage(prepare_folder(folder), say) as stage:
        try:
            evidence = _play(stage, say, look)
        except (httpx.HTTPError, BotoCoreError, ClientError) as error:
            hint = f"The logs are in {stage.service_log.parent}"
            raise DemoFailed(f"something that was started does not answer ({error})", hint=hint) from None
        report = Report(evidence, check_all(evidence, stage.secrets), time.monotonic() - began, folder)
        write_folder(report)
        yield stage, report


def _play(stage: Stage, say: Say, look: Callable[[list[Played]], None]) -> Evidence:
    played = submit_all(stage, make_scenarios())
    say(f"{len(played)} jobs were submitted to {' and '.join(PROVIDERS)}")
    look(played)
    # While the jobs run: a check waits for callbacks most of its time.
    webhook_checks = [check_webhooks(stage, name) for name in PROVIDERS]
    wait_for_ends(stage, played, look)
    return gather(stage, played, webhook_checks)
