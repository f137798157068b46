-- Housekeeping: what has had its time is deleted, batch by batch. Each statement is a transaction of its own that waits for
-- nobody: what somebody has locked is left for another time. All return how much they deleted.
-- Those with `after` and `before` walk along ids, which tell how old a thing is, and return the last one they looked at, null at
-- the end: what must be kept is passed over, and not looked at again in the next batch. Lookups in big tables are subqueries in
-- the list of columns, because an EXISTS or a join might be made a join with the whole table.

-- name: begin_housekeeping(lock)$
-- Whether it is this connection's turn, which is nobody else's until it gives it back.
SELECT pg_try_advisory_lock(hashtextextended(:lock, 0));

-- name: end_housekeeping(lock)$
-- Its turn is over.
SELECT pg_advisory_unlock(hashtextextended(:lock, 0));

-- name: read_progress()
-- How far each walk has come, and for how many seconds it goes on without having begun anew.
SELECT kind, after, extract(epoch FROM now() - began_at)::float8 AS seconds FROM housekeeping;

-- name: note_progress(kind, after, anew)!
-- How far a walk has come. anew: it has begun at the beginning.
INSERT INTO housekeeping (kind, after) VALUES (:kind, :after)
ON CONFLICT (kind) DO UPDATE SET after = excluded.after,
    began_at = CASE WHEN :anew::boolean THEN now() ELSE housekeeping.began_at END;

-- name: purge_inputs(limit, bytes, delivery)^
-- Inputs whose time is up. Locked first: an input that the next run takes back at this moment stays. One that a provider's body
-- repeats parts of gets more time, until `delivery` seconds after its job's end.
WITH due AS MATERIALIZED (
    SELECT job_id, purge_at, octet_length(body) AS size FROM job_inputs
    WHERE purge_at < now() ORDER BY purge_at LIMIT :limit FOR UPDATE SKIP LOCKED
), batch AS MATERIALIZED (
    SELECT job_id FROM (
        SELECT job_id, sum(size) OVER (ORDER BY purge_at, job_id) - size AS before FROM due
    ) summed WHERE before < :bytes
), repeated AS MATERIALIZED (
    SELECT job_id, completed_at + make_interval(secs => :delivery::float8) AS until FROM batch JOIN jobs ON jobs.id = batch.job_id
    WHERE webhook_payload = 'provider' AND status IN ('succeeded', 'failed')
      AND completed_at + make_interval(secs => :delivery::float8) > now()
), kept AS (
    UPDATE job_inputs SET purge_at = until FROM repeated WHERE job_inputs.job_id = repeated.job_id
), gone AS (
    DELETE FROM job_inputs WHERE job_id = ANY (ARRAY(SELECT job_id FROM batch EXCEPT SELECT job_id FROM repeated)) RETURNING job_id
)
SELECT (SELECT count(*) FROM gone) AS deleted,
    (SELECT count(*) FROM due) >= :limit OR (SELECT count(*) FROM batch) < (SELECT count(*) FROM due) AS more;

-- name: purge_inline(seconds, limit, bytes)^
-- Files of jobs that ended, and were not retried, so long ago. There are few: those that no bucket has taken.
WITH due AS MATERIALIZED (
    SELECT job_id, index, octet_length(body) AS size FROM inline_outputs
    WHERE (SELECT completed_at FROM jobs WHERE jobs.id = inline_outputs.job_id) < now() - make_interval(secs => :seconds)
    ORDER BY job_id, index LIMIT :limit FOR UPDATE SKIP LOCKED
), batch AS MATERIALIZED (
    SELECT job_id, index FROM (
        SELECT job_id, index, sum(size) OVER (ORDER BY job_id, index) - size AS before FROM due
    ) summed WHERE before < :bytes
), gone AS (
    DELETE FROM inline_outputs USING batch
    WHERE inline_outputs.job_id = batch.job_id AND inline_outputs.index = batch.index RETURNING batch.job_id
)
SELECT (SELECT count(*) FROM gone) AS deleted,
    (SELECT count(*) FROM due) >= :limit OR (SELECT count(*) FROM batch) < (SELECT count(*) FROM due) AS more;

