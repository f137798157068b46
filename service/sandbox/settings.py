"""What a sandbox can be told when it starts."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class SandboxSettings:
    """How one sandbox behaves; everything about a single task is chosen by its prompt instead (see `faults`).

    api_key: the key of every provider; None takes any that is not empty. public_url: the origin that output URLs carry.
    latency_seconds: from a submit to the end of a normal task. callback_retry_seconds: the waits between the tries of
    one callback of Novita's; ModelsLab tries once. retired: paths that are answered as if they had been taken away.
    lean: one pre-drawn JPEG of about lean_image_bytes is served for every image (benchmarks).
    """

    api_key: str | None = field(default=None, repr=False)
    public_url: str = "http://127.0.0.1:8090"
    latency_seconds: float = 0.05
    # Novita gives up after five tries; the spacing is not documented.
    callback_retry_seconds: tuple[float, ...] = (0.2, 0.4, 0.8, 1.6)
    callback_timeout_seconds: float = 5.0
    modelslab_callback_timeout_seconds: float = 30.0
    retired: frozenset[str] = frozenset()
    lean: bool = False
    lean_image_bytes: int = 100_000
