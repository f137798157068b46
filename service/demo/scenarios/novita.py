"""What Novita's tasks get on top: formats and numbers, refusals, and whatever may happen to a callback."""

from __future__ import annotations

from typing import Any

from service.demo.scenarios.body import draw_sky, job
from service.demo.scenarios.scenario import Scenario, Verdicts, no_callback


def list_novita() -> list[Scenario]:
    """Return the scenarios."""
    return [*_good(), *_bad(), *_rough()]


def _good() -> list[Scenario]:
    lake = job("novita", "img2img", "a lake", "png", image_base64=draw_sky(), width=384, height=256, image_num=2)
    return [
        Scenario("harbour", "four PNGs", _job("a quiet harbour", "png", image_num=4), outputs=4),
        Scenario("meadow", "two WebPs", _job("a meadow in spring", "webp", image_num=2), outputs=2),
        Scenario("lake", "two PNGs out of a sky", lake, outputs=2),
        Scenario("bridge", "sent twice with one key", _job("a stone bridge"), replayed=True),
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
            callbacks=no_callback,
        ),
        Scenario(
            "castle",
            "two wrong fields",
            _job("a castle of sand", width=64, sampler_name="Oiler"),
            status="refused",
            verified_by=None,
            outputs=0,
            paid=0,
            callbacks=no_callback,
        ),
    ]


def _rough() -> list[Scenario]:
    return [
        Scenario("island", "callback lost", _job("an island [fault:lost]"), callbacks=no_callback),
        Scenario("river", "callback sent three times", _job("a river [fault:duplicated]"), callbacks=_one_counts),
        Scenario(
            "forest",
            "forged success first",
            _job("a forest [fault:forged] [fault:slow=0.5]"),
            callbacks=_lie_found_out,
        ),
        Scenario("village", "submit said 500, yet runs", _job("a village [fault:500_after]")),
        Scenario("valley", "first image URL expired", _job("a valley [fault:expired]")),
        Scenario("waterfall", "first submit got a 429", _job("a waterfall [fault:429=1]")),
    ]


def _job(prompt: str, image_type: str = "jpeg", **fields: Any) -> dict[str, Any]:
    small = {"width": 384, "height": 256, "steps": 20, "seed": 42}
    return job("novita", "txt2img", prompt, image_type, **{**small, **fields})


def _one_counts(found: Verdicts) -> bool:
    return found.total() == 3 and found["confirmed"] == 1 and found["duplicate"] + found["late"] == 2


def _lie_found_out(found: Verdicts) -> bool:
    # The true one may find that the reconciler was faster.
    return found.total() == 2 and found["contradicted"] == 1
