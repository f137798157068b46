-- Jobs: their rows, their transitions with events, their inputs.
-- {jobs.*} here and in the other files: each column of jobs by its name, as listed in service/db/columns.py; {taken.* of jobs}: the
-- same of rows that have come through `taken`.

-- name: insert_job(id, account_id, provider, operation, test_status, destination, destination_id, storage, metadata, webhook, new_webhook_id, webhook_events, webhook_payload, on_unclear, deadline_seconds, images, track_id, input_sha256, traceparent)^
-- A new job, due at once. Its webhook's subscription is found, made, or enabled again: one per account and URL. One that is
-- there already is only shared, so that jobs with the same webhook don't wait for each other; one that is being purged is
-- waited for, and made anew.
WITH known AS (
    SELECT id FROM subscriptions
    WHERE account_id = :account_id AND url = :webhook::text AND origin = 'job' AND deleted_at IS NULL AND disabled_at IS NULL
    FOR KEY SHARE
), made AS (
    INSERT INTO subscriptions (id, account_id, origin, url, event_types, include_test)
    SELECT :new_webhook_id, :account_id, 'job', :webhook, '{*}', true
    WHERE :webhook IS NOT NULL AND NOT EXISTS (SELECT FROM known)
    ON CONFLICT (account_id, url) WHERE origin = 'job' AND deleted_at IS NULL DO UPDATE SET
        disabled_at = NULL, disabled_reason = NULL, failures = 0, failing_since = NULL, warned_at = NULL, open_until = NULL,
        updated_at = now()
    RETURNING id
)
INSERT INTO jobs (id, account_id, provider, operation, status, test_status, destination, destination_id, storage, metadata,
                  webhook, webhook_id, webhook_events, webhook_payload, on_unclear, images, track_id, input_sha256,
                  deadline_seconds, deadline_at, due_at, nudged_at, last_event, traceparent)
VALUES (:id, :account_id, :provider, :operation, 'queued', :test_status, :destination, :destination_id, :storage, :metadata,
        :webhook, (SELECT id FROM known UNION ALL SELECT id FROM made LIMIT 1), :webhook_events, :webhook_payload,
        :on_unclear, :images, :track_id, :input_sha256, :deadline_seconds::integer,
        now() + make_interval(secs => :deadline_seconds::integer), now(), now(), 1, :traceparent)
RETURNING {jobs.*};

-- name: insert_beginning(job_id, body, event_id, account_id, type, time, data)!
-- What will be sent to the provider, apart from the job's row, and the job's first event.
WITH input AS (INSERT INTO job_inputs (job_id, body) VALUES (:job_id, :body))
INSERT INTO events (job_id, sequence, id, account_id, run, type, time, data)
VALUES (:job_id, 1, :event_id, :account_id, 1, :type, :time, :data);

-- name: get_input(job_id)$
-- The body to send; null when it is gone.
SELECT body FROM job_inputs WHERE job_id = :job_id;

-- name: keep_input_until(job_id, seconds)!
-- The job ended badly: `retry` may need its input for a while.
UPDATE job_inputs SET purge_at = now() + make_interval(secs => :seconds) WHERE job_id = :job_id;

-- name: keep_input(job_id)!
-- The next run has begun.
UPDATE job_inputs SET purge_at = NULL WHERE job_id = :job_id;

-- name: lock_job(id)^
-- The job for a transition. NO KEY: an insert that refers to the job does not wait for it.
SELECT {jobs.*}, clock_timestamp() AS clock FROM jobs WHERE id = :id FOR NO KEY UPDATE;

-- name: get_job(id, account_id)^
-- One job of one account.
SELECT {jobs.*} FROM jobs WHERE id = :id AND account_id = :account_id;

