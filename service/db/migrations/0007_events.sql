-- Everybody downstream: the feed's order, subscriptions, deliveries with their attempts, what is signed with.
-- depends: 0006_buckets

-- migrate: apply
-- In the order in which transactions of the version before, which run meanwhile, lock the two, so that neither waits for the other.
LOCK TABLE jobs, events IN ACCESS EXCLUSIVE MODE;

-- What happened to a thing of an account that is no job: a destination, a subscription, a delivery. subject: its shown id or
-- name. subscription_id: the one that it is about, which is not told of its own trouble.
CREATE TABLE account_events (
    id uuid PRIMARY KEY,
    account_id uuid NOT NULL REFERENCES accounts,
    type text NOT NULL,
    subject text NOT NULL,
    subscription_id uuid,
    time timestamptz NOT NULL DEFAULT now(),
    data jsonb NOT NULL,
    source text NOT NULL DEFAULT coalesce(nullif(current_setting('genrelay.source', true), ''), 'genrelay')
);

-- source: as it was when the event was written, so that whoever reads it, and whenever, gets the same body.
ALTER TABLE events
    ADD COLUMN source text NOT NULL DEFAULT coalesce(nullif(current_setting('genrelay.source', true), ''), 'genrelay');
CREATE UNIQUE INDEX events_by_id ON events (id);
-- A process of the version before says no source: what it writes beside us names the one that this migration was given.
DO $$
BEGIN
    EXECUTE format(
        $default$ALTER TABLE events ALTER COLUMN source SET DEFAULT
            coalesce(nullif(current_setting('genrelay.source', true), ''), %L)$default$,
        coalesce(nullif(current_setting('genrelay.source', true), ''), 'genrelay'));
END
$$;

-- Committed, and without a place in the feed yet. ended: the event is the last one of a run. wanted: there are deliveries of it.
CREATE TABLE unplaced (
    event_id uuid PRIMARY KEY,
    account_id uuid NOT NULL,
    job_id uuid,
    sequence integer,
    ended boolean NOT NULL DEFAULT false,
    wanted boolean NOT NULL DEFAULT false
);

-- The order in which everybody reads. Positions are given by place_events() alone, one caller at a time, so that they become
-- visible in their order; they may have gaps. job_id is null for an account's own events.
CREATE TABLE feed (
    position bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_id uuid NOT NULL,
    event_id uuid NOT NULL UNIQUE,
    job_id uuid,
    sequence integer
);
CREATE INDEX feed_of_account ON feed (account_id, position);

-- Where an account wants events delivered. origin: `job` is what jobs' own `webhook` means, one row per account and URL.
-- url or sink: a webhook, or an AWS queue, topic or bus. signing, headers, sink_secret: encrypted JSON. open_until: its breaker
-- is open. next_at: its rate allows the next one then. failures, ours: in a row, the endpoint's and those it is not to blame for.
-- failing_since: nothing has succeeded since.
CREATE TABLE subscriptions (
    id uuid PRIMARY KEY,
    account_id uuid NOT NULL REFERENCES accounts,
    origin text NOT NULL DEFAULT 'api' CHECK (origin IN ('api', 'job')),
    url text,
    sink jsonb,
    event_types text[] NOT NULL,
    filter jsonb NOT NULL DEFAULT '{}',
    payload text NOT NULL DEFAULT 'full' CHECK (payload IN ('full', 'thin')),
    include_test boolean NOT NULL DEFAULT false,
    rate_limit integer CHECK (rate_limit >= 1),
    description text NOT NULL DEFAULT '',
    header_names text[] NOT NULL DEFAULT '{}',
    headers bytea,
    signing bytea,
    sink_secret bytea,
    failures integer NOT NULL DEFAULT 0,
    ours integer NOT NULL DEFAULT 0,
    failing_since timestamptz,
    warned_at timestamptz,
    open_until timestamptz,
    next_at timestamptz,
    look_at timestamptz,
    last_success_at timestamptz,
    disabled_at timestamptz,
    disabled_reason text CHECK (disabled_reason IN ('asked', 'gone', 'failing')),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    deleted_at timestamptz,
    CONSTRAINT webhook_or_sink CHECK ((url IS NULL) <> (sink IS NULL)),
    CONSTRAINT reason_when_disabled CHECK ((disabled_at IS NULL) = (disabled_reason IS NULL))
);
CREATE UNIQUE INDEX subscription_of_jobs ON subscriptions (account_id, url) WHERE origin = 'job' AND deleted_at IS NULL;
CREATE INDEX subscriptions_of_account ON subscriptions (account_id, origin, id DESC) WHERE deleted_at IS NULL;
CREATE INDEX subscriptions_to_look_at ON subscriptions (look_at) WHERE look_at IS NOT NULL;
CREATE INDEX subscriptions_to_look_at_of_account ON subscriptions (account_id, look_at) WHERE look_at IS NOT NULL;

