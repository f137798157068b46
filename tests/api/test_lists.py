"""Lists: newest first, filtered, in pages without gaps or repeats."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from service.ids import read
from tests.api.answers import age, paths_of
from tests.world import World, destination, job_body, txt2img

TEST = {"enabled": True}


async def _list(world: World, **params: Any) -> list[str]:
    answer = await world.client.get("/v1/jobs", params=params)
    assert answer.status_code == 200, answer.text
    return [job["id"] for job in answer.json()["data"]]


async def _pages(world: World, path: str, **params: Any) -> list[list[dict[str, Any]]]:
    """Follow `next_cursor` to the end."""
    pages, cursor = [], None
    while True:
        answer = await world.client.get(path, params={**params, **({"cursor": cursor} if cursor else {})})
        assert answer.status_code == 200, answer.text
        page = answer.json()
        assert set(page) == {"data", "next_cursor", "has_more"}
        assert page["has_more"] is (page["next_cursor"] is not None)
        pages.append(page["data"])
        if not page["has_more"]:
            return pages
        cursor = page["next_cursor"]


async def test_jobs_come_newest_first_in_pages_without_gaps_or_repeats(world: World) -> None:
    made = [(await world.submit(test_mode=TEST))["id"] for _ in range(23)]
    newest_first = made[::-1]
    assert await _list(world) == newest_first[:20]
    assert await _list(world, limit=100) == newest_first
    for limit, sizes in ((1, [1] * 23), (5, [5, 5, 5, 5, 3]), (23, [23]), (22, [22, 1])):
        pages = await _pages(world, "/v1/jobs", limit=limit)
        assert [len(page) for page in pages] == sizes
        assert [job["id"] for page in pages for job in page] == newest_first
    # What is made while somebody turns pages neither shifts them nor appears in them.
    first = (await world.client.get("/v1/jobs", params={"limit": 10})).json()
    await world.submit(test_mode=TEST)
    second = (await world.client.get("/v1/jobs", params={"limit": 10, "cursor": first["next_cursor"]})).json()
    assert [job["id"] for job in first["data"] + second["data"]] == newest_first[:20]


async def test_a_list_shows_the_same_job_as_its_own_address(world: World) -> None:
    job = await world.run(input=txt2img(image_num=3))
    assert len(job["outputs"]) == 3
    assert (await world.client.get("/v1/jobs")).json()["data"] == [job]


async def test_each_filter_finds_what_it_says_and_nothing_else(world: World) -> None:
    assert (
        await world.client.put("/v1/destinations/other?check=false", json=destination(world.s3, world.bucket))
    ).is_success
    stored = (await world.run(metadata={"order": "42", "shop": "ä \"'\\"}))["id"]
    failed = (await world.run("a lighthouse [fault:400]", destination="other", metadata={"order": "43"}))["id"]
    tested = (await world.run(test_mode=TEST, destination=None, metadata={"order": "42"}))["id"]
    canceled = await world.submit("a lighthouse [fault:held]", metadata={})
    assert (await world.client.post(canceled["links"]["cancel"])).is_success
    every = [canceled["id"], tested, failed, stored]
    for params, found in (
        ({}, every),
        ({"status": "succeeded"}, [tested, stored]),
        ({"status": "failed"}, [failed]),
        ({"status": "canceled"}, [canceled["id"]]),
        ({"status": "queued"}, []),
        ({"provider": "novita"}, every),
        ({"provider": "modelslab"}, []),
        ({"operation": "txt2img"}, every),
        ({"operation": "img2img"}, []),
        ({"destination": "acme"}, [canceled["id"], stored]),
        ({"destination": "other"}, [failed]),
        ({"destination": "nowhere"}, []),
        ({"test": "true"}, [tested]),
        ({"test": "false"}, [canceled["id"], failed, stored]),
        ({"metadata[order]": "42"}, [tested, stored]),
        ({"metadata[order]": "42", "metadata[shop]": "ä \"'\\"}, [stored]),
        ({"metadata[order]": "4"}, []),
        ({"metadata[colour]": ""}, []),
        ({"metadata[order]": "42", "test": "false", "status": "succeeded", "destination": "acme"}, [stored]),
    ):
        assert await _list(world, **params) == found, params


async def test_times_cut_the_list_exclusively_and_in_any_zone(world: World) -> None:
    old, middle, new = [(await world.submit(test_mode=TEST)) for _ in range(3)]
    for job, time in ((old, "09:59:00Z"), (middle, "10:00:00Z"), (new, "10:01:00Z")):
        await age(
            world,
            "UPDATE jobs SET created_at = $1 WHERE id = $2",
            datetime.fromisoformat(f"2026-01-01T{time}"),
            read("job", job["id"]),
        )
    shown = datetime.fromisoformat((await world.job(middle))["created_at"])
    assert shown == datetime.fromisoformat("2026-01-01T10:00:00Z")
    for params, found in (
        ({"created_after": "2026-01-01T10:00:00Z"}, [new]),
        ({"created_before": "2026-01-01T10:00:00Z"}, [old]),
        ({"created_after": "2026-01-01T12:59:59.999+03:00"}, [new, middle]),
        ({"created_after": "2026-01-01T09:59:30", "created_before": "2026-01-01T10:00:30Z"}, [middle]),
        ({"created_after": "2026-01-01", "created_before": "2026-01-02"}, [new, middle, old]),
        ({"created_after": (shown + timedelta(days=1)).isoformat()}, []),
    ):
        assert await _list(world, **params) == [job["id"] for job in found], params
    for edge, status in (
        ("0001-01-01T00:00:00Z", 200),
        ("0001-01-01T00:00:00+14:00", 422),
        ("9999-12-31T23:59:59.999999Z", 200),
        ("9999-12-31T23:59:59-14:00", 422),
    ):
        for name in ("created_after", "created_before"):
            answer = await world.client.get("/v1/jobs", params={name: edge})
            assert answer.status_code == status, (name, edge)
    # A `+` that nobody encoded arrives as a space.
    answer = await world.client.get("/v1/jobs?created_after=2026-01-01T11:00:00+01:00")
    assert [job["id"] for job in answer.json()["data"]] == [new["id"]]


async def test_wrong_parameters_are_told_all_at_once(world: World) -> None:
    for query, paths in (
        ("limit=0&cursor=job_x&status=done&test=yes", {"limit", "cursor", "status", "test"}),
        ("limit=101", {"limit"}),
        ("limit=-1", {"limit"}),
        ("limit=ten", {"limit"}),
        ("limit=" + "9" * 5000, {"limit"}),
        ("limit=1&limit=2", {"limit"}),
        ("cursor=evt_01h455vb4pex5vsknk084sn02q", {"cursor"}),
        ("created_after=yesterday&created_before=2026-13-01", {"created_after", "created_before"}),
        ("created_after=0001-01-01T00:00:00%2B23:59", {"created_after"}),
        ("stauts=queued", {"stauts"}),
        ("metadata=1", {"metadata"}),
        ("metadata[a=1", {"metadata[a"}),
        ("metadata[a]=1&metadata[a]=2", {"metadata[a]"}),
        ("destination=%00", {"destination"}),
        ("metadata[a]=%00", {"metadata[a]"}),
        ("provider=%00&operation=a%00b", {"provider", "operation"}),
    ):
        assert paths_of(await world.client.get(f"/v1/jobs?{query}")) == paths, query
    answer = await world.client.get("/v1/jobs?metadata[%00]=1")
    assert answer.status_code == 422
    for path in ("/v1/destinations?limit=0", "/v1/destinations?cursor=%00", "/v1/destinations?page=2"):
        assert (await world.client.get(path)).status_code == 422


async def test_destinations_come_by_name_in_pages(world: World) -> None:
    for name in ("zebra", "Alpha", "beta.2", "beta-1", "acme2"):
        given = destination(world.s3, "a-bucket")
        assert (await world.client.put(f"/v1/destinations/{name}?check=false", json=given)).is_success
    pages = await _pages(world, "/v1/destinations", limit=2)
    names = [found["name"] for page in pages for found in page]
    assert [len(page) for page in pages] == [2, 2, 2]
    assert set(names) == {"zebra", "Alpha", "beta.2", "beta-1", "acme2", "acme"}
    assert len(names) == 6
    assert names == [found["name"] for found in (await world.client.get("/v1/destinations")).json()["data"]]


async def test_events_and_callbacks_come_in_order_and_in_pages(world: World) -> None:
    job = await world.run(
        "a lighthouse [fault:duplicated]", input=txt2img("a lighthouse [fault:duplicated]", image_num=4)
    )
    for limit in (1, 3, 100):
        pages = await _pages(world, job["links"]["events"], limit=limit)
        sequence = [event["data"]["sequence"] for page in pages for event in page]
        assert sequence == list(range(1, len(sequence) + 1))
        assert len(sequence) >= 8
    events = await world.events(job)
    after = (await world.client.get(job["links"]["events"], params={"after": 3})).json()["data"]
    assert after == events[3:]
    callbacks = [found for page in await _pages(world, job["links"]["callbacks"], limit=1) for found in page]
    assert len({found["id"] for found in callbacks}) == len(callbacks) == len(await world.verdicts(job))
    for query in ("cursor=x", "cursor=-1", "limit=0", "after=1.5", "cursor=" + "9" * 40, "type=job.queued"):
        assert (await world.client.get(f"{job['links']['events']}?{query}")).status_code == 422, query
    assert (await world.client.get(f"{job['links']['callbacks']}?cursor={job['id']}")).status_code == 422


async def test_an_event_is_a_cloudevent(world: World) -> None:
    job = await world.run(**{**job_body(), "prompt": "", "test_mode": TEST})
    for event in await world.events(job):
        assert event["specversion"] == "1.0"
        assert event["id"].startswith("evt_")
        assert event["source"] == world.url
        assert event["subject"] == job["id"] == event["data"]["job"]["id"]
        assert event["datacontenttype"] == "application/json"
        assert datetime.fromisoformat(event["time"]).tzinfo is not None