-- name: save_transition(id, version, status, run, attempt, submit_state, provider_task_id, provider_status, progress, verified_by, error, tries, starts, rereads, read_back_at, last_event, submitted_at, completed_at, deadline_at, due_at, nudged_at, source_expires_at, event_ids, event_types, event_data, time)$
-- State and events in one statement, fenced by the version; null when somebody else was faster.
WITH changed AS (
    UPDATE jobs SET
        version = version + 1, status = :status, run = :run, attempt = :attempt, submit_state = :submit_state,
        provider_task_id = :provider_task_id, provider_status = :provider_status, progress = :progress,
        verified_by = :verified_by, error = :error, tries = :tries, starts = :starts, rereads = :rereads,
        read_back_at = :read_back_at, last_event = :last_event, submitted_at = :submitted_at,
        completed_at = :completed_at, deadline_at = :deadline_at, due_at = :due_at, nudged_at = :nudged_at,
        source_expires_at = :source_expires_at
    WHERE id = :id AND version = :version
    RETURNING id, account_id, run, last_event, webhook_payload
), told AS (
    INSERT INTO events (job_id, sequence, id, account_id, run, type, time, data)
    SELECT changed.id, changed.last_event - cardinality(:event_ids::uuid[]) + event.number, event.id, changed.account_id,
           changed.run, event.type, :time, event.data
    FROM changed, unnest(:event_ids::uuid[], :event_types::text[], :event_data::jsonb[])
         WITH ORDINALITY AS event (id, type, data, number)
), purged AS (
    -- A job that succeeded does not need its input again; one that failed may be retried.
    DELETE FROM job_inputs WHERE :status = 'succeeded' AND job_id IN (SELECT id FROM changed WHERE webhook_payload <> 'provider')
), kept AS (
    -- A provider's body repeats parts of it: it is kept for as long as the delivery may be tried, which purge_inputs decides.
    UPDATE job_inputs SET purge_at = now() + interval '4 days'
    WHERE :status = 'succeeded' AND job_id IN (SELECT id FROM changed WHERE webhook_payload = 'provider')
), left_provider AS (
    -- Neither waits it in line any more, nor does it hold a slot at its provider.
    DELETE FROM line WHERE :status NOT IN ('queued', 'submitting', 'running') AND job_id IN (SELECT id FROM changed)
)
SELECT id FROM changed;

-- name: list_events(job_id, after, limit)
-- A job's events in order.
SELECT {events.*} FROM events WHERE job_id = :job_id AND sequence > :after ORDER BY sequence LIMIT :limit;

-- name: begin_task(id, status, lease, reads_back, full)^
-- A task takes a due job: counts the start before anything can crash, and leases the job against duplicates of the task.
UPDATE jobs SET starts = starts + 1, due_at = now() + make_interval(secs => :lease), nudged_at = NULL,
    read_back_at = CASE WHEN :reads_back::boolean THEN now() ELSE read_back_at END
WHERE id = :id AND status = :status AND due_at <= now()
  -- A provider with as many read-backs under way as it may have is not asked; the sweep comes back to the job.
  AND NOT (provider = ANY(:full::text[]) AND test_status IS NULL AND deadline_at > now())
RETURNING {jobs.*}, now() AS clock;

-- name: renew_lease(id, status, run, lease)$
-- The task is still at it. Never brings a job forward: somebody else may have put it off meanwhile. Returns nothing when the
-- job is not in this run and state any more.
UPDATE jobs SET due_at = greatest(due_at, now() + make_interval(secs => :lease))
WHERE id = :id AND status = :status AND run = :run RETURNING id;

-- name: reschedule(id, version, due_at, tries, starts, rereads, provider_status, source_expires_at, nudged)!
-- The state stays; the next look is at `due_at`.
UPDATE jobs SET due_at = :due_at, tries = :tries, starts = :starts, rereads = :rereads, provider_status = :provider_status,
    source_expires_at = :source_expires_at, nudged_at = CASE WHEN :nudged::boolean THEN now() END, version = version + 1
WHERE id = :id AND version = :version;

-- name: peek_job(id)^
-- A job without a lock, whoever's it is.
SELECT {jobs.*}, now() AS clock FROM jobs WHERE id = :id;

-- name: claim_read_back(id, pause)$
-- A callback wants a read-back: one per job and pause is given out, and the start is counted. Null: wait.
UPDATE jobs SET starts = starts + 1, read_back_at = now()
WHERE id = :id AND completed_at IS NULL
  AND (read_back_at IS NULL OR read_back_at <= now() - make_interval(secs => :pause))
RETURNING starts;

