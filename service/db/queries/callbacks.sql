-- The inbox: callbacks as they came, and what was made of them.

-- name: insert_callbacks(ids, job_ids, attempts, headers, bodies, digests, kept)
-- A batch; what is over the limit of its run is left out, counted within the batch too.
INSERT INTO callbacks (id, job_id, attempt, headers, body, digest)
SELECT new.id, new.job_id, new.attempt, new.headers, new.body, new.digest
FROM (
    SELECT *, row_number() OVER (PARTITION BY job_id, attempt ORDER BY number) AS nth
    FROM unnest(:ids::uuid[], :job_ids::uuid[], :attempts::int[], :headers::bytea[], :bodies::bytea[], :digests::bytea[])
         WITH ORDINALITY AS given (id, job_id, attempt, headers, body, digest, number)
) new
WHERE (SELECT count(*) FROM callbacks WHERE callbacks.job_id = new.job_id AND callbacks.attempt = new.attempt) + nth <= :kept
RETURNING job_id;

-- name: unjudged_callbacks(job_id)
-- What a job has in its inbox without a verdict.
SELECT {callbacks.*} FROM callbacks WHERE job_id = :job_id AND verdict IS NULL ORDER BY id LIMIT 100;

-- name: has_unjudged_callbacks(job_id)$
-- Whether there is any.
SELECT EXISTS (SELECT FROM callbacks WHERE job_id = :job_id AND verdict IS NULL);

-- name: judge_callbacks(job_id, ids, verdicts)
-- Verdicts; returns the first of each distinct body, for those are told of in an event.
WITH judged AS (
    UPDATE callbacks SET verdict = new.verdict, judged_at = now()
    FROM unnest(:ids::uuid[], :verdicts::text[]) AS new (id, verdict)
    WHERE callbacks.job_id = :job_id AND callbacks.id = new.id AND callbacks.verdict IS NULL
    RETURNING callbacks.id, callbacks.job_id, callbacks.digest, callbacks.verdict, callbacks.received_at
)
SELECT DISTINCT ON (judged.digest) judged.* FROM judged
WHERE NOT EXISTS (
    SELECT FROM callbacks earlier
    WHERE earlier.job_id = judged.job_id AND earlier.digest = judged.digest AND earlier.verdict IS NOT NULL
      AND earlier.id <> ALL(:ids::uuid[])
)
ORDER BY judged.digest, judged.id;

-- name: list_callbacks(job_id, after, limit)
-- What came for a job, oldest first.
SELECT {callbacks.*} FROM callbacks WHERE job_id = :job_id AND id > :after ORDER BY id LIMIT :limit;

-- name: forgotten_callbacks(grace, limit)
-- Jobs whose inbox nobody has looked at for a while.
SELECT DISTINCT job_id FROM (
    -- In no order: a backlog that can't be judged now does not hide what can.
    SELECT job_id FROM callbacks WHERE verdict IS NULL AND received_at < now() - make_interval(secs => :grace)
    ORDER BY random() LIMIT :limit
) old;

-- name: abandon_callbacks(job_id)!
-- Judging failed for good; a dead letter tells of it.
UPDATE callbacks SET verdict = 'abandoned', judged_at = now() WHERE job_id = :job_id AND verdict IS NULL;

-- name: take_back_probe(job_id, digest)$
-- Whether a probe of ours came in, for a job that never was; it does not stay.
WITH gone AS (DELETE FROM callbacks WHERE job_id = :job_id AND digest = :digest RETURNING id)
SELECT EXISTS (SELECT FROM gone);
