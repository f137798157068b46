"""The receiver that the other tests rely on does what it is told, and forgets nothing."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from tests.receiver import Receiver, receiver_process
from tests.world import free_port


async def post(url: str, **more: object) -> httpx.Response:
    async with httpx.AsyncClient(trust_env=False, timeout=2) as http:
        return await http.post(url, content=b'{"n":1}', headers={"webhook-id": "evt_1"}, **more)  # type: ignore[arg-type]


async def test_it_keeps_what_came_as_it_came(receiver: Receiver) -> None:
    assert (await post(f"{receiver.url}/hooks")).status_code == 200
    (arrival,) = await receiver.until(1, "/hooks")
    assert (arrival.id, arrival.body, arrival.event, arrival.status) == ("evt_1", b'{"n":1}', {"n": 1}, 200)


async def test_it_answers_the_statuses_of_its_plan_and_then_200(receiver: Receiver) -> None:
    url = receiver.plan("/hooks", 503, 410, headers={"Retry-After": "7"}, body="no", body_bytes=100_000)
    answers = [await post(url) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [503, 410, 200]
    assert answers[0].headers["retry-after"] == "7"
    assert len(answers[0].content) == 100_002
    assert [arrival.status for arrival in receiver.of("/hooks")] == [503, 410, 200]


async def test_it_hangs_and_cuts_connections(receiver: Receiver) -> None:
    with pytest.raises(httpx.ReadError):
        await post(receiver.plan("/reset", reset=True))
    async with httpx.AsyncClient(trust_env=False, timeout=0.3) as http:
        with pytest.raises(httpx.ReadTimeout):
            await http.post(receiver.plan("/hang", hang=True, times=1))
    assert (await post(f"{receiver.url}/hang")).status_code == 200
    assert [arrival.status for arrival in receiver.arrivals] == [None, None, 200]


async def test_until_fails_when_nothing_comes(receiver: Receiver) -> None:
    with pytest.raises(AssertionError, match="0 of 1 came"):
        await receiver.until(1, seconds=0.05)


async def test_its_process_can_be_killed_and_started_again(tmp_path: Path) -> None:
    async with receiver_process(free_port(), tmp_path / "ledger") as process:
        assert (await post(await process.plan("/hooks", 500))).status_code == 500
        await process.kill()
        with pytest.raises(httpx.ConnectError):
            await post(f"{process.url}/hooks")
        await process.start()
        assert (await post(f"{process.url}/hooks")).status_code == 200
        assert [arrival.status for arrival in await process.until(2, "/hooks")] == [500, 200]
        assert {arrival.body for arrival in process.arrivals()} == {b'{"n":1}'}
