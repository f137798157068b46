"""`genrelay listen`, against a running service."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import pytest
import standardwebhooks

from tests.chaos.proxy import tcp_proxy
from tests.cli.command import CommandLine, Ran, start
from tests.receiver import Receiver, serving_receiver
from tests.world import World, free_port, until

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
SECONDS = 20


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """What a developer writes, on this machine."""
    async with serving_receiver() as running:
        yield running


@dataclass
class Listener:
    """A `genrelay listen` that runs; what it says on standard error is read as it comes."""

    process: asyncio.subprocess.Process
    said: list[str] = field(default_factory=list)

    async def line(self) -> str:
        """Return the next line of standard output."""
        assert self.process.stdout is not None
        async with asyncio.timeout(SECONDS):
            return (await self.process.stdout.readline()).decode()

    async def until_it_says(self, words: str) -> str:
        """Return the next line on standard error that has these words."""
        assert self.process.stderr is not None
        async with asyncio.timeout(SECONDS):
            while words not in (line := (await self.process.stderr.readline()).decode()):
                self.said.append(line)
                assert line, f"it ended, and said {self.said}"
        self.said.append(line)
        return line

    async def end(self, *, press: bool = True) -> Ran:
        """Press Ctrl-C and return the rest of what it printed."""
        if press:
            self.process.send_signal(signal.SIGINT)
        async with asyncio.timeout(SECONDS):
            out, err = await self.process.communicate()
        assert self.process.returncode is not None
        ran = Ran(self.process.returncode, out.decode(), "".join(self.said) + err.decode())
        assert "Traceback" not in ran.err, ran.err
        return ran


@contextlib.asynccontextmanager
async def listening(genrelay: CommandLine, *arguments: str, url: str | None = None) -> AsyncIterator[Listener]:
    """Run `genrelay listen` and lend it once it is connected."""
    environment = genrelay.environment if url is None else {**genrelay.environment, "GENRELAY_URL": url}
    process = await start("listen", *arguments, environment=environment)
    listener = Listener(process)
    try:
        await listener.until_it_says("listening to")
        yield listener
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def test_it_prints_the_feed_as_it_happens_and_ends_cleanly_on_ctrl_c(genrelay: CommandLine, world: World) -> None:
    before = await world.run()
    async with listening(genrelay) as people, listening(genrelay, "--json") as machines:
        job = await world.run()
        told = await world.events(job)
        lines = [json.loads(await machines.line()) for _ in told]
        drawn = [await people.line() for _ in told]
        ends = [await each.end() for each in (people, machines)]
    assert lines == told
    assert all(event["type"] in line and event["id"] in line for event, line in zip(told, drawn, strict=True))
    assert before["id"] not in "".join(drawn)
    assert [(ran.status, ran.out) for ran in ends] == [(0, "")] * 2
    assert "stopped listening" in ends[0].err


async def test_it_begins_where_it_is_told_and_takes_only_what_it_is_told(genrelay: CommandLine, world: World) -> None:
    first, second = await world.run(), await world.run()
    ends = ("--type", "job.succeeded", "--json")
    async with listening(genrelay, "--since", "start", *ends) as listener:
        found = [json.loads(await listener.line()) for _ in range(2)]
        assert [event["subject"] for event in found] == [first["id"], second["id"]]
    async with listening(genrelay, "--since", found[0]["id"], *ends) as listener:
        assert json.loads(await listener.line()) == found[1]


async def test_of_one_job_it_prints_everything_and_ends_with_it(genrelay: CommandLine, world: World) -> None:
    job = await world.run()
    told = await world.events(job)
    async with listening(genrelay, "--job", job["id"], "--json") as listener:
        ran = await listener.end(press=False)
    async with listening(genrelay, "--job", job["id"], "--json", "--type", "output.*") as listener:
        some = await listener.end(press=False)
    assert (ran.status, [json.loads(line) for line in ran.out.splitlines()]) == (0, told)
    assert [json.loads(line)["type"] for line in some.out.splitlines()] == ["output.stored"]


async def test_forwarded_events_are_those_of_the_feed_and_signed_like_deliveries(
    genrelay: CommandLine, world: World, receiver: Receiver
) -> None:
    url = receiver.plan("/hooks", 500)
    async with listening(genrelay, "--forward-to", url, "--secret", SECRET, "--json") as listener:
        job = await world.run()
        told = await world.events(job)
        lines = [json.loads(await listener.line()) for _ in told]
        await listener.end()
    arrived = receiver.of("/hooks")
    assert [arrival.event for arrival in arrived] == told
    assert {arrival.headers["content-type"] for arrival in arrived} == {"application/cloudevents+json"}
    for arrival, event in zip(arrived, told, strict=True):
        assert arrival.id == event["id"]
        standardwebhooks.Webhook(SECRET).verify(arrival.body, arrival.headers)
    # The first one was answered with an error, and nothing is tried again.
    assert [line["status"] for line in lines] == [500] + [200] * (len(told) - 1)
    assert [line["event"] for line in lines] == [event["id"] for event in told]


async def test_a_secret_is_made_and_shown_and_a_receiver_that_is_away_is_no_end(
    genrelay: CommandLine, world: World, receiver: Receiver
) -> None:
    url = receiver.url.replace("://", "://someone:PASSWORD@") + "/in?token=TOKEN"
    async with listening(genrelay, "--forward-to", url) as listener:
        said = "".join(listener.said)
        assert f"forwarding to {receiver.url}," in said
        assert "PASSWORD" not in said
        assert "TOKEN" not in said
        secret = next(word for line in listener.said for word in line.split() if word.startswith("whsec_"))
        await world.run()
        arrived = (await receiver.until())[0]
        standardwebhooks.Webhook(secret).verify(arrived.body, arrived.headers)
        assert "200" in await listener.line()
    nobody = f"http://127.0.0.1:{free_port()}"
    async with listening(genrelay, "--forward-to", nobody, "--json") as listener:
        await world.run()
        first = json.loads(await listener.line())
        assert (first["status"], bool(first["error"])) == (None, True)
        assert json.loads(await listener.line())["event"] != first["event"]


async def test_when_the_service_was_away_it_says_so_and_misses_nothing(genrelay: CommandLine, world: World) -> None:
    port = urlsplit(world.url).port
    assert port is not None
    await world.run()
    await past_this_second()
    async with (
        tcp_proxy("127.0.0.1", port) as (proxy, port),
        listening(genrelay, "--json", url=f"http://127.0.0.1:{port}") as listener,
    ):

        async def told_while_away() -> tuple[list[Any], list[Any]]:
            proxy.cut()
            await listener.until_it_says("is away")
            told = await world.events(await world.run())
            proxy.mend()
            await listener.until_it_says("listening to")
            return told, [json.loads(await listener.line()) for _ in told]

        # The first time nothing has come yet, so that there is no id to go on from.
        for _ in range(2):
            told, printed = await told_while_away()
            assert printed == told
        ran = await listener.end()
    assert (ran.status, ran.out) == (0, "")
    assert sum("is away" in line for line in ran.err.splitlines()) == 2


async def past_this_second() -> None:
    """Return in the next second: that is how exactly an answer says when it was given."""
    begun = int(time.time())

    async def later() -> bool:
        return int(time.time()) > begun

    await until(later)


async def test_what_can_not_be_listened_to_is_a_failure(genrelay: CommandLine) -> None:
    wrong = [
        ("--since", "evt_nothing"),
        ("--type", "job.exploded"),
        ("--job", "job_nothing"),
        ("--job", "job_nothing", "--type", "job.exploded"),
        ("--forward-to", "localhost:3000"),
        ("--forward-to", "http://xn--a/?token=shorter"),
        ("--forward-to", "http://127.0.0.1:99999/"),
        ("--secret", SECRET),
        ("--forward-to", "http://127.0.0.1:9", "--secret", "whsec_short"),
    ]
    ran = await asyncio.gather(*(genrelay("listen", *arguments) for arguments in wrong))
    assert [one.status for one in ran] == [1, 1, 1, 2, 2, 2, 2, 2, 2]
    assert not any("short" in one.err for one in ran)
