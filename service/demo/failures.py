"""What stops the demo before it has a result."""

from __future__ import annotations


class DemoFailed(Exception):  # noqa: N818 - reads as what happened
    """The demo could not be played: the message says what failed, `hint` what to do or what a log says."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint
