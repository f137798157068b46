"""A world without workers, so that what came stays in the inbox."""

from __future__ import annotations

from tests.engine.conftest import driven

__all__ = ["driven"]
