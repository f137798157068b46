"""How a command ends when it could not do what it was asked: one exception, and the exit statuses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import IntEnum
from typing import Any


class ExitStatus(IntEnum):
    """What the shell gets; 0 is success."""

    FAILED = 1
    USAGE = 2  # wrong usage, or settings that can't be used
    MIGRATIONS_PENDING = 3
    DATABASE_AWAY = 4
    INTERRUPTED = 130  # as a shell has it for SIGINT
    TERMINATED = 143  # and for SIGTERM


class Failure(Exception):  # noqa: N818 - reads as what happened
    """A command that failed: what, why, what is wrong in detail, and what to do.

    problem: the service's own problem document, when that is where it comes from.
    """

    def __init__(
        self,
        title: str,
        *,
        detail: str | None = None,
        mistakes: Sequence[str] = (),
        hint: str | None = None,
        status: ExitStatus = ExitStatus.FAILED,
        problem: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(title)
        self.title, self.detail, self.mistakes, self.hint = title, detail, tuple(mistakes), hint
        self.status = status
        self._problem = problem

    def lines(self) -> list[str]:
        """Return what a person reads: the title with its detail, one line per mistake, what to do."""
        first = self.title if self.detail is None else f"{self.title}: {self.detail}"
        hint = [] if self.hint is None else [f"  {self.hint}"]
        return [f"genrelay: {first}", *(f"  - {mistake}" for mistake in self.mistakes), *hint]

    def as_json(self) -> dict[str, Any]:
        """Return what a machine reads."""
        if self._problem is not None:
            return dict(self._problem)
        return {"title": self.title, "detail": self.detail, "errors": list(self.mistakes), "hint": self.hint}


@contextmanager
def explaining_the_database() -> Iterator[None]:
    """Turn what can go wrong with the database at the start into a Failure; no secret of its URL is in the text."""
    import subprocess

    import asyncpg

    from config.logging import scrub
    from service.db.embedded import EmbeddedUnavailableError
    from service.db.migrate import MigrationBlockedError
    from service.db.opening import MigrationsPendingError
    from service.db.pool import DATABASE_AWAY

    away_or_refusing: tuple[type[BaseException], ...] = (*DATABASE_AWAY, asyncpg.PostgresError)
    try:
        yield
    except MigrationsPendingError as error:
        raise Failure(str(error), status=ExitStatus.MIGRATIONS_PENDING) from None
    except MigrationBlockedError as error:
        raise Failure(str(error), hint="end what is in the way, and run it again") from None
    except EmbeddedUnavailableError as error:
        raise Failure(str(error), status=ExitStatus.USAGE) from None
    except ValueError as error:
        if not _is_about_the_url(error):
            raise
        # Its text may quote a part of the password.
        raise Failure("GENRELAY_DATABASE_URL is not the URL of a PostgreSQL", status=ExitStatus.USAGE) from None
    except subprocess.SubprocessError as error:
        raise Failure(
            "the embedded PostgreSQL did not start", detail=type(error).__name__, status=ExitStatus.DATABASE_AWAY
        ) from None
    except away_or_refusing as error:
        if isinstance(error, OSError) and error.filename is not None:
            raise Failure(f"{error.filename}: {error.strerror}", status=ExitStatus.USAGE) from None
        said = scrub(str(error)) or type(error).__name__
        raise Failure("the database can't be reached", detail=said, status=ExitStatus.DATABASE_AWAY) from None


def _is_about_the_url(error: ValueError) -> bool:
    """Tell whether asyncpg raised it while it was reading the database's URL."""
    import traceback

    frames = traceback.extract_tb(error.__traceback__)
    return any(frame.filename.endswith("asyncpg/connect_utils.py") for frame in frames)