-- name: purge_idempotency_keys(limit)^
-- Keys older than their retention.
WITH gone AS (
    DELETE FROM idempotency_keys WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM idempotency_keys WHERE created_at < now() - interval '24 hours'
        ORDER BY created_at LIMIT :limit FOR UPDATE SKIP LOCKED))
    RETURNING key
)
SELECT count(*) AS deleted, count(*) >= :limit AS more FROM gone;

-- name: purge_engine_log(seconds, limit)^
-- PgQueuer's own log, which nobody else prunes. By its numbers, which are given out as time goes on: it has no index by time.
WITH oldest AS MATERIALIZED (
    SELECT id, created FROM pgqueuer_log ORDER BY id LIMIT :limit
), gone AS (
    DELETE FROM pgqueuer_log WHERE id = ANY (ARRAY(
        SELECT id FROM oldest WHERE created < now() - make_interval(secs => :seconds)))
    RETURNING id
)
SELECT count(*) AS deleted, (SELECT count(*) FROM oldest) >= :limit AND count(*) > 0 AS more FROM gone;

-- name: purge_grants(limit)^
-- Grants that no limit counts any more.
WITH gone AS (
    DELETE FROM grants WHERE (job_id, at) IN (
        SELECT job_id, at FROM grants WHERE at < now() - interval '5 minutes' ORDER BY at LIMIT :limit FOR UPDATE SKIP LOCKED)
    RETURNING at
)
SELECT count(*) AS deleted, count(*) >= :limit AS more FROM gone;

-- name: purge_line(limit)^
-- Places whose jobs have ended or have left their provider.
WITH gone AS (
    DELETE FROM line WHERE job_id IN (
        SELECT job_id FROM line
        WHERE (SELECT status FROM jobs WHERE jobs.id = line.job_id) NOT IN ('queued', 'submitting', 'running')
        LIMIT :limit FOR UPDATE SKIP LOCKED)
    RETURNING job_id
)
SELECT count(*) AS deleted, count(*) >= :limit AS more FROM gone;

-- name: purge_orphans(seconds, limit)^
-- Callbacks of jobs that are deleted, or never were: judged as such, and nobody's.
WITH gone AS (
    DELETE FROM callbacks WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM callbacks
        WHERE verdict = 'unknown_job' AND received_at < now() - make_interval(secs => :seconds)
        ORDER BY received_at LIMIT :limit FOR UPDATE SKIP LOCKED))
    RETURNING id
)
SELECT count(*) AS deleted, count(*) >= :limit AS more FROM gone;

-- name: purge_callbacks(after, before, seconds, limit, bytes)^
-- What providers really sent, job by job: after the job's end, and after it came, should it have come late.
WITH walked AS MATERIALIZED (
    -- Of a job all or none, so that the walk can go on behind it; a job has few.
    SELECT DISTINCT job_id FROM (
        SELECT job_id FROM callbacks WHERE job_id > :after AND job_id < :before ORDER BY job_id LIMIT :limit
    ) AS found
), oldest AS MATERIALIZED (
    SELECT job_id, sum(size) OVER (ORDER BY job_id) - size AS before FROM (
        SELECT job_id, (SELECT sum(octet_length(body)) FROM callbacks WHERE callbacks.job_id = walked.job_id) AS size FROM walked
    ) sized
), batch AS MATERIALIZED (
    SELECT job_id FROM oldest WHERE before < :bytes
), ready AS MATERIALIZED (
    SELECT job_id, id FROM callbacks
    WHERE job_id = ANY (ARRAY(
        SELECT job_id FROM batch
        WHERE coalesce((SELECT coalesce(completed_at, 'infinity') FROM jobs WHERE jobs.id = batch.job_id), '-infinity')
            < now() - make_interval(secs => :seconds::float8)))
      AND verdict IS NOT NULL AND received_at < now() - make_interval(secs => :seconds::float8)
    FOR UPDATE SKIP LOCKED
), gone AS (
    DELETE FROM callbacks USING ready WHERE callbacks.job_id = ready.job_id AND callbacks.id = ready.id RETURNING ready.id
)
SELECT (SELECT count(*) FROM gone) AS deleted, (SELECT job_id FROM batch ORDER BY job_id DESC LIMIT 1) AS last;

