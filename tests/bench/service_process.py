"""The service under test: its environment, its processes, and what a client needs to know of it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

import httpx

from service.db.embedded import EmbeddedServer
from tests.bench import cpu
from tests.bench.load import Target
from tests.bench.processes import Broken, Child, clean_environment, free_port, wait_until
from tests.bench.world import API_KEY as PROVIDER_KEY
from tests.bench.world import World

# all: one process; split: an API and a worker that share a database; api: the API alone, bare endpoints beside it.
Variant = Literal["all", "split", "api"]
SECRET_KEY = "a benchmark's secret key of more than 32 characters"
BOOTSTRAP_KEY = "genrelay-benchmark-key-0123456789"
DESTINATION = "bench"


def _job_body() -> bytes:
    request = {
        "model_name": "sd_xl_base_1.0.safetensors",
        "prompt": "a lighthouse at dawn",
        "width": 512,
        "height": 512,
        "image_num": 1,
        "steps": 20,
        "guidance_scale": 7.5,
        "sampler_name": "Euler a",
        "seed": -1,
    }
    job = {
        "provider": "novita",
        "operation": "txt2img",
        "input": {"request": request, "extra": {"response_image_type": "jpeg"}},
        "destination": DESTINATION,
    }
    return json.dumps(job).encode()


@contextlib.contextmanager
def _database(folder: Path) -> Iterator[str]:
    """Run a PostgreSQL for services that share one; yields its URL. It is set up as a service's own would be."""
    server = EmbeddedServer(folder)
    try:
        yield server.start()
    finally:
        server.stop()


@dataclass
class OurService:
    """A running service on a fresh database, ready for jobs; a context manager.

    path: prefix of every key it stores. profile: file for a CPU profile; the role is put in front of its name.
    """

    world: World
    variant: Variant
    path: str
    log_dir: Path
    profile: Path | None = None
    extra: Mapping[str, str] = field(default_factory=dict)

    def __enter__(self) -> Self:
        self._stack = contextlib.ExitStack()
        self.folder = Path(tempfile.mkdtemp(prefix="grb-"))  # a short name: sockets below it may have 107 characters
        self._stack.callback(shutil.rmtree, self.folder, ignore_errors=True)
        self._children: list[Child] = []
        self.port = free_port()
        try:
            self._start()
            self._put_destination()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        for child in self._children:
            child.stop()
        left = [] if self.variant == "split" else cpu.postmasters(self.folder)
        for server in left:
            os.kill(server, signal.SIGQUIT)
        self._stack.close()
        if left and kind is None:
            raise Broken("the service has ended, but its PostgreSQL was still running")

    @property
    def url(self) -> str:
        """Return the origin of its API."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """Return the id of its first process."""
        return self._children[0].pid

    @property
    def dsn(self) -> str:
        """Return its own database's URL, which it has unless it was given another one."""
        return f"postgresql://postgres@/postgres?host={self.folder / 'data' / 'postgres'}"

    @property
    def target(self) -> Target:
        """Return where and how jobs are submitted."""
        return Target(f"{self.url}/v1/jobs", _job_body(), {"Authorization": f"Bearer {BOOTSTRAP_KEY}"})

    def client(self) -> httpx.Client:
        """Return a client with our key, for what is not measured."""
        return httpx.Client(
            base_url=self.url, headers={"Authorization": f"Bearer {BOOTSTRAP_KEY}"}, timeout=30, trust_env=False
        )

    def cpu_seconds(self) -> tuple[float, float]:
        """Return CPU seconds so far: of our processes, and of PostgreSQL's."""
        servers = cpu.postmasters(self.folder)
        return cpu.read_cpu([child.pid for child in self._children], without=servers), cpu.read_cpu(servers)

    def alive(self) -> None:
        """Raise Broken when one of its processes has ended."""
        for child in self._children:
            child.alive()

    def tail(self) -> str:
        """Return the ends of its logs."""
        return "\n".join(f"--- {child.name}\n{child.tail()}" for child in self._children)

    def environment(self) -> dict[str, str]:
        """Return the variables that configure it, apart from its port and its database."""
        return clean_environment(
            {
                "GENRELAY_DATA_DIR": str(self.folder / "data"),
                "GENRELAY_PUBLIC_URL": self.url,
                "GENRELAY_SECRET_KEY": SECRET_KEY,
                "GENRELAY_BOOTSTRAP_API_KEY": BOOTSTRAP_KEY,
                "GENRELAY_PROVIDERS__NOVITA__BASE_URL": self.world.provider,
                "GENRELAY_PROVIDERS__NOVITA__API_KEY": PROVIDER_KEY,
                "GENRELAY_PROVIDERS__NOVITA__OUTPUT_HOSTS": "127.0.0.1",
                "GENRELAY_ALLOWED_PRIVATE_SUBNETS": "127.0.0.0/8",
                "GENRELAY_LOG_FORMAT": "json",
                **self.extra,
            }
        )

    def _start(self) -> None:
        environment = self.environment()
        if self.variant != "split":
            self._serve(self.variant, self.port, environment)
            return
        environment["GENRELAY_DATABASE_URL"] = self._stack.enter_context(_database(self.folder / "pg"))
        with Child("migrate", _genrelay("migrate"), self.log_dir / f"{self.path}-migrate.log", environment) as migrate:
            if migrate.wait() != 0:
                raise Broken(f"genrelay migrate failed:\n{migrate.tail()}")
        self._serve("api", self.port, environment)
        self._serve("worker", free_port(), environment)

    def _serve(self, role: str, port: int, environment: Mapping[str, str]) -> None:
        out = self.profile.with_name(f"{role}-{self.profile.name}") if self.profile else None
        bare = self.variant == "api"
        child = Child(
            f"genrelay {role}",
            _with_bare_endpoints(out) if bare else _genrelay("serve", "--role", role, profile=out),
            self.log_dir / f"{self.path}-{role}.log",
            {**environment, "GENRELAY_PORT": str(port)},
        )
        self._stack.callback(child.stop)
        self._children.append(child)
        wait_until(lambda: child.alive() and _is_ready(port), child.name)

    def _put_destination(self) -> None:
        storage = self.world.storage
        destination: dict[str, Any] = {
            "bucket": storage.bucket,
            "region": storage.region,
            "path": self.path,
            "endpoint_url": storage.endpoint,
            "auth": {
                "type": "access_key",
                "access_key_id": storage.access_key_id,
                "secret_access_key": storage.secret_access_key,
            },
        }
        with self.client() as client:
            reply = client.put(f"/v1/destinations/{DESTINATION}", params={"check": "false"}, json=destination)
        if reply.status_code not in {200, 201}:
            raise Broken(f"PUT /v1/destinations/{DESTINATION} answered {reply.status_code}: {reply.text[:500]}")


