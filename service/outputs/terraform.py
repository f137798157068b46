"""A destination's policies as Terraform. Values are the customer's: each one is written so that it means itself."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

_ABORT_DAYS = 3


def make_terraform(
    name: str, spec: Mapping[str, Any], role_arn: str | None, trust: Any | None, permissions: Any
) -> str:
    """Return the configuration for one destination: its role with the policy, or the policy alone."""
    label = "genrelay_" + re.sub(r"[^A-Za-z0-9_-]", "_", name)
    blocks = []
    if role_arn is not None and trust is not None:
        blocks += [_role(label, role_arn, trust), _role_policy(label, name, permissions)]
    else:
        blocks.append(_policy(label, name, permissions))
    return "\n".join([*blocks, _lifecycle_rule(label, spec)])


def quote(value: str) -> str:
    """Return text as a string of Terraform's language, in which `${` and `%{` begin templates."""
    return _without_templates(json.dumps(value, ensure_ascii=False))


def _without_templates(text: str) -> str:
    return text.replace("${", "$${").replace("%{", "%%{")


def _document(document: Any) -> str:
    """Return a policy as an argument of a block: JSON is an expression of Terraform's language too."""
    text = json.dumps(document, indent=2, ensure_ascii=False, separators=(",", " : "))
    lines = _without_templates(text).split("\n")
    return "\n  ".join(["jsonencode(" + lines[0], *lines[1:]]) + ")"


def _role(label: str, role_arn: str, trust: Any) -> str:
    folder, _, name = role_arn.split(":role/", 1)[1].rpartition("/")
    return f"""resource "aws_iam_role" {quote(label)} {{
  name = {quote(name)}
  path = {quote(f"/{folder}/" if folder else "/")}

  assume_role_policy = {_document(trust)}
}}
"""


def _role_policy(label: str, name: str, permissions: Any) -> str:
    return f"""resource "aws_iam_role_policy" {quote(label)} {{
  name = {quote(f"genrelay-{name}")}
  role = aws_iam_role.{label}.id

  policy = {_document(permissions)}
}}
"""


def _policy(label: str, name: str, permissions: Any) -> str:
    return f"""# To be attached to the user or role whose credentials are used.
resource "aws_iam_policy" {quote(label)} {{
  name = {quote(f"genrelay-{name}")}

  policy = {_document(permissions)}
}}
"""


def _lifecycle_rule(label: str, spec: Mapping[str, Any]) -> str:
    prefix = f"{spec['path']}/" if spec["path"] else ""
    block = f"""resource "aws_s3_bucket_lifecycle_configuration" {quote(label)} {{
  bucket = {quote(spec["bucket"])}

  rule {{
    id     = {quote(f"abort-unfinished-uploads-of-{label}")}
    status = "Enabled"

    filter {{
      prefix = {quote(prefix)}
    }}

    abort_incomplete_multipart_upload {{
      days_after_initiation = {_ABORT_DAYS}
    }}
  }}
}}
"""
    said = """Optional: parts of uploads that were never finished cost money until somebody aborts them.
A bucket has one such configuration: if it has one already, add the rule there instead.
"""
    return "".join(f"# {line}".rstrip() + "\n" for line in (said + block).rstrip().split("\n"))