-- name: purge_deliveries(after, before, seconds, limit)^
-- Deliveries that ended so long ago, with their attempts.
WITH oldest AS MATERIALIZED (
    SELECT id FROM deliveries WHERE id > :after AND id < :before ORDER BY id LIMIT :limit
), ready AS MATERIALIZED (
    SELECT id FROM deliveries WHERE id = ANY (ARRAY(SELECT id FROM oldest))
      AND status <> 'pending' AND ended_at < now() - make_interval(secs => :seconds)
    FOR UPDATE SKIP LOCKED
), gone AS (
    DELETE FROM deliveries WHERE id = ANY (ARRAY(SELECT id FROM ready)) RETURNING id
)
SELECT (SELECT count(*) FROM gone) AS deleted, (SELECT id FROM oldest ORDER BY id DESC LIMIT 1) AS last;

-- name: purge_events(after, before, seconds, limit, with_deliveries)^
-- Events of jobs that ended so long ago, with their places in the feed. with_deliveries: those have no time of their own.
WITH oldest AS MATERIALIZED (
    SELECT id, job_id FROM events WHERE id > :after AND id < :before ORDER BY id LIMIT :limit
), ready AS MATERIALIZED (
    SELECT id, job_id FROM events WHERE id = ANY (ARRAY(
        SELECT id FROM oldest
        WHERE (SELECT completed_at FROM jobs WHERE jobs.id = oldest.job_id) < now() - make_interval(secs => :seconds)
          AND (SELECT true FROM deliveries
               WHERE deliveries.job_id = oldest.job_id AND event_id = oldest.id AND due_at IS NOT NULL LIMIT 1) IS NULL
          AND (SELECT true FROM unplaced WHERE event_id = oldest.id) IS NULL))
      AND time < now() - make_interval(secs => :seconds)
    FOR UPDATE SKIP LOCKED
), gone AS (
    DELETE FROM events WHERE id = ANY (ARRAY(SELECT id FROM ready)) RETURNING id
), places AS (
    DELETE FROM feed WHERE event_id = ANY (ARRAY(SELECT id FROM ready))
), told AS (
    DELETE FROM deliveries WHERE id = ANY (ARRAY(
        SELECT id FROM deliveries
        WHERE job_id = ANY (ARRAY(SELECT job_id FROM ready WHERE :with_deliveries::boolean))
          AND event_id = ANY (ARRAY(SELECT id FROM ready)) AND status <> 'pending'
        ORDER BY id FOR UPDATE SKIP LOCKED))
)
SELECT (SELECT count(*) FROM gone) AS deleted, (SELECT id FROM oldest ORDER BY id DESC LIMIT 1) AS last;

-- name: purge_account_events(after, before, limit, with_deliveries)^
-- Events of destinations, subscriptions and deliveries, with their places in the feed.
WITH oldest AS MATERIALIZED (
    SELECT id, account_id FROM account_events WHERE id > :after AND id < :before ORDER BY id LIMIT :limit
), ready AS MATERIALIZED (
    SELECT id, account_id FROM account_events WHERE id = ANY (ARRAY(
        SELECT id FROM oldest
        WHERE (SELECT true FROM subscriptions JOIN deliveries ON subscription_id = subscriptions.id AND event_id = oldest.id
               WHERE subscriptions.account_id = oldest.account_id AND origin = 'api' AND deleted_at IS NULL AND due_at IS NOT NULL
               LIMIT 1) IS NULL
          AND (SELECT true FROM unplaced WHERE event_id = oldest.id) IS NULL))
    FOR UPDATE SKIP LOCKED
), gone AS (
    DELETE FROM account_events WHERE id = ANY (ARRAY(SELECT id FROM ready)) RETURNING id
), places AS (
    DELETE FROM feed WHERE event_id = ANY (ARRAY(SELECT id FROM ready))
), told AS (
    DELETE FROM deliveries WHERE id = ANY (ARRAY(
        -- OFFSET: one step through an index after the other, and no join of whole tables.
        SELECT delivery.id FROM ready CROSS JOIN LATERAL (
            SELECT id FROM subscriptions
            WHERE account_id = ready.account_id AND origin = 'api' AND deleted_at IS NULL OFFSET 0
        ) heard CROSS JOIN LATERAL (
            SELECT id FROM deliveries
            WHERE subscription_id = heard.id AND event_id = ready.id AND status <> 'pending' OFFSET 0
        ) delivery
        WHERE :with_deliveries::boolean))
)
SELECT (SELECT count(*) FROM gone) AS deleted, (SELECT id FROM oldest ORDER BY id DESC LIMIT 1) AS last;

