"""Running the checks: side by side, each within its time, and none where another one has shown that it can't be made."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Awaitable, Callable, Collection, Mapping
from contextlib import suppress
from pathlib import Path

from service.doctor import (
    buckets,
    clock,
    configuration,
    database,
    migrations,
    process,
    provider_keys,
    public_url,
    queue,
    secret_key,
    subscriptions,
)
from service.doctor.findings import Finding, Notes, NotPossibleError
from service.doctor.ground import Ground
from service.doctor.reaching import reach_database
from service.doctor.redaction import make_redaction

Check = Callable[[Ground, Notes], Awaitable[None]]

CHECKS: Mapping[str, Check] = {
    "settings": configuration.check,
    "secret_key": secret_key.check,
    "database": database.check,
    "migrations": migrations.check,
    "clock": clock.check,
    "public_url": public_url.check,
    "providers": provider_keys.check,
    "buckets": buckets.check,
    "subscriptions": subscriptions.check,
    "queue": queue.check,
    "process": process.check,
}
# The clock compares with what these hear of others on their way, and has to be the last.
_HEARD_BY = ("public_url", "providers")
_LATER = "clock"
_SECONDS = 20.0
_WITH_PROBES = 60.0


async def examine(
    environ: Mapping[str, str] | None = None,
    *,
    only: Collection[str] = (),
    write_probes: bool = False,
    trusted: ssl.SSLContext | None = None,
    cgroup: Path = Path("/sys/fs/cgroup"),
    seconds: float = _SECONDS,
) -> list[Finding]:
    """Return what was found, in the order of `CHECKS`; never raises, and takes little longer than `seconds`.

    environ: what the settings are read from. only: names of checks; all of them if there is none. write_probes: customers'
    buckets are written to, too, as `genrelay check-bucket` does. trusted: authorities of public certificates. cgroup: where
    the kernel tells a container's limits.
    """
    environ = os.environ if environ is None else environ
    wanted = [name for name in CHECKS if not only or name in only]
    redact = make_redaction(environ)
    notes = {name: Notes(name, redact) for name in CHECKS}
    ground = configuration.read_ground(environ)
    ground.write_probes, ground.trusted, ground.cgroup = write_probes, trusted, cgroup
    seconds = max(seconds, _WITH_PROBES) if write_probes else seconds
    async with reach_database(ground) as ground.reaching:
        also = _HEARD_BY if _LATER in wanted else ()
        first = dict.fromkeys(name for name in [*wanted, *also] if name != _LATER)
        await asyncio.gather(*(_run(name, ground, notes[name], seconds) for name in first))
        if _LATER in wanted:
            await _run(_LATER, ground, notes[_LATER], seconds)
    return [finding for name in wanted for finding in notes[name].findings]


async def _run(name: str, ground: Ground, notes: Notes, seconds: float) -> None:
    """Run one check; whatever becomes of it is written down."""
    check = asyncio.ensure_future(CHECKS[name](ground, notes))
    # Not a time-out around it: what hangs in a thread can't be canceled, and is left behind.
    done, _ = await asyncio.wait({check}, timeout=seconds)
    if not done:
        check.cancel()
        with suppress(TimeoutError):
            await asyncio.wait_for(asyncio.wait({check}), 0.5)
        notes.fail(
            "", f"not done within {seconds:g} s", "What it asks does not answer; look at the findings around it."
        )
        return
    error = check.exception()
    if isinstance(error, NotPossibleError):
        notes.skip("", f"not looked at: {error}")
    elif isinstance(error, TimeoutError):
        notes.fail("", "an answer did not come in time", "What it asks is overloaded, or something drops packets.")
    elif error is not None:
        hint = "Look at the findings around it; if they explain nothing, this is a mistake of genrelay's."
        notes.fail("", f"could not be finished ({type(error).__name__}: {_first_line(error)})", hint)


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [""])[0]
