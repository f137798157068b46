"""`python -m service.sandbox`: providers on this machine."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from service.sandbox.server import run
from service.sandbox.settings import SandboxSettings


def main(arguments: list[str] | None = None) -> None:
    """Read the command line and serve until SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m service.sandbox", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8090, help="0 takes a free one")
    parser.add_argument("--port-file", type=Path, help="gets the port once it is listened on")
    parser.add_argument("--public-url", help="the origin of image URLs; default: the address listened on")
    parser.add_argument("--api-key", help="the only key that is taken; default: any")
    parser.add_argument("--latency", type=float, default=0.05, help="seconds from a submit to its callback")
    parser.add_argument("--retired", action="append", default=[], help="a path to take away; may be repeated")
    parser.add_argument("--lean", action="store_true", help="one pre-drawn JPEG for every image")
    parser.add_argument("--lean-image-bytes", type=int, default=100_000)
    given = parser.parse_args(arguments)
    settings = SandboxSettings(
        api_key=given.api_key,
        latency_seconds=given.latency,
        retired=frozenset(given.retired),
        lean=given.lean,
        lean_image_bytes=given.lean_image_bytes,
    )
    run(
        settings,
        host=given.host,
        port=given.port,
        public_url=given.public_url,
        port_file=given.port_file,
        listening=_announce,
    )


def _announce(url: str) -> None:
    sys.stdout.write(f"sandbox listening on {url}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
