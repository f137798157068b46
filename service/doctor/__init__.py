"""What is wrong with this installation, and what to do about it: looked at from a process's own place, changing nothing.

`examine` runs the checks side by side, each bounded in time, and returns one line per thing that was looked at. It needs no
running service and does not disturb one. A check that can't be made because of another one says so.
"""

from __future__ import annotations

from service.doctor.examination import CHECKS, examine
from service.doctor.findings import Finding, Status, as_json, has_failed

__all__ = ["CHECKS", "Finding", "Status", "as_json", "examine", "has_failed"]