-- One event on its way to one subscription. due_at: while it is pending, when it is tried next; whoever tries it has it until
-- then (worker_id). attempts: all of them; failures: those that the endpoint is to blame for, since it was
-- last sent again; forgiven: attempts until then. payload: `provider` is what the
-- job's provider would have sent.
CREATE TABLE deliveries (
    id uuid PRIMARY KEY,
    account_id uuid NOT NULL,
    subscription_id uuid NOT NULL REFERENCES subscriptions,
    event_id uuid NOT NULL,
    job_id uuid,
    sequence integer,
    type text NOT NULL,
    payload text NOT NULL CHECK (payload IN ('full', 'thin', 'provider')),
    status text NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'delivered', 'failed', 'canceled')),
    reason text,
    attempts integer NOT NULL DEFAULT 0,
    failures integer NOT NULL DEFAULT 0,
    forgiven integer NOT NULL DEFAULT 0,
    response_status smallint,
    worker_id uuid,
    created_at timestamptz NOT NULL DEFAULT now(),
    due_at timestamptz DEFAULT now(),
    ended_at timestamptz,
    UNIQUE (subscription_id, event_id),
    CONSTRAINT due_while_pending CHECK ((status = 'pending') = (due_at IS NOT NULL)),
    CONSTRAINT ended_unless_pending CHECK ((status = 'pending') = (ended_at IS NULL))
);
CREATE INDEX deliveries_due ON deliveries (subscription_id, due_at) WHERE due_at IS NOT NULL;
CREATE INDEX deliveries_under_way ON deliveries (subscription_id) WHERE worker_id IS NOT NULL;
CREATE INDEX deliveries_of_job ON deliveries (job_id) WHERE job_id IS NOT NULL;
CREATE INDEX deliveries_of_subscription ON deliveries (subscription_id, id DESC);
CREATE INDEX deliveries_of_account ON deliveries (account_id, id DESC);

-- outcome: `delivered`, `failed`, or `ours`: not the endpoint's fault. response: the beginning of the answer's body.
CREATE TABLE delivery_attempts (
    delivery_id uuid NOT NULL REFERENCES deliveries ON DELETE CASCADE,
    number integer NOT NULL CHECK (number >= 1),
    started_at timestamptz NOT NULL,
    seconds real NOT NULL,
    outcome text NOT NULL CHECK (outcome IN ('delivered', 'failed', 'ours')),
    status smallint,
    error text,
    response bytea,
    PRIMARY KEY (delivery_id, number)
);

-- What an account's deliveries are signed with besides a subscription's own secret: the secret of its jobs' webhooks
-- (encrypted JSON), and ed25519 keys, whose public halves everybody may read.
ALTER TABLE accounts ADD COLUMN webhook_signing bytea;
CREATE TABLE signing_keys (
    id uuid PRIMARY KEY,
    account_id uuid NOT NULL REFERENCES accounts,
    public bytea NOT NULL CHECK (octet_length(public) = 32),
    secret bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz
);
CREATE INDEX signing_keys_of ON signing_keys (account_id);
-- At most one without an end, however many begin at once.
CREATE UNIQUE INDEX signing_key_in_use ON signing_keys (account_id) WHERE expires_at IS NULL;

ALTER TABLE jobs
    ADD COLUMN webhook_id uuid REFERENCES subscriptions,
    ADD COLUMN webhook_payload text NOT NULL DEFAULT 'full' CHECK (webhook_payload IN ('full', 'thin', 'provider'));

-- A UUIDv7, which PostgreSQL makes itself only from 18 on.
CREATE FUNCTION new_uuid7() RETURNS uuid LANGUAGE sql VOLATILE AS $$
    SELECT encode(set_bit(set_bit(overlay(
        uuid_send(gen_random_uuid())
        PLACING substring(int8send(floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint) FROM 3) FROM 1 FOR 6
    ), 52, 1), 53, 1), 'hex')::uuid
