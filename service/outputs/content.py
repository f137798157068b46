"""Looks at what a file in memory is; `inspecting` does the same for one that passes in pieces."""

from __future__ import annotations

from service.outputs.formats import Body, Family
from service.outputs.inspecting import Content, Inspector, Limits

__all__ = ["Content", "Limits", "inspect"]

_MAX_FRAMES = 3000


def inspect(body: Body, kind: Family, limits: Limits | None = None, *, max_pixels: int = 100_000_000) -> Content:
    """Return what the file is; raises OutputRefused or TruncatedOutput, and nothing else.

    max_pixels: cap on width times height of an image, where there are no limits. Only headers are read.
    """
    inspector = Inspector(kind, limits or Limits(len(body), max_pixels, _MAX_FRAMES))
    inspector.feed(body, whole=True)
    return inspector.finish()
