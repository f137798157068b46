"""Whatever a body holds, the sandbox answers it with JSON of the provider's, and nothing in it crashes."""

from __future__ import annotations

import base64
import contextlib
import io
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from service.sandbox import Sandbox, SandboxSettings, sandbox_app
from tests.sandbox.conftest import REQUEST


def encoded(mode: str, kind: str, size: tuple[int, int] = (20, 16), keep: float = 1) -> str:
    file = io.BytesIO()
    Image.new(mode, size).save(file, kind)
    data = file.getvalue()
    return base64.b64encode(data[: int(len(data) * keep)]).decode()


PICTURE = encoded("RGB", "PNG")
IMAGES = [
    PICTURE,
    encoded("RGB", "PNG", (640, 640), keep=0.5),
    encoded("RGB", "JPEG", (64, 64), keep=0.7),
    encoded("1", "PNG", (1, 1)),
    *(encoded(mode, kind) for mode, kind in [("I;16", "PNG"), ("P", "GIF"), ("CMYK", "JPEG"), ("RGBA", "WEBP")]),
    *(encoded("F", "TIFF"), encoded("L", "BMP")),
]
# None of them is anybody's: a refused port, and what is no URL at all.
URLS = [
    *(
        "http://127.0.0.1:9/hooks",
        "http://",
        "http://[",
        "http://127.0.0.1:99999/",
        "https://\ud800/",
        "http://a\x00b/",
    ),
    *("http://127.0.0.1:9/\x00", "http://127.0.0.1:x/", "https://user:pass@127.0.0.1:9", "http:///x", "http://xn--/"),
]
texts = st.text(st.characters(), max_size=20)
junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=True) | texts | st.just(10**4000) | st.just(1e308),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
prompts = st.sampled_from(
    ["a lighthouse", "\ud800 at dawn", "[fault:no_outputs]", "[fault:", "[fault:failed=1]", "[fault:lots]"]
)
images = st.sampled_from(IMAGES)
urls = st.sampled_from(URLS)
webhooks = st.fixed_dictionaries({"url": urls | junk}, optional={"test_mode": junk})
extras = st.fixed_dictionaries({}, optional={"webhook": webhooks | junk, "response_image_type": junk})


def mostly(**fields: Any) -> st.SearchStrategy[Any]:
    """Bodies that are right but for a field or two, and some that are nothing of the kind."""
    right = {name: value if isinstance(value, st.SearchStrategy) else st.just(value) for name, value in fields.items()}
    changed = st.dictionaries(st.sampled_from(sorted(right)) | texts, junk, max_size=2)
    return st.builds(lambda body, change: {**body, **change}, st.fixed_dictionaries(right), changed) | junk


@contextlib.asynccontextmanager
async def running() -> AsyncIterator[tuple[httpx.AsyncClient, Sandbox]]:
    app = sandbox_app(SandboxSettings(public_url="http://sandbox", latency_seconds=0, callback_retry_seconds=()))
    sandbox: Sandbox = app.state.sandbox
    # This transport raises what the app raises.
    async with (
        sandbox.opened(),
        httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://sandbox", headers={"authorization": "Bearer key"}
        ) as http,
    ):
        yield http, sandbox


async def check(path: str, body: Any) -> None:
    async with running() as (http, sandbox):
        # A number that JSON may hold and a float may not.
        answer = await http.post(path, content=json.dumps(body).replace("1e+308", "1e999").encode())
        assert isinstance(read_strictly(answer.content), dict)
        await sandbox.settle()
        for task in list(sandbox.tasks.values()):
            await http.get("/v3/async/task-result", params={"task_id": task.task_id})
            await http.post(f"/api/v6/images/fetch/{task.task_id}", json={"key": "key"})
            result = task.dialect.final_event(sandbox, task)
            for url in find_urls(read_strictly(result)):
                assert (await http.get(url)).status_code == 200
        for path in ("submits", "callbacks", "lookups"):
            assert (await http.get(f"/_sandbox/{path}")).status_code == 200
        assert sandbox.crashes == []


def read_strictly(content: bytes) -> Any:
    """Parse JSON as others do: without `Infinity`."""

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is not JSON")

    return json.loads(content.decode(), parse_constant=refuse)


def find_urls(value: Any) -> list[str]:
    if isinstance(value, dict | list):
        return [url for item in (value.values() if isinstance(value, dict) else value) for url in find_urls(item)]
    return [value] if isinstance(value, str) and value.startswith("http://sandbox/") else []


SMALL = {**REQUEST, "prompt": prompts, "width": 128, "height": 128}
PAINTING = {**SMALL, "image_base64": images, "mask_image_base64": images}
UPSCALE = {"model_name": "RealESRNet_x4plus", "image_base64": images, "scale_factor": st.floats(1.1, 4)}
LOOSE = {"prompt": prompts, "text": junk, "prompts": junk, "width": junk, "size": junk, "seed": junk, "extra": extras}
NOVITA = {
    "txt2img": mostly(request=mostly(**SMALL), extra=extras),
    "img2img": mostly(request=mostly(**PAINTING), extra=extras),
    "inpainting": mostly(request=mostly(**PAINTING), extra=extras),
    "upscale": mostly(request=mostly(**UPSCALE), extra=extras),
    "wan-t2v": mostly(**LOOSE),
    "txt2speech": mostly(**LOOSE),
    "z-image-turbo": mostly(**LOOSE),
}


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(sorted(NOVITA)).flatmap(lambda name: st.tuples(st.just(name), NOVITA[name])))
async def test_novita_copes_with_any_body(submit: tuple[str, Any]) -> None:
    await check(f"/v3/async/{submit[0]}", submit[1])


references = st.lists(images.map("data:image/png;base64,{}".format) | urls | junk, max_size=3)
SEEDREAM = mostly(
    prompt=prompts,
    size=st.just("2560x1440") | junk,
    images=references,
    image=references,
    sequential_image_generation=st.sampled_from(["auto", "disabled"]),
    max_images=st.integers(0, 3),
    sequential_image_generation_options=mostly(max_images=st.integers(0, 3)),
    watermark=st.booleans(),
)


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(["4.0", "4.5"]), SEEDREAM)
async def test_seedream_copes_with_any_body(version: str, body: Any) -> None:
    await check(f"/v3/seedream-{version}", body)


numbers = st.sampled_from(["64", 128, "128.5", "1e999", "nan", "", None, "٣٢", True])
MODELSLAB = mostly(
    key="key",
    prompt=prompts,
    init_image=images | urls | junk,
    mask_image=images | urls | junk,
    width=numbers,
    height=numbers,
    seed=junk | numbers,
    strength=numbers,
    samples=st.sampled_from(["1", 2]),
    base64=st.sampled_from(["yes", "no", True]),
    webhook=urls | st.none(),
    track_id=junk,
    request_id=junk,
)
PATHS = ["text2img", "img2img", "inpaint", "flux/text2img", "video/text2video", "voice/make", "fetch", "flux/fetch/1"]


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(PATHS), MODELSLAB)
async def test_modelslab_copes_with_any_body(path: str, body: Any) -> None:
    await check(f"/api/v1/enterprise/{path}", body)
