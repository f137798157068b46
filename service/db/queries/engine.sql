-- Workers, dead letters, housekeeping.

-- name: beat(id, alert_seconds)^
-- The worker lives; returns what is worth knowing all the time, so that nobody has to ask for it.
-- someone_waits: in line. expiring: outputs of so many jobs are lost soon unless they are stored; expired: the URLs of so many
-- others are over. expiring_jobs: some of the former, the most urgent ones. failed: the buckets of so many jobs did not take
-- their outputs, which are lost soon unless the jobs are retried; what waits in the spool is lost when that deletes it.
-- unplaced: the oldest event without a place in the feed.
INSERT INTO workers (id) VALUES (:id) ON CONFLICT (id) DO UPDATE SET seen_at = now()
-- Ordered, so that it goes through the index, also when thousands stand there who have been granted their turn.
RETURNING (SELECT provider FROM line WHERE granted_at IS NULL ORDER BY provider LIMIT 1) IS NOT NULL AS someone_waits,
    (SELECT event_id FROM unplaced ORDER BY event_id LIMIT 1) AS unplaced,
    (SELECT count(*) FROM jobs WHERE status = 'copying' AND source_expires_at > now()
        AND source_expires_at <= now() + make_interval(secs => :alert_seconds)) AS expiring,
    (SELECT count(*) FROM jobs WHERE status = 'copying' AND source_expires_at <= now()) AS expired,
    (SELECT count(*) FROM jobs WHERE status = 'failed' AND source_expires_at > now()
        AND source_expires_at <= now() + make_interval(secs => :alert_seconds)
        AND error ->> 'code' IN ('destination_denied', 'destination_conflict', 'destination_unavailable')) AS failed,
    ARRAY(SELECT id FROM jobs WHERE status = 'copying' AND source_expires_at > now()
        AND source_expires_at <= now() + make_interval(secs => :alert_seconds)
        ORDER BY source_expires_at LIMIT 20) AS expiring_jobs;

-- name: forget_worker(id)!
-- The worker has left in good order.
DELETE FROM workers WHERE id = :id;

-- name: forget_dead_workers()!
-- Workers not seen for a day.
DELETE FROM workers WHERE seen_at < now() - interval '1 day';

-- name: bury(id, job_id, task, reason)!
-- Work that was given up.
INSERT INTO dead_letters (id, job_id, task, reason) VALUES (:id, :job_id, :task, :reason);

-- name: list_dead()
-- What was given up and not tried again.
SELECT {dead_letters.*} FROM dead_letters WHERE retried_at IS NULL ORDER BY created_at LIMIT 1000;

-- name: revive(id)$
-- One dead letter is tried again: its job is due at once, and callbacks that were abandoned are judged after all.
WITH letter AS (
    UPDATE dead_letters SET retried_at = now() WHERE id = :id AND retried_at IS NULL RETURNING job_id
), job AS (
    UPDATE jobs SET due_at = now(), nudged_at = NULL, starts = 0, version = version + 1
    WHERE id IN (SELECT job_id FROM letter) AND completed_at IS NULL
), inbox AS (
    UPDATE callbacks SET verdict = NULL, judged_at = NULL
    WHERE job_id IN (SELECT job_id FROM letter) AND verdict = 'abandoned'
)
SELECT job_id FROM letter;
