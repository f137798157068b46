"""The S3 server of the demo comes up although a port it was to have is taken."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from service.demo import s3server
from service.demo.s3server import running_s3


def test_a_port_that_was_taken_meanwhile_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:

        def found() -> Iterator[dict[str, int]]:
            yield {**free(), "s3": taken.getsockname()[1]}
            yield free()

        free, plans = s3server._free_ports, found()
        monkeypatch.setattr(s3server, "_free_ports", lambda: next(plans))
        with running_s3() as server:
            server.create_bucket("a-bucket")
            assert not server.endpoint_url.endswith(f":{taken.getsockname()[1]}")
    assert next(plans, None) is None
