-- Deliveries: who sends which now, what came of it, and how they are read, sent again and given up.

-- name: claim_deliveries(worker_id, lease, room, width, breaker_failures)
-- Takes up to `room` deliveries that are due, some of each subscription, at most `width` of one under way at a time; they are
-- this worker's for `lease` seconds. One row at least, with delivery_id null if nothing was taken. next_in: seconds until
-- something may be due, or may be taken that could not be now; more: there is such; pending: something waits at all; strays: subscriptions
-- that are disabled or deleted, and have something pending all the same (an event's transaction began before they were).
-- A subscription or delivery that somebody else has locked is left for later, so a claim waits for nobody.
WITH RECURSIVE walk AS (
    -- One step through the index per subscription, however much each of them has.
    (SELECT subscription_id, due_at FROM deliveries WHERE due_at IS NOT NULL ORDER BY subscription_id, due_at LIMIT 1)
    UNION ALL
    SELECT following.subscription_id, following.due_at
    FROM walk CROSS JOIN LATERAL (
        SELECT subscription_id, due_at FROM deliveries
        WHERE due_at IS NOT NULL AND deliveries.subscription_id > walk.subscription_id
        ORDER BY deliveries.subscription_id, deliveries.due_at LIMIT 1
    ) following
), waiting AS MATERIALIZED (
    SELECT subscriptions.id, walk.due_at AS first_at, greatest(walk.due_at, open_until, next_at) AS may_at,
        (deleted_at IS NOT NULL OR disabled_at IS NOT NULL) AS stray, failures
    FROM walk JOIN subscriptions ON subscriptions.id = walk.subscription_id
), ready AS MATERIALIZED (
    SELECT waiting.id, least(busy.free, CASE WHEN waiting.failures >= :breaker_failures::integer THEN busy.free_of_one END) AS free
    FROM waiting CROSS JOIN LATERAL (
        SELECT :width::integer - count(*) AS free, 1 - count(*) AS free_of_one FROM deliveries
        WHERE subscription_id = waiting.id AND worker_id IS NOT NULL AND due_at > now()
    ) busy
    WHERE NOT waiting.stray AND waiting.may_at <= now()
), locked AS MATERIALIZED (
    -- In any order but by id when locking: who was full a moment ago must not keep the others from having their turn.
    SELECT subscriptions.*, accounts.name AS account_name, accounts.external_id,
        greatest(1, rate_limit / 20) AS at_once, coalesce(sink ->> 'fifo' = 'true', false) AS fifo
    FROM subscriptions JOIN accounts ON accounts.id = subscriptions.account_id
    WHERE subscriptions.id = ANY(ARRAY(SELECT id FROM ready WHERE free > 0 ORDER BY random() LIMIT :room::integer))
      AND disabled_at IS NULL AND deleted_at IS NULL
      AND (open_until IS NULL OR open_until <= now()) AND (next_at IS NULL OR next_at <= now())
    ORDER BY subscriptions.id FOR NO KEY UPDATE OF subscriptions SKIP LOCKED
), chosen AS MATERIALIZED (
    SELECT id FROM (
        SELECT first.id, row_number() OVER (PARTITION BY locked.id ORDER BY first.due_at) AS nth
        FROM locked JOIN ready ON ready.id = locked.id CROSS JOIN LATERAL (
            SELECT deliveries.id, deliveries.due_at FROM deliveries
            WHERE deliveries.subscription_id = locked.id AND deliveries.due_at <= now()
              AND (NOT locked.fifo OR NOT EXISTS (
                  SELECT FROM deliveries earlier
                  WHERE earlier.job_id = deliveries.job_id AND earlier.subscription_id = deliveries.subscription_id
                    AND earlier.sequence < deliveries.sequence AND earlier.status = 'pending'))
            ORDER BY deliveries.due_at
            LIMIT least(ready.free, locked.at_once, 1 + :room::integer / (SELECT count(*) FROM locked))
            FOR NO KEY UPDATE OF deliveries SKIP LOCKED
        ) first
    ) all_of_them
    ORDER BY nth LIMIT :room::integer
), claimed AS (
    UPDATE deliveries SET worker_id = :worker_id, attempts = attempts + 1, due_at = now() + make_interval(secs => :lease::float8)
    FROM chosen WHERE deliveries.id = chosen.id
    RETURNING deliveries.*
), taken AS MATERIALIZED (
    SELECT subscription_id, count(*) AS count FROM claimed GROUP BY subscription_id
), paced AS (
    -- Whole steps of `at_once`, rounded such that no second has more than rate_limit.
    UPDATE subscriptions
    SET next_at = now() + make_interval(secs => taken.count::float8 / (locked.at_once * (locked.rate_limit / locked.at_once)))
    FROM taken JOIN locked ON locked.id = taken.subscription_id
    WHERE subscriptions.id = taken.subscription_id AND subscriptions.rate_limit IS NOT NULL
    RETURNING subscriptions.id, subscriptions.next_at
), outlook AS MATERIALIZED (
    SELECT waiting.may_at, waiting.first_at, paced.next_at AS paced_at, later.due_at AS later_at, EXISTS (
            SELECT FROM deliveries WHERE subscription_id = waiting.id AND due_at <= now()
            OFFSET coalesce(taken.count, 0)
        ) AS is_left,
        -- All that is due waits for earlier ones of its jobs, which may take hours: whoever has those looks again.
        coalesce(locked.fifo AND taken.count IS NULL, false) AS is_blocked
    FROM waiting LEFT JOIN paced ON paced.id = waiting.id LEFT JOIN taken ON taken.subscription_id = waiting.id
    LEFT JOIN locked ON locked.id = waiting.id LEFT JOIN LATERAL (
        SELECT due_at FROM deliveries WHERE subscription_id = waiting.id AND due_at > now() ORDER BY due_at LIMIT 1
    ) later ON true
    WHERE NOT waiting.stray
), next AS (
    SELECT extract(epoch FROM min(CASE
            WHEN may_at > now() THEN may_at
            WHEN is_left AND NOT is_blocked THEN coalesce(paced_at, now() + interval '250 milliseconds')
            ELSE greatest(later_at, paced_at)
        END) - now())::float8 AS next_in,
        coalesce(bool_or(is_left AND may_at <= now() AND paced_at IS NULL), false) AS more,
        EXISTS (SELECT FROM waiting) AS pending,
        ARRAY(SELECT id FROM waiting WHERE stray) AS strays,
        coalesce(greatest(extract(epoch FROM now() - min(first_at)), 0), 0)::float8 AS overdue,
        -- A claim that a crash of the server loses is made again, so nobody waits for the disk before an event is sent.
        set_config('synchronous_commit', 'off', true)
    FROM outlook
)
SELECT next.*, claimed.id AS delivery_id, claimed.payload AS delivery_payload, claimed.attempts AS number,
    claimed.failures AS charged, claimed.event_id, claimed.job_id, claimed.sequence, claimed.type,
    claimed.subscription_id,
    coalesce(events.time, account_events.time) AS time, coalesce(events.data, account_events.data) AS data,
    coalesce(events.source, account_events.source) AS source, account_events.subject,
    locked.id, locked.account_id, account_name, external_id, origin, url, sink, event_types, filter, locked.payload, include_test,
    rate_limit, description, header_names, headers, signing, sink_secret, locked.failures, failing_since, warned_at, open_until,
    next_at, last_success_at, disabled_at, disabled_reason, locked.created_at, updated_at, deleted_at
FROM next LEFT JOIN (
    claimed JOIN locked ON locked.id = claimed.subscription_id
    LEFT JOIN events ON events.id = claimed.event_id
    LEFT JOIN account_events ON account_events.id = claimed.event_id
) ON true;

-- name: record_deliveries(worker_id, ids, numbers, outcomes, statuses, errors, responses, started, seconds, verdicts, reasons, pauses, slow, breaker_failures, breaker_first, breaker_max, warn_after, disable_after)
-- Writes what came of deliveries that have just been tried, in the order in which they ended. verdicts: `delivered`, `failed`,
-- `gone` (failed, and the endpoint wants nothing more) or `pending`, due again after `pauses`. slow: seconds for which the endpoint is left alone.
-- Only what is still this worker's changes: who was paused past its lease adds its attempt, and nothing else. What was canceled
-- meanwhile stays so, unless it was delivered. Returns a row per delivery written, and one per subscription in trouble.
WITH given AS MATERIALIZED (
    SELECT * FROM unnest(:ids::uuid[], :numbers::integer[], :outcomes::text[], :statuses::smallint[], :errors::text[],
        :responses::bytea[], :started::timestamptz[], :seconds::real[], :verdicts::text[], :reasons::text[], :pauses::float8[],
        :slow::float8[]) WITH ORDINALITY
        AS given (id, number, outcome, status, error, response, started_at, seconds, verdict, reason, pause, slow, place)
), mine AS MATERIALIZED (
    SELECT given.*, deliveries.subscription_id FROM given JOIN deliveries ON deliveries.id = given.id
    WHERE deliveries.worker_id = :worker_id AND deliveries.attempts = given.number
), went AS MATERIALIZED (
    SELECT subscription_id, bool_or(outcome = 'delivered') AS succeeded, bool_or(outcome = 'failed') AS failed,
        count(*) FILTER (WHERE outcome = 'failed' AND place > last_success) AS failures,
        bool_or(verdict = 'gone') AS gone, max(slow) AS slow
    FROM (SELECT mine.*, coalesce(max(place) FILTER (WHERE outcome = 'delivered') OVER (PARTITION BY subscription_id), 0)
              AS last_success FROM mine) ordered
    GROUP BY subscription_id
), locked AS MATERIALIZED (
    -- An endpoint in good health that goes on so is not written to, but for a look at the clock now and then.
    SELECT subscriptions.*, went.succeeded, went.failed AS has_failed, went.failures AS further, went.gone, went.slow,
        (open_until IS NOT NULL AND open_until > now()) AS is_open
    FROM went JOIN subscriptions ON subscriptions.id = went.subscription_id
    WHERE went.failed OR (went.succeeded AND (subscriptions.failures > 0 OR failing_since IS NOT NULL OR open_until IS NOT NULL
        OR last_success_at IS NULL OR last_success_at < now() - interval '5 seconds'))
    ORDER BY subscriptions.id FOR NO KEY UPDATE OF subscriptions
), counted AS MATERIALIZED (
    -- Those that were under way together when the breaker opened count as one failure.
    SELECT locked.*, CASE
            WHEN succeeded THEN least(further, :breaker_failures::integer)
            WHEN is_open OR further = 0 THEN failures
            WHEN failures < :breaker_failures::integer THEN least(failures + further, :breaker_failures::integer)
            ELSE failures + 1
        END::integer AS now_failures,
        CASE WHEN succeeded AND further = 0 THEN NULL
             WHEN succeeded THEN now() ELSE coalesce(failing_since, now()) END AS now_failing_since
    FROM locked
), judged AS MATERIALIZED (
    SELECT counted.*, CASE
            WHEN deleted_at IS NOT NULL OR disabled_at IS NOT NULL THEN NULL
            WHEN gone THEN 'gone'
            WHEN now_failing_since <= now() - make_interval(secs => :disable_after::float8) THEN 'failing'
        END AS disable,
        deleted_at IS NULL AND disabled_at IS NULL AND has_failed
            AND now_failing_since <= now() - make_interval(secs => :warn_after::float8)
            AND (warned_at IS NULL OR warned_at < now_failing_since OR warned_at <= now() - interval '1 day') AS warn,
        greatest(
            CASE WHEN succeeded AND further = 0 THEN NULL ELSE open_until END,
            CASE WHEN slow > 0 THEN now() + make_interval(secs => slow) END,
            CASE WHEN now_failures >= :breaker_failures::integer AND NOT is_open THEN now() + make_interval(secs =>
                least(:breaker_max::float8, :breaker_first::float8 * 2.0 ^ least(now_failures - :breaker_failures::integer, 30)))
            END
        ) AS now_open_until
    FROM counted
), health AS (
    UPDATE subscriptions SET failures = now_failures, failing_since = now_failing_since, open_until = now_open_until,
        last_success_at = CASE WHEN judged.succeeded THEN now() ELSE subscriptions.last_success_at END,
        warned_at = CASE WHEN now_failing_since IS NULL THEN NULL WHEN judged.warn THEN now() ELSE subscriptions.warned_at END,
        disabled_at = CASE WHEN judged.disable IS NULL THEN subscriptions.disabled_at ELSE now() END,
        disabled_reason = coalesce(judged.disable, subscriptions.disabled_reason),
        updated_at = CASE WHEN judged.disable IS NULL THEN subscriptions.updated_at ELSE now() END
    FROM judged WHERE subscriptions.id = judged.id
    RETURNING subscriptions.id
), tried AS (
    INSERT INTO delivery_attempts (delivery_id, number, started_at, seconds, outcome, status, error, response)
    SELECT given.id, number, started_at, seconds, outcome, given.status, error, response
    FROM given JOIN deliveries ON deliveries.id = given.id
    ON CONFLICT DO NOTHING
), written AS (
    UPDATE deliveries SET
        status = now_status, worker_id = NULL, response_status = mine.status,
        failures = deliveries.failures + CASE WHEN mine.outcome = 'failed' THEN 1 ELSE 0 END,
        reason = CASE WHEN now_status = 'canceled' THEN coalesce(deliveries.reason, stopped) ELSE mine.reason END,
        due_at = CASE WHEN now_status = 'pending' THEN now() + make_interval(secs => mine.pause) END,
        ended_at = CASE WHEN now_status <> 'pending' THEN now() END
    FROM (
        SELECT mine.*, CASE
                WHEN mine.verdict = 'delivered' THEN 'delivered'
                WHEN before.status = 'canceled' THEN 'canceled'
                WHEN mine.verdict IN ('failed', 'gone') THEN 'failed'
                WHEN subscriptions.deleted_at IS NOT NULL OR subscriptions.disabled_at IS NOT NULL OR judged.disable IS NOT NULL
                    THEN 'canceled'
                ELSE 'pending'
            END AS now_status,
            CASE WHEN subscriptions.deleted_at IS NOT NULL THEN 'deleted'
                 WHEN subscriptions.disabled_reason = 'asked' THEN 'disabled'
                 ELSE coalesce(judged.disable, subscriptions.disabled_reason) END AS stopped
        FROM mine JOIN deliveries before ON before.id = mine.id
        JOIN subscriptions ON subscriptions.id = mine.subscription_id
        LEFT JOIN judged ON judged.id = mine.subscription_id
    ) mine
    WHERE deliveries.id = mine.id AND deliveries.worker_id = :worker_id AND deliveries.attempts = mine.number
      AND deliveries.status IN ('pending', 'canceled')
    RETURNING deliveries.*
)
SELECT written.id, written.subscription_id, written.account_id, written.status, written.reason, written.attempts,
    written.response_status, written.event_id, written.type, written.job_id, NULL::text AS disable, false AS warn,
    NULL::timestamptz AS failing_since
FROM written
UNION ALL
SELECT NULL, judged.id, account_id, NULL, NULL, NULL, NULL, NULL, NULL, NULL, disable, warn, now_failing_since
FROM judged JOIN health ON health.id = judged.id WHERE disable IS NOT NULL OR warn;

-- name: tell_of_trouble(id, account_id, type, subject, subscription_id, data)!
-- Something happened to a subscription or a delivery; the subscription that it is about is not told of it.
INSERT INTO account_events (id, account_id, type, subject, subscription_id, data)
VALUES (:id, :account_id, :type, :subject, :subscription_id, :data);

-- name: cancel_deliveries(subscription_id, reason, limit)$
-- What is pending for a subscription is given up, a batch of it; returns how much. One that is under way at this moment may
-- still turn out delivered.
WITH picked AS (
    SELECT id FROM deliveries WHERE subscription_id = :subscription_id AND due_at IS NOT NULL
    ORDER BY due_at LIMIT :limit FOR NO KEY UPDATE
), canceled AS (
    UPDATE deliveries SET status = 'canceled', reason = :reason, due_at = NULL, ended_at = now()
    FROM picked WHERE deliveries.id = picked.id RETURNING deliveries.id
)
SELECT count(*) FROM canceled;

-- name: cancel_stray_deliveries(subscription_ids, limit)!
-- The same for subscriptions that were found disabled or deleted, if they still are: what was too much for one transaction,
-- or came from one that did not know yet.
WITH stopped AS (
    SELECT id, CASE WHEN deleted_at IS NOT NULL THEN 'deleted' WHEN disabled_reason = 'asked' THEN 'disabled' ELSE disabled_reason END AS reason
    FROM subscriptions
    WHERE id = ANY(:subscription_ids::uuid[]) AND (deleted_at IS NOT NULL OR disabled_at IS NOT NULL)
    ORDER BY id FOR NO KEY UPDATE
), picked AS (
    SELECT first.id, stopped.reason FROM stopped CROSS JOIN LATERAL (
        SELECT id FROM deliveries WHERE subscription_id = stopped.id AND due_at IS NOT NULL ORDER BY due_at LIMIT :limit
    ) first
)
UPDATE deliveries SET status = 'canceled', reason = picked.reason, due_at = NULL, ended_at = now()
FROM picked WHERE deliveries.id = picked.id AND deliveries.status = 'pending';

-- name: get_delivery(id, account_id)^
-- One delivery of an account.
SELECT * FROM deliveries WHERE id = :id AND account_id = :account_id;

-- name: list_delivery_attempts(delivery_id)
-- A delivery's attempts, in order.
SELECT * FROM delivery_attempts WHERE delivery_id = :delivery_id ORDER BY number;

-- name: list_deliveries(account_id, status, event_type, before, limit)
-- An account's deliveries, newest first.
SELECT * FROM deliveries
WHERE account_id = :account_id AND (:before::uuid IS NULL OR id < :before)
  AND (:status::text IS NULL OR status = :status) AND (:event_type::text IS NULL OR type = :event_type)
ORDER BY id DESC LIMIT :limit;

-- name: list_deliveries_of_subscription(account_id, subscription_id, job_id, status, event_type, before, limit)
-- A subscription's deliveries, newest first.
SELECT * FROM deliveries
WHERE subscription_id = :subscription_id AND account_id = :account_id AND (:before::uuid IS NULL OR id < :before)
  AND (:job_id::uuid IS NULL OR job_id = :job_id)
  AND (:status::text IS NULL OR status = :status) AND (:event_type::text IS NULL OR type = :event_type)
ORDER BY id DESC LIMIT :limit;

-- name: list_deliveries_of_job(account_id, job_id, status, event_type, before, limit)
-- A job's deliveries, newest first; there are as many as it has events, times those who want them.
WITH those AS MATERIALIZED (SELECT * FROM deliveries WHERE job_id = :job_id)
SELECT * FROM those
WHERE account_id = :account_id AND (:before::uuid IS NULL OR id < :before)
  AND (:status::text IS NULL OR status = :status) AND (:event_type::text IS NULL OR type = :event_type)
ORDER BY id DESC LIMIT :limit;

-- name: count_deliveries_of_jobs(job_ids)
-- What became of the deliveries of jobs; no row for a job without any.
SELECT job_id, count(*) FILTER (WHERE status = 'pending') AS pending, count(*) FILTER (WHERE status = 'delivered') AS delivered,
    count(*) FILTER (WHERE status = 'failed') AS failed, count(*) FILTER (WHERE status = 'canceled') AS canceled
FROM deliveries WHERE job_id = ANY(:job_ids::uuid[]) GROUP BY job_id;

-- name: resend_delivery(id, account_id)^
-- A delivery is sent again, with a schedule of its own, and every process is told; null: its subscription takes nothing. One
-- that is under way just now goes on.
WITH resent AS (
UPDATE deliveries SET
    status = 'pending', reason = NULL, failures = 0, ended_at = NULL,
    worker_id = CASE WHEN deliveries.status = 'pending' AND due_at > now() THEN worker_id END,
    due_at = CASE WHEN deliveries.status = 'pending' AND worker_id IS NOT NULL AND due_at > now() THEN due_at ELSE now() END
FROM subscriptions
WHERE deliveries.id = :id AND deliveries.account_id = :account_id AND subscriptions.id = deliveries.subscription_id
  AND subscriptions.deleted_at IS NULL AND subscriptions.disabled_at IS NULL
RETURNING deliveries.*
)
SELECT resent.*, pg_notify('genrelay_deliveries', '') AS told FROM resent;

-- name: tell_of_deliveries()$
-- Every process looks for what is due.
SELECT pg_notify('genrelay_deliveries', '');

-- name: recover_deliveries(subscription_id, since, after, until, limit)^
-- A batch of a subscription's deliveries that were made since a moment and failed or were canceled is sent again, oldest first;
-- returns how many, and the last one's id.
WITH picked AS MATERIALIZED (
    SELECT deliveries.id FROM deliveries JOIN subscriptions ON subscriptions.id = subscription_id
    WHERE subscription_id = :subscription_id AND deliveries.id > :after AND deliveries.id <= :until
      AND deliveries.status IN ('failed', 'canceled') AND deliveries.created_at >= :since
      AND subscriptions.deleted_at IS NULL AND subscriptions.disabled_at IS NULL
    ORDER BY deliveries.id LIMIT :limit FOR NO KEY UPDATE OF deliveries
), revived AS (
    UPDATE deliveries SET status = 'pending', reason = NULL, failures = 0, worker_id = NULL, ended_at = NULL,
        due_at = clock_timestamp()
    FROM picked WHERE deliveries.id = picked.id RETURNING deliveries.id
)
SELECT count(*) AS count, (SELECT id FROM picked ORDER BY id DESC LIMIT 1) AS last FROM revived;

-- name: place_before(account_id, event_id)$
-- The place in an account's feed after which everything is younger than an id (a UUIDv7 tells its time); read backwards.
SELECT position FROM feed WHERE account_id = :account_id AND event_id < :event_id ORDER BY position DESC LIMIT 1;

-- name: deliver_missed(subscription_id, account_id, since, after, limit)^
-- Of a batch of the account's events after a place in the feed, those since a moment that a subscription asks for and has no
-- delivery of get one; returns how many, how many events were looked at, and the last one's place.
WITH batch AS MATERIALIZED (
    SELECT position, event_id, job_id, sequence FROM feed
    WHERE account_id = :account_id AND position > :after ORDER BY position LIMIT :limit
), wanted AS MATERIALIZED (
    SELECT * FROM subscriptions
    WHERE id = :subscription_id AND account_id = :account_id AND origin = 'api' AND deleted_at IS NULL AND disabled_at IS NULL
), found AS (
    SELECT batch.position, events.id, events.job_id, events.sequence, events.type
    FROM batch JOIN events ON events.id = batch.event_id CROSS JOIN wanted
    WHERE events.time >= :since
      AND event_fits(events.type, events.data -> 'job', wanted.event_types, wanted.filter, wanted.include_test)
    UNION ALL
    SELECT batch.position, account_events.id, NULL, NULL, account_events.type
    FROM batch JOIN account_events ON account_events.id = batch.event_id CROSS JOIN wanted
    WHERE account_events.time >= :since AND account_events.subscription_id IS DISTINCT FROM wanted.id
      AND event_fits(account_events.type, NULL, wanted.event_types, wanted.filter, wanted.include_test)
), made AS (
    INSERT INTO deliveries (id, account_id, subscription_id, event_id, job_id, sequence, type, payload, due_at)
    SELECT new_uuid7(), :account_id, wanted.id, found.id, found.job_id, found.sequence, found.type, wanted.payload,
        clock_timestamp()
    FROM found CROSS JOIN wanted ORDER BY found.position
    ON CONFLICT DO NOTHING RETURNING id
)
SELECT (SELECT count(*) FROM made) AS count, count(*) AS seen, max(position) AS last FROM batch;
