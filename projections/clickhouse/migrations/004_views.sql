-- What users ask. Amounts are Decimal(38, 9) US dollars, so a nano-dollar is never rounded.
CREATE OR REPLACE VIEW turnout.events AS
SELECT topic, partition, offset, event, version, event_id, logged_at, occurred_at, accepted_at, request_id, tenant, deployment, provider,
    model, if(source_topic = '', '', concat(source_topic, '-', toString(source_partition), '-', toString(source_offset))) AS source,
    run, number, subject, payload
FROM turnout.log FINAL
WHERE event NOT IN ('Snapshot', 'Tombstone', 'DeadLetter', 'IngestError');

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

CREATE OR REPLACE VIEW turnout.catalogs AS
SELECT offset, logged_at, deployments FROM turnout.catalogs_fold FINAL;

-- Events name candidates by their place in the catalog that was last applied at or below their control offset.
CREATE OR REPLACE VIEW turnout.decisions AS
SELECT d.request_id AS request_id, d.tenant AS tenant, d.run AS run, d.logged_at AS logged_at,
    JSONExtract(d.payload, 'plan', 'Array(Tuple(deployment String, tier String))') AS plan,
    d.strategy AS strategy, JSONExtractString(d.payload, 'cost_strategy') AS cost_strategy,
    JSONExtractString(d.payload, 'balancer') AS balancer, d.task AS task, JSONExtractFloat(d.payload, 'confidence') AS confidence,
    JSONExtract(d.payload, 'reasons', 'Array(String)') AS reasons,
    arrayMap(i -> c.deployments[i + 1], JSONExtract(d.payload, 'candidates', 'Array(UInt32)')) AS candidates,
    JSONExtract(d.payload, 'propensities', 'Array(Float64)') AS propensities,
    base64Decode(JSONExtractString(d.payload, 'estimates')) AS packed,
    arrayMap(n -> reinterpretAsFloat32(substring(packed, n * 4 + 1, 4)), range(intDiv(length(packed), 4))) AS estimates,
    arrayMap(e -> (c.deployments[e.1 + 1], e.2, if(e.3 > 0, fromUnixTimestamp64Micro(e.3, 'UTC'), NULL))::Tuple(deployment String, reason String, until Nullable(DateTime64(6, 'UTC'))),
        JSONExtract(d.payload, 'excluded', 'Array(Tuple(index UInt32, reason String, until Int64))')) AS excluded,
    JSONExtractBool(d.payload, 'cut') AS cut, d.control_offset AS control_offset, JSONExtractInt(d.payload, 'seed') AS seed,
    JSONExtractFloat(d.payload, 'decision_us') AS decision_us, d.source AS source
FROM (
    SELECT *, JSONExtractInt(payload, 'control_offset') AS control_offset, 1 AS one,
        concat(source_topic, '-', toString(source_partition), '-', toString(source_offset)) AS source
    FROM turnout.log FINAL WHERE event = 'RouteDecided'
) AS d
ASOF LEFT JOIN (SELECT 1 AS one, offset, deployments FROM turnout.catalogs) AS c ON d.one = c.one AND d.control_offset >= c.offset;

-- What chance decided. `propensity`: how likely the first of the plan was; `likeliest`: how likely the likeliest candidate.
CREATE OR REPLACE VIEW turnout.choices AS
SELECT hour, tenant, strategy, task, drawn, propensity, likeliest FROM turnout.choices_by_time FINAL;

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

-- What was charged, by hour: certain charges from the rollup and the estimated ones that stand.
CREATE OR REPLACE VIEW turnout.charges AS
SELECT hour, tenant, provider, deployment, model, charges, tokens_in, tokens_out, nano_usd FROM turnout.tenant_hour
UNION ALL
SELECT toDateTime(toStartOfHour(logged_at), 'UTC') AS hour, tenant, provider, deployment, model, toUInt64(1) AS charges,
    toInt64(0) AS tokens_in, toInt64(0) AS tokens_out, nano_usd
FROM turnout.unsettled;

CREATE OR REPLACE VIEW turnout.tenant_costs AS
SELECT c.hour AS hour, c.tenant AS tenant, c.provider AS provider, c.model AS model, sum(c.charges) AS charges,
    sum(c.tokens_in) AS tokens_in, sum(c.tokens_out) AS tokens_out, CAST(sum(c.nano_usd) AS Decimal(38, 9)) / 1000000000 AS cost_usd
