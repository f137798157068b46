-- What accounts may ask for, over all processes, and the limits that they have of their own.

-- name: take_job_token(account_id, rate, burst)$
-- Takes a token of the account's bucket, which gets `rate` a second and holds `burst`; returns what is left. Less than 0: there
-- was none, and the caller rolls back. Later ones wait for this transaction's end, and count from what it has left. A time to
-- come is from before the clock was put back: as if that much had gone by. What is refused leaves it standing, so that an
-- account that got nothing for it would be shut out until then.
INSERT INTO account_rates (account_id, tokens, at) VALUES (:account_id, :burst::float8 - 1, clock_timestamp())
ON CONFLICT (account_id) DO UPDATE SET
    tokens = least(:burst::float8, account_rates.tokens
        + :rate::float8 * abs(extract(epoch FROM clock_timestamp() - account_rates.at)::float8)) - 1,
    at = clock_timestamp()
RETURNING tokens;

-- name: count_open_jobs(account_id, most)$
-- How many of an account's jobs have not ended; it stops counting at `most`. In these states: an index leads there.
SELECT count(*) FROM (
    SELECT FROM jobs WHERE account_id = :account_id AND status IN ('queued', 'submitting', 'running', 'copying') LIMIT :most
) AS open;

-- name: find_limits(name)^
-- An account's own limits, by its name.
SELECT id, limits FROM accounts WHERE name = :name AND erased_at IS NULL;

-- name: set_limits(name, changes, removed)$
-- Changes some of an account's own limits and takes others away; returns them as they are then.
UPDATE accounts SET limits = (limits - :removed::text[]) || :changes::jsonb
WHERE name = :name AND erased_at IS NULL RETURNING limits;
