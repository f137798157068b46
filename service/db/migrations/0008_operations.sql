-- What operating it needs: traces, limits per account, erasure. Only additions: the version before runs beside it.
-- depends: 0007_events

-- migrate: apply
-- traceparent: the W3C trace context that the job was submitted in, so that whatever happens to it later joins that trace.
ALTER TABLE jobs ADD COLUMN traceparent text;

-- limits: the account's own, over those of the settings (service/limits.py). erased_at: its keys open nothing any more, and
-- housekeeping deletes what it had, the account last.
ALTER TABLE accounts
    ADD COLUMN limits jsonb NOT NULL DEFAULT '{}',
    ADD COLUMN erased_at timestamptz;

-- How many jobs an account may submit right now: a token bucket over all processes, used only where a limit is set.
CREATE TABLE account_rates (
    account_id uuid PRIMARY KEY REFERENCES accounts ON DELETE CASCADE,
    tokens double precision NOT NULL,
    at timestamptz NOT NULL DEFAULT now()
);

-- last_used_at: to the hour, so that an operator knows which keys can be revoked.
ALTER TABLE api_keys ADD COLUMN last_used_at timestamptz;

-- token_key: which of our keys the attempt's callback URL was made with, by its fingerprint; null: the version before did not say.
ALTER TABLE attempts ADD COLUMN token_key bytea;

-- How far housekeeping has come with a kind of thing, oldest first: what must be kept is not looked at again in every round, but
-- from began_at on once an hour (service/engine/housekeeping.py).
CREATE TABLE housekeeping (
    kind text PRIMARY KEY,
    after uuid NOT NULL,
    began_at timestamptz NOT NULL DEFAULT now()
);

-- What is left in a bucket has to be seen to also when its job is deleted.
ALTER TABLE uploads DROP CONSTRAINT uploads_job_id_fkey;

-- A deleted job's, destination's or account's rows are found without reading everybody else's. Tables with few rows; those with
-- many are next.
CREATE INDEX dead_letters_of_job ON dead_letters (job_id);
CREATE INDEX uploads_of_destination ON uploads (destination_id) WHERE destination_id IS NOT NULL;
CREATE INDEX account_events_of_account ON account_events (account_id);
CREATE INDEX destination_events_of_account ON destination_events (account_id);
CREATE INDEX destinations_of_account ON destinations (account_id);
CREATE INDEX all_subscriptions_of_account ON subscriptions (account_id);

-- migrate: rollback
DROP INDEX dead_letters_of_job, uploads_of_destination, account_events_of_account, destination_events_of_account,
    destinations_of_account, all_subscriptions_of_account;
DELETE FROM uploads WHERE job_id NOT IN (SELECT id FROM jobs);
ALTER TABLE uploads ADD CONSTRAINT uploads_job_id_fkey FOREIGN KEY (job_id) REFERENCES jobs ON DELETE CASCADE;
DROP TABLE housekeeping;
ALTER TABLE attempts DROP COLUMN token_key;
ALTER TABLE api_keys DROP COLUMN last_used_at;
DROP TABLE account_rates;
ALTER TABLE accounts DROP COLUMN limits, DROP COLUMN erased_at;
ALTER TABLE jobs DROP COLUMN traceparent;
