"""Webhook checks: does what a provider posts arrive here? Asked with test jobs, which cost nothing, and told step by step.

From the outside in: is there a public URL, what does it look like from this machine (`reaching`, `probe`), and what became
of a test job for each status (`trial`, `judging`)? Callbacks that arrive have the last word: a step that fails from this
machine only (no way out and back in, say) does not fail the check.
"""

from __future__ import annotations

from service.webhook_checks.checks import CheckBusyError, WebhookChecks
from service.webhook_checks.report import Report, Step
from service.webhook_checks.request import CheckRequest, read_check_request

__all__ = ["CheckBusyError", "CheckRequest", "Report", "Step", "WebhookChecks", "read_check_request"]
