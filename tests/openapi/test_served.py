"""`/openapi.json` and `/docs`: for everybody, from nowhere else."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser

import httpx
import pytest

from config.loading import load_settings
from handlers.app import make_app
from handlers.openapi.document import make_document
from handlers.openapi.operations import OPERATIONS
from service.app import Role, running_service
from tests.openapi.test_document import COMMITTED
from tests.serving import serving
from tests.world import World, environment, free_port

# What a browser fetches, runs or sends without being asked.
LOADS = {"src", "srcset", "data", "action", "formaction", "poster", "background", "ping", "manifest", "style"}
HARMLESS = {
    *(
        "html",
        "head",
        "meta",
        "title",
        "style",
        "body",
        "nav",
        "main",
        "section",
        "h1",
        "h2",
        "h3",
        "h4",
        "p",
        "ul",
        "li",
        "a",
    ),
    *("strong", "small", "b", "br", "code", "pre", "table", "tr", "td", "details", "summary"),
}


async def get(url: str) -> httpx.Response:
    """Ask as anybody."""
    async with httpx.AsyncClient(trust_env=False) as anyone:
        return await anyone.get(url)


class Page(HTMLParser):
    """What is in a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.styles: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.ids += [value or "" for name, value in attrs if name == "id"]
        self.links += [value or "" for name, value in attrs if name == "href"]

    def handle_data(self, data: str) -> None:
        if self.lasttag == "style" and data.strip().startswith(":root"):
            self.styles.append(data)


async def test_anybody_gets_the_document_of_this_very_service(world: World) -> None:
    answer = await get(f"{world.url}/openapi.json")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["access-control-allow-origin"] == "*"
    assert answer.json() == make_document(world.url)
    committed = json.loads(COMMITTED.read_text(encoding="utf-8"))
    assert {**answer.json(), "servers": None} == {**committed, "servers": None}


async def test_who_has_it_already_does_not_get_it_again(world: World) -> None:
    for path in ("/openapi.json", "/docs"):
        first = await world.client.get(path)
        assert "max-age" in first.headers["cache-control"]
        for known in (first.headers["etag"], f"W/{first.headers['etag']}", f'"other", {first.headers["etag"]}', "*"):
            again = await world.client.get(path, headers={"If-None-Match": known})
            assert again.status_code == 304
            assert again.content == b""
            assert again.headers["etag"] == first.headers["etag"]
        assert (await world.client.get(path, headers={"If-None-Match": '"other"'})).status_code == 200


async def test_the_page_shows_every_operation_and_loads_nothing(world: World) -> None:
    answer = await get(f"{world.url}/docs")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    page = Page()
    page.feed(answer.text)
    assert page.tags <= HARMLESS, page.tags - HARMLESS
    assert not page.attributes & LOADS
    assert not [name for name in page.attributes if name.startswith("on")]
    assert all(link.startswith("#") or link == "openapi.json" for link in page.links), page.links
    assert {link[1:] for link in page.links if link.startswith("#")} <= set(page.ids)
    assert len(set(page.ids)) == len(page.ids)
    assert {operation.id for operation in OPERATIONS.values()} <= set(page.ids)
    [style] = page.styles
    assert "url(" not in style and "@import" not in style


async def test_the_browser_is_told_to_load_and_run_nothing(world: World) -> None:
    answer = await world.client.get("/docs")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy and "http" not in policy
    [style] = re.findall(r"<style>(.*?)</style>", answer.text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in policy


async def test_what_the_document_says_is_shown_as_text(world: World) -> None:
    text = (await world.client.get("/docs")).text
    assert "Authorization: Bearer &lt;api key&gt;" in text
    assert "<api key>" not in text


@pytest.mark.parametrize(("role", "expected"), [("api", 200), ("worker", 404)])
async def test_an_api_serves_both_and_a_worker_none(database_url: str, role: Role, expected: int) -> None:
    port = free_port()
    given = environment(port=port, sandbox_url="http://127.0.0.1:9", database_url=database_url)
    async with running_service(load_settings(given), role) as service, serving(make_app(service), port=port) as url:
        for path in ("/openapi.json", "/docs"):
            assert (await get(url + path)).status_code == expected, path
