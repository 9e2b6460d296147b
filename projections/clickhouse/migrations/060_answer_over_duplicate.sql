-- A record that waited for the answer of another with its id runs after all when that answer was a retryable error and a new owner
-- reads it again. Its own answer is then its outcome: a duplicate's rank is its run and 2^62, above every run.
ALTER TABLE turnout.to_requests MODIFY QUERY
SELECT l.tenant AS tenant, toDateTime(toStartOfHour(l.accepted_at), 'UTC') AS hour, l.request_id AS request_id,
    l.source_topic AS source_topic, l.source_partition AS source_partition, l.source_offset AS source_offset,
    max(l.accepted_at) AS accepted_at,
    maxIf(l.logged_at, l.event = 'RequestAccepted') AS started_at,
    maxIf(l.task, l.event = 'RequestAccepted') AS task,
    maxIf(l.strategy, l.event = 'RequestAccepted') AS strategy,
    min((multiIf(l.status = '' OR l.event NOT IN ('RequestCompleted', 'RequestDeduplicated'), 9223372036854775807,
        l.event = 'RequestDeduplicated', l.run + 4611686018427387904, l.run), l.logged_at,
        toString(l.status), toString(l.code), toString(l.task), toString(l.strategy), toString(l.deployment), toString(l.provider),
        toString(l.model), toString(l.tier), l.attempts, l.fallback, l.latency_ms, l.queue_ms, l.first_token_ms, l.tokens_in,
        l.tokens_out)) AS outcome,
    maxMap(if(l.event = 'CostIncurred' AND l.status = 'certain', map(l.cost_id, l.nano_usd), map())) AS certain,
    maxMap(if(l.event = 'CostIncurred' AND l.status != 'certain', map(l.cost_id, l.nano_usd), map())) AS estimated
FROM turnout.log AS l
WHERE l.event IN ('RequestAccepted', 'RequestCompleted', 'RequestDeduplicated', 'CostIncurred')
GROUP BY tenant, hour, request_id, source_topic, source_partition, source_offset;

CREATE OR REPLACE VIEW turnout.requests AS
SELECT f.request_id AS request_id, f.tenant AS tenant, f.outcome.run < 9223372036854775807 AS completed,
    if(completed, f.outcome.status, 'running') AS status, if(completed, f.outcome.code, '') AS code,
    if(completed AND f.outcome.task != '', f.outcome.task, toString(f.task)) AS task,
    if(completed AND f.outcome.strategy != '', f.outcome.strategy, toString(f.strategy)) AS strategy,
    if(completed, f.outcome.deployment, '') AS deployment, if(completed, f.outcome.provider, '') AS provider,
    if(completed, f.outcome.model, '') AS model, if(completed, f.outcome.tier, '') AS tier,
    if(completed, f.outcome.attempts, 0) AS attempts, completed AND f.outcome.fallback AS fallback,
    if(completed, f.outcome.latency_ms, 0) AS latency_ms, if(completed, f.outcome.queue_ms, 0) AS queue_ms,
    if(completed, f.outcome.first_token_ms, 0) AS first_token_ms,
    if(completed, f.outcome.tokens_in, 0) AS tokens_in, if(completed, f.outcome.tokens_out, 0) AS tokens_out,
    CAST(arraySum(mapValues(f.certain)) + arraySum(mapValues(mapFilter((k, v) -> NOT mapContains(f.certain, k), f.estimated)))
        AS Decimal(38, 9)) / 1000000000 AS cost_usd,
    f.accepted_at AS accepted_at, if(completed, f.outcome.logged_at, f.started_at) AS logged_at, f.hour AS hour,
    concat(f.source_topic, '-', toString(f.source_partition), '-', toString(f.source_offset)) AS source,
    if(completed, f.outcome.run % 4611686018427387904, -1) AS run
FROM (SELECT * REPLACE (materialize(outcome) AS outcome) FROM turnout.requests_fold FINAL) AS f
WHERE f.outcome.run < 9223372036854775807 OR toUnixTimestamp64Micro(f.started_at) > 0;
