"""Receives genrelay's webhooks: verify, remember, answer. The work is somebody else's, who reads the table `inbox`.

pip install standardwebhooks starlette uvicorn
WEBHOOK_SECRET=whsec_… python receive.py
"""

import json
import os
import sqlite3

import uvicorn
from standardwebhooks import Webhook
from standardwebhooks.webhooks import WebhookVerificationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

webhook = Webhook(os.environ["WEBHOOK_SECRET"])
MAX_BYTES = 1024 * 1024

db = sqlite3.connect(os.environ.get("DATABASE", "receiver.db"))
db.execute("CREATE TABLE IF NOT EXISTS inbox (id TEXT PRIMARY KEY, event TEXT, done INTEGER DEFAULT 0)")
db.execute("CREATE TABLE IF NOT EXISTS jobs (id TEXT PRIMARY KEY, sequence INTEGER, status TEXT)")


async def receive(request: Request) -> Response:
    body = await read_body(request)
    if body is None:
        return Response(status_code=413)
    try:
        event = webhook.verify(body, dict(request.headers))
    except (WebhookVerificationError, ValueError):  # ValueError: the header is not even shaped like a signature
        return Response(status_code=401)
    remember(request.headers["webhook-id"], event)
    return Response(status_code=204)


async def read_body(request: Request) -> bytes | None:
    """Return the bytes as they came: parsed and written again they would be others, and the signature wrong."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BYTES:
            return None
    return bytes(body)


def remember(event_id: str, event: dict) -> None:
    """Keep an event once, and of its job the newest state; in one transaction, before the answer."""
    with db:
        new = db.execute("INSERT OR IGNORE INTO inbox (id, event) VALUES (?, ?)", (event_id, json.dumps(event)))
        data = event.get("data", {})
        if new.rowcount and "job" in data:
            job, sequence = data["job"], data["sequence"]
            db.execute(
                "INSERT INTO jobs (id, sequence, status) VALUES (?, ?, ?) ON CONFLICT (id) DO UPDATE"
                " SET sequence = excluded.sequence, status = excluded.status WHERE excluded.sequence > jobs.sequence",
                (job["id"], sequence, job["status"]),
            )


app = Starlette(routes=[Route("/hooks", receive, methods=["POST"])])

if __name__ == "__main__":
    uvicorn.run(app, host=os.environ.get("HOST", "127.0.0.1"), port=int(os.environ.get("PORT", "8000")))
