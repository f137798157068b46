-- The line: jobs that wait for their turn at a provider, and what was granted in the last minute.
-- depends: 0003_answers

-- migrate: apply
CREATE TABLE line (
    job_id uuid PRIMARY KEY REFERENCES jobs ON DELETE CASCADE,
    provider text NOT NULL,
    operation text NOT NULL,
    account_id uuid NOT NULL,
    images integer NOT NULL CHECK (images >= 1),
    place bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
    -- The job's deadline, so that looking for the next one needs no other table.
    until timestamptz NOT NULL,
    not_before timestamptz,
    -- Null while it waits; then it stays, as the job's slot, until the job has left the provider.
    granted_at timestamptz,
    CONSTRAINT granted_waits_for_nothing CHECK (granted_at IS NULL OR not_before IS NULL)
);
CREATE INDEX line_waiting ON line (provider, operation, account_id, place) WHERE granted_at IS NULL;
CREATE INDEX line_later ON line (provider, operation, not_before) WHERE granted_at IS NULL AND not_before IS NOT NULL;
CREATE INDEX line_granted ON line (provider, operation) WHERE granted_at IS NOT NULL;

-- What counts against the images a minute.
CREATE TABLE grants (
    job_id uuid NOT NULL,
    provider text NOT NULL,
    operation text NOT NULL,
    account_id uuid NOT NULL,
    images integer NOT NULL CHECK (images >= 1),
    at timestamptz NOT NULL,
    PRIMARY KEY (job_id, at)
);
CREATE INDEX grants_by_time ON grants (provider, at);
CREATE INDEX grants_by_age ON grants (at);

-- One row per operation, and one without for the whole provider.
CREATE TABLE lanes (
    provider text NOT NULL,
    operation text NOT NULL,
    -- Who was served last: an account's id, or of the whole provider an operation's name.
    turn text NOT NULL DEFAULT '',
    paused_until timestamptz,
    refusals integer NOT NULL DEFAULT 0,
    PRIMARY KEY (provider, operation)
);

-- migrate: rollback
DROP TABLE lanes, grants, line;
