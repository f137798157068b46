"""Events, subscriptions and deliveries as people read them."""

from __future__ import annotations

from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from service.cli.drawing import draw_status, say_what_happened, table
from service.cli.output import printable

_STYLES = {
    "job.succeeded": "green",
    "job.failed": "red",
    "job.canceled": "yellow",
    "destination.failing": "red",
    "destination.recovered": "green",
    "subscription.failing": "red",
    "subscription.disabled": "red",
    "delivery.failed": "red",
}
_DELIVERY_STYLES = {"delivered": "green", "failed": "red", "canceled": "yellow"}


def draw_told(event: dict[str, Any]) -> RenderableType:
    """Return an event of the feed in one line."""
    line = _line(event["time"][11:23], event["type"], event["subject"])
    return _whole(line.append(f"  {event['id']}  {printable(_say(event['data']))}".rstrip()))


def draw_forwarded(told: dict[str, Any]) -> RenderableType:
    """Return in one line what became of an event that was forwarded."""
    good = told["status"] is not None and 200 <= told["status"] < 300
    shown = str(told["status"]) if told["error"] is None else printable(told["error"])
    line = Text(f"{told['type']:<22}  {told['subject']}  {told['event']}  ")
    return _whole(line.append(shown, style="green" if good else "red").append(f"  {told['duration_ms']} ms"))


def _line(time: str, kind: str, subject: str) -> Text:
    return Text(f"{time}  ").append(f"{kind:<22}", style=_STYLES.get(kind, "cyan")).append(f"  {printable(subject)}")


def _whole(line: Text) -> Text:
    """Return a line that stays one, however narrow the terminal is."""
    line.no_wrap, line.overflow = True, "ignore"
    return line


def _say(data: dict[str, Any]) -> str:
    if "job" in data:
        return say_what_happened(data)
    about = data.get("destination") or data.get("subscription") or data.get("delivery") or {}
    failure = about.get("failure") or {}
    parts = (failure.get("code"), failure.get("message"), about.get("disabled_reason"), about.get("reason"))
    return " - ".join(str(part) for part in parts if part)


def draw_subscription(subscription: dict[str, Any]) -> RenderableType:
    """Return one subscription."""
    grid = Table.grid(padding=(0, 2))
    for name, value in subscription.items():
        if name not in {"object", "links"} and value not in (None, {}, [], ""):
            grid.add_row(name, printable(_plain(value)))
    return grid


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return " ".join(f"{name}={_plain(part)}" for name, part in value.items())
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def draw_subscriptions(page: dict[str, Any]) -> RenderableType:
    """Return a page of subscriptions."""
    if not page["data"]:
        return "no subscriptions"
    drawn = table("id", "status", "to", "events", "last success", "description")
    for found in page["data"]:
        status = found["status"] if found["failing_since"] is None else f"{found['status']}, failing"
        to = found["url"] or _plain(found["sink"])
        row = (status, to, ",".join(found["event_types"]), found["last_success_at"] or "", found["description"])
        drawn.add_row(found["id"], *map(printable, row))
    return Group(drawn, *_more(page))


def draw_trial(report: dict[str, Any]) -> RenderableType:
    """Return what came of a subscription's test."""
    said = report["error"] or report["response"] or ""
    status = "" if report["response_status"] is None else f"HTTP {report['response_status']}, "
    mark = Text("ok", style="green") if report["ok"] else Text("failed", style="red")
    return mark.append(f": {status}{report['duration_ms']} ms  {printable(str(said))}".rstrip(), style="default")


def draw_delivery(delivery: dict[str, Any]) -> RenderableType:
    """Return one delivery with its attempts."""
    grid = Table.grid(padding=(0, 2))
    for name, value in delivery.items():
        if name not in {"object", "attempts", "links"} and value is not None:
            grid.add_row(name, _draw_delivery_status(value) if name == "status" else printable(str(value)))
    attempts = delivery.get("attempts") or []
    return Group(grid, _draw_attempts(attempts)) if attempts else grid


def _draw_attempts(attempts: list[dict[str, Any]]) -> Table:
    drawn = table("#", "started", "outcome", "status", "ms", "what it said")
    for attempt in attempts:
        said = " - ".join(str(part) for part in (attempt["error"], attempt["response"]) if part)
        status = "" if attempt["response_status"] is None else str(attempt["response_status"])
        outcome, duration = attempt["outcome"], str(attempt["duration_ms"])
        drawn.add_row(str(attempt["number"]), attempt["started_at"], outcome, status, duration, printable(said))
    return drawn


def draw_deliveries(page: dict[str, Any]) -> RenderableType:
    """Return a page of deliveries."""
    if not page["data"]:
        return "no deliveries"
    drawn = table("id", "status", "event", "about", "to", "attempts", "answer", "next attempt")
    for found in page["data"]:
        drawn.add_row(
            found["id"],
            _draw_delivery_status(found["status"]),
            found["event_type"],
            found["job_id"] or "",
            found["subscription_id"],
            str(found["attempt_count"]),
            "" if found["response_status"] is None else str(found["response_status"]),
            found["next_attempt_at"] or "",
        )
    return Group(drawn, *_more(page))


def _draw_delivery_status(status: str) -> Text:
    return Text(status, style=_DELIVERY_STYLES[status]) if status in _DELIVERY_STYLES else draw_status(status)


def _more(page: dict[str, Any]) -> list[str]:
    return [f"more: --cursor {page['next_cursor']}"] if page["has_more"] else []
