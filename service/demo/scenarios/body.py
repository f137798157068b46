"""Bodies for `POST /v1/jobs`, made of the documentation's own example for each operation."""

from __future__ import annotations

import base64
import copy
import io
from typing import Any

from service.demo.failures import DemoFailed
from service.demo.stage import DESTINATION
from service.providers.contract import CheckedInput, Operation
from service.providers.registry import PROVIDERS


def job(provider: str, operation: str, prompt: str, image_type: str | None = None, **fields: Any) -> dict[str, Any]:
    """Return the operation's example with this prompt, if it has one at all, and these fields of the request changed."""
    given = copy.deepcopy(PROVIDERS[provider].operations[operation].example)
    request = _request_of(given)
    request.update(fields)
    if "prompt" in request:
        request["prompt"] = prompt
    if image_type is not None:
        given["extra"]["response_image_type"] = image_type
    body = {"provider": provider, "operation": operation, "input": given, "destination": DESTINATION}
    return {**body, "metadata": {"demo": "yes"}}


def mock_job(provider: str, operation: str, prompt: str, status: str) -> dict[str, Any]:
    """Return a job whose result is a mock that claims `status`."""
    return {**job(provider, operation, prompt), "test_mode": {"enabled": True, "return_task_status": status}}


def read_prompt(given: dict[str, Any]) -> str:
    """Return the prompt of a job's input; "" when its operation takes none."""
    return str(_request_of(given).get("prompt", ""))


def count_outputs(provider: str, operation: Operation) -> int:
    """Return how many outputs an operation's example asks for; raises DemoFailed when it does not pass its own check."""
    checked = PROVIDERS[provider].check_input(operation.name, operation.example)
    if not isinstance(checked, CheckedInput):
        raise DemoFailed(f"the example of {provider} {operation.name} does not pass its own check", hint=str(checked))
    return checked.images


def draw_sky() -> str:
    """Return a picture to start an img2img from, in base64: a sky that brightens towards the horizon."""
    from PIL import Image  # noqa: PLC0415 - the command line starts without it

    ramp = Image.linear_gradient("L").resize((384, 256))
    sky = Image.merge("RGB", (ramp, ramp.point(lambda v: v * 3 // 4), ramp.point(lambda v: 255 - v // 2)))
    file = io.BytesIO()
    sky.save(file, "JPEG", quality=85)
    return base64.b64encode(file.getvalue()).decode()


def _request_of(given: dict[str, Any]) -> dict[str, Any]:
    """Return the part that says what to make: Novita's tasks have it one level down, beside `extra`."""
    request: dict[str, Any] = given.get("request", given)
    return request
