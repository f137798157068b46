"""The database, for commands that work on it directly: also while a service runs on it, the embedded one included."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from service.cli.failures import ExitStatus, Failure, explaining_the_database

if TYPE_CHECKING:
    from config.settings import Settings
    from service.db.pool import Pool

T = TypeVar("T")

_FOLDER_HINT = (
    "set GENRELAY_DATABASE_URL and GENRELAY_SECRET_KEY for a database of your own, or GENRELAY_DATA_DIR to a folder that"
    " can be written to"
)


def read_settings() -> Settings:
    """Return the settings and set up logging by them; raises Failure with every mistake at once."""
    from config.loading import SettingsError, load_settings
    from config.logging import set_up_logging
    from service.configured import configured_providers, make_keyring

    try:
        settings = load_settings()
        # What only the parts of the service can tell is told before any of them is started.
        configured_providers(settings)
        make_keyring(settings)
    except SettingsError as error:
        raise Failure("the settings can't be used", mistakes=str(error).splitlines(), status=ExitStatus.USAGE) from None
    except OSError as error:
        hint = _FOLDER_HINT if error.errno in {errno.EACCES, errno.EROFS} else None
        raise Failure(f"{error.filename}: {error.strerror}", hint=hint, status=ExitStatus.USAGE) from None
    except UnicodeDecodeError:
        raise Failure(
            f"{settings.data_dir}: the secret key in this folder is not text", status=ExitStatus.USAGE
        ) from None
    set_up_logging(settings.log_level, settings.log_format)
    return settings


def with_database(work: Callable[[Pool], Awaitable[T]]) -> T:
    """Run `work` on a pool of the database that the settings name; raises Failure when it is away or not migrated."""
    settings = read_settings()

    async def run() -> T:
        from service.db.opening import check_schema, database
        from service.db.pool import open_pool

        async with database(settings) as dsn:
            await check_schema(settings, dsn)
            source = settings.public_url or "genrelay"
            async with await open_pool(dsn, size=2, name="genrelay command line", source=source) as pool:
                return await work(pool)

    with explaining_the_database():
        return asyncio.run(run())
