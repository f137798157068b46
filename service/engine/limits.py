"""What the operator allows of a provider and of each operation: images a minute, and jobs at a time."""

from __future__ import annotations

from dataclasses import dataclass

from config.providers import OperationSettings, ProviderSettings
from config.shapes import comparable_name


@dataclass(frozen=True, slots=True)
class Limits:
    """How much may go out, over all processes; None: no limit."""

    images_per_minute: int | None = None
    concurrency: int | None = None

    @property
    def any(self) -> bool:
        """Whether anything is limited at all."""
        return self.images_per_minute is not None or self.concurrency is not None


def limits_of(settings: ProviderSettings, operation: str | None = None) -> Limits:
    """Return the limits of one operation, or without a name those of the whole provider, which hold beside them."""
    said: ProviderSettings | OperationSettings | None = settings
    if operation is not None:
        # An environment variable's name has no dots and hyphens left: SEEDREAM_4_0 is seedream-4.0.
        names = {comparable_name(name): found for name, found in settings.operations.items()}
        said = names.get(comparable_name(operation))
    return Limits() if said is None else Limits(said.images_per_minute, said.concurrency)
