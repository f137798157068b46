"""Does the database have the tables of this version?"""

from __future__ import annotations

from service.db.migrate import names
from service.doctor.findings import Notes, count_of
from service.doctor.ground import Ground


async def check(ground: Ground, notes: Notes) -> None:
    """Look for migrations that are missing, and for those of a newer version."""
    async with ground.session(migrated=False) as session:
        there = await session.fetchval("SELECT to_regclass('public._pogo_migration')") is not None
        rows = await session.fetch("SELECT migration_id FROM public._pogo_migration") if there else []
    applied = {str(row["migration_id"]) for row in rows}
    missing, unknown = [name for name in names() if name not in applied], sorted(applied - set(names()))
    if missing:
        found = f"{count_of(len(missing), 'migration')} missing: {', '.join(missing)}"
        notes.fail(
            "missing", found, "Run `genrelay migrate` (the chart does it before an upgrade), then start the service."
        )
    else:
        notes.ok("missing", f"all {len(names())} are applied")
    if unknown:
        notes.warn(
            "unknown",
            f"{count_of(len(unknown), 'migration')} of another version: {', '.join(unknown)}",
            "A newer genrelay has been here. One version back works; upgrade this one, and don't run older ones.",
        )
