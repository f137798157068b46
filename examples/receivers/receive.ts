// Receives genrelay's webhooks: verify, remember, answer. The work is somebody else's, who reads the table `inbox`.
//
// npm ci
// WEBHOOK_SECRET=whsec_… node receive.ts        (Node 22.18 or newer runs TypeScript as it is)

import { createServer, type IncomingMessage } from "node:http";
import { DatabaseSync } from "node:sqlite";
import { Webhook } from "standardwebhooks";

type Event = { data?: { sequence?: number; job?: { id: string; status: string } } };

const webhook = new Webhook(process.env.WEBHOOK_SECRET!);
const maxBytes = 1024 * 1024;

const db = new DatabaseSync(process.env.DATABASE ?? "receiver.db");
db.exec("CREATE TABLE IF NOT EXISTS inbox (id TEXT PRIMARY KEY, event TEXT, done INTEGER DEFAULT 0)");
db.exec("CREATE TABLE IF NOT EXISTS jobs (id TEXT PRIMARY KEY, sequence INTEGER, status TEXT)");

// The bytes as they came: parsed and written again they would be others, and the signature wrong.
async function readBody(request: IncomingMessage): Promise<string | undefined> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request) {
    bytes += chunk.length;
    if (bytes > maxBytes) return undefined;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString("utf8");
}

function verify(body: string, request: IncomingMessage): Event | undefined {
  try {
    return webhook.verify(body, request.headers as Record<string, string>) as Event;
  } catch {
    return undefined;
  }
}

// Keeps an event once, and of its job the newest state; in one transaction, before the answer.
function remember(eventId: string, event: Event): void {
  db.exec("BEGIN IMMEDIATE");
  try {
    const { changes } = db
      .prepare("INSERT OR IGNORE INTO inbox (id, event) VALUES (?, ?)")
      .run(eventId, JSON.stringify(event));
    const { job, sequence } = event.data ?? {};
    if (changes && job && sequence !== undefined) {
      db.prepare(
        "INSERT INTO jobs (id, sequence, status) VALUES (?, ?, ?) ON CONFLICT (id) DO UPDATE" +
          " SET sequence = excluded.sequence, status = excluded.status WHERE excluded.sequence > jobs.sequence",
      ).run(job.id, sequence, job.status);
    }
    db.exec("COMMIT");
  } catch (error) {
    db.exec("ROLLBACK");
    throw error;
  }
}

async function receive(request: IncomingMessage): Promise<number> {
  if (request.url !== "/hooks" || request.method !== "POST") return 404;
  const body = await readBody(request);
  if (body === undefined) return 413;
  const event = verify(body, request);
  if (event === undefined) return 401;
  remember(request.headers["webhook-id"] as string, event);
  return 204;
}

const server = createServer((request, response) => {
  receive(request).then(
    (status) => response.writeHead(status).end(),
    () => response.writeHead(500).end(), // not remembered: it comes again
  );
});
server.listen(Number(process.env.PORT ?? 8000), process.env.HOST ?? "127.0.0.1");
