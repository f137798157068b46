-- Deleting by hand: one job, or all that an account has.

-- name: lock_job_to_delete(id, account_id)^
-- The job, once nobody else is at it or at anything that belongs to it. (In one step: two would wait for each other.)
SELECT id, status, completed_at FROM jobs WHERE id = :id AND account_id = :account_id FOR UPDATE;

-- name: is_being_copied(id)$
-- Whether an open copy of the job, or of a copy of it, may still take its outputs from here.
WITH RECURSIVE takers AS (
    SELECT id, completed_at FROM jobs WHERE copy_of = :id
    UNION ALL SELECT jobs.id, jobs.completed_at FROM takers JOIN jobs ON jobs.copy_of = takers.id
)
SELECT EXISTS (SELECT FROM takers WHERE completed_at IS NULL);

-- name: leave_spool(job_ids, worker_id)!
-- What jobs have in the spool is to be deleted there, whatever becomes of them.
WITH waiting AS (
    SELECT job_id, index, spool_bucket, spool_key FROM outputs
    WHERE job_id = ANY(:job_ids::uuid[]) AND spooled_until IS NOT NULL ORDER BY job_id, index FOR UPDATE
), cleared AS (
    UPDATE outputs SET spool_bucket = NULL, spool_key = NULL, spool_secret = NULL, spool_bytes = NULL, spooled_until = NULL
    FROM waiting WHERE outputs.job_id = waiting.job_id AND outputs.index = waiting.index
)
INSERT INTO uploads (id, job_id, index, bucket, key, worker_id, due_at)
SELECT gen_random_uuid(), job_id, index, spool_bucket, spool_key, :worker_id, now() FROM waiting;

-- name: delete_jobs(ids)$
-- Jobs and everything about them, but for what is left in buckets, idempotency keys, which must not make a second job, and the
-- places of their events, at which a consumer may stand; returns how many. Deliveries are locked in the order in which everybody does.
WITH picked AS MATERIALIZED (
    SELECT id FROM deliveries WHERE job_id = ANY(:ids::uuid[]) ORDER BY id FOR UPDATE
), told AS (
    DELETE FROM deliveries WHERE id = ANY (ARRAY(SELECT id FROM picked))
), inbox AS (
    DELETE FROM callbacks WHERE job_id = ANY(:ids::uuid[])
), letters AS (
    DELETE FROM dead_letters WHERE job_id = ANY(:ids::uuid[])
), granted AS (
    DELETE FROM grants WHERE job_id = ANY(:ids::uuid[])
), gone AS (
    DELETE FROM jobs WHERE id = ANY(:ids::uuid[]) RETURNING id
)
SELECT count(*) FROM gone;

-- name: find_account(name)^
-- An account by its name.
SELECT id, erased_at FROM accounts WHERE name = :name;

-- name: begin_erasing(name)^
-- From now on the account's keys open nothing. Whoever adds a key at this moment is waited for, or finds the account erased.
UPDATE accounts SET erased_at = coalesce(erased_at, now()), webhook_signing = NULL WHERE name = :name RETURNING id, erased_at;

-- name: revoke_keys_of(account_id)!
-- All API keys of an account.
UPDATE api_keys SET revoked_at = now() WHERE account_id = :account_id AND revoked_at IS NULL;

-- name: tell_of_erased(account_id)$
-- Every process ends the streams of the account.
SELECT pg_notify('genrelay_erased', :account_id::uuid::text);

-- name: close_destinations(account_id, limit)$
-- Some of an account's destinations are deleted, and their credentials at once; returns how many.
WITH closed AS (
    UPDATE destinations SET deleted_at = coalesce(deleted_at, now()), secret = NULL
    WHERE id IN (
        SELECT id FROM destinations WHERE account_id = :account_id AND (deleted_at IS NULL OR secret IS NOT NULL)
        ORDER BY id LIMIT :limit)
    RETURNING id
)
SELECT count(*) FROM closed;

