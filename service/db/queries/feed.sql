-- The feed: events get their places, and are read in their order.

-- name: place_events(most)$
-- Gives up to so many committed events their places; returns how many. Its commit waits for the disk like any other: places that
-- a crash took back would be given anew, and perhaps in another order than somebody has read already.
SELECT place_events(:most);

-- name: newest_position()$
-- Where the feed ends now.
SELECT coalesce((SELECT position FROM feed ORDER BY position DESC LIMIT 1), 0);

-- name: find_in_feed(account_id, event_id)^
-- The place of an account's event, null while it has none; no row: the account has no such event.
SELECT position FROM feed WHERE event_id = :event_id AND account_id = :account_id
UNION ALL
SELECT NULL FROM unplaced WHERE event_id = :event_id AND account_id = :account_id
LIMIT 1;

-- name: oldest_in_feed(account_id)$
-- The first event of an account that is kept.
SELECT event_id FROM feed WHERE account_id = :account_id ORDER BY position LIMIT 1;

-- name: oldest_in_job(job_id)^
-- The first event of a job that is kept.
SELECT id, sequence FROM events WHERE job_id = :job_id ORDER BY sequence LIMIT 1;

-- name: find_in_job(account_id, job_id, event_id)$
-- The number of a job's event.
SELECT sequence FROM events WHERE id = :event_id AND job_id = :job_id AND account_id = :account_id;

-- name: scan_feed(after, limit)
-- What is new in the feed, of everybody: only what it takes to tell whom it concerns.
SELECT position, account_id, job_id, event_id FROM feed WHERE position > :after ORDER BY position LIMIT :limit;

-- name: get_events(ids)
-- Events, in no particular order.
SELECT id, job_id, NULL AS subject, sequence, type, time, data, source FROM events WHERE id = ANY(:ids::uuid[])
UNION ALL
SELECT id, NULL, subject, NULL, type, time, data, source FROM account_events WHERE id = ANY(:ids::uuid[]);

-- name: read_feed(account_id, after, until, limit, types, filter, test)
-- The next places of an account's feed, up to and with `until`, with the events that are wanted; the others' are null, so that
-- the reader knows how far it has come. Both columns are compared together, so that no other index will do: by positions alone
-- it would walk over everybody else's events since this account's last one.
SELECT place.position, place.event_id, told.*
FROM (
    SELECT position, event_id FROM feed
    WHERE (account_id, position) > (:account_id, :after) AND (account_id, position) <= (:account_id, :until::bigint)
    ORDER BY account_id, position LIMIT :limit
) place
LEFT JOIN LATERAL (
    SELECT id, job_id, NULL AS subject, sequence, type, time, data, source FROM events WHERE events.id = place.event_id
    UNION ALL
    SELECT id, NULL, subject, NULL, type, time, data, source FROM account_events WHERE account_events.id = place.event_id
    LIMIT 1
) told ON event_fits(told.type, told.data -> 'job', :types::text[], :filter::jsonb, true)
    AND (:test::boolean IS NULL OR coalesce((told.data -> 'job' ->> 'test')::boolean, false) = :test::boolean)
ORDER BY place.position;
