"""Posting through the public URL: what is in the way is named, whatever it is."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest

from service.crypto import Keyring
from service.engine.context import Context
from service.net.calls import HttpReply
from service.webhook_checks.probe import explain, probe
from tests.listening import answering as giving
from tests.listening import http_answer, listening
from tests.world import SECRET_KEY, World, free_port


def seen_from(world: World, url: str) -> Context:
    """Return the world's context with another public URL."""
    context = world.service.context
    return replace(context, settings=context.settings.model_copy(update={"public_url": url}))


async def test_a_post_that_comes_in_is_accepted_and_leaves_nothing_behind(world: World) -> None:
    step = await probe(world.service.context, "novita")
    assert (step.step, step.ok, step.code) == ("token_accepted", True, None)
    assert await world.service.pool.fetchval("SELECT count(*) FROM callbacks") == 0


@pytest.mark.parametrize(
    ("answer", "code", "said"),
    [
        (http_answer(200, b"{}"), "not_ours", "another genrelay"),
        (http_answer(204), "not_ours", "Another service"),
        (http_answer(301, b"", "Location: https://www.example.com/v1/callbacks/x"), "redirect", "www.example.com"),
        (http_answer(307, b"", "Location: /elsewhere"), "redirect", "another path"),
        (http_answer(401), "http_401", "token in the path"),
        (http_answer(403), "http_403", "firewall"),
        (http_answer(404, b"<html>not here</html>"), "http_404", "rewrites"),
        (http_answer(404, b'{"type": "/problems/not_found"}'), "other_secret_key", "GENRELAY_SECRET_KEY"),
        (http_answer(405), "http_405", "Another service"),
        (http_answer(413), "http_413", "client_max_body_size"),
        (http_answer(429), "http_429", "rate limit"),
        (http_answer(500), "http_500", "log"),
        (http_answer(502), "http_502", "upstream"),
        (http_answer(503, b'{"type": "/problems/unavailable"}'), "unavailable", "database"),
        (http_answer(418), "http_418", "as it is"),
        (b"220 mail.example ESMTP\r\n", "connection_lost", "does not speak HTTP"),
        (http_answer(404, b"x" * 3_000_000), "connection_lost", "in front"),
    ],
)
async def test_whatever_answers_instead_of_us_is_told_apart(world: World, answer: bytes, code: str, said: str) -> None:
    async with listening(giving(answer)) as other:
        step = await probe(seen_from(world, f"http://127.0.0.1:{other.port}/below"), "novita")
        assert other.connections == 1, "a redirect is not followed"
    assert (step.ok, step.code) == (False, code)
    assert said in f"{step.message} {step.hint}"
    assert "/v1/callbacks/novita" not in f"{step.message} {step.hint}"
    assert other.requests[0].startswith(b"POST /below/v1/callbacks/novita/")
    assert b"authorization" not in other.requests[0].lower()


async def test_nobody_at_the_public_url_is_a_broken_connection(world: World) -> None:
    step = await probe(seen_from(world, f"http://127.0.0.1:{free_port()}"), "novita")
    assert (step.ok, step.code) == (False, "connection_lost")


async def test_a_genrelay_with_another_secret_key_does_not_know_the_token(world: World) -> None:
    other = replace(world.service.context, keyring=Keyring([SECRET_KEY + " and another one"]))
    step = await probe(other, "novita")
    assert (step.ok, step.code) == (False, "other_secret_key")


def test_every_status_has_words() -> None:
    for status, body in product(range(200, 600), (b"", b"[]", b"\xff", b"[" * 100_000)):
        code, message, hint = explain(HttpReply(status, {"location": "http://[::1"}, body))
        assert code
        assert str(status) in message or "genrelay" in message
        assert hint