def _genrelay(*arguments: str, profile: Path | None = None) -> list[str]:
    if profile is not None:
        return [sys.executable, "-m", "tests.bench.profiled", str(profile), "service.cli:main", *arguments]
    return [str(Path(sys.executable).with_name("genrelay")), *arguments]


def _with_bare_endpoints(profile: Path | None = None) -> list[str]:
    if profile is not None:
        return [sys.executable, "-m", "tests.bench.profiled", str(profile), "tests.bench.bare_app:main"]
    return [sys.executable, "-m", "tests.bench.bare_app"]


def _is_ready(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=5, trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


@contextlib.contextmanager
def service_with_database(
    world: World, path: str, folder: Path, extra: Mapping[str, str], profile: Path | None = None
) -> Iterator[tuple[OurService, str]]:
    """Run the whole service on a database that we can reach, too; yields it and the database's URL."""
    server = EmbeddedServer(folder / f"pg-{path}")
    dsn = server.start()
    try:
        environment = clean_environment({"GENRELAY_DATABASE_URL": dsn, "GENRELAY_SECRET_KEY": SECRET_KEY})
        with Child("migrate", _genrelay("migrate"), folder / f"{path}-migrate.log", environment) as migrate:
            if migrate.wait() != 0:
                raise Broken(f"genrelay migrate failed:\n{migrate.tail()}")
        more = {"GENRELAY_DATABASE_URL": dsn, **extra}
        with OurService(world, "all", path, folder, profile, extra=more) as service:
            yield service, dsn
    finally:
        server.stop()
        shutil.rmtree(folder / f"pg-{path}", ignore_errors=True)
