"""`python -m service.sandbox` as a process of its own."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

import httpx

from tests.sandbox.conftest import REQUEST


async def start(*arguments: str) -> tuple[asyncio.subprocess.Process, str]:
    """Start a sandbox and return it with the address it says that it listens on."""
    command = (sys.executable, "-m", "service.sandbox", "--port", "0", *arguments)
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    line = (await process.stdout.readline()).decode()
    assert line.startswith("sandbox listening on http://127.0.0.1:")
    return process, line.split()[-1]


async def stop(process: asyncio.subprocess.Process, with_signal: int) -> int:
    process.send_signal(with_signal)
    async with asyncio.timeout(10):
        await process.communicate()
    assert process.returncode is not None
    return process.returncode


async def test_it_announces_its_port_serves_and_ends_with_0_on_sigterm(tmp_path: Path) -> None:
    process, url = await start("--port-file", str(tmp_path / "port"), "--lean", "--latency", "0")
    async with httpx.AsyncClient(base_url=url, headers={"authorization": "Bearer k"}, trust_env=False) as http:
        submit = await http.post("/v3/async/txt2img", json={"request": REQUEST})
        (ledger,) = (await http.get("/_sandbox/submits")).json()
        images: list[dict[str, str]] = []
        while not images:
            images = (await http.get(f"/v3/async/task-result?task_id={ledger['task_id']}")).json()["images"]
        image = await http.get(images[0]["image_url"])

    assert (tmp_path / "port").read_text() == str(httpx.URL(url).port)
    assert submit.json()["task_id"] == ledger["task_id"]
    assert image.status_code == 200
    assert images[0]["image_url"].startswith(url)
    assert await stop(process, signal.SIGTERM) == 0


async def test_it_ends_with_0_on_ctrl_c_while_a_request_hangs() -> None:
    process, url = await start("--api-key", "right")
    async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=20) as http:
        body = {"request": {**REQUEST, "prompt": "a lighthouse [fault:hang=60]"}}
        hanging = asyncio.create_task(
            http.post("/v3/async/txt2img", json=body, headers={"authorization": "Bearer right"})
        )
        while not (await http.get("/_sandbox/submits")).json():
            pass

        assert await stop(process, signal.SIGINT) == 0
        await asyncio.wait([hanging])
        assert hanging.exception() is not None or hanging.result().status_code == 500
