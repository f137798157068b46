"""Do buckets take what they are sent: customers' by what was last seen of them, the operator's spool by trying it?"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from config.settings import Settings
from service.aws.roles import Roles
from service.db.columns import name_columns
from service.doctor.findings import Notes, NotPossibleError, count_of, span
from service.doctor.ground import Ground, Row
from service.doctor.places import EVERYWHERE
from service.net.policy import GuardPolicy
from service.outputs.bucket_check import check_bucket
from service.outputs.destinations import read_target
from service.outputs.errors import DestinationError
from service.outputs.s3_clients import Buckets
from service.outputs.spool import make_spool
from service.outputs.steps import SKIPPED, Step, first_serious

_STEP_SECONDS, _SPOOL_SECONDS, _PROBE_SECONDS = 3.0, 8.0, 15.0
_AT_ONCE, _MOST_PROBED, _MOST_NAMED = 4, 12, 5


async def check(ground: Ground, notes: Notes) -> None:
    """Look at customers' buckets, at the spool and at who we are at AWS, side by side."""
    settings = ground.given()
    rows, why = await _read_rows(ground)
    if why is not None:
        notes.skip("destinations", f"not looked at: {why}")
    else:
        _check_health(rows, notes)
    tries = [_check_spool(ground, settings, notes), _check_aws(settings, rows, notes, why)]
    if ground.write_probes and rows:
        tries.append(_probe_all(ground, settings, rows, notes))
    await asyncio.gather(*tries)


async def _read_rows(ground: Ground) -> tuple[Sequence[Row], str | None]:
    try:
        async with ground.session() as session:
            return await session.fetch(
                name_columns("""
                SELECT {destinations.*}, accounts.name AS account_name, accounts.external_id,
                    extract(epoch FROM now() - failing_since)::float8 AS failing_seconds
                FROM destinations JOIN accounts ON accounts.id = account_id WHERE deleted_at IS NULL
                ORDER BY failing_since NULLS LAST, destinations.id LIMIT 1000
                """)
            ), None
    except NotPossibleError as error:
        return (), str(error)


def _check_health(rows: Sequence[Row], notes: Notes) -> None:
    failing = [row for row in rows if row["failing_since"] is not None]
    for row in failing[:_MOST_NAMED]:
        failure = row["failure"]
        found = f"{_name(row)} has been failing for {span(row['failing_seconds'])}: {failure['code']}"
        notes.warn(
            "failing", found, f"{failure['hint']} Then `genrelay check-bucket {row['name']}`, with that account's key."
        )
    if len(failing) > _MOST_NAMED:
        notes.warn("failing", f"{len(failing) - _MOST_NAMED} more destinations are failing", "Mend those above first.")
    unchecked = sum(row["checked_at"] is None for row in rows)
    if not failing:
        told = f", {unchecked} never checked" if unchecked else ""
        notes.ok("destinations", f"{count_of(len(rows), 'destination')}, none failing{told}")


def _name(row: Any) -> str:
    return f"{row['name']} of account {row['account_name']}"


async def _check_spool(ground: Ground, settings: Settings, notes: Notes) -> None:
    if settings.spool.bucket is None:
        notes.ok("spool", "none is set: outputs that a bucket refuses are lost once the provider's URL expires")
        return
    if ground.keyring is None:
        notes.skip("spool", "not tried: there is no secret key")
        return
    spool = make_spool(settings, ground.keyring)
    assert spool is not None
    buckets = Buckets(EVERYWHERE, max_clients=2)
    try:
        steps = await check_bucket(
            buckets, spool.spec, settings.spool.path, seconds=_STEP_SECONDS, altogether=_SPOOL_SECONDS
        )
    finally:
        await buckets.aclose()
        await spool.aclose()
    _judge_steps(f"spool bucket {settings.spool.bucket}", "spool", steps, notes, ours=True)


def _judge_steps(what: str, name: str, steps: Sequence[Step], notes: Notes, *, ours: bool = False) -> None:
    serious = first_serious(steps)
    if serious is not None:
        mend = serious.hint or "Look at its policy and its credentials."
        more = " See GENRELAY_SPOOL__…" if ours else ""
        notes.fail(name, f"{what}: {serious.step} failed ({serious.code}): {serious.message}", mend + more)
        return
    notable = [step for step in steps if step.message and step.code != SKIPPED]
    if notable:
        told = "; ".join(f"{step.step}: {step.message}" for step in notable)
        notes.warn(name, f"{what} takes outputs, but {told}", notable[0].hint or "Look at its policy.")
    else:
        notes.ok(name, f"{what} takes and gives what it is sent")


async def _probe_all(ground: Ground, settings: Settings, rows: Sequence[Row], notes: Notes) -> None:
    """Write to customers' buckets, as their own check does, and delete it again. What is found is not recorded."""
    buckets = Buckets(GuardPolicy(tuple(settings.allowed_private_subnets)), max_clients=_AT_ONCE)
    places = asyncio.Semaphore(_AT_ONCE)

    async def probe(row: Row) -> None:
        async with places:
            await _probe(ground, settings, buckets, row, notes)

    try:
        await asyncio.gather(*(probe(row) for row in rows[:_MOST_PROBED]))
    finally:
        await buckets.aclose()
    if len(rows) > _MOST_PROBED:
        left = len(rows) - _MOST_PROBED
        notes.skip("probe", f"{left} more destinations were not tried", "`genrelay check-bucket` tries one.")


async def _probe(ground: Ground, settings: Settings, buckets: Buckets, row: Row, notes: Notes) -> None:
    if ground.keyring is None:
        notes.skip("probe", f"{_name(row)}: not tried, there is no secret key")
        return
    try:
        target = read_target(ground.keyring, row, None, settings.outputs.ambient_accounts)
    except DestinationError as error:
        notes.fail("probe", f"{_name(row)}: {error.message}", error.hint or "Put the destination again.")
        return
    steps = await check_bucket(buckets, target.spec, target.path, seconds=_STEP_SECONDS, altogether=_PROBE_SECONDS)
    _judge_steps(_name(row), "probe", steps, notes)


async def _check_aws(settings: Settings, rows: Sequence[Row], notes: Notes, why: str | None) -> None:
    """Ask AWS who we are, if anything stands on it."""
    needed = [_name(row) for row in rows if row["spec"]["auth"]["type"] in {"assume_role", "ambient"}]
    if _is_own(settings):
        needed.insert(0, "the spool")
    if not needed and why is not None:
        notes.skip("aws", f"not known whether anything needs it: {why}")
        return
    if not needed:
        notes.ok("aws", "no credentials of the service's own are needed")
        return
    roles = Roles(seconds=8.0)
    try:
        arn = await roles.whoami()
    finally:
        await roles.aclose()
    if arn is None:
        hint = (
            "Give the pod a role (IRSA, Pod Identity) or set AWS_ACCESS_KEY_ID; let sts.<region>.amazonaws.com:443 out."
        )
        notes.fail(
            "aws", f"AWS does not tell who we are, and {count_of(len(needed), 'bucket')} need it: {needed[0]}", hint
        )
    else:
        notes.ok("aws", f"we are {arn}")


def _is_own(settings: Settings) -> bool:
    return (
        settings.spool.bucket is not None
        and settings.spool.access_key_id is None
        and settings.spool.endpoint_url is None
    )
