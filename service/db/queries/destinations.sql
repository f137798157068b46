-- Whether destinations take what they are sent, and the events that tell of a change.

-- name: record_health(id, seen, failure, steps, event_id)^
-- Marks a destination as failing (with `failure`) or as well (without), keeps a check's steps if given, and writes an event
-- where that is news. `seen`: the updated_at of what was tried; one that was replaced meanwhile stays as it is. No row:
-- nothing has changed.
WITH before AS (
    -- Locked first, so that two who say the same at once make one event.
    SELECT id, failing_since, told_failing FROM destinations
    WHERE id = :id AND deleted_at IS NULL AND (:seen::timestamptz IS NULL OR updated_at = :seen)
      AND (
        :steps::jsonb IS NOT NULL
        OR (failing_since IS NULL) = (:failure::jsonb IS NOT NULL)
        OR (told_failing AND :failure::jsonb IS NULL)
        OR failure ->> 'code' IS DISTINCT FROM :failure ->> 'code'
      )
    FOR NO KEY UPDATE
), changed AS (
    UPDATE destinations SET
        failing_since = CASE WHEN :failure IS NULL THEN NULL ELSE coalesce(before.failing_since, now()) END,
        failure = :failure,
        told_failing = :failure IS NOT NULL,
        check_steps = coalesce(:steps, check_steps),
        checked_at = CASE WHEN :steps IS NULL THEN checked_at ELSE now() END
    FROM before WHERE destinations.id = before.id
    RETURNING {destinations.*}, before.failing_since AS failing_before, before.told_failing AS told_before
), shown AS (
    SELECT {changed.* of destinations}, failing_before, told_before, accounts.name AS account_name, accounts.external_id, CASE
        WHEN failing_before IS NULL AND failure IS NOT NULL THEN 'destination.failing'
        -- Also after it was replaced meanwhile, which makes no event: whoever heard that it fails hears that it is over.
        WHEN failure IS NULL AND told_before THEN 'destination.recovered'
    END AS event
    FROM changed JOIN accounts ON accounts.id = changed.account_id
), told AS (
    INSERT INTO destination_events (id, account_id, destination_id, type, data)
    SELECT :event_id, account_id, id, event, jsonb_build_object('destination', jsonb_build_object(
        'name', name, 'spec', spec, 'external_id', external_id, 'checked_at', checked_at, 'check_steps', check_steps,
        'failing_since', failing_since, 'failure', failure, 'created_at', created_at, 'updated_at', updated_at
    ))
    FROM shown WHERE event IS NOT NULL
)
SELECT {shown.* of destinations}, failing_before, told_before, account_name, external_id, event FROM shown;

-- name: tell_of_destination(event_id, data)!
-- What `record_health` has just written goes to the account's feed as well, and to whoever subscribed to it.
INSERT INTO account_events (id, account_id, type, subject, time, data)
SELECT id, account_id, type, data -> 'destination' ->> 'name', time, :data FROM destination_events WHERE id = :event_id;

-- name: list_destination_events(destination_id, after, limit)
-- A destination's events, oldest first; told, source: as everybody heard it, null for those from before there was a feed.
SELECT destination_events.id, destination_events.type, destination_events.time, destination_events.data,
       account_events.data AS told, account_events.source
FROM destination_events LEFT JOIN account_events ON account_events.id = destination_events.id
WHERE destination_events.destination_id = :destination_id AND destination_events.id > :after
ORDER BY destination_events.id LIMIT :limit;
