-- Accounts, destinations, jobs, their outputs and events, the inbox of callbacks, and who works.
-- depends:

-- migrate: apply
CREATE TABLE accounts (
    id uuid PRIMARY KEY,
    name text NOT NULL UNIQUE CHECK (name <> ''),
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE api_keys (
    id uuid PRIMARY KEY,
    account_id uuid NOT NULL REFERENCES accounts,
    digest bytea NOT NULL UNIQUE CHECK (octet_length(digest) = 32),
    hint text NOT NULL,
    -- Put in by GENRELAY_BOOTSTRAP_API_KEY: there is one at a time.
    bootstrap boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT now(),
    revoked_at timestamptz
);

CREATE TABLE destinations (
    id uuid PRIMARY KEY,
    account_id uuid NOT NULL REFERENCES accounts,
    name text NOT NULL,
    spec jsonb NOT NULL,
    secret bytea,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    deleted_at timestamptz
);
CREATE UNIQUE INDEX destinations_by_name ON destinations (account_id, name) WHERE deleted_at IS NULL;

CREATE TABLE jobs (
    id uuid PRIMARY KEY,
    account_id uuid NOT NULL REFERENCES accounts,
    provider text NOT NULL,
    operation text NOT NULL,
    status text NOT NULL
        CHECK (status IN ('queued', 'submitting', 'running', 'copying', 'succeeded', 'failed', 'canceled')),
    test_status text CHECK (test_status IN ('TASK_STATUS_SUCCEED', 'TASK_STATUS_FAILED')),
    destination text,
    destination_id uuid REFERENCES destinations,
    storage jsonb,
    run integer NOT NULL DEFAULT 1 CHECK (run >= 1),
    attempt integer NOT NULL DEFAULT 0 CHECK (attempt >= 0),
    version integer NOT NULL DEFAULT 0,
    submit_state text CHECK (submit_state IN ('in_flight', 'unclear')),
    provider_task_id text,
    provider_status text,
    progress smallint CHECK (progress BETWEEN 0 AND 100),
    verified_by text CHECK (verified_by IN ('readback', 'sync', 'token')),
    error jsonb,
    metadata jsonb NOT NULL DEFAULT '{}',
    webhook text,
    webhook_events text[],
    on_unclear text NOT NULL DEFAULT 'fail' CHECK (on_unclear IN ('fail', 'resubmit')),
    tries integer NOT NULL DEFAULT 0,
    starts integer NOT NULL DEFAULT 0,
    rereads integer NOT NULL DEFAULT 0,
    read_back_at timestamptz,
    last_event integer NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT now(),
    submitted_at timestamptz,
    completed_at timestamptz,
    deadline_at timestamptz NOT NULL,
    due_at timestamptz,
    nudged_at timestamptz,
    deadline_seconds integer NOT NULL,
    -- Terminal if and only if completed; open if and only if something is due.
    CONSTRAINT ended_when_completed CHECK ((status IN ('succeeded', 'failed', 'canceled')) = (completed_at IS NOT NULL)),
    CONSTRAINT open_when_due CHECK ((status IN ('succeeded', 'failed', 'canceled')) = (due_at IS NULL)),
    CONSTRAINT error_when_failed CHECK ((status = 'failed') = (error IS NOT NULL)),
    CONSTRAINT submit_state_when_submitting CHECK ((status = 'submitting') = (submit_state IS NOT NULL)),
    CONSTRAINT running_knows_its_task CHECK (status <> 'running' OR provider_task_id IS NOT NULL),
    CONSTRAINT believed_when_verified CHECK (status NOT IN ('copying', 'succeeded') OR verified_by IS NOT NULL),
    -- A test job's verdict comes from its token and nothing else, and it never copies.
    CONSTRAINT test_jobs_never_copy CHECK (test_status IS NULL OR status <> 'copying'),
    CONSTRAINT only_tests_believe_a_token CHECK (verified_by IS DISTINCT FROM 'token' OR test_status IS NOT NULL),
    CONSTRAINT real_jobs_have_a_destination CHECK (test_status IS NOT NULL OR destination_id IS NOT NULL)
);
-- One task id belongs to one job, for ever.
CREATE UNIQUE INDEX jobs_by_task ON jobs (provider, provider_task_id) WHERE provider_task_id IS NOT NULL;
CREATE INDEX jobs_due ON jobs (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX jobs_by_account ON jobs (account_id, id DESC);
CREATE INDEX jobs_by_account_and_status ON jobs (account_id, status, id DESC);

CREATE TABLE job_inputs (
    job_id uuid PRIMARY KEY REFERENCES jobs ON DELETE CASCADE,
    body bytea NOT NULL,
    purge_at timestamptz
);
CREATE INDEX job_inputs_to_purge ON job_inputs (purge_at) WHERE purge_at IS NOT NULL;

CREATE TABLE attempts (
    job_id uuid NOT NULL REFERENCES jobs ON DELETE CASCADE,
    number integer NOT NULL CHECK (number >= 1),
    run integer NOT NULL,
    worker_id uuid NOT NULL,
    outcome text CHECK (outcome IN ('accepted', 'finished', 'rejected', 'not_run', 'unclear')),
    task_id text,
    note text,
    started_at timestamptz NOT NULL DEFAULT now(),
    ended_at timestamptz,
    PRIMARY KEY (job_id, number)
);

CREATE TABLE outputs (
    job_id uuid NOT NULL REFERENCES jobs ON DELETE CASCADE,
    index smallint NOT NULL CHECK (index >= 0),
    kind text NOT NULL CHECK (kind IN ('image', 'video', 'audio')),
    status text NOT NULL CHECK (status IN ('pending', 'writing', 'stored', 'mock')),
    source_url text,
    source_expires_at timestamptz,
    nsfw jsonb,
    media_type text,
    extension text,
    bytes bigint CHECK (bytes > 0),
    width integer,
    height integer,
    sha256 bytea CHECK (octet_length(sha256) = 32),
    bucket text,
    key text,
    PRIMARY KEY (job_id, index),
    CONSTRAINT fixed_before_written CHECK (
        status NOT IN ('writing', 'stored')
        OR (sha256 IS NOT NULL AND bytes IS NOT NULL AND media_type IS NOT NULL
            AND extension IS NOT NULL AND bucket IS NOT NULL AND key IS NOT NULL)
    )
);

CREATE TABLE events (
    job_id uuid NOT NULL REFERENCES jobs ON DELETE CASCADE,
    sequence integer NOT NULL CHECK (sequence >= 1),
    id uuid NOT NULL,
    account_id uuid NOT NULL,
    run integer NOT NULL,
    type text NOT NULL,
    time timestamptz NOT NULL,
    data jsonb NOT NULL,
    PRIMARY KEY (job_id, sequence)
);
CREATE UNIQUE INDEX one_end_per_run ON events (job_id, run)
    WHERE type IN ('job.succeeded', 'job.failed', 'job.canceled');

CREATE TABLE idempotency_keys (
    account_id uuid NOT NULL,
    key text NOT NULL,
    request_digest bytea NOT NULL,
    job_id uuid NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (account_id, key)
);
CREATE INDEX idempotency_keys_by_age ON idempotency_keys (created_at);

-- The inbox has no foreign key and writes no events, so that an acknowledgement never waits for a job.
CREATE TABLE callbacks (
    id uuid NOT NULL,
    job_id uuid NOT NULL,
    attempt integer NOT NULL,
    received_at timestamptz NOT NULL DEFAULT now(),
    headers bytea NOT NULL,
    body bytea NOT NULL,
    digest bytea NOT NULL,
    verdict text,
    judged_at timestamptz,
    PRIMARY KEY (job_id, id),
    CONSTRAINT judged_when_verdict CHECK ((verdict IS NULL) = (judged_at IS NULL))
);
CREATE INDEX callbacks_unjudged ON callbacks (received_at) WHERE verdict IS NULL;

CREATE TABLE workers (
    id uuid PRIMARY KEY,
    started_at timestamptz NOT NULL DEFAULT now(),
    seen_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE dead_letters (
    id uuid PRIMARY KEY,
    job_id uuid NOT NULL,
    task text NOT NULL,
    reason text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    retried_at timestamptz
);

-- migrate: rollback
DROP TABLE dead_letters, workers, callbacks, idempotency_keys, events, outputs, attempts, job_inputs, jobs, destinations, api_keys, accounts;
