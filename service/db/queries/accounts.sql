-- Accounts, their API keys and their destinations.

-- name: ensure_account(id, name)$
-- The account of that name, made when it is missing.
WITH made AS (INSERT INTO accounts (id, name) VALUES (:id, :name) ON CONFLICT (name) DO NOTHING RETURNING id)
SELECT id FROM made UNION ALL SELECT id FROM accounts WHERE name = :name LIMIT 1;

-- name: is_being_erased(account_id)$
-- Whether an account is gone, but for what housekeeping has not deleted yet.
SELECT erased_at IS NOT NULL FROM accounts WHERE id = :account_id;

-- name: insert_api_key(id, account_id, digest, hint)!
-- A key, by its digest only.
-- An account that is being erased gets none: who erases it is waited for, or waits.
WITH open AS (SELECT id FROM accounts WHERE id = :account_id AND erased_at IS NULL FOR SHARE)
INSERT INTO api_keys (id, account_id, digest, hint) SELECT :id, open.id, :digest, :hint FROM open
ON CONFLICT (digest) DO NOTHING;

-- name: bootstrap_api_key(id, account_id, digest, hint)!
-- The key from the settings is good, and one that stood there before is not any more. An account that is being erased does not
-- come back by it.
WITH open AS (
    SELECT id FROM accounts WHERE id = :account_id AND erased_at IS NULL FOR SHARE
), retired AS (
    UPDATE api_keys SET revoked_at = now() WHERE bootstrap AND digest <> :digest AND revoked_at IS NULL
)
INSERT INTO api_keys (id, account_id, digest, hint, bootstrap) SELECT :id, open.id, :digest, :hint, true FROM open
-- One that an operator has revoked by hand stays so.
ON CONFLICT (digest) DO UPDATE SET revoked_at = CASE WHEN api_keys.bootstrap THEN NULL ELSE api_keys.revoked_at END;

-- name: account_of_key(digest)^
-- Whose key it is, and what the account may ask for; nothing for an unknown or revoked one, or when the account is erased.
-- unnoted: nobody has written down for an hour that the key is used.
SELECT api_keys.id AS key_id, account_id, limits,
    (last_used_at IS NULL OR last_used_at < now() - interval '1 hour') AS unnoted
FROM api_keys JOIN accounts ON accounts.id = account_id
WHERE digest = :digest AND revoked_at IS NULL AND erased_at IS NULL;

-- name: note_use_of_key(id)!
-- The key is used, so that an operator knows which ones can be revoked. Once an hour; whoever finds it locked leaves it.
UPDATE api_keys SET last_used_at = now() WHERE id IN (
    SELECT id FROM api_keys WHERE id = :id AND (last_used_at IS NULL OR last_used_at < now() - interval '1 hour')
    FOR NO KEY UPDATE SKIP LOCKED
);

-- name: list_api_keys()
-- Every key with its account.
SELECT api_keys.id, accounts.name AS account, hint, api_keys.created_at, last_used_at, revoked_at
FROM api_keys JOIN accounts ON accounts.id = api_keys.account_id ORDER BY api_keys.created_at;

-- name: revoke_api_key(id)$
-- From now on the key opens nothing, and every process ends the streams of its account: those with another key come back.
WITH revoked AS (
    UPDATE api_keys SET revoked_at = now(), bootstrap = false WHERE id = :id AND revoked_at IS NULL RETURNING id, account_id
)
SELECT id, pg_notify('genrelay_erased', account_id::text) FROM revoked;

-- name: get_account(id)^
-- What an account is called, and what its customers' roles ask for.
SELECT name AS account_name, external_id FROM accounts WHERE id = :id;

-- name: put_destination(id, account_id, name, spec, secret)^
-- Makes or replaces a destination; `created` tells which. What was found out about the one before says nothing of this one.
WITH put AS (
    INSERT INTO destinations (id, account_id, name, spec, secret) VALUES (:id, :account_id, :name, :spec, :secret)
    ON CONFLICT (account_id, name) WHERE deleted_at IS NULL
    DO UPDATE SET spec = excluded.spec, secret = excluded.secret, updated_at = now(), checked_at = NULL,
        check_steps = NULL, failing_since = NULL, failure = NULL
    RETURNING {destinations.*}, xmax = 0 AS created
)
SELECT {put.* of destinations}, put.created, accounts.name AS account_name, accounts.external_id
FROM put JOIN accounts ON accounts.id = put.account_id;

-- name: get_destination(account_id, name)^
-- A destination by its name.
SELECT {destinations.*}, accounts.name AS account_name, accounts.external_id
FROM destinations JOIN accounts ON accounts.id = account_id
WHERE account_id = :account_id AND destinations.name = :name AND deleted_at IS NULL;

-- name: get_destination_by_id(id)^
-- The destination of a job, also after it was deleted.
SELECT {destinations.*}, accounts.name AS account_name, accounts.external_id
FROM destinations JOIN accounts ON accounts.id = account_id WHERE destinations.id = :id;

-- name: list_destinations(account_id, after, limit)
-- An account's destinations by name.
SELECT {destinations.*}, accounts.name AS account_name, accounts.external_id
FROM destinations JOIN accounts ON accounts.id = account_id
WHERE account_id = :account_id AND deleted_at IS NULL AND destinations.name > :after
ORDER BY destinations.name LIMIT :limit;

-- name: destinations_of_bucket(account_id, bucket, region)
-- An account's destinations with this bucket and region.
SELECT {destinations.*}, accounts.name AS account_name, accounts.external_id
FROM destinations JOIN accounts ON accounts.id = account_id
WHERE account_id = :account_id AND deleted_at IS NULL AND spec ->> 'bucket' = :bucket AND spec ->> 'region' = :region
ORDER BY destinations.name LIMIT 2;

-- name: delete_destination(account_id, name)$
-- Hides a destination; jobs under way still find it by its id.
UPDATE destinations SET deleted_at = now() WHERE account_id = :account_id AND name = :name AND deleted_at IS NULL RETURNING id;

-- name: forget_secrets()!
-- Secrets of deleted destinations that nothing is stored with any more: no open job, and no upload that is to be aborted.
-- Not at once: a job that is being taken in, or retried, is not seen before it is committed.
UPDATE destinations SET secret = NULL
WHERE secret IS NOT NULL AND deleted_at < now() - interval '1 minute'
  -- Of the account's jobs the open ones: an index leads there. No EXISTS, which might be made a join with all jobs; and OFFSET,
  -- or the destination's index might be taken, behind which all of its ended jobs are.
  AND (SELECT of_account.destination_id FROM (
           SELECT jobs.destination_id FROM jobs WHERE jobs.account_id = destinations.account_id
           AND jobs.status IN ('queued', 'submitting', 'running', 'copying') OFFSET 0
       ) of_account WHERE of_account.destination_id = destinations.id LIMIT 1) IS NULL
  AND NOT EXISTS (SELECT FROM uploads WHERE uploads.destination_id = destinations.id);
