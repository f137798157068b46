"""One demo from its first process to its report."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from service.demo.checks import check_all
from service.demo.evidence import Played, gather, submit_all, wait_for_ends
from service.demo.report import Report, prepare_folder, write_folder
from service.demo.scenarios import make_scenarios
from service.demo.stage import Say, Stage, running_stage


@contextmanager
def running_demo(folder: Path, say: Say, look: Callable[[list[Played]], None]) -> Iterator[tuple[Stage, Report]]:
    """Play the demo and lend its result while everything still runs; all of it is stopped on the way out.

    say: hears of each step. look: sees the jobs again and again while they run. Raises DemoFailed.
    """
    began = time.monotonic()
    folder = folder.expanduser().absolute()
    with running_stage(prepare_folder(folder), say) as stage:
        played = submit_all(stage, make_scenarios())
        say(f"{len(played)} jobs were submitted")
        look(played)
        wait_for_ends(stage, played, look)
        evidence = gather(stage, played)
        report = Report(evidence, check_all(evidence, stage.secrets), time.monotonic() - began, folder)
        write_folder(report)
        yield stage, report
