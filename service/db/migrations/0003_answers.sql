-- How much a job asks for, and outputs that came inside a provider's answer instead of by URL.
-- depends: 0002_engine

-- migrate: apply
ALTER TABLE jobs
    -- What rate limits count.
    ADD COLUMN images integer NOT NULL DEFAULT 1 CHECK (images >= 1),
    -- The customer's own name for the job, where the provider's body has a field for one.
    ADD COLUMN track_id text;

ALTER TABLE outputs
    -- What the source's URL gives is base64 text.
    ADD COLUMN encoded boolean NOT NULL DEFAULT false,
    -- The file itself lies in `inline_outputs` until it is stored.
    ADD COLUMN inline boolean NOT NULL DEFAULT false;

CREATE TABLE inline_outputs (
    job_id uuid NOT NULL,
    index smallint NOT NULL,
    body bytea NOT NULL CHECK (octet_length(body) > 0),
    PRIMARY KEY (job_id, index),
    FOREIGN KEY (job_id, index) REFERENCES outputs ON DELETE CASCADE
);
-- Images are compressed already.
ALTER TABLE inline_outputs ALTER COLUMN body SET STORAGE EXTERNAL;

-- migrate: rollback
DROP TABLE inline_outputs;
ALTER TABLE outputs DROP COLUMN inline, DROP COLUMN encoded;
ALTER TABLE jobs DROP COLUMN track_id, DROP COLUMN images;
