-- Copies of jobs: new jobs that begin with the outputs of another one of the same account.

-- name: insert_copy(id, original, status, destination, destination_id, metadata, new_webhook_id, traceparent)^
-- A new job that is due at once and has no task of its own; what its original asked for and was told is kept. Its webhook's
-- subscription as in insert_job; an original from before there were any, with a URL too long for one, has none.
WITH original AS (
    SELECT {jobs.*} FROM jobs WHERE id = :original
), wanted AS (
    SELECT account_id, webhook FROM original WHERE octet_length(webhook) <= 2048
), known AS (
    SELECT subscriptions.id FROM subscriptions
    JOIN wanted ON subscriptions.account_id = wanted.account_id AND subscriptions.url = wanted.webhook
    WHERE origin = 'job' AND deleted_at IS NULL AND disabled_at IS NULL
    FOR KEY SHARE OF subscriptions
), made AS (
    INSERT INTO subscriptions (id, account_id, origin, url, event_types, include_test)
    SELECT :new_webhook_id, account_id, 'job', webhook, '{*}', true FROM wanted WHERE NOT EXISTS (SELECT FROM known)
    ON CONFLICT (account_id, url) WHERE origin = 'job' AND deleted_at IS NULL DO UPDATE SET
        disabled_at = NULL, disabled_reason = NULL, failures = 0, failing_since = NULL, warned_at = NULL, open_until = NULL,
        updated_at = now()
    RETURNING id
)
INSERT INTO jobs (id, account_id, provider, operation, status, destination, destination_id, metadata, webhook, webhook_id,
                  webhook_events, webhook_payload, on_unclear, images, track_id, input_sha256, copy_of, provider_status,
                  progress, verified_by, deadline_seconds, deadline_at, due_at, traceparent)
SELECT :id, account_id, provider, operation, :status, :destination, :destination_id, coalesce(:metadata::jsonb, metadata),
       webhook, (SELECT id FROM known UNION ALL SELECT id FROM made LIMIT 1), webhook_events, webhook_payload, on_unclear,
       images, track_id, input_sha256, id, provider_status, progress,
       -- A retry from the start has forgotten it, which only happens where the outputs came with the submit's own answer.
       coalesce(verified_by, 'sync'), deadline_seconds, now() + make_interval(secs => deadline_seconds), now(), :traceparent
FROM original
RETURNING {jobs.*};

-- name: rebind_job(id)$
-- A job whose destination was deleted gets the account's present one of the same name; returns which one the job has then,
-- nothing when it was deleted and there is no other.
WITH own AS (
    SELECT {destinations.*} FROM destinations JOIN jobs ON jobs.destination_id = destinations.id WHERE jobs.id = :id
), live AS (
    -- Locked, so that it is deleted before this or after the job has been retried.
    SELECT destinations.id FROM destinations JOIN own USING (account_id, name)
    WHERE destinations.deleted_at IS NULL FOR SHARE OF destinations
), bound AS (
    UPDATE jobs SET destination_id = live.id FROM live WHERE jobs.id = :id AND jobs.destination_id <> live.id
)
SELECT id FROM live;

-- name: insert_copied_outputs(id, original)!
-- Its outputs, all to be stored anew. One that its original has stored is not lost when the provider's URL ends.
INSERT INTO outputs (job_id, index, kind, status, source_url, source_expires_at, nsfw, encoded, inline)
SELECT :id, index, kind, 'pending', source_url, CASE WHEN status <> 'stored' THEN source_expires_at END, nsfw, encoded,
       EXISTS (SELECT FROM inline_outputs AS kept WHERE kept.job_id = outputs.job_id AND kept.index = outputs.index)
FROM outputs WHERE job_id = :original;

-- name: copy_inline(id, original)!
-- The files that came inside the provider's answer, as long as they are kept.
INSERT INTO inline_outputs (job_id, index, body) SELECT :id, index, body FROM inline_outputs WHERE job_id = :original;

-- name: origin_of(job_id)^
-- The job that had the task: the first one of a chain of copies, itself for one that is no copy.
WITH RECURSIVE chain AS (
    SELECT id, copy_of, 0 AS depth FROM jobs WHERE id = :job_id
    UNION ALL SELECT jobs.id, jobs.copy_of, depth + 1 FROM chain JOIN jobs ON jobs.id = chain.copy_of
)
SELECT {jobs.*} FROM jobs WHERE id = (SELECT id FROM chain ORDER BY depth DESC LIMIT 1);

-- name: earlier_outputs(job_id, index)
-- Where the jobs that this one is a copy of have the output, the last one first: in their buckets, or in the spool.
WITH RECURSIVE chain AS (
    SELECT copy_of AS id, 1 AS depth FROM jobs WHERE id = :job_id
    UNION ALL SELECT jobs.copy_of, depth + 1 FROM chain JOIN jobs ON jobs.id = chain.id
)
SELECT {outputs.*}, jobs.destination_id FROM chain JOIN jobs ON jobs.id = chain.id JOIN outputs ON outputs.job_id = jobs.id
WHERE outputs.index = :index AND (outputs.status = 'stored' OR outputs.spool_key IS NOT NULL)
ORDER BY depth;

-- name: turn_to_earlier(job_id)
-- The provider's URLs are given up for what the job is a copy of, where that has the output; returns whose they were.
WITH RECURSIVE chain AS (
    SELECT copy_of AS id FROM jobs WHERE id = :job_id
    UNION ALL SELECT jobs.copy_of FROM chain JOIN jobs ON jobs.id = chain.id
)
UPDATE outputs SET source_url = NULL, source_expires_at = NULL, encoded = false, inline = false
WHERE job_id = :job_id AND status <> 'stored' AND (source_url IS NOT NULL OR inline)
  AND EXISTS (SELECT FROM chain JOIN outputs AS earlier ON earlier.job_id = chain.id
              WHERE earlier.index = outputs.index AND (earlier.status = 'stored' OR earlier.spool_key IS NOT NULL))
RETURNING index;

-- name: manifest_facts(job_id)^
-- What a manifest tells of a job's input and its task; those of the first one of a chain of copies.
WITH RECURSIVE chain AS (
    SELECT id, copy_of, 0 AS depth FROM jobs WHERE id = :job_id
    UNION ALL SELECT jobs.id, jobs.copy_of, depth + 1 FROM chain JOIN jobs ON jobs.id = chain.copy_of
)
SELECT jobs.input_sha256, jobs.provider_task_id, jobs.submitted_at, job_inputs.body
FROM jobs LEFT JOIN job_inputs ON job_inputs.job_id = jobs.id
WHERE jobs.id = (SELECT id FROM chain ORDER BY depth DESC LIMIT 1);
