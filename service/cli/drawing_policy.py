"""A destination's policies as people read them, and as they paste them."""

from __future__ import annotations

import json
from typing import Any

from service.cli.output import printable


def draw_policy(policy: dict[str, Any]) -> str:
    """Return everything but Terraform, which has an option of its own."""
    lines = []
    if policy["trust_policy"] is not None:
        lines += ["Trust policy of the role:", draw_policy_part(policy["trust_policy"]), ""]
    lines += ["Permission policy:", draw_policy_part(policy["permission_policy"]), ""]
    lines += [f"- {printable(note)}" for note in policy["notes"]]
    return "\n".join([*lines, "", "--terraform prints the same as Terraform."])


def draw_policy_part(part: Any) -> str:
    """Return one policy as JSON, or Terraform as it is."""
    return part.rstrip() if isinstance(part, str) else json.dumps(part, indent=2, ensure_ascii=False)
