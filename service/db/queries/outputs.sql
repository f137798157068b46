-- Outputs: where they come from, what they are, where they went.

-- name: list_outputs(job_id)
-- A job's outputs in order.
SELECT * FROM outputs WHERE job_id = :job_id ORDER BY index;

-- name: list_outputs_of(job_ids)
-- The outputs of several jobs.
SELECT * FROM outputs WHERE job_id = ANY(:job_ids::uuid[]) ORDER BY job_id, index;

-- name: upsert_outputs(job_id, status, indexes, kinds, urls, ttls, nsfw)
-- What a verdict found; a stored output keeps everything, another one gets its fresh URL.
INSERT INTO outputs (job_id, index, kind, status, source_url, source_expires_at, nsfw)
SELECT :job_id, source.index, source.kind, :status, source.url, now() + make_interval(secs => source.ttl), source.nsfw
FROM unnest(:indexes::smallint[], :kinds::text[], :urls::text[], :ttls::float8[], :nsfw::jsonb[])
     AS source (index, kind, url, ttl, nsfw)
ON CONFLICT (job_id, index) DO UPDATE SET source_url = excluded.source_url, source_expires_at = excluded.source_expires_at
    WHERE outputs.status <> 'stored'
RETURNING *;

-- name: fix_output(job_id, index, media_type, extension, bytes, width, height, sha256, bucket, key)$
-- What will be written and where, before it is written. A digest once fixed stays until the object is known to be absent.
UPDATE outputs SET status = 'writing', media_type = :media_type, extension = :extension, bytes = :bytes, width = :width,
    height = :height, sha256 = :sha256, bucket = :bucket, key = :key
WHERE job_id = :job_id AND index = :index AND (status = 'pending' OR (status = 'writing' AND sha256 = :sha256))
  -- A cancel during the copy stays a cancel: nothing more is written.
  AND EXISTS (SELECT FROM jobs WHERE id = :job_id AND status = 'copying')
RETURNING index;

-- name: unfix_output(job_id, index, sha256)!
-- The object that was fixed is not in the bucket: the next download decides anew.
UPDATE outputs SET status = 'pending', sha256 = NULL
WHERE job_id = :job_id AND index = :index AND status = 'writing' AND sha256 = :sha256;

-- name: mark_stored(job_id, index, sha256)
-- The object is in the bucket; returns all outputs of the job in order, none when it was marked already.
WITH marked AS (
    UPDATE outputs SET status = 'stored', source_url = NULL
    WHERE job_id = :job_id AND index = :index AND status = 'writing' AND sha256 = :sha256
    RETURNING *
)
SELECT * FROM marked
UNION ALL
SELECT outputs.* FROM outputs WHERE job_id = :job_id AND index <> :index AND EXISTS (SELECT FROM marked)
ORDER BY index;
