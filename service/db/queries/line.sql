-- The line: who waits for a provider, who may go on, and what was granted lately.

-- name: join_line(id, queued, held, turn, closed, version)^
-- A due job waits in line if its lane takes nobody without a grant of the last `turn` seconds (held), or nobody (closed);
-- null: nothing was done.
-- version: of a job that was leased just now, which counted a start.
WITH put_off AS (
    UPDATE jobs SET due_at = deadline_at, nudged_at = NULL, version = version + 1,
        starts = CASE WHEN version = :version::integer THEN greatest(starts - 1, 0) ELSE starts END
    WHERE id = :id AND status = :queued AND test_status IS NULL AND deadline_at > now()
      AND (due_at <= now() OR version = :version::integer)
      AND (provider || '/' || operation = ANY(:closed::text[])
           OR (provider || '/' || operation = ANY(:held::text[])
               AND NOT EXISTS (SELECT FROM line WHERE line.job_id = jobs.id
                                AND line.granted_at > statement_timestamp() - make_interval(secs => :turn::float8))))
    RETURNING id, provider, operation, account_id, images, deadline_at
), placed AS (
    INSERT INTO line (job_id, provider, operation, account_id, images, until)
    SELECT id, provider, operation, account_id, images, deadline_at FROM put_off
    ON CONFLICT (job_id) DO UPDATE SET granted_at = NULL, not_before = NULL
), refunded AS (
    -- Nothing was sent on this grant.
    DELETE FROM grants USING put_off, line
    WHERE line.job_id = put_off.id AND grants.job_id = line.job_id AND grants.at = line.granted_at
)
SELECT provider, operation FROM put_off;

-- name: tell_of_line(lane)$
-- Tells every process that somebody has joined a lane.
SELECT pg_notify('genrelay_line', :lane);

-- name: return_to_line(job_id, not_before, refund)$
-- A job that had its turn waits again, at its old place; null: it has none. refund: nothing was sent.
WITH refunded AS (
    DELETE FROM grants USING line
    WHERE :refund::boolean AND line.job_id = :job_id AND grants.job_id = line.job_id AND grants.at = line.granted_at
)
UPDATE line SET granted_at = NULL, not_before = :not_before WHERE job_id = :job_id RETURNING job_id;

-- name: leave_line(job_id)!
-- A job that was given up neither waits nor holds a slot.
DELETE FROM line WHERE job_id = :job_id;

-- name: pause_lane(provider, operation, told, longest)!
-- The provider said "later": for so long as told, or else for 1 second and longer each time.
INSERT INTO lanes AS lane (provider, operation, paused_until, refusals)
VALUES (:provider, :operation, statement_timestamp() + make_interval(secs => coalesce(:told::float8, 1)), 1)
ON CONFLICT (provider, operation) DO UPDATE SET
    refusals = CASE
        -- One of several that were under way together.
        WHEN lane.paused_until > statement_timestamp() THEN lane.refusals
        WHEN lane.paused_until > statement_timestamp() - interval '15 seconds' THEN lane.refusals + 1
        ELSE 1
    END,
    paused_until = greatest(lane.paused_until, statement_timestamp() + make_interval(secs => coalesce(:told::float8, CASE
        WHEN lane.paused_until > statement_timestamp() THEN 0
        WHEN lane.paused_until > statement_timestamp() - interval '15 seconds' THEN least(:longest, 2.0 ^ least(lane.refusals, 20))
        ELSE 1
    END)));

-- name: waiting_lanes()
-- Where anybody waits; one step through the index per lane.
WITH RECURSIVE lane AS (
    (SELECT provider, operation FROM line WHERE granted_at IS NULL ORDER BY provider, operation LIMIT 1)
    UNION ALL
    SELECT following.provider, following.operation
    FROM lane CROSS JOIN LATERAL (
        SELECT line.provider, line.operation FROM line
        WHERE granted_at IS NULL AND (line.provider, line.operation) > (lane.provider, lane.operation)
        ORDER BY line.provider, line.operation LIMIT 1
    ) following
)
SELECT provider, operation FROM lane;

-- name: lock_lanes(provider)$
-- From here to its end the transaction alone decides who goes on to this provider.
SELECT pg_advisory_xact_lock(hashtextextended('line ' || :provider::text, 0));

-- name: survey_lanes(provider, operations, window, slots, images)
-- What is used up of each lane, and of the whole provider (''): slots taken, and images within the window (seconds).
SELECT wanted.operation, coalesce(lanes.turn, '') AS turn, statement_timestamp() AS clock,
    coalesce(greatest(extract(epoch FROM lanes.paused_until - statement_timestamp()), 0), 0)::float8 AS pause,
    CASE WHEN :slots::boolean THEN (
        SELECT count(*) FROM line
        WHERE line.provider = :provider AND wanted.operation IN ('', line.operation) AND granted_at IS NOT NULL
    ) ELSE 0 END AS slots,
    CASE WHEN :images::boolean THEN (
        SELECT coalesce(sum(grants.images), 0) FROM grants
        WHERE grants.provider = :provider AND wanted.operation IN ('', grants.operation)
          AND at > statement_timestamp() - make_interval(secs => :window)
    ) ELSE 0 END AS images
FROM unnest(:operations::text[]) AS wanted (operation)
LEFT JOIN lanes ON lanes.provider = :provider AND lanes.operation = wanted.operation;

