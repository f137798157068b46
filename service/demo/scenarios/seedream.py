"""What Seedream on Novita gets on top: its answer is the result, in one shape or another."""

from __future__ import annotations

from service.demo.scenarios.body import job
from service.demo.scenarios.scenario import Scenario, no_callback


def list_seedream() -> list[Scenario]:
    """Return the scenarios."""
    two = {"max_images": 2}
    fewer = "some dunes [fault:fewer]"
    return [
        Scenario(
            "glacier",
            "base64 instead of URLs",
            job("novita", "seedream-4.0", "a glacier [fault:base64]", size="1024x1024", max_images=2),
            verified_by="sync",
            outputs=2,
            callbacks=no_callback,
        ),
        Scenario(
            "dunes",
            "one image too few",
            job("novita", "seedream-4.5", fewer, size="2560x1440", sequential_image_generation_options=two),
            verified_by="sync",
            callbacks=no_callback,
        ),
        Scenario(
            "canyon",
            "rejected, with HTTP 200",
            job("novita", "seedream-4.0", "a canyon [fault:ark_error]"),
            status="failed",
            verified_by="sync",
            outputs=0,
            error="provider_rejected",
            paid=0,
            callbacks=no_callback,
        ),
    ]
