"""The development profile, played with processes: every argument and every setting is taken out of what the chart renders.

What a cluster would do is done here: names of Services become addresses of this machine, and ports are free ones.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.app import Role
from tests.cli.command import Ran, clean_environment, run, start
from tests.helm.charts import Manifest, Values, environment, one, pods, render, toml
from tests.processes import serve
from tests.world import client_for, free_port, until

VALUES: Values = {
    "development": {"enabled": True, "clusterSubnets": ["127.0.0.0/8"], "sandbox": {"latencySeconds": 0.01}},
    # Nobody has to hear here that a process leaves.
    "api": {"lingerSeconds": 0},
    "config": {"log_level": "info"},
}
API, SANDBOX = "relay-genrelay-api", "relay-genrelay-sandbox"


@dataclass
class Cluster:
    """What stands in for one: a folder per mounted ConfigMap, and the places of the Services."""

    manifests: list[Manifest]
    folder: Path
    database_url: str
    api_port: int
    sandbox_port: int

    def translate(self, text: str) -> str:
        """Return a text with addresses of this machine in place of names of Services."""
        text = re.sub(rf"{API}(\.images\.svc)?:80\b", f"127.0.0.1:{self.api_port}", text)
        text = re.sub(rf"{SANDBOX}\.images\.svc:8090\b", f"127.0.0.1:{self.sandbox_port}", text)
        return text.replace(f"{SANDBOX}.images.svc", "127.0.0.1")

    def pod(self, name: str) -> dict[str, Any]:
        """Return a pod's spec."""
        return pods(self.manifests)[name]

    def variables(self, container: dict[str, Any], port: int) -> dict[str, str]:
        """Return what a container has in its environment."""
        secret = dict(one(self.manifests, "Secret", "-development")["stringData"])
        found = dict(secret) if container.get("envFrom") else {}
        found |= {name: self.translate(value) for name, value in environment(container).items()}
        for variable in container["env"]:
            if "valueFrom" in variable:
                found[variable["name"]] = secret[variable["valueFrom"]["secretKeyRef"]["key"]]
        if "GENRELAY_DATABASE_URL" in found:
            found["GENRELAY_DATABASE_URL"] = self.database_url
        if "GENRELAY_CONFIG" in found:
            file = self.folder / "genrelay.toml"
            file.write_text(self.translate(toml(self.manifests)), encoding="utf-8")
            found |= {"GENRELAY_CONFIG": str(file), "GENRELAY_HOST": "127.0.0.1", "GENRELAY_PORT": str(port)}
        return found

    async def run(self, container: dict[str, Any], **more: str) -> Ran:
        """Run a container to its end, as its pod would."""
        mounted = self.folder / "job.json"
        mounted.write_text(one(self.manifests, "ConfigMap", "-test")["data"]["job.json"], encoding="utf-8")
        arguments = [each.replace("/etc/genrelay-test/job.json", str(mounted)) for each in container["args"]]
        return await run(*arguments, environment=clean_environment(**self.variables(container, 0), **more))

    @contextlib.asynccontextmanager
    async def serving(self, component: Role, port: int) -> AsyncIterator[None]:
        """Run the process of a Deployment."""
        [container] = self.pod(f"Deployment/relay-genrelay-{component}")["containers"]
        assert container["args"] == ["serve", "--role", component]
        async with serve(self.variables(container, port), self.folder / f"{component}.log", component):
            yield

    @contextlib.asynccontextmanager
    async def sandbox(self) -> AsyncIterator[None]:
        """Run the sandbox with the arguments of its pod."""
        [container] = self.pod("Deployment/relay-genrelay-sandbox")["containers"]
        arguments = [self.translate(each) for each in container["args"]]
        arguments = [each.replace("--port=8090", f"--port={self.sandbox_port}") for each in arguments]
        process = await start(*arguments, environment=clean_environment())
        try:
            probe = container["readinessProbe"]["httpGet"]["path"]
            await until(lambda: _answers(f"http://127.0.0.1:{self.sandbox_port}{probe}"), 40)
            yield
        finally:
            process.terminate()
            await process.communicate()


async def _answers(url: str) -> bool:
    async with httpx.AsyncClient(trust_env=False) as http:
        with contextlib.suppress(httpx.TransportError):
            return (await http.get(url)).status_code == 200
    return False


@pytest.fixture
async def cluster(empty_database: str, tmp_path: Path) -> AsyncIterator[Cluster]:
    """The development profile, installed: migrated by the pods' init container, and everything running."""
    made = Cluster(render(VALUES), tmp_path, empty_database, free_port(), free_port())
    migrate = made.pod("Deployment/relay-genrelay-api")["initContainers"][-1]
    # API and worker pods migrate at the same time.
    first, second = await asyncio.gather(made.run(migrate), made.run(migrate))
    assert (first.status, second.status) == (0, 0), first.err + second.err
    async with made.sandbox(), made.serving("api", made.api_port), made.serving("worker", free_port()):
        yield made


async def test_helm_test_passes_on_the_development_profile(cluster: Cluster) -> None:
    for name in ("submit", "check-webhook"):
        [container] = cluster.pod(f"Pod/relay-genrelay-test-{name}")["containers"]
        ran = await cluster.run(container)
        assert ran.status == 0, f"{ran.out}\n{ran.err}"
        assert "private_ad" not in ran.out, "the guard knows the cluster's addresses"
    other = pods(render({**VALUES, "tests": {"provider": "modelslab"}}))
    [container] = other["Pod/relay-genrelay-test-check-webhook"]["containers"]
    assert container["args"] == ["check-webhook", "modelslab"]
    assert (await cluster.run(container)).status == 0
    key = one(cluster.manifests, "Secret", "-development")["stringData"]["GENRELAY_BOOTSTRAP_API_KEY"]
    async with client_for(f"http://127.0.0.1:{cluster.api_port}", key) as client:
        jobs = (await client.get("/v1/jobs")).json()["data"]
    assert len(jobs) == 5, "one job of the test's own, and two of each check's"
    assert all(job["test"] or job.get("test_mode") for job in jobs)


async def test_helm_test_fails_without_a_service_and_with_a_strange_key(cluster: Cluster) -> None:
    [container] = cluster.pod("Pod/relay-genrelay-test-submit")["containers"]
    broken = {**container, "env": [{"name": "GENRELAY_URL", "value": "http://127.0.0.1:9"}, *container["env"][1:]]}
    assert (await cluster.run(broken)).status != 0
    strange = {
        **container,
        "env": [container["env"][0], {"name": "GENRELAY_API_KEY", "value": "nobodys-key-at-all-here"}],
    }
    assert (await cluster.run(strange)).status != 0