-- name: count_start(id)$
-- A task that ended with an exception: how often that has happened.
UPDATE jobs SET starts = starts + 1 WHERE id = :id RETURNING starts;

-- name: end_start(id)!
-- A task has ended well without changing its job.
UPDATE jobs SET starts = 0 WHERE id = :id;

-- name: lay_aside(id, under_deadline)!
-- Its task was given up: the job is not due again before its deadline, or, without one, before somebody revives it.
UPDATE jobs SET nudged_at = NULL, version = version + 1,
    due_at = CASE WHEN status = ANY(:under_deadline::text[]) THEN greatest(deadline_at, now()) ELSE now() + interval '10 years' END
WHERE id = :id AND completed_at IS NULL;

-- name: put_off(id, seconds)!
-- An open job is looked at again later.
UPDATE jobs SET due_at = now() + make_interval(secs => :seconds), nudged_at = NULL, version = version + 1
WHERE id = :id AND completed_at IS NULL;

-- name: overdue_jobs(grace, full, limit)
-- What nobody has taken up: marks it as nudged and returns it. Whoever was nudged longest ago comes first, so that those who
-- can't go yet hide nobody; among equals, copies in the order in which their sources expire. full: providers that have no room for another read-back.
UPDATE jobs SET nudged_at = now()
WHERE id IN (
    SELECT id FROM jobs
    WHERE due_at <= now() AND (nudged_at IS NULL OR nudged_at <= now() - make_interval(secs => :grace))
      AND NOT (status = 'running' AND provider = ANY(:full::text[]) AND test_status IS NULL AND deadline_at > now())
    ORDER BY nudged_at NULLS FIRST, source_expires_at, due_at LIMIT :limit FOR NO KEY UPDATE SKIP LOCKED
)
RETURNING id, status, source_expires_at, created_at;

-- name: start_submit(id, queued, submitting, in_flight, worker_id, silence, window, late, lanes, paths, calls, timeouts, held, turn, closed, closed_for_tests, token_key)^
-- A due job on its first start, in time: state, attempt and what to send, at once.
-- lanes: those that this process offers ("provider/operation") and has a key for, each with its path, whether the answer is
-- the result itself, and the seconds until the answer. Lanes that are held take only paid jobs whose turn it is, granted
-- within `turn` seconds, and closed ones take none.
WITH offers AS (
    SELECT * FROM unnest(:lanes::text[], :paths::text[], :calls::boolean[], :timeouts::float8[])
        AS offer (lane, path, is_call, timeout_seconds)
), taken AS (
    UPDATE jobs SET status = :submitting, submit_state = :in_flight, attempt = attempt + 1, version = version + 1,
        rereads = 0, nudged_at = NULL, due_at = least(now() + make_interval(secs => :silence::float8), deadline_at)
    FROM offers
    WHERE id = :id AND status = :queued AND starts = 0 AND deadline_at > now() AND lane = provider || '/' || operation
      AND due_at <= now() AND due_at >= now() - make_interval(secs => :late)
      AND EXISTS (SELECT FROM job_inputs WHERE job_inputs.job_id = jobs.id)
      AND NOT lane = ANY(CASE WHEN test_status IS NULL THEN :closed::text[] ELSE :closed_for_tests::text[] END)
      AND (test_status IS NOT NULL OR NOT lane = ANY(:held::text[])
           OR EXISTS (SELECT FROM line WHERE line.job_id = jobs.id AND line.granted_at > now() - make_interval(secs => :turn::float8)))
    RETURNING {jobs.*}, offers.path, offers.is_call, offers.timeout_seconds
), intent AS (
    INSERT INTO attempts (job_id, number, run, worker_id, path, is_call, silence_seconds, window_seconds, timeout_seconds, token_key)
    SELECT id, attempt, run, :worker_id, path, is_call AND test_status IS NULL, :silence, :window, timeout_seconds, :token_key
    FROM taken
)
SELECT {taken.* of jobs}, taken.path, taken.is_call, taken.timeout_seconds, job_inputs.body
FROM taken JOIN job_inputs ON job_inputs.job_id = taken.id;

