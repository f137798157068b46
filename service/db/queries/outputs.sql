-- Outputs: where they come from, what they are, where they went.

-- name: list_outputs(job_id)
-- A job's outputs in order.
SELECT {outputs.*} FROM outputs WHERE job_id = :job_id ORDER BY index;

-- name: list_outputs_of(job_ids)
-- The outputs of several jobs.
SELECT {outputs.*} FROM outputs WHERE job_id = ANY(:job_ids::uuid[]) ORDER BY job_id, index;

-- name: upsert_outputs(job_id, status, indexes, kinds, urls, ttls, nsfw, encoded, inline)
-- What a verdict found; a stored output keeps everything, another one gets its fresh URL.
INSERT INTO outputs (job_id, index, kind, status, source_url, source_expires_at, nsfw, encoded, inline)
SELECT :job_id, source.index, source.kind, :status, source.url, now() + make_interval(secs => source.ttl), source.nsfw,
       source.encoded, source.inline
FROM unnest(:indexes::smallint[], :kinds::text[], :urls::text[], :ttls::float8[], :nsfw::jsonb[], :encoded::boolean[], :inline::boolean[])
     AS source (index, kind, url, ttl, nsfw, encoded, inline)
ON CONFLICT (job_id, index) DO UPDATE SET source_url = excluded.source_url, source_expires_at = excluded.source_expires_at,
    encoded = excluded.encoded, inline = excluded.inline
    WHERE outputs.status <> 'stored'
RETURNING {outputs.*};

-- name: fix_output(job_id, index, media_type, extension, bytes, width, height, frames, sha256, bucket, region, endpoint_url, key, key_run, mark, part_bytes, checksum)^
-- What will be written and where, before it is written. A digest once fixed stays until the object is known to be absent,
-- and so does a mark, which the object has by whoever writes it in parts. A key stays for the rest of the run, because a
-- worker that is late may still write it; it changes with the place and with the type.
UPDATE outputs SET status = 'writing', media_type = :media_type, extension = :extension, bytes = :bytes, width = :width,
    height = :height, frames = :frames, sha256 = :sha256, bucket = :bucket, region = :region, endpoint_url = :endpoint_url,
    key = :key, key_run = :key_run, mark = coalesce(mark, :mark), part_bytes = :part_bytes, checksum = :checksum
WHERE job_id = :job_id AND index = :index AND CASE status
    WHEN 'pending' THEN key_run IS DISTINCT FROM :key_run OR key = :key OR extension <> :extension
        OR (bucket, region, endpoint_url) IS DISTINCT FROM (:bucket, :region, :endpoint_url)
    WHEN 'writing' THEN sha256 = :sha256
        AND (bucket, region, endpoint_url, key) IS NOT DISTINCT FROM (:bucket, :region, :endpoint_url, :key)
    ELSE false END
  -- A cancel during the copy stays a cancel: nothing more is written.
  AND EXISTS (SELECT FROM jobs WHERE id = :job_id AND status = 'copying' AND run = :key_run)
RETURNING index, mark;

-- name: is_fixed(job_id, index, sha256, bucket, region, endpoint_url, key, key_run)$
-- Whether this, and nothing else, is still to be written, and there.
SELECT EXISTS (
    SELECT FROM outputs JOIN jobs ON jobs.id = outputs.job_id
    WHERE job_id = :job_id AND index = :index AND outputs.status = 'writing' AND sha256 = :sha256
      AND (bucket, outputs.region, endpoint_url, key) IS NOT DISTINCT FROM (:bucket, :region, :endpoint_url, :key)
      AND jobs.status = 'copying' AND run = :key_run
);

-- name: unfix_output(job_id, index, sha256)!
-- The object that was fixed is not in the bucket: the next download decides anew.
UPDATE outputs SET status = 'pending', sha256 = NULL, mark = NULL, part_bytes = NULL, checksum = NULL
WHERE job_id = :job_id AND index = :index AND status = 'writing' AND sha256 = :sha256;

-- name: mark_stored(job_id, index, sha256, bucket, region, endpoint_url, key)
-- The object is in the bucket; returns all outputs of the job in order, none when it was marked already.
WITH marked AS (
    -- The URL stays: while it lives, the output can be copied to another destination.
    UPDATE outputs SET status = 'stored', stored_at = now()
    WHERE job_id = :job_id AND index = :index AND status = 'writing' AND sha256 = :sha256
      AND bucket = :bucket AND key = :key
      AND region IS NOT DISTINCT FROM :region AND endpoint_url IS NOT DISTINCT FROM :endpoint_url
    RETURNING {outputs.*}
), emptied AS (
    DELETE FROM inline_outputs USING marked
    WHERE marked.inline AND inline_outputs.job_id = marked.job_id AND inline_outputs.index = marked.index
)
SELECT {marked.* of outputs} FROM marked
UNION ALL
SELECT {outputs.*} FROM outputs WHERE job_id = :job_id AND index <> :index AND EXISTS (SELECT FROM marked)
ORDER BY index;