FROM turnout.charges AS c
GROUP BY c.hour, c.tenant, c.provider, c.model;

CREATE OR REPLACE VIEW turnout.provider_health AS
SELECT m.minute AS minute, m.provider AS provider, m.deployment AS deployment, sum(m.succeeded) + sum(m.failed) AS requests,
    sum(m.succeeded) / nullIf(requests, 0) AS success_rate, sum(m.abandoned) AS abandoned, sum(m.rate_limited) AS rate_limited,
    quantilesTDigestIfMerge(0.5, 0.95, 0.99)(m.latency) AS quantiles, if(sum(m.succeeded) > 0, quantiles[1], NULL) AS p50_ms,
    if(sum(m.succeeded) > 0, quantiles[2], NULL) AS p95_ms, if(sum(m.succeeded) > 0, quantiles[3], NULL) AS p99_ms,
    sum(m.tokens_in) AS tokens_in, sum(m.tokens_out) AS tokens_out, CAST(sum(m.nano_usd) AS Decimal(38, 9)) / 1000000000 AS cost_usd
FROM (
    SELECT minute, provider, deployment, succeeded, failed, abandoned, rate_limited, tokens_in, tokens_out, nano_usd, latency
    FROM turnout.provider_minute
    UNION ALL
    SELECT toDateTime(toStartOfMinute(logged_at), 'UTC') AS minute, provider, deployment, 0, 0, 0, 0, 0, 0, sum(nano_usd),
        quantilesTDigestIfState(0.5, 0.95, 0.99)(0::Float64, 0::UInt8)
    FROM turnout.unsettled GROUP BY minute, provider, deployment
) AS m
GROUP BY m.minute, m.provider, m.deployment;

-- The folded tuple is materialized before a part of it is read: ClickHouse reads `t.part` as a subcolumn, and FINAL does not fold
-- subcolumns (seen in 26.9).
CREATE OR REPLACE VIEW turnout.state AS
SELECT f.kind AS kind, f.subject AS subject, f.fold_version AS fold_version, f.topic AS topic, f.partition AS partition,
    f.last.epoch AS epoch, f.last.offset AS offset, f.last.logged_at AS logged_at, f.last.value AS value
FROM (SELECT * REPLACE (materialize(last) AS last) FROM turnout.state_fold FINAL) AS f
WHERE f.written > f.removed;

-- Deployments of the catalog in force, and any that has a circuit. One without traffic is closed.
CREATE OR REPLACE VIEW turnout.circuits AS
SELECT d.deployment AS deployment, if(JSONExtractString(s.value, 'status') = '', 'closed', JSONExtractString(s.value, 'status')) AS status,
    JSONExtractInt(s.value, 'epoch') AS epoch, JSONExtractInt(s.value, 'failures') AS failures, JSONExtractInt(s.value, 'trips') AS trips,
    JSONExtractString(s.value, 'forced') AS forced, JSONExtractString(s.value, 'reason') AS reason,
    if(JSONExtractInt(s.value, 'opened_at') > 0, fromUnixTimestamp64Micro(JSONExtractInt(s.value, 'opened_at'), 'UTC'), NULL) AS opened_at,
    if(JSONExtractInt(s.value, 'open_until') > 0, fromUnixTimestamp64Micro(JSONExtractInt(s.value, 'open_until'), 'UTC'), NULL) AS open_until,
    if(s.value = '', NULL, s.logged_at) AS logged_at
FROM (
    SELECT arrayJoin(argMax(deployments, offset)) AS deployment FROM turnout.catalogs
    UNION DISTINCT
    SELECT subject AS deployment FROM turnout.state WHERE kind = 'circuit'
) AS d
LEFT JOIN (
    SELECT subject, argMax(value, (fold_version, epoch, offset)) AS value, max(logged_at) AS logged_at
    FROM turnout.state WHERE kind = 'circuit' GROUP BY subject
) AS s ON s.subject = d.deployment;

