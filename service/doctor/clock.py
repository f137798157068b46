"""Do the clocks agree: this machine's, the database's, and the world's?"""

from __future__ import annotations

from service.doctor.findings import Notes, NotPossibleError, span
from service.doctor.ground import Ground, Heard

_WARN, _FAIL = 2.0, 60.0  # seconds
_HINT = (
    "Let chrony or the like set the clock of {whose}. AWS refuses requests that are 15 minutes off, receivers of webhooks "
    "those that are 5 minutes off, and certificates look expired."
)
_TRIES = 3


async def check(ground: Ground, notes: Notes) -> None:
    """Compare this machine's clock with the others'."""
    ground.given()
    for heard in ground.heard:
        _judge(notes, heard, heard.who, "this machine")
    if not ground.heard:
        notes.skip("world", "nobody outside was reached whose clock could be compared")
    try:
        _judge(notes, await _ask_database(ground), "database", "this machine, or of the database's")
    except NotPossibleError as why:
        notes.skip("database", f"not looked at: {why}")


async def _ask_database(ground: Ground) -> Heard:
    """Return the best of a few tries: the quickest tells most."""
    tries = []
    async with ground.session(migrated=False) as session:
        for _ in range(_TRIES):
            began = ground.clock()
            told = await session.fetchval("SELECT extract(epoch FROM clock_timestamp())::float8")
            ended = ground.clock()
            tries.append(Heard("database", told - (began + ended) / 2, (ended - began) / 2))
    return min(tries, key=lambda heard: heard.unsure)


def _judge(notes: Notes, heard: Heard, name: str, whose: str) -> None:
    # What can't be told apart from an error of measuring is none.
    off = max(0.0, abs(heard.ahead) - heard.unsure)
    if off <= _WARN:
        notes.ok(name, f"agrees within {span(abs(heard.ahead) + heard.unsure)}")
        return
    found = f"{span(off)} {'ahead of' if heard.ahead > 0 else 'behind'} this machine's clock"
    (notes.fail if off > _FAIL else notes.warn)(name, found, _HINT.format(whose=whose))
