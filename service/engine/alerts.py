"""Raising the alarm before outputs are lost: jobs whose source expires soon, and that are not stored yet."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import structlog

from service import metrics
from service.ids import show

log = structlog.get_logger()


class Alerts:
    """Sets the gauge, and tells of each job once; `row` is what a heartbeat has found."""

    def __init__(self, alert_seconds: float) -> None:
        self._alert_seconds = alert_seconds
        self._told: set[UUID] = set()

    def see(self, row: Any) -> None:
        """Take in what the last heartbeat has found."""
        metrics.ABOUT_TO_EXPIRE.labels("expiring").set(row["expiring"])
        metrics.ABOUT_TO_EXPIRE.labels("expired").set(row["expired"])
        metrics.ABOUT_TO_EXPIRE.labels("failed").set(row["failed"])
        expiring = row["expiring_jobs"]
        for job_id in expiring:
            if job_id not in self._told:
                log.warning("outputs.about_to_expire", job_id=show("job", job_id), within_seconds=self._alert_seconds)
        # A job that was saved is forgotten; retried and in danger again, it is news again.
        self._told = set(expiring)
