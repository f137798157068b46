-- Indexes of big tables, made while they are in use: what is deleted is found, and so is who still names it.
-- depends: 0008_operations
-- transaction: false

-- migrate: apply
-- A destination or a subscription goes once no job names it.
CREATE INDEX CONCURRENTLY IF NOT EXISTS jobs_of_destination ON jobs (destination_id) WHERE destination_id IS NOT NULL;
CREATE INDEX CONCURRENTLY IF NOT EXISTS jobs_of_webhook ON jobs (webhook_id) WHERE webhook_id IS NOT NULL;
-- Callbacks of jobs that are deleted, or never were.
CREATE INDEX CONCURRENTLY IF NOT EXISTS callbacks_of_nobody ON callbacks (received_at) WHERE verdict = 'unknown_job';

-- migrate: rollback
DROP INDEX CONCURRENTLY IF EXISTS callbacks_of_nobody;
DROP INDEX CONCURRENTLY IF EXISTS jobs_of_webhook;
DROP INDEX CONCURRENTLY IF EXISTS jobs_of_destination;
