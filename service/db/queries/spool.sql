-- The operator's spool: what waits there, and what is to be deleted from it. A row of `uploads` without a destination is an
-- object that may be in the spool and that no output knows of (any more).

-- name: plan_spooling(id, job_id, index, bucket, key, worker_id)!
-- What will be written into the spool, before it is: nothing that a crash leaves there stays for ever.
INSERT INTO uploads (id, job_id, index, bucket, key, worker_id) VALUES (:id, :job_id, :index, :bucket, :key, :worker_id);

-- name: name_spooling(id, upload_id)!
-- The upload that the object is written with; `?` before anybody knows its id.
UPDATE uploads SET upload_id = :upload_id WHERE id = :id;

-- name: record_spooled(upload, job_id, run, index, key, secret, bytes, keep)$
-- The output waits in the spool; null when its job is not being copied any more, or another worker was faster.
WITH planned AS (
    -- Due: somebody has taken us for dead, and deletes the object.
    SELECT bucket FROM uploads WHERE id = :upload AND due_at IS NULL FOR UPDATE
), spooled AS (
    UPDATE outputs SET spool_bucket = planned.bucket, spool_key = :key, spool_secret = :secret, spool_bytes = :bytes,
        spooled_until = now() + make_interval(secs => :keep)
    FROM planned
    WHERE job_id = :job_id AND index = :index AND status IN ('pending', 'writing') AND spool_key IS NULL
      AND EXISTS (SELECT FROM jobs WHERE id = :job_id AND run = :run AND status = 'copying')
    RETURNING spooled_until
), known AS (
    DELETE FROM uploads WHERE id = :upload AND EXISTS (SELECT FROM spooled)
)
SELECT spooled_until FROM spooled;

-- name: discard_spoolings(ids)!
-- They came to nothing: whatever is there is to be deleted.
UPDATE uploads SET due_at = now() WHERE id = ANY(:ids::uuid[]) AND due_at IS NULL;

-- name: release_spooled(key, worker_id, limit)!
-- Outputs that are stored, or have waited long enough, are not in the spool any more, and their objects are to be deleted;
-- but for those that an open job may be about to take: their own, or a copy of theirs. key: the one with this key instead,
-- which is of no use.
WITH released AS (
    SELECT job_id, index, spool_bucket, spool_key FROM outputs
    WHERE spooled_until IS NOT NULL
      AND CASE
        WHEN :key::text IS NOT NULL THEN spool_key = :key
        WHEN status = 'stored' THEN true
        WHEN spooled_until > now() THEN false
        ELSE NOT EXISTS (
            WITH RECURSIVE takers AS (
                SELECT id, completed_at FROM jobs WHERE id = outputs.job_id
                UNION ALL SELECT jobs.id, jobs.completed_at FROM takers JOIN jobs ON jobs.copy_of = takers.id
            )
            SELECT FROM takers WHERE completed_at IS NULL)
      END
    LIMIT :limit FOR UPDATE SKIP LOCKED
), cleared AS (
    UPDATE outputs SET spool_bucket = NULL, spool_key = NULL, spool_secret = NULL, spool_bytes = NULL, spooled_until = NULL
    FROM released WHERE outputs.job_id = released.job_id AND outputs.index = released.index
)
INSERT INTO uploads (id, job_id, index, bucket, key, worker_id, due_at)
SELECT gen_random_uuid(), job_id, index, spool_bucket, spool_key, :worker_id, now() FROM released;

-- name: take_spool_leavings(silence, pause, limit)
-- Objects to delete from the spool; who fails has so long a pause. Those of dead workers were never finished.
UPDATE uploads SET due_at = now() + make_interval(secs => :pause), tries = tries + 1
WHERE id IN (
    SELECT id FROM uploads
    WHERE destination_id IS NULL
      AND (due_at <= now() OR (due_at IS NULL AND (
        -- None takes a day: the worker lives, but could not write down that it came to nothing.
        begun_at < now() - interval '1 day'
        OR NOT EXISTS (
            SELECT FROM workers WHERE workers.id = worker_id AND seen_at > now() - make_interval(secs => :silence))
      )))
    ORDER BY due_at NULLS FIRST LIMIT :limit FOR UPDATE SKIP LOCKED
)
RETURNING id, job_id, index, bucket, key, upload_id, tries;

-- name: forget_spool_leaving(id)!
-- It is deleted.
DELETE FROM uploads WHERE id = :id;

-- name: count_spooled(within)^
-- How many outputs wait in the spool, how many of these are deleted within so many seconds, and how many objects are to be
-- deleted from it.
SELECT (SELECT count(*) FROM outputs WHERE spooled_until IS NOT NULL) AS waiting,
       (SELECT count(*) FROM outputs WHERE spooled_until <= now() + make_interval(secs => :within) AND status <> 'stored')
           AS ending,
       (SELECT count(*) FROM uploads WHERE destination_id IS NULL AND due_at IS NOT NULL) AS leaving;
