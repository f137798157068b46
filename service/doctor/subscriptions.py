"""Do those hear of events who want to?"""

from __future__ import annotations

from service.doctor.findings import Notes, count_of, span
from service.doctor.ground import Ground

_LATE, _STUCK = 60.0, 900.0  # seconds that deliveries are overdue


async def check(ground: Ground, notes: Notes) -> None:
    """Count the subscriptions that fail or are disabled, and look whether deliveries get their turn."""
    async with ground.session() as session:
        row = await session.fetchrow(
            """
            SELECT count(*) AS many, count(*) FILTER (WHERE failing_since IS NOT NULL AND disabled_at IS NULL) AS failing,
                count(*) FILTER (WHERE disabled_reason = 'failing') AS disabled,
                count(*) FILTER (WHERE ours > 0 AND disabled_at IS NULL) AS ours,
                extract(epoch FROM now() - min(failing_since) FILTER (WHERE disabled_at IS NULL))::float8 AS longest
            FROM subscriptions WHERE deleted_at IS NULL
            """
        )
        overdue = await session.fetchval(
            """
            SELECT extract(epoch FROM now() - min(look_at))::float8 FROM subscriptions
            WHERE look_at <= now() AND disabled_at IS NULL AND deleted_at IS NULL
            """
        )
    assert row is not None
    hint = "Their owners see why: `genrelay deliveries list`. Disabled ones: `genrelay subscriptions enable`, then `recover`."
    if row["failing"] or row["disabled"]:
        since = f", one for {span(row['longest'])}" if row["longest"] is not None else ""
        many = count_of(row["many"], "subscription")
        found = f"{row['failing']} of {many} failing{since}; {row['disabled']} disabled for that"
        notes.warn("health", found, hint)
    else:
        notes.ok("health", f"{count_of(row['many'], 'subscription')}, none failing")
    if row["ours"]:
        found = f"{count_of(row['ours'], 'subscription')} can't be delivered to for a reason of the service's own"
        notes.fail("ours", found, "Look at `secret_key` and `buckets.aws`, and for `delivery.` in the workers' logs.")
    late = overdue or 0.0
    if late > _LATE:
        found = f"deliveries have waited for their turn for {span(late)}"
        (notes.fail if late > _STUCK else notes.warn)("overdue", found, "Are workers alive? Run more of them.")
    else:
        notes.ok("overdue", "deliveries get their turn")
