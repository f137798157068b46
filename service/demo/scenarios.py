"""The batch that the demo submits: what is special about each job, and how it has to end."""

from __future__ import annotations

import base64
import io
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from service.demo.stage import DESTINATION

Verdicts = Counter[str]


@dataclass(frozen=True)
class Scenario:
    """One submit and its only right end.

    status: the job's, or `refused` when no job may come of it. paid: submits that the provider may have run.
    callbacks: what must have become of them. replayed: it is sent a second time with the same Idempotency-Key.
    """

    name: str
    special: str
    body: dict[str, Any]
    status: str = "succeeded"
    verified_by: str | None = "readback"
    outputs: int = 1
    error: str | None = None
    paid: int = 1
    callbacks: Callable[[Verdicts], bool] = field(default=lambda found: found == {"confirmed": 1}, repr=False)
    replayed: bool = False

    @property
    def prompt(self) -> str:
        """Return the prompt, which names the scenario in the provider's ledger."""
        return str(self.body["input"]["request"]["prompt"])


def _none(found: Verdicts) -> bool:
    return not found


def _one_counts(found: Verdicts) -> bool:
    return found.total() == 3 and found["confirmed"] == 1 and found["duplicate"] + found["late"] == 2


def _lie_found_out(found: Verdicts) -> bool:
    # The true one may find that the reconciler was faster.
    return found.total() == 2 and found["contradicted"] == 1


def _job(prompt: str, operation: str = "txt2img", image_type: str = "jpeg", **request: Any) -> dict[str, Any]:
    body = {
        "model_name": "sd_xl_base_1.0.safetensors",
        "prompt": prompt,
        "width": 384,
        "height": 256,
        "image_num": 1,
        "steps": 20,
        "guidance_scale": 7.5,
        "sampler_name": "Euler a",
        "seed": 42,
        **request,
    }
    return {
        "provider": "novita",
        "operation": operation,
        "destination": DESTINATION,
        "input": {"request": body, "extra": {"response_image_type": image_type}},
        "metadata": {"demo": "yes"},
    }


def _img2img(prompt: str, image_type: str = "jpeg", **request: Any) -> dict[str, Any]:
    return _job(prompt, "img2img", image_type, image_base64=draw_sky(), strength=0.6, **request)


def _test(prompt: str, status: str) -> dict[str, Any]:
    return {**_job(prompt), "test_mode": {"enabled": True, "return_task_status": status}}


def draw_sky() -> str:
    """Return a picture to start an img2img from, in base64: a sky that brightens towards the horizon."""
    from PIL import Image  # noqa: PLC0415 - the command line starts without it

    ramp = Image.linear_gradient("L").resize((384, 256))
    sky = Image.merge("RGB", (ramp, ramp.point(lambda v: v * 3 // 4), ramp.point(lambda v: 255 - v // 2)))
    file = io.BytesIO()
    sky.save(file, "JPEG", quality=85)
    return base64.b64encode(file.getvalue()).decode()


def make_scenarios() -> list[Scenario]:
    """Return the batch."""
    return [*_good(), *_bad(), *_tests(), *_rough()]


def _good() -> list[Scenario]:
    return [
        Scenario("lighthouse", "a JPEG", _job("a lighthouse at dawn")),
        Scenario("harbour", "four PNGs", _job("a quiet harbour", image_type="png", image_num=4), outputs=4),
        Scenario("meadow", "two WebPs", _job("a meadow in spring", image_type="webp", image_num=2), outputs=2),
        Scenario("mountains", "img2img", _img2img("mountains under this sky")),
        Scenario(
            "lake", "img2img, three PNGs", _img2img("a lake under this sky", image_type="png", image_num=3), outputs=3
        ),
        Scenario("bridge", "sent twice, one Idempotency-Key", _job("a stone bridge"), replayed=True),
    ]


def _bad() -> list[Scenario]:
    return [
        Scenario(
            "windmill",
            "fails at the provider",
            _job("a windmill [fault:failed]"),
            status="failed",
            outputs=0,
            error="provider_failed",
        ),
        Scenario(
            "orchard",
            "rejected by the provider",
            _job("an orchard [fault:400]"),
            status="failed",
            verified_by="sync",
            outputs=0,
            error="provider_rejected",
            paid=0,
            callbacks=_none,
        ),
        Scenario(
            "castle",
            "two wrong fields, refused by us",
            _job("a castle of sand", width=64, sampler_name="Oiler"),
            status="refused",
            verified_by=None,
            outputs=0,
            paid=0,
            callbacks=_none,
        ),
    ]


def _tests() -> list[Scenario]:
    mock: Callable[[Verdicts], bool] = lambda found: found == {"mock": 1}  # noqa: E731 - it has a type and a name so
    return [
        Scenario(
            "garden",
            "test mode, success",
            _test("a garden", "TASK_STATUS_SUCCEED"),
            verified_by="token",
            paid=0,
            callbacks=mock,
        ),
        Scenario(
            "pond",
            "test mode, failure",
            _test("a pond", "TASK_STATUS_FAILED"),
            status="failed",
            verified_by="token",
            outputs=0,
            error="provider_failed",
            paid=0,
            callbacks=mock,
        ),
    ]


def _rough() -> list[Scenario]:
    return [
        Scenario("island", "callback lost", _job("an island [fault:lost]"), callbacks=_none),
        Scenario("river", "callback sent three times", _job("a river [fault:duplicated]"), callbacks=_one_counts),
        Scenario(
            "forest",
            "forged success first",
            _job("a forest [fault:forged] [fault:slow=0.5]"),
            callbacks=_lie_found_out,
        ),
        Scenario("village", "submit answered 500, yet runs", _job("a village [fault:500_after]")),
        Scenario("valley", "first image URL expired", _job("a valley [fault:expired]")),
        Scenario("waterfall", "first submit answered 429", _job("a waterfall [fault:429=1]")),
    ]
