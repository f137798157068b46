-- Under which settings an attempt went out: whoever judges it, or asks about its task, may have others.
-- depends: 0004_line

-- migrate: apply
-- Null for an attempt of a release before this one.
ALTER TABLE attempts
    -- Where it was sent, below the provider's base URL.
    ADD COLUMN path text,
    -- Whether its answer, minutes later, is the result itself.
    ADD COLUMN is_call boolean,
    -- Seconds: the longest silence of its worker, how long it may take until it is sent, and how long then until its answer.
    ADD COLUMN silence_seconds double precision,
    ADD COLUMN window_seconds double precision,
    ADD COLUMN timeout_seconds double precision;

-- migrate: rollback
ALTER TABLE attempts
    DROP COLUMN timeout_seconds, DROP COLUMN window_seconds, DROP COLUMN silence_seconds, DROP COLUMN is_call, DROP COLUMN path;