-- name: next_in_line(provider, operation, turn, most)
-- Who goes next in a lane, one of each account after the other, beginning after the account that was served last. The index
-- is stepped through by account, and of each account only the first few are read, however many wait. had: the images that the
-- account was granted lately, where they are counted: for longer than a minute, for who has had none in this one may have had
-- all of the last.
WITH RECURSIVE later AS (
    (SELECT account_id, 1 AS n FROM line
     WHERE provider = :provider AND operation = :operation AND granted_at IS NULL AND account_id > :turn::uuid
     ORDER BY account_id LIMIT 1)
    UNION ALL
    SELECT following.account_id, later.n + 1
    FROM later CROSS JOIN LATERAL (
        SELECT line.account_id FROM line
        WHERE provider = :provider AND operation = :operation AND granted_at IS NULL AND line.account_id > later.account_id
        ORDER BY line.account_id LIMIT 1
    ) following
    WHERE later.n < :most::integer
), earlier AS (
    (SELECT account_id, 1 AS n FROM line
     WHERE provider = :provider AND operation = :operation AND granted_at IS NULL AND account_id <= :turn::uuid
     ORDER BY account_id LIMIT 1)
    UNION ALL
    SELECT following.account_id, earlier.n + 1
    FROM earlier CROSS JOIN LATERAL (
        SELECT line.account_id FROM line
        WHERE provider = :provider AND operation = :operation AND granted_at IS NULL
          AND line.account_id > earlier.account_id AND line.account_id <= :turn::uuid
        ORDER BY line.account_id LIMIT 1
    ) following
    WHERE earlier.n < :most::integer
), turns AS MATERIALIZED (
    SELECT account_id, row_number() OVER (ORDER BY half, n) AS turn
    FROM (SELECT account_id, 1 AS half, n FROM later UNION ALL SELECT account_id, 2, n FROM earlier) both_halves
), lately AS MATERIALIZED (
    SELECT account_id, sum(images) AS had FROM grants
    WHERE provider = :provider AND operation = :operation AND at > statement_timestamp() - interval '5 minutes'
    GROUP BY account_id
)
SELECT first.job_id, turns.account_id, first.images, first.until <= now() AS is_over, coalesce(lately.had, 0) AS had
FROM turns LEFT JOIN lately USING (account_id) CROSS JOIN LATERAL (
    SELECT ahead.*, row_number() OVER (ORDER BY place) AS nth
    FROM (
        SELECT job_id, images, until, place FROM line
        WHERE provider = :provider AND operation = :operation AND line.account_id = turns.account_id AND granted_at IS NULL
          AND (not_before IS NULL OR not_before <= now())
        ORDER BY place LIMIT 1 + :most::integer / (SELECT count(*) FROM turns)
    ) ahead
) first
ORDER BY first.nth, turns.turn LIMIT :most::integer;

-- name: grant_turns(ids, counted, clock)
-- It is the turn of these jobs, if they still wait: they are due now. counted: their images count against a limit.
WITH picked AS (
    -- The job before its place, as everywhere; a job that somebody has locked is not waited for.
    SELECT jobs.id FROM jobs WHERE jobs.id = ANY(:ids::uuid[]) AND jobs.status = 'queued' AND jobs.deadline_at > now()
    FOR NO KEY UPDATE SKIP LOCKED
), due AS (
    UPDATE jobs SET due_at = :clock, nudged_at = :clock, version = version + 1
    FROM picked WHERE jobs.id = picked.id
    RETURNING jobs.id
), granted AS (
    UPDATE line SET granted_at = :clock, not_before = NULL FROM due WHERE line.job_id = due.id
    RETURNING line.job_id, line.provider, line.operation, line.account_id, line.images
), counts AS (
    INSERT INTO grants (job_id, provider, operation, account_id, images, at)
    SELECT job_id, provider, operation, account_id, images, :clock FROM granted WHERE :counted::boolean
), gone AS (
    -- Revived, say, and sent by a process that held nobody back: such a job would be the next one for ever.
    DELETE FROM line USING jobs
    WHERE line.job_id = ANY(:ids::uuid[]) AND line.granted_at IS NULL AND jobs.id = line.job_id AND jobs.status <> 'queued'
)
SELECT job_id FROM granted;

-- name: pass_turn(provider, operation, turn)!
-- Who was served last.
INSERT INTO lanes (provider, operation, turn) VALUES (:provider, :operation, :turn)
ON CONFLICT (provider, operation) DO UPDATE SET turn = excluded.turn;

-- name: drop_from_line(ids)!
-- Their deadline has passed: they wait no longer, and the sweep sees to the rest.
DELETE FROM line WHERE job_id = ANY(:ids::uuid[]) AND granted_at IS NULL AND until <= now();

-- name: seconds_until_images(provider, operation, window, allowed)$
-- When no more images than `allowed` will be within the window (seconds); '' is the whole provider.
SELECT extract(epoch FROM max(at) - statement_timestamp())::float8 + :window::float8 FROM (
    SELECT at, sum(images) OVER (ORDER BY at DESC) AS since FROM grants
    WHERE provider = :provider AND :operation::text IN ('', operation)
      AND at > statement_timestamp() - make_interval(secs => :window::float8)
) lately
WHERE since > :allowed::bigint;

-- name: seconds_until_later(provider, operation)$
-- When the first of those that were sent back may try again.
SELECT extract(epoch FROM min(not_before) - now())::float8 FROM line
WHERE provider = :provider AND operation = :operation AND granted_at IS NULL AND not_before > now();

-- name: count_line()
-- How many wait in each lane.
SELECT provider, operation, count(*) AS waiting FROM line WHERE granted_at IS NULL GROUP BY provider, operation;
