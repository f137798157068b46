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

-- migrate: rollback
DROP TABLE account_rates;
ALTER TABLE accounts DROP COLUMN limits, DROP COLUMN erased_at;
ALTER TABLE jobs DROP COLUMN traceparent;
