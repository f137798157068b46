"""A worker that was stopped in the middle and wakes up late: it makes no second object, and nobody loses one by it."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any

import pytest

from service.db.sql import queries
from service.engine.copying import copy
from service.engine.ledger import outputs_of
from service.engine.order import OutputOrder
from service.outputs.bucket import put_once
from service.outputs.destinations import read_target
from service.outputs.inspecting import Content
from service.outputs.transfer import Written
from tests.engine.driven import Driven, uuid
from tests.engine.shaky import Shaky
from tests.faulty_s3 import ACCESS_DENIED, SLOW_DOWN
from tests.world import destination

BODY = b"abc"


async def _put(driven: Driven, **changes: Any) -> None:
    body = {**destination(driven.s3, driven.bucket), **changes}
    assert (await driven.client.put("/v1/destinations/acme?check=false", json=body)).status_code == 200


async def _order(driven: Driven, job: dict[str, Any]) -> OutputOrder:
    """Return the order of a worker that takes the job up now."""
    row = await driven.row(job)
    found = await queries().get_destination_by_id(driven.service.pool, id=row.destination_id)
    async with driven.service.pool.acquire() as connection:
        [output] = await outputs_of(connection, row.id)
    return OutputOrder(driven.context, row, read_target(driven.service.keyring, found, None, ()), output)


def _written(order: OutputOrder, extension: str = "jpeg") -> Written:
    content = Content(f"image/{extension}", extension)
    return Written(order.key_for(extension), len(BODY), hashlib.sha256(BODY).digest(), content)


async def _unfix(driven: Driven, job: dict[str, Any]) -> None:
    digest = hashlib.sha256(BODY).digest()
    await queries().unfix_output(driven.service.pool, job_id=uuid(job), index=0, sha256=digest)


@pytest.mark.parametrize("change", [{"key_template": "x/{job_id}-{index}.{ext}"}, {"path": "elsewhere"}])
async def test_a_late_write_makes_no_second_object_although_the_destination_has_other_keys_by_then(
    driven: Driven, monkeypatch: pytest.MonkeyPatch, change: dict[str, str]
) -> None:
    stopped, wake = asyncio.Event(), asyncio.Event()

    async def put_late(*args: Any, **more: Any) -> Any:
        monkeypatch.setattr("service.outputs.transfer.put_once", put_once)
        stopped.set()
        await wake.wait()
        return await put_once(*args, **more)

    monkeypatch.setattr("service.outputs.transfer.put_once", put_late)
    job = await driven.copying()
    first = asyncio.create_task(copy(driven.context, uuid(job)))
    await stopped.wait()
    await _put(driven, **change)
    done = await driven.copy(job)
    wake.set()
    await first
    assert (done["status"], driven.keys()) == ("succeeded", [done["outputs"][0]["key"]])
    assert await driven.job(job) == done
    assert (await driven.types(job)).count("output.stored") == 1


async def test_a_key_stays_for_the_run_and_changes_with_the_type_the_place_and_the_run(driven: Driven) -> None:
    job = await driven.copying()
    first = _written(await _order(driven, job))
    assert await (await _order(driven, job)).fix(first) is not None
    await _unfix(driven, job)
    await _put(driven, path="elsewhere")
    order = await _order(driven, job)
    assert order.key_for("jpeg") == first.key
    assert order.key_for("png") == f"elsewhere/{job['id']}/00.png"
    await _put(driven, path="elsewhere", bucket="another-bucket")
    assert (await _order(driven, job)).key_for("jpeg") == f"elsewhere/{job['id']}/00.jpeg"
    await _put(driven, path="elsewhere")
    await driven.cancel(job)
    assert (await driven.retry(job)).status_code == 202
    assert (await _order(driven, job)).key_for("jpeg") == f"elsewhere/{job['id']}/00.jpeg"


async def test_of_two_workers_with_different_keys_only_the_first_one_writes(driven: Driven) -> None:
    """The second one began before the first had fixed anything, and after the destination was replaced."""
    job = await driven.copying()
    first = await _order(driven, job)
    await _put(driven, path="elsewhere")
    second = await _order(driven, job)
    assert await first.fix(_written(first)) is not None
    assert await second.fix(_written(second)) is None
    await _unfix(driven, job)
    assert await second.fix(_written(second)) is None
    assert await second.fix(_written(second, "png")) is not None


async def test_a_worker_of_an_earlier_run_fixes_nothing(driven: Driven) -> None:
    job = await driven.copying()
    late = await _order(driven, job)
    await driven.cancel(job)
    assert (await driven.retry(job)).status_code == 202
    assert await late.fix(_written(late)) is None


async def test_who_asks_once_more_hears_whether_what_was_fixed_still_counts(driven: Driven) -> None:
    job = await driven.copying()
    late = await _order(driven, job)
    fixed = await late.fix(_written(late))
    assert fixed is not None
    assert await late.is_fixed(fixed)
    await _unfix(driven, job)
    assert not await late.is_fixed(fixed)
    await _put(driven, bucket="another-bucket")
    other = await _order(driven, job)
    assert await other.fix(_written(other)) is not None
    assert not await late.is_fixed(fixed)
    await driven.cancel(job)
    assert not await other.is_fixed(_written(other))


async def test_a_retry_goes_where_the_destination_says_by_then(shaky: Shaky) -> None:
    """A bucket that refuses a path would refuse it for ever."""
    shaky.proxy.inject(ACCESS_DENIED, "PutObject")
    job = await shaky.run("small")
    assert job["error"]["code"] == "destination_denied"
    await shaky.settle_with(path="elsewhere")
    assert (await shaky.driven.retry(job)).status_code == 202
    done = await shaky.drive(await shaky.driven.job(job))
    assert (done["status"], shaky.driven.keys()) == ("succeeded", [f"elsewhere/{job['id']}/00.wav"])


async def test_a_try_after_passing_trouble_keeps_the_key(shaky: Shaky) -> None:
    shaky.proxy.inject(SLOW_DOWN, "PutObject", times=2)
    job = await shaky.driven.copy(await shaky.copying("small"))
    assert job["status"] == "copying"
    await shaky.settle_with(path="elsewhere")
    shaky.check_stored(await shaky.drive(job), "small")
