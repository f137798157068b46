-- Deliveries: who sends which now, what came of it, and how they are read, sent again and given up.

-- name: claim_deliveries(worker_id, lease, room, width, breaker_failures, most_of_account, accounts, under_way)
-- Takes up to `room` deliveries that are due, some of each subscription, at most `width` of one under way at a time; they are
-- this worker's for `lease` seconds. accounts, under_way: how many of whose deliveries this worker has already; no account gets
-- more than `most_of_account`. One row at least, with delivery_id null if nothing was taken. next_in: seconds until
-- something may be due, or may be taken that could not be now; more: there is such; pending: something waits at all; strays: subscriptions
-- that are disabled or deleted, and have something pending all the same (an event's transaction began before they were);
-- resting: those to be put to sleep.
-- A subscription or delivery that somebody else has locked is left for later, so a claim waits for nobody.
WITH RECURSIVE oldest AS MATERIALIZED (
    -- Those that are awake. Whoever sleeps, for what is due in some hours perhaps, costs nothing here.
    SELECT id FROM subscriptions WHERE look_at <= now() ORDER BY look_at LIMIT 257
), crowd AS MATERIALIZED (
    SELECT count(*) > 256 AS many FROM oldest
), crowding AS (
    -- If they are too many, some of each account, so that none is behind all of another's: a step through the index for each.
    (SELECT account_id FROM subscriptions WHERE look_at IS NOT NULL AND (SELECT many FROM crowd) ORDER BY account_id, look_at LIMIT 1)
    UNION ALL
    SELECT following.account_id FROM crowding CROSS JOIN LATERAL (
        SELECT account_id FROM subscriptions
        WHERE look_at IS NOT NULL AND subscriptions.account_id > crowding.account_id
        ORDER BY subscriptions.account_id, look_at LIMIT 1
    ) following
), chosen_few AS (
    SELECT first.id FROM crowding CROSS JOIN LATERAL (
        SELECT id, look_at, row_number() OVER (ORDER BY look_at) AS nth FROM subscriptions
        WHERE account_id = crowding.account_id AND look_at <= now() ORDER BY look_at LIMIT 64
    ) first ORDER BY nth, look_at LIMIT 256
), awake AS MATERIALIZED (
    SELECT subscriptions.id, account_id, look_at, failures, greatest(open_until, next_at) AS closed_until, first.due_at AS first_at,
        (deleted_at IS NOT NULL OR disabled_at IS NOT NULL) AS stray
    FROM (SELECT id FROM oldest WHERE NOT (SELECT many FROM crowd) UNION ALL SELECT id FROM chosen_few) up
    JOIN subscriptions ON subscriptions.id = up.id LEFT JOIN LATERAL (
        SELECT due_at FROM deliveries WHERE subscription_id = subscriptions.id AND due_at IS NOT NULL ORDER BY due_at LIMIT 1
    ) first ON true
), waiting AS MATERIALIZED (
    SELECT *, greatest(first_at, closed_until) AS may_at FROM awake WHERE first_at IS NOT NULL
), ready AS MATERIALIZED (
    SELECT waiting.id, waiting.account_id, coalesce(held.count, 0) AS under_way,
        :most_of_account::integer - coalesce(held.count, 0) AS allowed,
        least(busy.free, CASE WHEN waiting.failures >= :breaker_failures::integer THEN busy.free_of_one END) AS free
    FROM waiting
    LEFT JOIN unnest(:accounts::uuid[], :under_way::integer[]) AS held (account_id, count) ON held.account_id = waiting.account_id
    CROSS JOIN LATERAL (
        -- Of what its account may still have it gets a part, too.
        SELECT least(:width::integer, greatest(1, (:most_of_account::integer - coalesce(held.count, 0)) / 4)) - count(*) AS free,
            1 - count(*) AS free_of_one
        FROM deliveries WHERE subscription_id = waiting.id AND worker_id IS NOT NULL AND due_at > now()
    ) busy
    WHERE NOT waiting.stray AND waiting.may_at <= now()
), picked AS MATERIALIZED (
    -- Accounts take turns; within one in any order: who was full a moment ago must not keep the others from having theirs.
    SELECT id FROM (
        SELECT *, row_number() OVER (PARTITION BY account_id ORDER BY random()) AS turn FROM ready WHERE free > 0
    ) in_turn
    WHERE turn <= allowed ORDER BY under_way + turn, random() LIMIT :room::integer
), locked AS MATERIALIZED (
    SELECT {subscriptions.*}, accounts.name AS account_name, accounts.external_id,
        -- As many as may be under way to one that has just shown that it takes them, one by one to all others.
        CASE WHEN rate_limit IS NOT NULL OR failures > 0 OR last_success_at IS NULL OR last_success_at < now() - interval '1 minute'
            THEN greatest(1, rate_limit / 20) ELSE :room::integer END AS at_once,
        coalesce(sink ->> 'fifo' = 'true', false) AS fifo
    FROM subscriptions JOIN accounts ON accounts.id = subscriptions.account_id
    WHERE subscriptions.id = ANY(ARRAY(SELECT id FROM picked))
      AND disabled_at IS NULL AND deleted_at IS NULL
      AND (open_until IS NULL OR open_until <= now()) AND (next_at IS NULL OR next_at <= now())
    ORDER BY subscriptions.id FOR NO KEY UPDATE OF subscriptions SKIP LOCKED
), chosen AS MATERIALIZED (
    SELECT id FROM (
        SELECT id, allowed, under_way, nth, row_number() OVER (PARTITION BY account_id ORDER BY nth, id) AS turn
        FROM (
            SELECT first.id, ready.account_id, allowed, under_way,
                row_number() OVER (PARTITION BY locked.id ORDER BY first.due_at) AS nth
            FROM locked JOIN ready ON ready.id = locked.id CROSS JOIN LATERAL (
                SELECT deliveries.id, deliveries.due_at FROM deliveries
                WHERE deliveries.subscription_id = locked.id AND deliveries.due_at <= now()
                  AND (NOT locked.fifo OR NOT EXISTS (
                      SELECT FROM deliveries earlier
                      WHERE earlier.job_id = deliveries.job_id AND earlier.subscription_id = deliveries.subscription_id
                        AND earlier.sequence < deliveries.sequence AND earlier.status = 'pending'))
                ORDER BY deliveries.due_at
                -- Counted anew, now that the subscription is locked: another process may have taken some since this claim began.
                LIMIT greatest(0, least(
                    ready.free, locked.at_once, 1 + :room::integer / (SELECT count(*) FROM locked),
                    CASE WHEN locked.failures >= :breaker_failures::integer THEN 1 ELSE :width::integer END - count_under_way(locked.id)
                ))
                FOR NO KEY UPDATE OF deliveries SKIP LOCKED
            ) first
        ) of_each
    ) in_turn
    WHERE turn <= allowed ORDER BY under_way + turn, nth LIMIT :room::integer
), claimed AS (
    UPDATE deliveries SET worker_id = :worker_id, attempts = attempts + 1, due_at = now() + make_interval(secs => :lease::float8)
    FROM chosen WHERE deliveries.id = chosen.id
    RETURNING {deliveries.*}
), taken AS MATERIALIZED (
    SELECT subscription_id, count(*) AS count FROM claimed GROUP BY subscription_id
), paced AS (
    -- Whole steps of `at_once`, rounded such that no second has more than rate_limit. Nothing of it may be sent before, so it may
    -- sleep until then whatever comes. Of others is noted now and then that they are busy, so that they stay awake.
    UPDATE subscriptions SET
        next_at = CASE WHEN locked.rate_limit IS NULL THEN subscriptions.next_at ELSE pace.next_at END,
        look_at = CASE WHEN locked.rate_limit IS NULL THEN now() ELSE pace.next_at END
    FROM taken JOIN locked ON locked.id = taken.subscription_id CROSS JOIN LATERAL (
        SELECT now() + make_interval(secs => taken.count::float8 / (locked.at_once * (locked.rate_limit / locked.at_once))) AS next_at
    ) pace
    WHERE subscriptions.id = taken.subscription_id
      AND (locked.rate_limit IS NOT NULL OR locked.look_at < now() - interval '1 second')
    RETURNING subscriptions.id, CASE WHEN subscriptions.rate_limit IS NOT NULL THEN subscriptions.next_at END AS next_at
), outlook AS MATERIALIZED (
    SELECT waiting.id, waiting.look_at, waiting.may_at, waiting.first_at, paced.next_at AS paced_at, later.due_at AS later_at, EXISTS (
            SELECT FROM deliveries WHERE subscription_id = waiting.id AND due_at <= now()
            OFFSET coalesce(taken.count, 0)
        ) AS is_left,
        -- All that is due waits for earlier ones of its jobs, which may take hours: whoever has those looks again.
        coalesce(locked.fifo AND taken.count IS NULL, false) AS is_blocked,
        -- Its account has all that it may have here, and this worker looks again when one of them ends.
        coalesce(ready.allowed <= (
            SELECT count(*) FROM claimed WHERE claimed.account_id = waiting.account_id
        ), false) AS is_capped,
        coalesce(ready.free <= 0, false) AS is_full
    FROM waiting LEFT JOIN ready ON ready.id = waiting.id
    LEFT JOIN paced ON paced.id = waiting.id LEFT JOIN taken ON taken.subscription_id = waiting.id
    LEFT JOIN locked ON locked.id = waiting.id LEFT JOIN LATERAL (
        SELECT due_at FROM deliveries WHERE subscription_id = waiting.id AND due_at > now() ORDER BY due_at LIMIT 1
    ) later ON true
    WHERE NOT waiting.stray
), tired AS MATERIALIZED (
    -- What is closed, by its breaker or its rate, rests at once; what has nothing due after a while, so that a busy one is not
    -- written all the time. In a crowd there is no time for that, and whoever can't be served makes room.
    SELECT id FROM awake CROSS JOIN crowd
    WHERE first_at IS NULL AND (stray OR many OR look_at <= now() - interval '2 seconds')
       OR NOT stray AND closed_until > now()
       OR NOT stray AND first_at > now() AND (many OR look_at <= now() - interval '2 seconds')
    UNION
    SELECT id FROM outlook CROSS JOIN crowd
    WHERE many AND (is_full OR is_blocked) AND look_at <= now() - interval '250 milliseconds'
), moments AS (
    SELECT CASE
            WHEN may_at > now() THEN may_at
            WHEN is_left AND is_capped THEN NULL
            WHEN is_left AND NOT is_blocked THEN coalesce(paced_at, now() + interval '250 milliseconds')
            ELSE greatest(later_at, paced_at)
        END AS moment
    FROM outlook
    UNION ALL
    SELECT look_at + interval '2 seconds' FROM awake WHERE coalesce(first_at > now(), true) AND id NOT IN (SELECT id FROM tired)
    UNION ALL
    SELECT min(look_at) FROM subscriptions WHERE look_at > now()
    UNION ALL
    SELECT now() + CASE WHEN EXISTS (SELECT FROM tired) THEN interval '0' ELSE interval '250 milliseconds' END FROM crowd WHERE many
), next AS (
    SELECT (SELECT extract(epoch FROM min(moment) - now())::float8 FROM moments) AS next_in,
        coalesce(bool_or(is_left AND may_at <= now() AND paced_at IS NULL), false) OR (SELECT many FROM crowd) AS more,
        EXISTS (SELECT FROM waiting) OR EXISTS (SELECT FROM subscriptions WHERE look_at > now()) AS pending,
        ARRAY(SELECT id FROM waiting WHERE stray) AS strays,
        ARRAY(SELECT id FROM tired) AS resting,
        coalesce(greatest(extract(epoch FROM now() - min(first_at)), 0), 0)::float8 AS overdue,
        -- A claim that a crash of the server loses is made again, so nobody waits for the disk before an event is sent.
        set_config('synchronous_commit', 'off', true)
    FROM outlook
)
SELECT next.*, claimed.id AS delivery_id, claimed.payload AS delivery_payload, claimed.attempts AS number,
    claimed.failures AS charged, claimed.forgiven, claimed.event_id, claimed.job_id, claimed.sequence, claimed.type,
    claimed.subscription_id,
    coalesce(events.time, account_events.time) AS time, coalesce(events.data, account_events.data) AS data,
    coalesce(events.source, account_events.source) AS source, account_events.subject, jobs.traceparent,
    locked.id, locked.account_id, account_name, external_id, origin, url, sink, event_types, filter, locked.payload, include_test,
    rate_limit, description, header_names, headers, signing, sink_secret, locked.failures, failing_since, warned_at, open_until,
    next_at, last_success_at, disabled_at, disabled_reason, locked.created_at, updated_at, deleted_at
FROM next LEFT JOIN (
    claimed JOIN locked ON locked.id = claimed.subscription_id
    LEFT JOIN events ON events.id = claimed.event_id
    LEFT JOIN account_events ON account_events.id = claimed.event_id
    LEFT JOIN jobs ON jobs.id = claimed.job_id
) ON true;

-- name: record_deliveries(worker_id, ids, numbers, outcomes, statuses, errors, responses, started, seconds, verdicts, reasons, pauses, slow, breaker_failures, breaker_first, breaker_max, warn_after, disable_after)
-- Writes what came of deliveries that have just been tried, in the order in which they ended. verdicts: `delivered`, `failed`,
-- `gone` (failed, and the endpoint wants nothing more), `unfit` (failed, which the endpoint is not charged with) or `pending`,
-- due again after `pauses`. slow: seconds for which the endpoint is left alone; of what is `ours`, more than 0 if it counts:
-- after five in a row the endpoint is left alone, too, for a second that doubles up to a minute.
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
    SELECT subscription_id, bool_or(outcome = 'delivered') AS succeeded, bool_or(charged) AS failed,
        count(*) FILTER (WHERE charged AND place > last_success) AS failures,
        count(*) FILTER (WHERE outcome = 'ours' AND slow > 0 AND place > last_answer) AS ours,
        bool_or(verdict = 'gone') AS gone, max(slow) FILTER (WHERE outcome <> 'ours') AS slow
    FROM (
        SELECT judging.*, coalesce(max(place) FILTER (WHERE outcome = 'delivered') OVER each_one, 0) AS last_success,
            coalesce(max(place) FILTER (WHERE outcome = 'delivered' OR charged) OVER each_one, 0) AS last_answer
        FROM (SELECT mine.*, outcome = 'failed' AND verdict <> 'unfit' AS charged FROM mine) judging
        WINDOW each_one AS (PARTITION BY subscription_id)
    ) ordered
    GROUP BY subscription_id
), locked AS MATERIALIZED (
    -- An endpoint in good health that goes on so is not written to, but for a look at the clock now and then.
    SELECT {subscriptions.*}, went.succeeded, went.failed AS has_failed, went.failures AS further, went.ours AS further_ours,
        went.gone, went.slow, (open_until IS NOT NULL AND open_until > now()) AS is_open
    FROM went JOIN subscriptions ON subscriptions.id = went.subscription_id
    WHERE went.failed OR went.ours > 0 OR (went.succeeded AND (subscriptions.failures > 0 OR subscriptions.ours > 0
        OR failing_since IS NOT NULL OR open_until IS NOT NULL
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
        CASE WHEN succeeded OR has_failed THEN least(further_ours, 5)
             WHEN is_open OR further_ours = 0 THEN ours
             WHEN ours < 5 THEN least(ours + further_ours, 5)
             ELSE ours + 1
        END::integer AS now_ours,
        CASE WHEN succeeded AND further = 0 THEN NULL
             WHEN succeeded THEN now()
             WHEN has_failed THEN coalesce(failing_since, now())
             ELSE failing_since
        END AS now_failing_since
    FROM locked
), judged AS MATERIALIZED (
    SELECT counted.*, CASE
            WHEN deleted_at IS NOT NULL OR disabled_at IS NOT NULL THEN NULL
            WHEN gone THEN 'gone'
            -- Never without a warning, and time to heed it: a day by default. What failed then and now, and was not tried
            -- in between, is warned of first.
            WHEN has_failed AND now_failing_since <= now() - make_interval(secs => :disable_after::float8)
                AND warned_at >= now_failing_since
                AND warned_at <= now() - make_interval(
                    secs => least(86400, greatest(:disable_after::float8 - :warn_after::float8, 0))) THEN 'failing'
        END AS disable,
        deleted_at IS NULL AND disabled_at IS NULL AND has_failed
            AND now_failing_since <= now() - make_interval(secs => :warn_after::float8)
            AND (warned_at IS NULL OR warned_at < now_failing_since OR warned_at <= now() - interval '1 day') AS warn,
        greatest(
            CASE WHEN succeeded AND further = 0 THEN NULL ELSE open_until END,
            CASE WHEN slow > 0 THEN now() + make_interval(secs => slow) END,
            CASE WHEN now_failures >= :breaker_failures::integer AND further > 0 AND NOT is_open THEN now() + make_interval(secs =>
                least(:breaker_max::float8, :breaker_first::float8 * 2.0 ^ least(now_failures - :breaker_failures::integer, 30)))
            END,
            -- Nothing that we get wrong five times in a row is worth much haste either.
            CASE WHEN now_ours >= 5 AND further_ours > 0 AND NOT is_open THEN now() + make_interval(secs =>
                least(60.0, 2.0 ^ least(now_ours - 5, 6)))
            END
        ) AS now_open_until,
        (SELECT min(now() + make_interval(secs => mine.pause)) FROM mine
         WHERE mine.subscription_id = counted.id AND mine.verdict = 'pending') AS again_at
    FROM counted
), health AS (
    UPDATE subscriptions SET failures = now_failures, ours = now_ours, failing_since = now_failing_since, open_until = now_open_until,
        -- It slept for its lease's time at most, or until its breaker closes, which it may have done.
        look_at = CASE
            WHEN judged.open_until > now() AND now_open_until IS NULL THEN now()
            ELSE least(judged.look_at, again_at)
        END,
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
), trimmed AS (
    -- Of a delivery that was tried for days the first attempt and the last 50 are kept.
    DELETE FROM delivery_attempts USING given
    WHERE delivery_id = given.id AND given.number > 51 AND delivery_attempts.number > 1
      AND delivery_attempts.number <= given.number - 50
), held AS MATERIALIZED (
    -- After the subscriptions, and in order: so does whoever cancels them, and neither waits for the other.
    SELECT deliveries.id FROM deliveries JOIN mine ON mine.id = deliveries.id
    WHERE (SELECT count(*) FROM locked) >= 0 ORDER BY deliveries.id FOR NO KEY UPDATE OF deliveries
), written AS (
    UPDATE deliveries SET
        status = now_status, worker_id = NULL, response_status = mine.status,
        failures = deliveries.failures + CASE WHEN mine.outcome = 'failed' AND mine.verdict <> 'unfit' THEN 1 ELSE 0 END,
        reason = CASE WHEN now_status = 'canceled' THEN coalesce(deliveries.reason, stopped) ELSE mine.reason END,
        due_at = CASE WHEN now_status = 'pending' THEN now() + make_interval(secs => mine.pause) END,
        ended_at = CASE WHEN now_status <> 'pending' THEN now() END
    FROM (
        SELECT mine.*, CASE
                WHEN mine.verdict = 'delivered' THEN 'delivered'
                WHEN before.status = 'canceled' THEN 'canceled'
                WHEN mine.verdict IN ('failed', 'gone', 'unfit') THEN 'failed'
                WHEN subscriptions.deleted_at IS NOT NULL OR subscriptions.disabled_at IS NOT NULL OR judged.disable IS NOT NULL
                    THEN 'canceled'
                ELSE 'pending'
            END AS now_status,
            CASE WHEN subscriptions.deleted_at IS NOT NULL THEN 'deleted'
                 WHEN subscriptions.disabled_reason = 'asked' THEN 'disabled'
                 ELSE coalesce(judged.disable, subscriptions.disabled_reason) END AS stopped
        FROM mine JOIN held ON held.id = mine.id JOIN deliveries before ON before.id = mine.id
        JOIN subscriptions ON subscriptions.id = mine.subscription_id
        LEFT JOIN judged ON judged.id = mine.subscription_id
    ) mine
    WHERE deliveries.id = mine.id AND deliveries.worker_id = :worker_id AND deliveries.attempts = mine.number
      AND deliveries.status IN ('pending', 'canceled')
    RETURNING {deliveries.*}
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
    -- Locked in the order in which record_deliveries locks them.
    SELECT id FROM deliveries WHERE id = ANY(ARRAY(
        SELECT id FROM deliveries WHERE subscription_id = :subscription_id AND due_at IS NOT NULL ORDER BY due_at LIMIT :limit
    )) AND due_at IS NOT NULL
    ORDER BY id FOR NO KEY UPDATE
), canceled AS (
    UPDATE deliveries SET status = 'canceled', reason = :reason, due_at = NULL, ended_at = now()
    FROM picked WHERE deliveries.id = picked.id RETURNING deliveries.id
)
SELECT count(*), wake_subscriptions(ARRAY[:subscription_id::uuid]) FROM canceled;

-- name: wake_subscriptions(ids)$
-- What is pending for these is looked at.
SELECT wake_subscriptions(:ids::uuid[]);

-- name: rest_subscriptions(ids)$
-- Of these nothing needs looking at before their next delivery may be sent.
SELECT rest_subscriptions(:ids::uuid[]);

-- name: wake_overslept(after, limit)^
-- Wakes those that sleep longer than they should, of a batch of subscriptions in the order of their ids; there should be none.
-- Returns how many, and the last id of the batch, null at the end.
WITH RECURSIVE walk AS (
    (SELECT subscription_id, due_at, 1 AS nth FROM deliveries
     WHERE due_at IS NOT NULL AND subscription_id > :after ORDER BY subscription_id, due_at LIMIT 1)
    UNION ALL
    SELECT following.subscription_id, following.due_at, nth + 1
    FROM walk CROSS JOIN LATERAL (
        SELECT subscription_id, due_at FROM deliveries
        WHERE due_at IS NOT NULL AND deliveries.subscription_id > walk.subscription_id
        ORDER BY deliveries.subscription_id, deliveries.due_at LIMIT 1
    ) following
    WHERE nth < :limit::integer
), overslept AS (
    SELECT subscriptions.id FROM walk JOIN subscriptions ON subscriptions.id = walk.subscription_id
    WHERE look_at IS NULL OR (look_at > now() AND look_at > greatest(walk.due_at, open_until, next_at))
    ORDER BY subscriptions.id FOR NO KEY UPDATE OF subscriptions SKIP LOCKED
), woken AS (
    UPDATE subscriptions SET look_at = now() FROM overslept WHERE subscriptions.id = overslept.id RETURNING subscriptions.id
)
SELECT (SELECT count(*) FROM woken) AS count, (SELECT subscription_id FROM walk WHERE nth = :limit::integer) AS last;

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
SELECT {deliveries.*} FROM deliveries WHERE id = :id AND account_id = :account_id;

-- name: list_delivery_attempts(delivery_id)
-- A delivery's attempts, in order.
SELECT {delivery_attempts.*} FROM delivery_attempts WHERE delivery_id = :delivery_id ORDER BY number;

-- name: list_deliveries(account_id, status, event_type, before, limit)
-- An account's deliveries, newest first.
SELECT {deliveries.*} FROM deliveries
WHERE account_id = :account_id AND (:before::uuid IS NULL OR id < :before)
  AND (:status::text IS NULL OR status = :status) AND (:event_type::text IS NULL OR type = :event_type)
ORDER BY id DESC LIMIT :limit;

-- name: list_deliveries_of_subscription(account_id, subscription_id, job_id, status, event_type, before, limit)
-- A subscription's deliveries, newest first.
SELECT {deliveries.*} FROM deliveries
WHERE subscription_id = :subscription_id AND account_id = :account_id AND (:before::uuid IS NULL OR id < :before)
  AND (:job_id::uuid IS NULL OR job_id = :job_id)
  AND (:status::text IS NULL OR status = :status) AND (:event_type::text IS NULL OR type = :event_type)
ORDER BY id DESC LIMIT :limit;

-- name: list_deliveries_of_job(account_id, job_id, status, event_type, before, limit)
-- A job's deliveries, newest first; there are as many as it has events, times those who want them.
WITH those AS MATERIALIZED (SELECT {deliveries.*} FROM deliveries WHERE job_id = :job_id)
SELECT {those.* of deliveries} FROM those
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
WITH woken AS MATERIALIZED (
    -- Before the delivery is locked: who records locks in this order.
    SELECT wake_subscriptions(ARRAY(SELECT subscription_id FROM deliveries WHERE id = :id AND account_id = :account_id))
), resent AS (
UPDATE deliveries SET
    status = 'pending', reason = NULL, failures = 0, forgiven = attempts, ended_at = NULL,
    worker_id = CASE WHEN deliveries.status = 'pending' AND due_at > now() THEN worker_id END,
    due_at = CASE WHEN deliveries.status = 'pending' AND worker_id IS NOT NULL AND due_at > now() THEN due_at ELSE now() END
FROM subscriptions CROSS JOIN woken
WHERE deliveries.id = :id AND deliveries.account_id = :account_id AND subscriptions.id = deliveries.subscription_id
  AND subscriptions.deleted_at IS NULL AND subscriptions.disabled_at IS NULL
  AND coalesce((SELECT true FROM events WHERE events.id = deliveries.event_id),
               (SELECT true FROM account_events WHERE account_events.id = deliveries.event_id))
RETURNING {deliveries.*}
)
SELECT {resent.* of deliveries}, pg_notify('genrelay_deliveries', '') AS told FROM resent;

-- name: is_event_kept(id)$
-- Whether there still is such an event.
SELECT EXISTS (SELECT FROM events WHERE id = :id) OR EXISTS (SELECT FROM account_events WHERE id = :id);

-- name: tell_of_deliveries()$
-- Every process looks for what is due.
SELECT pg_notify('genrelay_deliveries', '');

-- name: recover_deliveries(subscription_id, since, after, until, limit)^
-- A batch of a subscription's deliveries that were made since a moment and failed or were canceled is sent again, oldest first;
-- returns how many, and the last one's id.
WITH woken AS MATERIALIZED (
    SELECT wake_subscriptions(ARRAY[:subscription_id::uuid])
), picked AS MATERIALIZED (
    SELECT deliveries.id FROM deliveries JOIN subscriptions ON subscriptions.id = subscription_id CROSS JOIN woken
    WHERE subscription_id = :subscription_id AND deliveries.id > :after AND deliveries.id <= :until
      AND deliveries.status IN ('failed', 'canceled') AND deliveries.created_at >= :since
      AND subscriptions.deleted_at IS NULL AND subscriptions.disabled_at IS NULL
      AND coalesce((SELECT true FROM events WHERE events.id = deliveries.event_id),
                   (SELECT true FROM account_events WHERE account_events.id = deliveries.event_id))
    ORDER BY deliveries.id LIMIT :limit FOR NO KEY UPDATE OF deliveries
), revived AS (
    UPDATE deliveries SET status = 'pending', reason = NULL, failures = 0, forgiven = attempts, worker_id = NULL, ended_at = NULL,
        due_at = clock_timestamp()
    FROM picked WHERE deliveries.id = picked.id RETURNING deliveries.id
)
SELECT count(*) AS count, (SELECT id FROM picked ORDER BY id DESC LIMIT 1) AS last FROM revived;

-- name: place_before(account_id, event_id)$
-- The place in an account's feed before the first event that is as young as an id (a UUIDv7 tells its time), however old the
-- others around it say they are; null if there is none.
WITH younger AS MATERIALIZED (
    SELECT position FROM feed WHERE account_id = :account_id AND event_id >= :event_id
)
SELECT min(position) - 1 FROM younger;

-- name: deliver_missed(subscription_id, account_id, since, after, limit)^
-- Of a batch of the account's events after a place in the feed, those since a moment that a subscription asks for and has no
-- delivery of get one; returns how many, how many events were looked at, and the last one's place.
WITH batch AS MATERIALIZED (
    SELECT position, event_id, job_id, sequence FROM feed
    WHERE account_id = :account_id AND position > :after ORDER BY position LIMIT :limit
), wanted AS MATERIALIZED (
    SELECT {subscriptions.*} FROM subscriptions
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
SELECT (SELECT count(*) FROM made) AS count, count(*) AS seen, max(position) AS last,
    wake_subscriptions(ARRAY[:subscription_id::uuid]) AS woken
FROM batch;
