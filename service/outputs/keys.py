"""Under which key an output is stored, and a job's manifest."""

from __future__ import annotations

MAX_PATH_BYTES = 512
# What the objects of a check are called. A destination's policy allows to delete these, so that outputs are never among them.
PROBE = "genrelay-probe-"
_PROBE_RULE = f"must not have a segment that begins with {PROBE}: those are deleted after a check"


def object_key(path: str, job_id: str, index: int, extension: str, *, save_directly: bool) -> str:
    """Return `{path}/{job_id}/{index:02}.{ext}`, or `{path}/{job_id}-{index:02}.{ext}` with `save_directly`.

    Slashes around `path` are trimmed and runs collapsed; "" and "/" mean no prefix.
    """
    return join_path(path, f"{job_id}{'-' if save_directly else '/'}{index:02}.{extension}")


def manifest_key(path: str, job_id: str, *, save_directly: bool) -> str:
    """Return `{path}/{job_id}/manifest.json`, or `{path}/{job_id}-manifest.json` with `save_directly`."""
    return join_path(path, f"{job_id}{'-' if save_directly else '/'}manifest.json")


def join_path(path: str, name: str) -> str:
    """Return the name under the path, or alone when the path is empty."""
    prefix = clean_path(path)
    return f"{prefix}/{name}" if prefix else name


def clean_path(path: str) -> str:
    """Return the path without slashes around it and without empty segments."""
    return "/".join(segment for segment in path.split("/") if segment)


def check_path(path: str) -> str | None:
    """Return the rule that a destination's path breaks, None if it breaks none."""
    try:
        size = len(path.encode("utf-8"))
    except UnicodeEncodeError:
        return "must be valid Unicode text"
    if size > MAX_PATH_BYTES:
        return f"must not be longer than {MAX_PATH_BYTES} bytes"
    if any(ord(c) < 0x20 or 0x7F <= ord(c) < 0xA0 for c in path):
        return "must not contain control characters"
    if any(segment in {".", ".."} for segment in path.split("/")):
        return "must not contain the segments . and .."
    return check_probes(path)


def check_probes(path: str) -> str | None:
    """Return the rule that a path breaks whose objects would be taken for those of a check."""
    return _PROBE_RULE if any(segment.startswith(PROBE) for segment in path.split("/")) else None