$$;

-- A job's `webhook` finds or makes its subscription where the job is taken in. A process of the version before, beside us during
-- an upgrade, knows nothing of that, nor did it when it wrote the jobs that are here; those that have ended get theirs when their
-- next run begins. The same length as at intake: an index can't hold much more.
CREATE FUNCTION find_webhook() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    SELECT id INTO NEW.webhook_id FROM subscriptions
    WHERE account_id = NEW.account_id AND url = NEW.webhook AND origin = 'job' AND deleted_at IS NULL AND disabled_at IS NULL;
    IF NEW.webhook_id IS NULL THEN
        INSERT INTO subscriptions (id, account_id, origin, url, event_types, include_test)
        VALUES (new_uuid7(), NEW.account_id, 'job', NEW.webhook, '{*}', true)
        ON CONFLICT (account_id, url) WHERE origin = 'job' AND deleted_at IS NULL DO UPDATE SET
            disabled_at = NULL, disabled_reason = NULL, failures = 0, failing_since = NULL, warned_at = NULL, open_until = NULL,
            updated_at = now()
        RETURNING id INTO NEW.webhook_id;
    END IF;
    RETURN NEW;
END
$$;
WITH heard AS (
    INSERT INTO subscriptions (id, account_id, origin, url, event_types, include_test)
    SELECT new_uuid7(), account_id, 'job', webhook, '{*}', true FROM (
        SELECT DISTINCT account_id, webhook FROM jobs WHERE due_at IS NOT NULL AND octet_length(webhook) <= 2048
    ) AS named
    RETURNING id, account_id, url
)
UPDATE jobs SET webhook_id = heard.id FROM heard
WHERE jobs.due_at IS NOT NULL AND jobs.account_id = heard.account_id AND jobs.webhook = heard.url;
CREATE TRIGGER find_webhook BEFORE INSERT OR UPDATE OF last_event ON jobs FOR EACH ROW
    WHEN (NEW.webhook_id IS NULL AND octet_length(NEW.webhook) <= 2048) EXECUTE FUNCTION find_webhook();

-- Whether an event is one of those asked for: types (`job.succeeded`, `job.*`, `*`), a filter (provider, operation,
-- destination: lists of values; metadata: pairs that must all be there) and whether tests count. job: null for an account's
-- own events, which fit no filter but an empty one. service/events/fitting.py says the same in Python.
CREATE FUNCTION event_fits(type text, job jsonb, wanted text[], filter jsonb, include_test boolean) RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT coalesce(
        wanted && ARRAY['*', type, split_part(type, '.', 1) || '.*']
        AND (include_test OR NOT coalesce((job ->> 'test')::boolean, false))
        AND (filter = '{}' OR (
            job IS NOT NULL
            AND (NOT filter ? 'provider' OR filter -> 'provider' ? (job ->> 'provider'))
            AND (NOT filter ? 'operation' OR filter -> 'operation' ? (job ->> 'operation'))
            AND (NOT filter ? 'destination' OR filter -> 'destination' ? (job ->> 'destination'))
            AND (NOT filter ? 'metadata' OR job -> 'metadata' @> (filter -> 'metadata'))
        )), false)
$$;

