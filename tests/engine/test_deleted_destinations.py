"""A destination that was deleted: its credentials are used for nothing new, and what is paid for can still be saved."""

from __future__ import annotations

import time
from typing import Any
from uuid import uuid4

import pytest

from service.db.sql import queries
from service.engine.housekeeping import keep_house
from service.outputs.destinations import read_target
from service.outputs.errors import DestinationDenied
from tests.engine.driven import Driven, uuid
from tests.world import destination

NAME = "/v1/destinations/acme"


async def _failed(driven: Driven) -> dict[str, Any]:
    """Return a job that has failed because of the destination's bucket, which was deleted then."""
    await driven.client.put(f"{NAME}?check=false", json=destination(driven.s3, "not-there-at-all"))
    job = await driven.copy(await driven.copying())
    assert job["error"]["code"] == "destination_denied"
    assert (await driven.client.delete(NAME)).status_code == 204
    return job


async def _put(driven: Driven, name: str = "acme", *, by: Any = None) -> None:
    given = destination(driven.s3, driven.bucket)
    answer = await (by or driven.client).put(f"/v1/destinations/{name}?check=false", json=given)
    assert answer.status_code == 201, answer.text


async def test_retry_takes_the_destination_that_has_the_name_now(driven: Driven) -> None:
    job = await _failed(driven)
    await _put(driven)
    assert (await driven.retry(job)).status_code == 202
    done = await driven.drive(job)
    assert (done["status"], done["run"], done["destination"]) == ("succeeded", 2, "acme")
    assert driven.keys() == [done["outputs"][0]["key"]]
    [live] = await driven.sql("SELECT id FROM destinations WHERE deleted_at IS NULL")
    assert (await driven.row(job)).destination_id == live["id"]
    assert (await driven.client.get(f"/v1/jobs/{job['id']}/outputs/0")).status_code == 307
    assert len(driven.sandbox.paid) == 1


async def test_retry_without_one_says_what_to_do_and_changes_nothing(driven: Driven) -> None:
    job = await _failed(driven)
    await _put(driven, by=driven.stranger)
    await _put(driven, "other")
    answer = await driven.retry(job)
    assert (answer.status_code, answer.json()["code"]) == (409, "destination_deleted")
    assert "of that name" in answer.json()["detail"]
    assert "`copy`" in answer.json()["detail"]
    assert await driven.job(job) == job


async def test_job_whose_destination_was_deleted_is_copied_from_the_provider(driven: Driven) -> None:
    job = await _failed(driven)
    await _put(driven, "other")
    copied = (await driven.client.post(f"/v1/jobs/{job['id']}/copy", json={"destination": "other"})).json()
    assert (await driven.drive(copied))["status"] == "succeeded"


async def test_a_copy_does_not_read_with_what_was_deleted(driven: Driven) -> None:
    job = await driven.drive(await driven.called_back())
    assert (await driven.client.delete(NAME)).status_code == 204
    await _put(driven, "other")
    copied = (await driven.client.post(f"/v1/jobs/{job['id']}/copy", json={"destination": "other"})).json()
    driven.sandbox.now = lambda: time.time() + 7200  # the provider has deleted it
    copied = await driven.drive(copied)
    assert (copied["status"], copied["error"]["code"]) == ("failed", "output_expired")


async def test_nothing_is_signed_with_what_was_deleted(driven: Driven) -> None:
    job = await driven.drive(await driven.called_back())
    assert (await driven.client.get(f"/v1/jobs/{job['id']}/outputs/0")).status_code == 307
    await driven.client.delete(NAME)
    answer = await driven.client.get(f"/v1/jobs/{job['id']}/outputs/0")
    assert (answer.status_code, answer.json()["code"]) == (409, "destination_deleted")
    explained = await driven.client.get("/problems/destination_deleted")
    assert explained.status_code == 200


async def _secrets(driven: Driven) -> list[bool]:
    """Tell which destinations have a secret after a round of the housekeeping: the deleted one, then the other."""
    await keep_house(driven.context)
    rows = await driven.sql("SELECT secret IS NOT NULL AS kept FROM destinations ORDER BY deleted_at NULLS LAST")
    return [row["kept"] for row in rows]


async def test_the_secret_goes_once_nothing_needs_it(driven: Driven) -> None:
    job = await driven.copying()
    [row] = await driven.sql("SELECT id FROM destinations")
    assert await _secrets(driven) == [True]
    await driven.client.delete(NAME)
    await _put(driven, "other")
    await driven.sql("UPDATE destinations SET deleted_at = now() - interval '2 minutes' WHERE id = $1", row["id"])
    assert await _secrets(driven) == [True, True]
    # The open job is stored with it all the same.
    assert (await driven.copy(job))["status"] == "succeeded"
    await driven.sql(
        "INSERT INTO uploads (id, job_id, index, destination_id, bucket, key, worker_id) VALUES ($1, $2, 0, $3, 'b', 'k', $4)",
        uuid4(), uuid(job), row["id"], driven.context.worker_id,
    )  # fmt: skip
    assert await _secrets(driven) == [True, True]
    await driven.sql("DELETE FROM uploads")
    await driven.sql("UPDATE destinations SET deleted_at = now() WHERE id = $1", row["id"])
    assert await _secrets(driven) == [True, True]
    await driven.sql("UPDATE destinations SET deleted_at = now() - interval '2 minutes' WHERE id = $1", row["id"])
    assert await _secrets(driven) == [False, True]
    gone = await queries().get_destination_by_id(driven.service.pool, id=row["id"])
    with pytest.raises(DestinationDenied, match="deleted"):
        read_target(driven.context.keyring, gone, None, ())
