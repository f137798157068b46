"""ModelsLab's official Python client, `modelslab-py`, as it comes from PyPI, against the sandbox.

It is pointed at the sandbox by its attribute `base_url`; the APIs build their paths from it when they are made. With
`enterprise=True` it calls `/api/v1/enterprise/images/{name}` and `…/images/fetch/{id}`, which ModelsLab's documentation
does not have (there it is `/api/v1/enterprise/{name}`, and `/fetch` with the id in the body): the sandbox takes `images` for
a product like every other, so that works too. What does not work is in docs/sandbox.md.
"""

from __future__ import annotations

import asyncio
import io
import warnings
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from PIL import Image

from tests.sandbox.conftest import World

# Its schemas are written for pydantic 1, which is told at the import and at every call.
with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    from modelslab_py.core.apis.community import Community
    from modelslab_py.core.apis.interior import Interior
    from modelslab_py.core.apis.realtime import Realtime
    from modelslab_py.core.client import Client
    from modelslab_py.schemas.community import Image2Image, Inpainting, QwenText2Image, Text2Image
    from modelslab_py.schemas.interior import InteriorSchema
    from modelslab_py.schemas.realtime import RealtimeText2ImageSchema

pytestmark = pytest.mark.filterwarnings("ignore::pydantic.PydanticDeprecatedSince20")
LINK = "https://pictures.example/harbour.png"


@pytest.fixture
def client(world: World) -> Client:
    client = Client("key", fetch_retry=100, fetch_timeout=0)
    client.base_url = f"{world.url}/api/"
    return client


async def fetched(api: Any, call: Callable[[Any], dict[str, Any]], schema: Any) -> dict[str, Any]:
    """Submit with the client, and let it fetch until there is a result."""
    said = await asyncio.to_thread(call, schema)
    assert said["status"] == "processing"
    # Its `fetch` builds the path by adding texts.
    found: dict[str, Any] = await asyncio.to_thread(api.fetch, str(said["id"]))
    return found


async def size_of(world: World, result: dict[str, Any]) -> tuple[int, int]:
    async with httpx.AsyncClient(trust_env=False) as http:
        return Image.open(io.BytesIO((await http.get(result["output"][0])).content)).size


@pytest.mark.parametrize("enterprise", [False, True])
async def test_it_runs_text2img_and_fetches_the_result(world: World, client: Client, enterprise: bool) -> None:
    api = Community(client, enterprise=enterprise)
    schema = Text2Image(prompt="a lighthouse at dawn", model_id="flux", width=256, height=128, samples=2, seed=7)

    result = await fetched(api, api.text_to_image, schema)

    assert (result["status"], len(result["output"])) == ("success", 2)
    assert await size_of(world, result) == (256, 128)
    assert world.sandbox.paid[0].endpoint == "images/text2img"


@pytest.mark.parametrize("enterprise", [False, True])
async def test_it_runs_img2img_and_inpaint(world: World, client: Client, enterprise: bool) -> None:
    api = Community(client, enterprise=enterprise)

    plain = await fetched(api, api.image_to_image, Image2Image(prompt="a lake", init_image=LINK, strength=0.4))
    masked = await fetched(api, api.inpainting, Inpainting(prompt="a lake", init_image=LINK, mask_image=LINK))

    assert [result["status"] for result in (plain, masked)] == ["success", "success"]
    assert [submit.endpoint for submit in world.sandbox.paid] == ["images/img2img", "images/inpaint"]


async def test_it_runs_products_of_the_enterprise_api(world: World, client: Client) -> None:
    realtime, interior = Realtime(client, enterprise=True), Interior(client, enterprise=True)

    first = await fetched(realtime, realtime.text_to_image, RealtimeText2ImageSchema(prompt="a lake"))
    second = await fetched(interior, interior.interior, InteriorSchema(init_image=LINK, prompt="a bright room"))
    third = await asyncio.to_thread(
        Community(client, enterprise=True).qwen_text_to_image, QwenText2Image(prompt="a lake")
    )

    assert [first["status"], second["status"], third["status"]] == ["success", "success", "processing"]


async def test_it_passes_webhook_and_track_id_on(world: World, client: Client) -> None:
    api = Community(client)
    schema = Text2Image(prompt="a lake", webhook=f"{world.receiver.url}/hooks/t", track_id="order-42")

    await asyncio.to_thread(api.text_to_image, schema)
    await world.receiver.wait_for(1)

    assert world.receiver.events[0]["track_id"] == "order-42"


async def test_it_understands_an_immediate_success_and_a_refusal(world: World, client: Client) -> None:
    api = Community(client)

    said = await asyncio.to_thread(api.text_to_image, Text2Image(prompt="[fault:instant]"))
    with pytest.raises(Exception, match="status code 400"):
        await asyncio.to_thread(api.text_to_image, Text2Image(prompt="[fault:400]"))

    assert said["status"] == "success"


async def test_server_controls_are_not_there(client: Client) -> None:
    with pytest.raises(Exception, match="status code 404"):
        await asyncio.to_thread(Community(client, enterprise=True).system_details)
