-- Views over the folds in the order of time, and an end to those in the order of tenants.

-- A row per source: `running`, or its first outcome. `requests` without the money, for questions about many.
CREATE OR REPLACE VIEW turnout.answers AS
SELECT a.request_id AS request_id, a.tenant AS tenant, CAST(a.status != 'running' AS UInt8) AS completed, a.status AS status, a.code AS code,
    a.task AS task, a.strategy AS strategy, a.deployment AS deployment, a.provider AS provider, a.model AS model, a.tier AS tier,
    a.attempts AS attempts, a.fallback AS fallback, a.latency_ms AS latency_ms, a.queue_ms AS queue_ms,
    a.first_token_ms AS first_token_ms, a.tokens_in AS tokens_in, a.tokens_out AS tokens_out, a.accepted_at AS accepted_at,
    a.logged_at AS logged_at, a.hour AS hour,
    concat(a.source_topic, '-', toString(a.source_partition), '-', toString(a.source_offset)) AS source, a.run AS run
FROM turnout.answers_by_time AS a FINAL;

-- The money counts over every run: a request that ran twice spent twice.
CREATE OR REPLACE VIEW turnout.requests AS
SELECT a.request_id AS request_id, a.tenant AS tenant, CAST(a.status != 'running' AS UInt8) AS completed, a.status AS status, a.code AS code,
    a.task AS task, a.strategy AS strategy, a.deployment AS deployment, a.provider AS provider, a.model AS model, a.tier AS tier,
    a.attempts AS attempts, a.fallback AS fallback, a.latency_ms AS latency_ms, a.queue_ms AS queue_ms,
    a.first_token_ms AS first_token_ms, a.tokens_in AS tokens_in, a.tokens_out AS tokens_out,
    CAST(ifNull(c.nano_usd, 0) AS Decimal(38, 9)) / 1000000000 AS cost_usd, a.accepted_at AS accepted_at,
    a.logged_at AS logged_at, a.hour AS hour,
    concat(a.source_topic, '-', toString(a.source_partition), '-', toString(a.source_offset)) AS source, a.run AS run
FROM (SELECT *, source_key FROM turnout.answers_by_time FINAL) AS a
ANY LEFT JOIN (
    SELECT hour, request_id, source_key, sum(nano_usd) AS nano_usd FROM turnout.charges_by_time FINAL GROUP BY hour, request_id, source_key
) AS c ON c.hour = a.hour AND c.request_id = a.request_id AND c.source_key = a.source_key;

CREATE OR REPLACE VIEW turnout.attempts AS
SELECT f.request_id AS request_id, f.tenant AS tenant, f.run AS run, f.number AS number, f.deployment AS deployment, f.provider AS provider,
    f.model AS model, f.tier AS tier, ['started', 'abandoned', 'failed', 'succeeded'][f.rank + 1] AS outcome, f.code AS failure,
    f.http_status AS http_status, f.latency_ms AS latency_ms, f.first_token_ms AS first_token_ms, f.tokens_in AS tokens_in,
    f.tokens_out AS tokens_out,
    CAST(if(f.certain >= 0, f.certain, greatest(f.estimated, 0)) AS Decimal(38, 9)) / 1000000000 AS cost_usd,
    f.started_at AS started_at, if(f.rank > 0, f.finished_at, f.started_at) AS logged_at, f.hour AS hour,
    concat(f.source_topic, '-', toString(f.source_partition), '-', toString(f.source_offset)) AS source
FROM turnout.attempts_by_time AS f FINAL
WHERE f.rank > 0 OR toUnixTimestamp64Micro(f.started_at) > 0;

-- The charge that stands: certain beats estimated, then the first.
CREATE OR REPLACE VIEW turnout.costs AS
SELECT f.cost_id AS cost_id, f.tenant AS tenant, f.request_id AS request_id, f.run AS run, f.number AS number, f.deployment AS deployment,
    f.provider AS provider, f.model AS model, if(f.estimated, 'estimated', 'certain') AS certainty,
    CAST(f.nano_usd AS Decimal(38, 9)) / 1000000000 AS cost_usd, f.nano_usd AS nano_usd, f.tokens_in AS tokens_in,
    f.tokens_out AS tokens_out, f.tokens_cached AS tokens_cached, f.tokens_reasoning AS tokens_reasoning,
    f.price_version AS price_version, f.logged_at AS logged_at, f.hour AS hour,
    concat(f.source_topic, '-', toString(f.source_partition), '-', toString(f.source_offset)) AS source
FROM turnout.charges_by_time AS f FINAL;

-- Estimated charges that nothing replaced yet.
CREATE OR REPLACE VIEW turnout.unsettled AS
SELECT f.tenant AS tenant, f.cost_id AS cost_id, f.logged_at AS logged_at, f.provider AS provider, f.deployment AS deployment,
    f.model AS model, f.nano_usd AS nano_usd
FROM turnout.charges_by_time AS f FINAL
WHERE (f.hour, f.minute, f.source_topic, f.source_partition, f.source_offset, f.cost_id) IN (
    SELECT hour, minute, source_topic, source_partition, source_offset, cost_id FROM turnout.estimates_by_time
) AND f.estimated;

-- What chance decided. `propensity`: how likely the first of the plan was; `likeliest`: how likely the likeliest candidate.
CREATE OR REPLACE VIEW turnout.choices AS
SELECT hour, tenant, strategy, task, drawn, propensity, likeliest FROM turnout.choices_by_time FINAL;

DROP VIEW IF EXISTS turnout.to_requests;
DROP VIEW IF EXISTS turnout.to_attempts;
DROP VIEW IF EXISTS turnout.to_costs;
DROP VIEW IF EXISTS turnout.to_estimates;
DROP TABLE IF EXISTS turnout.requests_fold;
DROP TABLE IF EXISTS turnout.attempts_fold;
DROP TABLE IF EXISTS turnout.costs_fold;
DROP TABLE IF EXISTS turnout.estimates;
