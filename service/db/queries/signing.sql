-- What deliveries are signed with.

-- name: get_signing(account_id)^
-- An account's own webhook secret and its ed25519 keys that still sign, newest first; the one in use has no end.
SELECT webhook_signing,
    array(SELECT secret FROM signing_keys WHERE account_id = accounts.id AND (expires_at IS NULL OR expires_at > now())
          ORDER BY id DESC) AS keys,
    array(SELECT expires_at FROM signing_keys WHERE account_id = accounts.id AND (expires_at IS NULL OR expires_at > now())
          ORDER BY id DESC) AS key_ends
FROM accounts WHERE id = :account_id;

-- name: put_webhook_signing(account_id, sealed)$
-- The account's webhook secret, this one if it has none yet; of several who make one at once, all get the first one's.
UPDATE accounts SET webhook_signing = coalesce(webhook_signing, :sealed) WHERE id = :account_id RETURNING webhook_signing;

-- name: lock_webhook_signing(account_id)$
-- The account's webhook secret, for whoever replaces it.
SELECT webhook_signing FROM accounts WHERE id = :account_id FOR NO KEY UPDATE;

-- name: set_webhook_signing(account_id, sealed)!
-- Replaces the account's webhook secret.
UPDATE accounts SET webhook_signing = :sealed WHERE id = :account_id;

-- name: lock_subscription_signing(account_id, id)^
-- A webhook subscription's secret, for whoever replaces it.
SELECT signing FROM subscriptions
WHERE id = :id AND account_id = :account_id AND origin = 'api' AND url IS NOT NULL AND deleted_at IS NULL FOR NO KEY UPDATE;

-- name: set_subscription_signing(id, sealed)!
-- Replaces a subscription's secret.
UPDATE subscriptions SET signing = :sealed, updated_at = now() WHERE id = :id;

-- name: signing_key_in_use(account_id)$
-- The id of the account's ed25519 key, null before it has one.
SELECT id FROM signing_keys WHERE account_id = :account_id AND expires_at IS NULL;

-- name: add_signing_key(id, account_id, public, secret)!
-- An account's ed25519 key, unless it has one.
INSERT INTO signing_keys (id, account_id, public, secret) VALUES (:id, :account_id, :public, :secret)
ON CONFLICT (account_id) WHERE expires_at IS NULL DO NOTHING;

-- name: lock_account(account_id)!
-- One at a time replaces what is the account's.
SELECT FROM accounts WHERE id = :account_id FOR NO KEY UPDATE;

-- name: end_signing_keys(account_id, grace_seconds)!
-- The keys of an account sign for so long, and no longer; at once is at once for everybody who reads the key set from now on.
UPDATE signing_keys SET expires_at = least(expires_at, now() + make_interval(secs => :grace_seconds::integer))
WHERE account_id = :account_id AND (expires_at IS NULL OR expires_at > now());

-- name: list_public_keys(limit)
-- The public halves of everybody's keys that sign, newest first.
SELECT id, public FROM signing_keys WHERE expires_at IS NULL OR expires_at > now() ORDER BY id DESC LIMIT :limit;

-- name: get_public_key(id)^
-- The public half of one key that signs.
SELECT id, public FROM signing_keys WHERE id = :id AND (expires_at IS NULL OR expires_at > now());

-- name: drop_signing_keys(account_id, kept)!
-- Forgets an account's keys that have ended, and of those that sign all but the newest.
DELETE FROM signing_keys WHERE account_id = :account_id
  AND (expires_at <= now() OR id NOT IN (
      SELECT id FROM signing_keys WHERE account_id = :account_id ORDER BY id DESC LIMIT :kept));

-- name: list_signing_keys(account_id)
-- An account's keys that sign, newest first; the one in use has no end.
SELECT id, public, expires_at FROM signing_keys
WHERE account_id = :account_id AND (expires_at IS NULL OR expires_at > now()) ORDER BY id DESC;