CREATE OR REPLACE VIEW turnout.circuit_transitions AS
SELECT subject AS deployment, transform(event, ['CircuitOpened', 'CircuitHalfOpened', 'CircuitClosed'], ['open', 'half_open', 'closed'], '') AS status,
    JSONExtractInt(payload, 'epoch') AS epoch, JSONExtractString(payload, 'reason') AS reason, JSONExtractInt(payload, 'trips') AS trips,
    if(JSONExtractInt(payload, 'open_until') > 0, fromUnixTimestamp64Micro(JSONExtractInt(payload, 'open_until'), 'UTC'), NULL) AS open_until,
    fromUnixTimestamp64Micro(JSONExtractInt(payload, 'logged_at'), 'UTC') AS at, logged_at, JSONExtractString(payload, 'derived_from') AS derived_from,
    event_id
FROM turnout.notices FINAL
WHERE event IN ('CircuitOpened', 'CircuitHalfOpened', 'CircuitClosed')
ORDER BY at, offset
LIMIT 1 BY event_id;

CREATE OR REPLACE VIEW turnout.dead_letters AS
SELECT logged_at, JSONExtractString(payload, 'reason') AS reason, source_topic, source_partition, source_offset,
    concat(source_topic, '-', toString(source_partition), '-', toString(source_offset)) AS source,
    JSONExtractUInt(payload, 'length') AS length, JSONExtractString(payload, 'sha256') AS sha256, request_id
FROM turnout.notices FINAL
WHERE event = 'DeadLetter'
ORDER BY logged_at
LIMIT 1 BY source;

CREATE OR REPLACE VIEW turnout.ingest_errors AS
SELECT logged_at, topic, partition, offset, JSONExtractString(payload, 'reason') AS reason,
    JSONExtractUInt(payload, 'length') AS length, JSONExtractString(payload, 'sha256') AS sha256
FROM turnout.notices FINAL
WHERE event = 'IngestError';

-- Rollups are proved as far back as there are raw events. Those go by months of acceptance and rollups by the time of their record, so
-- the first day of the oldest month is left out.
CREATE OR REPLACE VIEW turnout.drift AS
SELECT 'tenant_hour' AS rollup, hour AS at, tenant, provider, deployment, model, a.n AS raw_count, b.n AS rollup_count,
    a.nano_usd AS raw_nano_usd, b.nano_usd AS rollup_nano_usd
FROM (
    SELECT toDateTime(toStartOfHour(l.logged_at), 'UTC') AS hour, l.tenant AS tenant, l.provider AS provider, l.deployment AS deployment,
        l.model AS model, count() AS n, sum(l.nano_usd) AS nano_usd
    FROM turnout.log AS l FINAL WHERE l.event = 'CostIncurred' AND l.status = 'certain' GROUP BY hour, tenant, provider, deployment, model
) AS a
FULL JOIN (
    SELECT hour, tenant, provider, deployment, model, sum(t.charges) AS n, sum(t.nano_usd) AS nano_usd
    FROM turnout.tenant_hour AS t GROUP BY hour, tenant, provider, deployment, model
) AS b USING (hour, tenant, provider, deployment, model)
WHERE (a.n != b.n OR a.nano_usd != b.nano_usd) AND hour >= (SELECT max(since) FROM turnout.kept) + toIntervalDay(1)
UNION ALL
SELECT 'provider_minute' AS rollup, minute AS at, '' AS tenant, provider, deployment, model, a.n AS raw_count, b.n AS rollup_count,
    a.nano_usd AS raw_nano_usd, b.nano_usd AS rollup_nano_usd
FROM (
    SELECT toDateTime(toStartOfMinute(l.logged_at), 'UTC') AS minute, l.provider AS provider, l.deployment AS deployment, l.model AS model,
        countIf(l.event != 'CostIncurred') AS n, sumIf(l.nano_usd, l.event = 'CostIncurred') AS nano_usd
    FROM turnout.log AS l FINAL
    WHERE l.event IN ('AttemptSucceeded', 'AttemptFailed', 'AttemptAbandoned') OR (l.event = 'CostIncurred' AND l.status = 'certain')
    GROUP BY minute, provider, deployment, model
) AS a
FULL JOIN (
    SELECT minute, provider, deployment, model, sum(t.succeeded) + sum(t.failed) + sum(t.abandoned) AS n, sum(t.nano_usd) AS nano_usd
    FROM turnout.provider_minute AS t GROUP BY minute, provider, deployment, model
) AS b USING (minute, provider, deployment, model)
WHERE (a.n != b.n OR a.nano_usd != b.nano_usd) AND minute >= (SELECT max(since) FROM turnout.kept) + toIntervalDay(1);
