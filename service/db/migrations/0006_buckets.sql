-- Customers' buckets: roles, destinations that fail, outputs in parts, what waits in the spool, copies of jobs.
-- depends: 0005_attempts

-- migrate: apply
-- What a customer's role asks for before it lets us in: made here, once per account, and never chosen by anybody, so that
-- no account can make us use the role of another one.
ALTER TABLE accounts
    ADD COLUMN external_id text NOT NULL UNIQUE DEFAULT 'genrelay-' || replace(gen_random_uuid()::text, '-', '');

-- failing_since: the bucket refused us, and has not taken anything since. told_failing: this is the last that was told of it,
-- also of one that was replaced since, of which nothing is known.
ALTER TABLE destinations
    ADD COLUMN checked_at timestamptz,
    ADD COLUMN check_steps jsonb,
    ADD COLUMN failing_since timestamptz,
    ADD COLUMN failure jsonb,
    ADD COLUMN told_failing boolean NOT NULL DEFAULT false,
    ADD CONSTRAINT failure_when_failing CHECK ((failing_since IS NULL) = (failure IS NULL));

CREATE INDEX destinations_to_forget ON destinations (deleted_at) WHERE secret IS NOT NULL AND deleted_at IS NOT NULL;

CREATE TABLE destination_events (
    id uuid PRIMARY KEY,
    account_id uuid NOT NULL REFERENCES accounts,
    destination_id uuid NOT NULL REFERENCES destinations,
    type text NOT NULL CHECK (type IN ('destination.failing', 'destination.recovered')),
    time timestamptz NOT NULL DEFAULT now(),
    data jsonb NOT NULL
);
CREATE INDEX destination_events_of ON destination_events (destination_id, id);

-- mark: what the object's metadata says of the write that made it. part_bytes: null for one that was written in one piece.
-- checksum: as S3 has it, of the whole or of the parts' digests ("…-3"). spool_…: the file waits in the operator's bucket.
-- region, endpoint_url: those of the bucket, which its destination may have no more. Without a region (rows of older versions)
-- they are the destination's; with one, no endpoint_url is AWS. key_run: the job's run in which the key was chosen.
ALTER TABLE outputs
    ADD COLUMN region text,
    ADD COLUMN endpoint_url text,
    ADD COLUMN key_run integer,
    ADD COLUMN frames integer CHECK (frames > 0),
    ADD COLUMN mark text,
    ADD COLUMN part_bytes integer CHECK (part_bytes > 0),
    ADD COLUMN checksum text,
    ADD COLUMN stored_at timestamptz,
    ADD COLUMN spool_bucket text,
    ADD COLUMN spool_key text,
    ADD COLUMN spool_secret bytea,
    ADD COLUMN spool_bytes bigint,
    ADD COLUMN spooled_until timestamptz,
    ADD CONSTRAINT spooled_whole CHECK (
        (spool_key IS NULL) = (spooled_until IS NULL)
        AND (spool_key IS NULL) = (spool_bucket IS NULL)
        AND (spool_key IS NULL) = (spool_secret IS NULL)
        AND (spool_key IS NULL) = (spool_bytes IS NULL)
    );
CREATE INDEX outputs_spooled ON outputs (spooled_until) WHERE spooled_until IS NOT NULL;

-- source_expires_at: when the first of the outputs that are not stored yet is gone at the provider.
ALTER TABLE jobs
    ADD COLUMN copy_of uuid REFERENCES jobs ON DELETE SET NULL,
    ADD COLUMN source_expires_at timestamptz,
    ADD COLUMN input_sha256 bytea CHECK (octet_length(input_sha256) = 32);
CREATE INDEX jobs_to_copy ON jobs (status, source_expires_at)
    WHERE status IN ('copying', 'failed') AND source_expires_at IS NOT NULL;
CREATE INDEX jobs_copied ON jobs (copy_of) WHERE copy_of IS NOT NULL;

-- Multipart uploads that may be open. Written before an upload is created, deleted once it is completed or aborted: what a
-- crash leaves behind costs its owner money until somebody aborts it. destination_id: null is the operator's spool.
-- region, endpoint_url: as in outputs.
CREATE TABLE uploads (
    id uuid PRIMARY KEY,
    job_id uuid NOT NULL REFERENCES jobs ON DELETE CASCADE,
    index smallint NOT NULL,
    destination_id uuid REFERENCES destinations,
    bucket text NOT NULL,
    region text,
    endpoint_url text,
    key text NOT NULL,
    upload_id text,
    worker_id uuid NOT NULL,
    tries integer NOT NULL DEFAULT 0,
    begun_at timestamptz NOT NULL DEFAULT now(),
    due_at timestamptz
);
CREATE INDEX uploads_by_worker ON uploads (worker_id);
CREATE INDEX uploads_of_job ON uploads (job_id);

-- migrate: rollback
DROP TABLE uploads, destination_events;
DROP INDEX jobs_to_copy, jobs_copied, destinations_to_forget;
ALTER TABLE jobs DROP COLUMN copy_of, DROP COLUMN source_expires_at, DROP COLUMN input_sha256;
ALTER TABLE outputs DROP CONSTRAINT spooled_whole, DROP COLUMN frames, DROP COLUMN mark, DROP COLUMN part_bytes,
    DROP COLUMN checksum, DROP COLUMN stored_at, DROP COLUMN spool_bucket, DROP COLUMN spool_key,
    DROP COLUMN spool_secret, DROP COLUMN spool_bytes,
    DROP COLUMN spooled_until, DROP COLUMN region,
    DROP COLUMN endpoint_url, DROP COLUMN key_run;
ALTER TABLE destinations DROP CONSTRAINT failure_when_failing, DROP COLUMN checked_at, DROP COLUMN check_steps,
    DROP COLUMN failing_since, DROP COLUMN failure, DROP COLUMN told_failing;
ALTER TABLE accounts DROP COLUMN external_id;