-- name: purge_destination_events(after, before, limit)^
-- What destinations list of themselves.
WITH gone AS (
    DELETE FROM destination_events WHERE id = ANY (ARRAY(
        SELECT id FROM destination_events WHERE id > :after AND id < :before ORDER BY id LIMIT :limit FOR UPDATE SKIP LOCKED))
    RETURNING id
)
SELECT count(*) AS deleted, (SELECT id FROM gone ORDER BY id DESC LIMIT 1) AS last FROM gone;

-- name: purge_jobs(after, before, seconds, retry, limit, bytes)^
-- Jobs that ended so long ago, with everything about them but the places of their events. Kept is one that may be retried with its input, has a delivery or a
-- callback waiting, has something in the spool or an upload to be aborted, or is what a copy may still take its outputs from.
WITH oldest AS MATERIALIZED (
    SELECT id, completed_at FROM jobs WHERE id > :after AND id < :before ORDER BY id LIMIT :limit
), sized AS MATERIALIZED (
    SELECT id, completed_at, sum(size) OVER (ORDER BY id) - size AS before FROM (
        SELECT id, completed_at,
            coalesce((SELECT sum(octet_length(body)) FROM callbacks WHERE callbacks.job_id = oldest.id), 0) AS size
        FROM oldest
    ) summed
), batch AS MATERIALIZED (
    SELECT id, completed_at FROM sized WHERE before < :bytes
), ready AS MATERIALIZED (
    SELECT id FROM jobs WHERE id = ANY (ARRAY(
        SELECT id FROM batch
        WHERE completed_at < now() - make_interval(secs => :seconds::float8)
          AND (SELECT true FROM deliveries WHERE deliveries.job_id = batch.id AND due_at IS NOT NULL LIMIT 1) IS NULL
          AND (SELECT true FROM outputs WHERE outputs.job_id = batch.id AND spooled_until IS NOT NULL LIMIT 1) IS NULL
          AND (SELECT true FROM uploads WHERE uploads.job_id = batch.id LIMIT 1) IS NULL
          AND (SELECT true FROM callbacks WHERE callbacks.job_id = batch.id AND verdict IS NULL LIMIT 1) IS NULL
          AND (SELECT true FROM job_inputs WHERE job_inputs.job_id = batch.id AND purge_at > now()) IS NULL
          AND (WITH RECURSIVE takers AS (
                   SELECT copies.id, copies.status, copies.completed_at FROM jobs copies WHERE copies.copy_of = batch.id
                   UNION ALL
                   SELECT jobs.id, jobs.status, jobs.completed_at FROM takers JOIN jobs ON jobs.copy_of = takers.id
               )
               SELECT true FROM takers
               WHERE completed_at IS NULL
                  OR (status <> 'succeeded' AND completed_at > now() - make_interval(secs => :retry::float8))
               LIMIT 1) IS NULL))
      AND completed_at < now() - make_interval(secs => :seconds::float8)
    FOR UPDATE SKIP LOCKED
), inbox AS (
    DELETE FROM callbacks WHERE job_id = ANY (ARRAY(SELECT id FROM ready))
), told AS (
    DELETE FROM deliveries WHERE job_id = ANY (ARRAY(SELECT id FROM ready))
), letters AS (
    DELETE FROM dead_letters WHERE job_id = ANY (ARRAY(SELECT id FROM ready))
), granted AS (
    DELETE FROM grants WHERE job_id = ANY (ARRAY(SELECT id FROM ready))
), gone AS (
    DELETE FROM jobs WHERE id = ANY (ARRAY(SELECT id FROM ready)) RETURNING id
)
SELECT (SELECT count(*) FROM gone) AS deleted, (SELECT id FROM batch ORDER BY id DESC LIMIT 1) AS last;

