"""The document against the real service, with requests that schemathesis makes of it: right ones, and wrong ones.

GENRELAY_TEST_EXAMPLES=300 searches further, GENRELAY_TEST_SEED=1 elsewhere.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.config import (
    ChecksConfig,
    GenerationConfig,
    PositiveDataAcceptanceConfig,
    ProjectConfig,
    ProjectsConfig,
    SchemathesisConfig,
)

from handlers.openapi.document import make_document
from service.db.embedded import EmbeddedServer
from service.demo.s3server import S3Server
from service.outputs.destinations import NAME
from tests.openapi.served import Served, served_world
from tests.world import API_KEY

EXAMPLES = int(os.environ.get("GENRELAY_TEST_EXAMPLES", "6"))
SEED = int(os.environ.get("GENRELAY_TEST_SEED", "0"))

# What is right by its schema may still be wrong: a name that is nobody's, two fields that contradict each other.
_ACCEPTED = ["2xx", "3xx", "404", "409", "422", "429"]
_config = SchemathesisConfig(
    seed=SEED,
    projects=ProjectsConfig(
        default=ProjectConfig(
            generation=GenerationConfig(deterministic=SEED == 0, max_examples=EXAMPLES),
            checks=ChecksConfig(
                positive_data_acceptance=PositiveDataAcceptanceConfig(expected_statuses=_ACCEPTED),
            ),
        )
    ),
)
contract = schemathesis.openapi.from_dict(make_document(), config=_config)


@pytest.fixture(scope="module")
def served(postgres: EmbeddedServer, s3_server: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A service for all tests of this module, behind a fence."""
    s3_server.create_bucket("contract")
    with served_world(postgres, s3_server, "contract", tmp_path_factory.mktemp("contract") / "log") as found:
        yield found


@contract.parametrize()
@settings(
    max_examples=EXAMPLES,
    derandomize=SEED == 0,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.generate],
)
@pytest.mark.timeout(3600)
def test_the_service_keeps_its_contract(case: schemathesis.Case, served: Served) -> None:
    _aim(case, served)
    # Given here, and not in the settings above: those would count as what was made up, and be expected to be refused.
    case.call_and_validate(base_url=served.url, headers={"Authorization": f"Bearer {API_KEY}"}, timeout=70)


def _aim(case: schemathesis.Case, served: Served) -> None:
    """Let most requests meet something that is there, and none wait for long."""
    path: dict[str, Any] = case.path_parameters or {}
    if "id" in path and case.method != "DELETE":
        things = served.ids[case.path.split("/")[2]]
        number = zlib.crc32(str(path["id"]).encode("utf-8", "replace"))
        path["id"] = things[number % len(things)] if number % 4 else path["id"]
    if NAME.fullmatch(str(path.get("name", ""))) and case.method != "DELETE":
        number = zlib.crc32(str(path["name"]).encode("utf-8", "replace"))
        path["name"] = ("acme", "other", path["name"])[number % 3]
    if isinstance(case.query, dict) and str(case.query.get("wait")).isdecimal():
        case.query["wait"] = min(int(case.query["wait"]), 1)
    if case.path == "/v1/destinations/{name}" and isinstance(case.body, dict) and case.body.get("endpoint_url") is None:
        # Amazon would never be reached, but be tried for half a minute.
        case.body["endpoint_url"] = served.s3.endpoint_url
