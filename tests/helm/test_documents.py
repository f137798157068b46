"""What README and docs/operating.md tell to type is what the chart takes, and leads where it says."""

from __future__ import annotations

import re
import shlex
from urllib.parse import urlsplit

import helm_python as helm
import pytest

from tests.helm.charts import ROOT, Values, of_kind, render

DOCUMENTS = ["README.md", "docs/operating.md"]


def install_commands(document: str) -> list[list[str]]:
    """Return the words of every `helm install` that stands in a document's shell blocks."""
    blocks = re.findall(r"^```sh\n(.*?)^```$", (ROOT / document).read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    return [shlex.split(line, comments=True) for line in lines if line.startswith("helm install")]


def values_of(command: list[str]) -> Values:
    """Return the values that a command line gives, as Helm reads them."""
    given = [command[number + 1] for number, word in enumerate(command) if word == "--set"]
    assert given
    return helm.parse_set_string(",".join(given))


@pytest.mark.parametrize("document", DOCUMENTS)
def test_callbacks_arrive_where_the_public_url_of_the_install_command_leads(document: str) -> None:
    [command] = install_commands(document)
    assert (ROOT / command[3]).is_dir()
    values = values_of(command)
    host = urlsplit(values["config"]["public_url"]).hostname
    ways = [
        (rule["host"], path["path"])
        for ingress in of_kind(render(values, name=command[2]), "Ingress")
        for rule in ingress["spec"]["rules"]
        for path in rule["http"]["paths"]
    ]
    assert (host, "/v1/callbacks") in ways


@pytest.mark.parametrize("document", DOCUMENTS)
def test_the_secret_of_a_document_has_what_processes_and_helm_test_read(document: str) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    [line] = [line for line in text.splitlines() if line.startswith("kubectl create secret generic genrelay ")]
    for name in ("GENRELAY_DATABASE_URL", "GENRELAY_SECRET_KEY", "GENRELAY_BOOTSTRAP_API_KEY"):
        assert name in line


def test_the_installation_is_three_commands() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    [block] = [
        each for each in re.findall(r"^```sh\n(.*?)^```$", text, re.DOTALL | re.MULTILINE) if "helm install" in each
    ]
    words = [line.split()[:2] for line in block.replace("\\\n", " ").strip().splitlines()]
    assert words == [["kubectl", "create"], ["helm", "install"], ["helm", "test"]]
