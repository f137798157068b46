-- Where accounts want events delivered.

-- name: count_subscriptions(account_id)$
-- How many an account has made; the webhooks of its jobs don't count.
SELECT count(*) FROM subscriptions WHERE account_id = :account_id AND origin = 'api' AND deleted_at IS NULL;

-- name: insert_subscription(id, account_id, url, sink, event_types, filter, payload, include_test, rate_limit, description, header_names, headers, signing, sink_secret)!
-- A new one.
INSERT INTO subscriptions (id, account_id, url, sink, event_types, filter, payload, include_test, rate_limit, description,
                           header_names, headers, signing, sink_secret)
VALUES (:id, :account_id, :url, :sink, :event_types, :filter, :payload, :include_test, :rate_limit, :description,
        :header_names, :headers, :signing, :sink_secret);

-- name: get_subscription(account_id, id)^
-- One that was not deleted, with its account.
SELECT {subscriptions.*}, accounts.name AS account_name, accounts.external_id
FROM subscriptions JOIN accounts ON accounts.id = subscriptions.account_id
WHERE subscriptions.id = :id AND subscriptions.account_id = :account_id AND deleted_at IS NULL;

-- name: list_subscriptions(account_id, origin, before, limit)
-- An account's, newest first, with their account.
SELECT {subscriptions.*}, accounts.name AS account_name, accounts.external_id
FROM subscriptions JOIN accounts ON accounts.id = subscriptions.account_id
WHERE subscriptions.account_id = :account_id AND origin = :origin AND deleted_at IS NULL
  AND (:before::uuid IS NULL OR subscriptions.id < :before)
ORDER BY subscriptions.id DESC LIMIT :limit;

-- name: lock_subscription(account_id, id)^
-- One that was not deleted, with its account, for whoever changes it.
SELECT {subscriptions.*}, accounts.name AS account_name, accounts.external_id
FROM subscriptions JOIN accounts ON accounts.id = subscriptions.account_id
WHERE subscriptions.id = :id AND subscriptions.account_id = :account_id AND deleted_at IS NULL
FOR NO KEY UPDATE OF subscriptions;

-- name: change_subscription(id, url, sink, event_types, filter, payload, include_test, rate_limit, description, header_names, headers, sink_secret, moved)!
-- What its account changes. moved: deliveries go elsewhere now, so what became of earlier ones says nothing any more.
UPDATE subscriptions SET
    url = :url, sink = :sink, event_types = :event_types, filter = :filter, payload = :payload, include_test = :include_test,
    rate_limit = :rate_limit, description = :description, header_names = :header_names, headers = :headers,
    sink_secret = :sink_secret,
    failures = CASE WHEN :moved THEN 0 ELSE failures END,
    failing_since = CASE WHEN :moved THEN NULL ELSE failing_since END,
    warned_at = CASE WHEN :moved THEN NULL ELSE warned_at END,
    open_until = CASE WHEN :moved THEN NULL ELSE open_until END,
    look_at = CASE WHEN :moved AND look_at IS NOT NULL THEN now() ELSE look_at END,
    updated_at = now()
WHERE id = :id;

-- name: enable_subscription(id)!
-- Deliver to it again, as if nothing had failed.
UPDATE subscriptions SET disabled_at = NULL, disabled_reason = NULL, failures = 0, failing_since = NULL, warned_at = NULL,
                         open_until = NULL, look_at = now(), updated_at = now()
WHERE id = :id;

-- name: disable_subscription(id, reason)!
-- Deliver nothing to it; one that is disabled already keeps its time and reason.
UPDATE subscriptions SET disabled_at = now(), disabled_reason = :reason, open_until = NULL, updated_at = now()
WHERE id = :id AND disabled_at IS NULL;

-- name: delete_subscription(id)!
-- Its row stays, because deliveries name it; what was secret goes, and of its URL, which may hold a token, all but the origin.
UPDATE subscriptions SET
    deleted_at = now(), updated_at = now(), headers = NULL, header_names = '{}', signing = NULL, sink_secret = NULL,
    url = regexp_replace(url, '^([^:/?#]+://[^/?#]*).*$', '\1')
WHERE id = :id;