-- name: purge_feed(after, before, limit)^
-- Places of events that went with their jobs, by the age of the events. What has its event still goes with that.
WITH oldest AS MATERIALIZED (
    SELECT event_id FROM feed WHERE event_id > :after AND event_id < :before ORDER BY event_id LIMIT :limit
), ready AS MATERIALIZED (
    SELECT event_id FROM feed WHERE event_id = ANY (ARRAY(
        SELECT event_id FROM oldest
        WHERE (SELECT true FROM events WHERE events.id = oldest.event_id) IS NULL
          AND (SELECT true FROM account_events WHERE account_events.id = oldest.event_id) IS NULL))
    FOR UPDATE SKIP LOCKED
), gone AS (
    DELETE FROM feed WHERE event_id = ANY (ARRAY(SELECT event_id FROM ready)) RETURNING event_id
)
SELECT (SELECT count(*) FROM gone) AS deleted, (SELECT event_id FROM oldest ORDER BY event_id DESC LIMIT 1) AS last;

-- name: purge_dead_letters(after, before, limit)^
-- Dead letters; that of an open job stays, for it is the way to bring the job back.
WITH oldest AS MATERIALIZED (
    SELECT id, job_id FROM dead_letters WHERE id > :after AND id < :before ORDER BY id LIMIT :limit
), ready AS MATERIALIZED (
    SELECT id FROM dead_letters WHERE id = ANY (ARRAY(
        SELECT id FROM oldest
        WHERE (SELECT true FROM jobs WHERE jobs.id = oldest.job_id AND completed_at IS NULL) IS NULL))
    FOR UPDATE SKIP LOCKED
), gone AS (
    DELETE FROM dead_letters WHERE id = ANY (ARRAY(SELECT id FROM ready)) RETURNING id
)
SELECT (SELECT count(*) FROM gone) AS deleted, (SELECT id FROM oldest ORDER BY id DESC LIMIT 1) AS last;

-- name: purge_subscriptions(after, before, limit)^
-- Subscriptions that are deleted, or stand for the webhook of jobs, once nothing names them. One that is
-- named at this moment fails the batch by its foreign key.
WITH oldest AS MATERIALIZED (
    SELECT id, origin, deleted_at FROM subscriptions WHERE id > :after AND id < :before ORDER BY id LIMIT :limit
), ready AS MATERIALIZED (
    SELECT id FROM subscriptions WHERE id = ANY (ARRAY(
        SELECT id FROM oldest
        WHERE (origin = 'job' OR deleted_at IS NOT NULL)
          AND (SELECT true FROM jobs WHERE webhook_id = oldest.id LIMIT 1) IS NULL
          AND (SELECT true FROM deliveries WHERE subscription_id = oldest.id LIMIT 1) IS NULL))
    FOR UPDATE SKIP LOCKED
), gone AS (
    DELETE FROM subscriptions WHERE id = ANY (ARRAY(SELECT id FROM ready)) RETURNING id
)
SELECT (SELECT count(*) FROM gone) AS deleted, (SELECT id FROM oldest ORDER BY id DESC LIMIT 1) AS last;

-- name: purge_destinations(after, before, limit)^
-- Deleted destinations that no job and no upload names any more, with what they list of themselves.
WITH oldest AS MATERIALIZED (
    SELECT id, deleted_at FROM destinations WHERE id > :after AND id < :before ORDER BY id LIMIT :limit
), ready AS MATERIALIZED (
    SELECT id FROM destinations WHERE id = ANY (ARRAY(
        SELECT id FROM oldest
        WHERE deleted_at < now() - interval '1 minute'
          AND (SELECT true FROM jobs WHERE destination_id = oldest.id LIMIT 1) IS NULL
          AND (SELECT true FROM uploads WHERE destination_id = oldest.id LIMIT 1) IS NULL
          AND (SELECT true FROM destination_events WHERE destination_id = oldest.id LIMIT 1) IS NULL))
    FOR UPDATE SKIP LOCKED
), gone AS (
    DELETE FROM destinations WHERE id = ANY (ARRAY(SELECT id FROM ready)) RETURNING id
)
SELECT (SELECT count(*) FROM gone) AS deleted, (SELECT id FROM oldest ORDER BY id DESC LIMIT 1) AS last;