-- Has the deliveries of subscriptions looked at: to be called in the transaction that makes one due. One that is awake is not
-- written, so that the transactions of a busy subscription don't wait for each other. The lock of keys, which an inserted
-- delivery's foreign key takes as well, keeps rest_subscriptions away until this transaction has committed; who is resting one
-- just now is waited for, and what it wrote is seen by the statement after.
CREATE FUNCTION wake_subscriptions(ids uuid[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM subscriptions WHERE id = ANY (ids) ORDER BY id FOR KEY SHARE;
    UPDATE subscriptions SET look_at = clock_timestamp()
    FROM (
        SELECT id FROM subscriptions
        WHERE id = ANY (ids) AND (look_at IS NULL OR look_at > clock_timestamp()) ORDER BY id FOR NO KEY UPDATE
    ) AS asleep
    WHERE subscriptions.id = asleep.id;
END
$$;

-- Puts subscriptions to sleep until something of them may be sent, or for good while nothing is pending; those of which something
-- may be sent already go to the end of the line. Only under a lock that no transaction's with a new delivery goes together with,
-- and by a statement that begins after it: so whatever is pending is seen, or its transaction comes later and wakes it again.
CREATE FUNCTION rest_subscriptions(ids uuid[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    held uuid[];
BEGIN
    SELECT array_agg(id) INTO held FROM (
        SELECT id FROM subscriptions WHERE id = ANY (ids) AND look_at <= now() ORDER BY id FOR UPDATE SKIP LOCKED
    ) AS locked;
    UPDATE subscriptions SET look_at = CASE
            WHEN first.due_at IS NULL THEN NULL
            WHEN disabled_at IS NOT NULL OR deleted_at IS NOT NULL THEN now()
            ELSE greatest(now(), first.due_at, open_until, next_at)
        END
    FROM unnest(held) AS given (id)
    LEFT JOIN LATERAL (
        SELECT due_at FROM deliveries WHERE subscription_id = given.id AND due_at IS NOT NULL ORDER BY due_at LIMIT 1
    ) AS first ON true
    WHERE subscriptions.id = given.id;
    -- One that a crash of the server loses is looked at once more.
    PERFORM set_config('synchronous_commit', 'off', true);
END
$$;

-- An event's way begins in the transaction that writes it, whoever writes it: a place in the feed to be given, and a delivery
-- for everybody who asked for it.
CREATE FUNCTION send_job_events() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    heard_by uuid[];
BEGIN
    WITH made AS (
        INSERT INTO deliveries (id, account_id, subscription_id, event_id, job_id, sequence, type, payload, status, reason, due_at, ended_at)
        SELECT new_uuid7(), fresh.account_id, heard.id, fresh.id, fresh.job_id, fresh.sequence, fresh.type, heard.payload,
            CASE WHEN stopped THEN 'canceled' ELSE 'pending' END, CASE WHEN stopped THEN 'disabled' END,
            CASE WHEN NOT stopped THEN now() END, CASE WHEN stopped THEN now() END
        FROM fresh
        JOIN jobs ON jobs.id = fresh.job_id
        -- Apart, because an account may have as many webhooks of jobs as it has jobs: only the job's own one is looked at.
        CROSS JOIN LATERAL (
            SELECT id, payload, false AS stopped FROM subscriptions
            WHERE account_id = fresh.account_id AND origin = 'api' AND deleted_at IS NULL AND disabled_at IS NULL
              AND event_fits(fresh.type, fresh.data -> 'job', event_types, filter, include_test)
            UNION ALL
            -- A disabled one gets it canceled, so that the job shows what was missed, and it can be brought back.
            SELECT id, jobs.webhook_payload, disabled_at IS NOT NULL FROM subscriptions
            WHERE id = jobs.webhook_id AND deleted_at IS NULL
              AND event_fits(fresh.type, fresh.data -> 'job', coalesce(jobs.webhook_events, '{*}'), '{}', true)
              -- A provider tells how its task ended and nothing else; of a cancellation it knows nothing.
              AND (jobs.webhook_payload <> 'provider' OR fresh.type IN ('job.succeeded', 'job.failed'))
        ) AS heard
        ORDER BY fresh.job_id, fresh.sequence
        ON CONFLICT DO NOTHING RETURNING event_id, subscription_id, due_at
    ), to_place AS (
        INSERT INTO unplaced (event_id, account_id, job_id, sequence, ended, wanted)
        SELECT id, account_id, job_id, sequence, type IN ('job.succeeded', 'job.failed', 'job.canceled'),
            EXISTS (SELECT FROM made WHERE made.event_id = fresh.id AND due_at IS NOT NULL)
        FROM fresh
    )
    SELECT array_agg(DISTINCT subscription_id) INTO heard_by FROM made WHERE due_at IS NOT NULL;
    IF heard_by IS NOT NULL THEN
        PERFORM wake_subscriptions(heard_by);
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER send_job_events AFTER INSERT ON events REFERENCING NEW TABLE AS fresh
    FOR EACH STATEMENT EXECUTE FUNCTION send_job_events();

CREATE FUNCTION send_account_events() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    heard_by uuid[];
BEGIN
    WITH made AS (
        INSERT INTO deliveries (id, account_id, subscription_id, event_id, type, payload)
        SELECT new_uuid7(), fresh.account_id, subscriptions.id, fresh.id, fresh.type, subscriptions.payload
        FROM fresh JOIN subscriptions ON subscriptions.account_id = fresh.account_id
        WHERE subscriptions.deleted_at IS NULL AND subscriptions.disabled_at IS NULL AND subscriptions.origin = 'api'
          AND subscriptions.id IS DISTINCT FROM fresh.subscription_id
          AND event_fits(fresh.type, NULL, subscriptions.event_types, subscriptions.filter, subscriptions.include_test)
        RETURNING event_id, subscription_id
    ), to_place AS (
        INSERT INTO unplaced (event_id, account_id, wanted)
        SELECT id, account_id, EXISTS (SELECT FROM made WHERE made.event_id = fresh.id) FROM fresh
    )
    SELECT array_agg(DISTINCT subscription_id) INTO heard_by FROM made;
    IF heard_by IS NOT NULL THEN
        PERFORM wake_subscriptions(heard_by);
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER send_account_events AFTER INSERT ON account_events REFERENCING NEW TABLE AS fresh
    FOR EACH STATEMENT EXECUTE FUNCTION send_account_events();

-- What happened before there was a feed comes first in it: by time, but a clock that was set back must not turn a job around.
INSERT INTO feed (account_id, event_id, job_id, sequence)
SELECT account_id, id, job_id, sequence FROM events
ORDER BY max(time) OVER (PARTITION BY job_id ORDER BY sequence), job_id, sequence;

-- Gives up to `most` committed events their places, and wakes everybody who listens, and who delivers if there is something to deliver; returns how many. One caller at a time:
-- each statement sees what was committed before it, the lock is held by the server alone, and never while a client thinks.
-- The notice: the last position, and the jobs that have ended, `*` if they are too many to name.
CREATE FUNCTION place_events(most integer) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    placed integer;
    newest bigint;
    ended text;
    to_deliver boolean;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('genrelay feed', 0));
    -- By ctid: the plan is kept from when the table was empty, and must do for a backlog, too.
    WITH taken AS (
        DELETE FROM unplaced WHERE ctid = ANY (ARRAY(
            SELECT ctid FROM unplaced ORDER BY job_id, sequence, event_id LIMIT most))
        RETURNING *
    ), given AS (
        INSERT INTO feed (account_id, event_id, job_id, sequence)
        SELECT account_id, event_id, job_id, sequence FROM taken ORDER BY job_id, sequence, event_id
        RETURNING position
    )
    SELECT (SELECT count(*) FROM given), (SELECT max(position) FROM given),
           (SELECT string_agg(job_id::text, ',') FROM taken WHERE taken.ended),
           (SELECT bool_or(wanted) FROM taken)
    INTO placed, newest, ended, to_deliver;
    IF placed > 0 THEN
        PERFORM pg_notify('genrelay_feed', newest || ' ' || CASE WHEN length(ended) > 7000 THEN '*' ELSE coalesce(ended, '') END);
    END IF;
    IF to_deliver THEN
        PERFORM pg_notify('genrelay_deliveries', '');
    END IF;
    RETURN placed;
END
$$;

-- How many of a subscription's deliveries are under way. Volatile, and in a language that is not folded into the statement that
-- calls it: it sees what was committed until now, not until that statement began.
CREATE FUNCTION count_under_way(subscription uuid) RETURNS bigint LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    RETURN (SELECT count(*) FROM deliveries
            WHERE subscription_id = subscription AND worker_id IS NOT NULL AND due_at > now());
END
$$;

-- migrate: rollback
DROP FUNCTION count_under_way(uuid);
DROP TRIGGER find_webhook ON jobs;
DROP FUNCTION find_webhook();
DROP TRIGGER send_job_events ON events;
DROP TRIGGER send_account_events ON account_events;
DROP FUNCTION place_events(integer);
DROP FUNCTION send_account_events();
DROP FUNCTION send_job_events();
DROP FUNCTION wake_subscriptions(uuid[]);
DROP FUNCTION rest_subscriptions(uuid[]);
DROP FUNCTION event_fits(text, jsonb, text[], jsonb, boolean);
DROP FUNCTION new_uuid7();
ALTER TABLE jobs DROP COLUMN webhook_id, DROP COLUMN webhook_payload;
DROP TABLE signing_keys;
ALTER TABLE accounts DROP COLUMN webhook_signing;
DROP TABLE delivery_attempts, deliveries, subscriptions, feed, unplaced, account_events;
DROP INDEX events_by_id;
ALTER TABLE events DROP COLUMN source;
