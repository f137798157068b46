-- What operating it looks at: how much is waiting, and whether the schema is whole.

-- name: count_queue(most)^
-- How much is due and not begun, up to `most` of each, and for how long the oldest has been (in seconds, 0 if nothing is). Of
-- jobs, the `most` that are due for longest, by what they wait for. Deliveries to endpoints that are left alone now don't count.
WITH due AS MATERIALIZED (
    SELECT status, due_at FROM jobs WHERE due_at <= now() ORDER BY due_at LIMIT :most::integer
), jobs_due AS (
    SELECT count(*) FILTER (WHERE status IN ('queued', 'submitting')) AS submit,
        count(*) FILTER (WHERE status = 'running') AS look_up, count(*) FILTER (WHERE status = 'copying') AS copy,
        min(due_at) FILTER (WHERE status IN ('queued', 'submitting')) AS submit_since,
        min(due_at) FILTER (WHERE status = 'running') AS look_up_since,
        min(due_at) FILTER (WHERE status = 'copying') AS copy_since
    FROM due
), inbox AS (
    SELECT count(*) AS settle, min(received_at) AS settle_since FROM (
        SELECT received_at FROM callbacks WHERE verdict IS NULL ORDER BY received_at LIMIT :most::integer
    ) oldest
), outbox AS (
    SELECT count(*) AS deliver, min(due_at) AS deliver_since FROM (
        SELECT first.due_at FROM (
            SELECT id FROM subscriptions WHERE look_at <= now() ORDER BY look_at LIMIT :most::integer
        ) awake CROSS JOIN LATERAL (
            SELECT due_at FROM deliveries
            WHERE subscription_id = awake.id AND due_at <= now() ORDER BY due_at LIMIT :most::integer
        ) first LIMIT :most::integer
    ) oldest
)
SELECT submit, look_up, copy, settle, deliver,
    (SELECT count(*) FROM (SELECT FROM unplaced LIMIT :most::integer) found) AS place,
    (SELECT count(*) FROM (SELECT FROM dead_letters WHERE retried_at IS NULL LIMIT :most::integer) found) AS dead,
    coalesce(extract(epoch FROM now() - submit_since), 0)::float8 AS submit_age,
    coalesce(extract(epoch FROM now() - look_up_since), 0)::float8 AS look_up_age,
    coalesce(extract(epoch FROM now() - copy_since), 0)::float8 AS copy_age,
    coalesce(extract(epoch FROM now() - settle_since), 0)::float8 AS settle_age,
    coalesce(extract(epoch FROM now() - deliver_since), 0)::float8 AS deliver_age,
    (SELECT event_id FROM unplaced ORDER BY event_id LIMIT 1) AS unplaced
FROM jobs_due, inbox, outbox;

-- name: list_migrations()
-- Which migrations this database has had.
SELECT migration_id FROM public._pogo_migration;