-- name: keep_inline(job_id, indexes, bodies)!
-- Files that came inside an answer, until they are stored.
INSERT INTO inline_outputs (job_id, index, body)
SELECT :job_id, source.index, source.body FROM unnest(:indexes::smallint[], :bodies::bytea[]) AS source (index, body)
ON CONFLICT (job_id, index) DO UPDATE SET body = excluded.body;

-- name: open_inline(job_id, index, most)^
-- How many bytes such a file has, and the first of them; no row when it is gone.
SELECT octet_length(body) AS size, substr(body, 1, :most) AS head FROM inline_outputs
WHERE job_id = :job_id AND index = :index;

-- name: read_inline(job_id, index, begin, most)$
-- Some of its bytes from one on, the first of which is number 1.
SELECT substr(body, :begin, :most) FROM inline_outputs WHERE job_id = :job_id AND index = :index;

-- name: begin_upload(id, job_id, index, destination_id, bucket, region, endpoint_url, key, worker_id, mark)$
-- An upload in parts is about to be created; returns the mark of its object, nothing when it is not wanted any more.
WITH marked AS (
    -- All who write the same output use the same mark, until its object is known to be absent.
    UPDATE outputs SET mark = coalesce(mark, :mark)
    WHERE job_id = :job_id AND index = :index AND status <> 'stored'
      AND EXISTS (SELECT FROM jobs WHERE id = :job_id AND status = 'copying')
    RETURNING mark
), begun AS (
    INSERT INTO uploads (id, job_id, index, destination_id, bucket, region, endpoint_url, key, worker_id)
    SELECT :id, :job_id, :index, :destination_id, :bucket, :region, :endpoint_url, :key, :worker_id FROM marked
)
SELECT mark FROM marked;

-- name: name_upload(id, job_id, index, destination_id, bucket, region, endpoint_url, key, worker_id, upload_id)!
-- It was created, and this is what the bucket calls it. A worker that was stopped in between may find its row swept away.
INSERT INTO uploads (id, job_id, index, destination_id, bucket, region, endpoint_url, key, worker_id, upload_id)
VALUES (:id, :job_id, :index, :destination_id, :bucket, :region, :endpoint_url, :key, :worker_id, :upload_id)
ON CONFLICT (id) DO UPDATE SET upload_id = excluded.upload_id;

-- name: doubt_upload(id, beside)!
-- There may be another upload beside this one, by a request that was sent twice.
INSERT INTO uploads (id, job_id, index, destination_id, bucket, region, endpoint_url, key, worker_id, due_at)
SELECT :id, job_id, index, destination_id, bucket, region, endpoint_url, key, worker_id, now() FROM uploads
WHERE id = :beside;

-- name: end_upload(id)!
-- It is completed, aborted or given up.
DELETE FROM uploads WHERE id = :id;

-- name: leave_upload(id, job_id, index, destination_id, bucket, region, endpoint_url, key, worker_id, upload_id)!
-- It could not be aborted: the sweep does it.
INSERT INTO uploads (id, job_id, index, destination_id, bucket, region, endpoint_url, key, worker_id, upload_id, due_at)
VALUES (:id, :job_id, :index, :destination_id, :bucket, :region, :endpoint_url, :key, :worker_id, :upload_id, now())
ON CONFLICT (id) DO UPDATE SET due_at = now();

-- name: take_left_uploads(silence, limit)
-- Uploads that nobody is at any more, each put off until it is somebody's turn to try again. Those into the spool are not
-- among them: what is left there is deleted with the objects.
UPDATE uploads SET tries = tries + 1, due_at = now() + make_interval(secs => least(3600, 60 * 2 ^ least(tries, 10)))
WHERE id IN (
    SELECT id FROM uploads
    WHERE destination_id IS NOT NULL AND (due_at <= now() OR (due_at IS NULL AND (
        -- No upload takes a day: the worker lives, but could not write down how it ended.
        begun_at < now() - interval '1 day'
        OR NOT EXISTS (
            SELECT FROM workers WHERE workers.id = worker_id AND seen_at > now() - make_interval(secs => :silence))
    )))
    ORDER BY begun_at LIMIT :limit FOR UPDATE SKIP LOCKED)
RETURNING {uploads.*}, begun_at < now() - interval '7 days' AS given_up;

-- name: uploads_beside(id, bucket, key)
-- What else is known under the same key. alive: somebody is at it.
SELECT upload_id, due_at IS NULL AS alive FROM uploads WHERE bucket = :bucket AND key = :key AND id <> :id;
