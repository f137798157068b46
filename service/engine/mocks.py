"""Test mode for providers that have none: the mock comes from us, over the network, the way a provider's would.

The event has the provider's own shape and goes to our public callback URL, so a mock that arrives proves what a user wants
to know: that this URL resolves, is reachable, and that what is in front of it lets callbacks through.
"""

from __future__ import annotations

import httpx

from service.net.calls import AnswerLostError, NotSentError, send
from service.providers.contract import Accepted, HttpCall, Json, Ours, Provider, SubmitOutcome, Unclear

# What the most impatient of our providers gives a receiver.
_SECONDS = 5.0
_HEADERS = {"content-type": "application/json", "user-agent": "genrelay-mock"}


async def send_mock(
    client: httpx.AsyncClient, provider: Provider, operation: str, body: dict[str, Json], ours: Ours
) -> SubmitOutcome:
    """Post a test job's mock to our own callback URL; Accepted once it was acknowledged."""
    if ours.callback_url is None:
        return Unclear("GENRELAY_PUBLIC_URL is not set, so no mock can arrive")
    mock = provider.mock_callback(operation, body, ours)
    call = HttpCall("POST", ours.callback_url, _HEADERS, mock.body)
    try:
        reply = await send(client, call, timeout=_SECONDS)
    except (NotSentError, AnswerLostError) as error:
        return Unclear(f"the mock could not be posted to GENRELAY_PUBLIC_URL ({error})")
    if 200 <= reply.status < 300:
        return Accepted(mock.task_id)
    return Unclear(f"GENRELAY_PUBLIC_URL answered the mock with HTTP {reply.status}")