-- name: close_subscriptions(account_id, limit)$
-- Some of an account's subscriptions are deleted, and what is secret of them at once; what is pending for them is given up by
-- the next who looks. Returns how many.
WITH open AS (
    SELECT id FROM subscriptions
    WHERE account_id = :account_id
      AND (deleted_at IS NULL OR signing IS NOT NULL OR headers IS NOT NULL OR sink_secret IS NOT NULL)
    ORDER BY id LIMIT :limit FOR NO KEY UPDATE
), closed AS (
    UPDATE subscriptions SET deleted_at = coalesce(deleted_at, now()), headers = NULL, header_names = '{}', signing = NULL,
        sink_secret = NULL, url = regexp_replace(url, '^([^:/?#]+://[^/?#]*).*$', '\1'),
        look_at = CASE WHEN EXISTS (
            SELECT FROM deliveries WHERE subscription_id = subscriptions.id AND due_at IS NOT NULL) THEN now() END
    FROM open WHERE subscriptions.id = open.id
    RETURNING subscriptions.id
)
SELECT count(*) FROM closed;

-- name: forget_signing_keys(account_id)!
-- An account's ed25519 keys.
DELETE FROM signing_keys WHERE account_id = :account_id;

-- name: open_jobs_of(account_id, limit)
-- Some of an account's jobs that have not ended.
SELECT id FROM jobs WHERE account_id = :account_id AND status IN ('queued', 'submitting', 'running', 'copying') LIMIT :limit;

-- name: erased_accounts(kind, limit)
-- Accounts that are being erased, from behind the one that was last looked at, and round again.
SELECT id, name, extract(epoch FROM now() - erased_at)::float8 AS seconds FROM accounts
WHERE erased_at IS NOT NULL
ORDER BY id <= coalesce((SELECT after FROM housekeeping WHERE kind = :kind), '00000000-0000-0000-0000-000000000000'), id
LIMIT :limit;

-- name: oldest_erasure()$
-- For how many seconds the account has been erased that began first, 0 if there is none.
SELECT coalesce(extract(epoch FROM now() - min(erased_at)), 0)::float8 FROM accounts;

-- name: lock_jobs_to_erase(account_id, after, limit)
-- Ended jobs of an account in the order of their ids, without those that somebody has locked.
SELECT id FROM jobs WHERE account_id = :account_id AND id > :after AND completed_at IS NOT NULL
ORDER BY id LIMIT :limit FOR UPDATE SKIP LOCKED;

-- name: forget_uploads_of(job_ids)!
-- Uploads into customers' buckets that nobody can abort any more: the credentials are deleted.
DELETE FROM uploads WHERE job_id = ANY(:job_ids::uuid[]) AND destination_id IS NOT NULL;

-- name: jobs_in_spool(job_ids)
-- Which of these jobs still have something in the spool.
SELECT DISTINCT job_id FROM uploads WHERE job_id = ANY(:job_ids::uuid[]);

-- name: forget_turns(account_id)!
-- No lane remembers the account, nor how far erasing has come.
WITH walked AS (DELETE FROM housekeeping WHERE after = :account_id)
UPDATE lanes SET turn = '' WHERE turn = :account_id::uuid::text;

-- name: forget_account(account_id)!
-- The account itself, after everything else. It stays for a minute after its keys were revoked: a request may be under way.
DELETE FROM accounts WHERE id = :account_id AND erased_at < now() - interval '1 minute';

-- name: list_accounts()
-- Every account, how many of its keys are good, and how much is left of those that are being erased.
SELECT id, name, created_at, erased_at,
    (SELECT count(*) FROM api_keys WHERE account_id = accounts.id AND revoked_at IS NULL) AS keys,
    CASE WHEN erased_at IS NOT NULL THEN (SELECT count(*) FROM jobs WHERE account_id = accounts.id) END AS jobs_left
FROM accounts ORDER BY created_at, id;

-- name: count_jobs_to_lose(account_id)$
-- How many jobs of an account have not ended.
SELECT count(*) FROM jobs WHERE account_id = :account_id AND status IN ('queued', 'submitting', 'running', 'copying');
