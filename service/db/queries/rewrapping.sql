-- Which keys are still needed; what lies encrypted is read by service/rewrapping.py itself, for its places are a list.

-- name: count_jobs_by_token_key()
-- How many open jobs have a callback URL that may still be used, by the fingerprint of the key that it was made with: those of
-- the present run, and the last one, whose task a retry may have taken over.
SELECT attempts.token_key, count(DISTINCT jobs.id) AS jobs
FROM jobs JOIN attempts ON attempts.job_id = jobs.id
    AND (attempts.run = jobs.run OR attempts.number = jobs.attempt)
WHERE jobs.due_at IS NOT NULL
GROUP BY attempts.token_key;
