"""Jobs, destinations and the like as people read them."""

from __future__ import annotations

from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from service.cli.output import printable

_STYLES = {"succeeded": "green", "failed": "red", "canceled": "yellow"}


def table(*columns: str) -> Table:
    """Return an empty table; the first column is never cut, for it is what gets copied."""
    drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for number, column in enumerate(columns):
        drawn.add_column(column, no_wrap=number == 0, overflow="fold")
    return drawn


def draw_status(status: str) -> Text:
    """Return a status in its colour."""
    return Text(status, style=_STYLES.get(status, "cyan"))


def draw_size(count: int | None) -> str:
    """Return a number of bytes as people read it."""
    if count is None:
        return ""
    return f"{count} B" if count < 1000 else f"{count / 1000:.1f} kB" if count < 10**6 else f"{count / 10**6:.1f} MB"


def draw_job(job: dict[str, Any]) -> RenderableType:
    """Return one job with its outputs and its error."""
    grid = Table.grid(padding=(0, 2))
    grid.add_row("job", job["id"])
    grid.add_row("status", draw_status(job["status"]))
    grid.add_row("asked", f"{job['provider']} {job['operation']}{' (test)' if job['test'] else ''}")
    for label, name in _FIELDS:
        if job.get(name) is not None:
            grid.add_row(label, printable(str(job[name])))
    if job["metadata"]:
        grid.add_row("metadata", printable(", ".join(f"{k}={v}" for k, v in job["metadata"].items())))
    parts: list[RenderableType] = [grid]
    if job["error"] is not None:
        parts.append(draw_error(job["error"]))
    if job["outputs"]:
        parts.append(_draw_outputs(job["outputs"]))
    return Group(*parts)


_FIELDS = (
    ("task", "provider_task_id"),
    ("verified by", "verified_by"),
    ("destination", "destination"),
    ("copy of", "copy_of"),
    ("lost unless stored until", "source_expires_at"),
    ("created", "created_at"),
    ("submitted", "submitted_at"),
    ("completed", "completed_at"),
)


def draw_error(error: dict[str, Any]) -> RenderableType:
    """Return why a job failed, what the provider said, and what to do."""
    said = error["provider"]
    lines = [f"{error['code']}: {error['message']}"]
    if said is not None:
        parts = (said["status"], said["code"], said["message"])
        lines.append("the provider said: " + " ".join(str(part) for part in parts if part is not None))
    return Text("\n".join(printable(line) for line in [*lines, error["hint"]]), style="red")


def _draw_outputs(outputs: list[dict[str, Any]]) -> Table:
    drawn = table("#", "status", "type", "pixels", "bytes", "object")
    for output in outputs:
        pixels = f"{output['width']}×{output['height']}" if output["width"] else ""  # noqa: RUF001 - a times sign
        drawn.add_row(
            str(output["index"]),
            output["status"],
            output["media_type"] or "",
            pixels,
            draw_size(output["bytes"]),
            output["url"] or "",
        )
    return drawn


def draw_jobs(page: dict[str, Any]) -> RenderableType:
    """Return a page of jobs."""
    if not page["data"]:
        return "no jobs"
    drawn = table("id", "status", "asked", "outputs", "created", "error")
    for job in page["data"]:
        drawn.add_row(
            job["id"],
            draw_status(job["status"]),
            f"{job['provider']} {job['operation']}{' (test)' if job['test'] else ''}",
            str(len(job["outputs"])),
            job["created_at"],
            "" if job["error"] is None else job["error"]["code"],
        )
    more = [f"more: --cursor {page['next_cursor']}"] if page["has_more"] else []
    return Group(drawn, *more)


def draw_event(event: dict[str, Any]) -> RenderableType:
    """Return one event as a line."""
    data = event["data"]
    line = Text(f"{event['time'][11:23]}  {data['sequence']:>3}  ")
    kind = event["type"]
    line.append(f"{kind:<14}", style=_STYLES.get(kind.removeprefix("job."), "cyan"))
    line.append(f"  {printable(say_what_happened(data))}")
    return line


def say_what_happened(data: dict[str, Any]) -> str:
    """Return what an event of a job says in a few words."""
    if "callback" in data:
        return f"a callback came: {data['callback']['verdict']}"
    job = data.get("job") or {}
    if job.get("error"):
        return f"{job['error']['code']}: {job['error']['message']}"
    outputs = job.get("outputs") or []
    stored = [output for output in outputs if output["status"] == "stored"]
    return f"{len(stored)} of {len(outputs)} outputs stored" if outputs else ""


def draw_destination(destination: dict[str, Any]) -> RenderableType:
    """Return one destination."""
    grid = Table.grid(padding=(0, 2))
    for name, value in destination.items():
        if name not in {"object", "check"} and value not in (None, {}, False):
            shown = " ".join(f"{k}={v}" for k, v in value.items()) if isinstance(value, dict) else str(value)
            grid.add_row(name, printable(shown))
    return Group(grid, draw_check(destination["check"])) if destination.get("check") else grid


def draw_destinations(page: dict[str, Any]) -> RenderableType:
    """Return a page of destinations."""
    if not page["data"]:
        return "no destinations"
    drawn = table("name", "status", "bucket", "region", "path", "endpoint")
    for found in page["data"]:
        where = found["endpoint_url"] or "Amazon S3"
        drawn.add_row(found["name"], found["status"], found["bucket"], found["region"], found["path"], where)
    more = [f"more: --cursor {page['next_cursor']}"] if page["has_more"] else []
    return Group(drawn, *more)


def draw_check(report: dict[str, Any]) -> RenderableType:
    """Return what each step of a check came to."""
    drawn = table("step", "", "code", "what it said")
    for step in report["steps"]:
        said = " - ".join(part for part in (step["message"], step["hint"]) if part)
        drawn.add_row(step["step"], _mark(step), step["code"] or "", printable(said))
    return drawn


def _mark(step: dict[str, Any]) -> Text:
    if step["code"] == "skipped":
        return Text("-", style="dim")
    return Text("ok", style="green") if step["ok"] else Text("failed", style="red")


def draw_destination_events(page: dict[str, Any]) -> RenderableType:
    """Return a page of a destination's events."""
    if not page["data"]:
        return "no events: the destination has taken whatever it was sent"
    drawn = table("time", "event", "code", "what it said")
    for event in page["data"]:
        failure = event["data"]["destination"]["failure"] or {}
        said = " - ".join(part for part in (failure.get("message"), failure.get("hint")) if part)
        drawn.add_row(event["time"], event["type"], failure.get("code") or "", printable(said))
    more = [f"more: --cursor {page['next_cursor']}"] if page["has_more"] else []
    return Group(drawn, *more)
