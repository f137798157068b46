-- What a provider's own webhook would tell of a job.

-- name: job_to_retell(id)^
-- A job's row, with the input as long as it is kept.
SELECT {jobs.*}, job_inputs.body AS input FROM jobs LEFT JOIN job_inputs ON job_inputs.job_id = jobs.id WHERE jobs.id = :id;