-- name: begin_attempt(job_id, number, run, worker_id, path, is_call, silence, window, timeout, token_key)$
-- The intent to send, committed before anything is sent; returns the body to send, null when it is gone.
INSERT INTO attempts (job_id, number, run, worker_id, path, is_call, silence_seconds, window_seconds, timeout_seconds, token_key,
                      started_at)
VALUES (:job_id, :number, :run, :worker_id, :path, :is_call, :silence, :window, :timeout, :token_key, clock_timestamp())
RETURNING (SELECT body FROM job_inputs WHERE job_inputs.job_id = attempts.job_id);

-- name: end_attempt(job_id, number, outcome, task_id, note)$
-- What became of it; returns whether the job's inbox holds anything without a verdict.
UPDATE attempts SET outcome = :outcome, task_id = :task_id, note = :note, ended_at = now()
WHERE job_id = :job_id AND number = :number
RETURNING EXISTS (SELECT FROM callbacks WHERE callbacks.job_id = attempts.job_id AND verdict IS NULL);

-- name: find_attempt(job_id, number)^
-- One attempt, and when its worker was heard of last; null: that is forgotten.
SELECT {attempts.*}, workers.seen_at FROM attempts LEFT JOIN workers ON workers.id = attempts.worker_id
WHERE job_id = :job_id AND number = :number;

-- name: sent_to(job_id, number)$
-- The path that an attempt was sent to; null when nobody has noted it.
SELECT path FROM attempts WHERE job_id = :job_id AND number = :number;

-- name: task_belongs_to_another(provider, task_id, job_id)$
-- Whether another job has this task id.
SELECT EXISTS (SELECT FROM jobs WHERE provider = :provider AND provider_task_id = :task_id AND id <> :job_id);

-- name: find_idempotent(account_id, key)^
-- The job a key stands for, and the digest of the request that made it.
SELECT request_digest, job_id FROM idempotency_keys
WHERE account_id = :account_id AND key = :key AND created_at > now() - interval '24 hours';

-- name: claim_idempotency_key(account_id, key, request_digest, job_id)$
-- Takes the key within the job's transaction; a twin waits here for its end. Null when the key is taken.
INSERT INTO idempotency_keys (account_id, key, request_digest, job_id)
VALUES (:account_id, :key, :request_digest, :job_id)
ON CONFLICT (account_id, key) DO UPDATE SET request_digest = excluded.request_digest, job_id = excluded.job_id, created_at = now()
    WHERE idempotency_keys.created_at <= now() - interval '24 hours'
RETURNING job_id;

-- name: count_attempts(job_id, run)^
-- How many attempts of a run stayed unclear, and how many never reached the provider.
SELECT count(*) FILTER (WHERE outcome = 'unclear' OR outcome IS NULL) AS unclear,
       count(*) FILTER (WHERE outcome = 'not_run' AND note LIKE 'not sent%') AS unreachable
FROM attempts WHERE job_id = :job_id AND run = :run;

-- name: last_attempt(job_id)^
-- The newest attempt of a job.
SELECT {attempts.*} FROM attempts WHERE job_id = :job_id ORDER BY number DESC LIMIT 1;

-- name: list_attempts(job_id)
-- A job's newest attempts, oldest first.
SELECT {newest.* of attempts}
FROM (SELECT {attempts.*} FROM attempts WHERE job_id = :job_id ORDER BY number DESC LIMIT 100) newest ORDER BY number;

-- name: list_jobs(account_id, status, provider, operation, destination, test, created_after, created_before, metadata, before, limit)
-- An account's jobs, newest first.
SELECT {jobs.*} FROM jobs
WHERE account_id = :account_id
  AND (:status::text IS NULL OR status = :status)
  AND (:provider::text IS NULL OR provider = :provider)
  AND (:operation::text IS NULL OR operation = :operation)
  AND (:destination::text IS NULL OR destination = :destination)
  AND (:test::boolean IS NULL OR (test_status IS NOT NULL) = :test)
  AND (:created_after::timestamptz IS NULL OR created_at > :created_after)
  AND (:created_before::timestamptz IS NULL OR created_at < :created_before)
  AND (:metadata::jsonb = '{}' OR metadata @> :metadata::jsonb)
  AND (:before::uuid IS NULL OR id < :before)
ORDER BY id DESC LIMIT :limit;
