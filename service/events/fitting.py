"""Which events somebody asked for: by type, provider, operation, destination, metadata, and whether tests count.

The function `event_fits` of the database says the same in SQL, where deliveries are made and pages of the feed are read;
this is for those who hear of an event the moment it happens.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Wanted:
    """types: `job.succeeded`, `job.*`, `*`. filter: lists of values by provider, operation, destination, and `metadata`, pairs
    that must all be there. test: None takes both kinds, True tests only, False real ones only.
    """

    types: tuple[str, ...] = ("*",)
    filter: Mapping[str, Any] = field(default_factory=dict)
    test: bool | None = None

    def fits(self, event_type: str, job: Mapping[str, Any] | None) -> bool:
        """Return whether an event is one of them. job: as the event shows it, None for an account's own event."""
        if not {"*", event_type, f"{event_type.split('.', 1)[0]}.*"} & set(self.types):
            return False
        is_test = bool(job["test"]) if job is not None else False
        if self.test is not None and is_test != self.test:
            return False
        return not self.filter or (job is not None and self._fits_filter(job))

    def _fits_filter(self, job: Mapping[str, Any]) -> bool:
        for name in ("provider", "operation", "destination"):
            if name in self.filter and job.get(name) not in self.filter[name]:
                return False
        pairs = self.filter.get("metadata", {})
        return all(job["metadata"].get(key) == value for key, value in pairs.items())
