-- What users ask. Amounts are Decimal(38, 9) US dollars, so a nano-dollar is never rounded.
-- Folded tuples are materialized before a part of them is read: ClickHouse reads `t.part` as a subcolumn, and FINAL does not
-- fold subcolumns (seen in 26.9: requests stayed `running` until their parts merged).
CREATE OR REPLACE VIEW turnout.events AS
SELECT topic, partition, offset, event, version, event_id, logged_at, occurred_at, accepted_at, request_id, tenant, deployment, provider,
    model, if(source_topic = '', '', concat(source_topic, '-', toString(source_partition), '-', toString(source_offset))) AS source,
    run, number, subject, payload
FROM turnout.log FINAL
WHERE event NOT IN ('Snapshot', 'Tombstone', 'DeadLetter', 'IngestError');

-- A row per source. The first outcome wins; money counts over every run, for a request that ran twice spent twice.
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
    if(completed, f.outcome.run, -1) AS run
FROM (SELECT * REPLACE (materialize(outcome) AS outcome) FROM turnout.requests_fold FINAL) AS f
WHERE f.outcome.run < 9223372036854775807 OR toUnixTimestamp64Micro(f.started_at) > 0;

CREATE OR REPLACE VIEW turnout.attempts AS
SELECT f.request_id AS request_id, f.tenant AS tenant, f.run AS run, f.number AS number, f.deployment AS deployment, f.provider AS provider,
    f.model AS model, f.tier AS tier, ['started', 'abandoned', 'failed', 'succeeded'][f.rank + 1] AS outcome, f.code AS failure,
    f.http_status AS http_status, f.latency_ms AS latency_ms, f.first_token_ms AS first_token_ms, f.tokens_in AS tokens_in,
    f.tokens_out AS tokens_out,
    CAST(if(f.certain >= 0, f.certain, greatest(f.estimated, 0)) AS Decimal(38, 9)) / 1000000000 AS cost_usd,
    f.started_at AS started_at, if(f.rank > 0, f.finished_at, f.started_at) AS logged_at, f.hour AS hour,
    concat(f.source_topic, '-', toString(f.source_partition), '-', toString(f.source_offset)) AS source
FROM turnout.attempts_fold AS f FINAL
WHERE f.rank > 0 OR toUnixTimestamp64Micro(f.started_at) > 0;

CREATE OR REPLACE VIEW turnout.catalogs AS
SELECT offset, logged_at,
    arrayMap(d -> JSONExtractString(d, 'id'), JSONExtractArrayRaw(JSONExtractString(payload, 'document'), 'catalog', 'deployments')) AS deployments
FROM turnout.notices FINAL
WHERE event = 'ConfigurationApplied';

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

-- The charge that stands: certain beats estimated, then the first.
CREATE OR REPLACE VIEW turnout.costs AS
SELECT f.cost_id AS cost_id, f.tenant AS tenant, f.charge.request_id AS request_id, f.charge.run AS run, f.charge.number AS number,
    f.charge.deployment AS deployment, f.charge.provider AS provider, f.charge.model AS model,
    if(f.charge.estimated = 0, 'certain', 'estimated') AS certainty,
    CAST(f.charge.nano_usd AS Decimal(38, 9)) / 1000000000 AS cost_usd, f.charge.nano_usd AS nano_usd,
    f.charge.tokens_in AS tokens_in, f.charge.tokens_out AS tokens_out, f.charge.tokens_cached AS tokens_cached,
    f.charge.tokens_reasoning AS tokens_reasoning, f.charge.price_version AS price_version, f.charge.logged_at AS logged_at, f.hour AS hour,
    concat(f.charge.source_topic, '-', toString(f.charge.source_partition), '-', toString(f.charge.source_offset)) AS source
FROM (SELECT * REPLACE (materialize(charge) AS charge) FROM turnout.costs_fold FINAL) AS f;

-- Estimated charges that nothing replaced yet.
CREATE OR REPLACE VIEW turnout.unsettled AS
SELECT f.tenant AS tenant, f.cost_id AS cost_id, f.charge.logged_at AS logged_at, f.charge.provider AS provider,
    f.charge.deployment AS deployment, f.charge.model AS model, f.charge.nano_usd AS nano_usd
FROM (SELECT * REPLACE (materialize(charge) AS charge) FROM turnout.costs_fold FINAL) AS f
WHERE (f.tenant, f.hour, f.cost_id) IN (SELECT tenant, hour, cost_id FROM turnout.estimates) AND f.charge.estimated = 1;

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

CREATE OR REPLACE VIEW turnout.budget_transitions AS
SELECT subject, event, JSONExtractString(payload, 'scope') AS scope, JSONExtractString(payload, 'period') AS period,
    fromUnixTimestamp64Micro(JSONExtractInt(payload, 'period_start'), 'UTC') AS period_start, JSONExtractInt(payload, 'threshold') AS threshold,
    JSONExtractInt(payload, 'limit_nano_usd') AS limit_nano_usd, JSONExtractInt(payload, 'spent_nano_usd') AS spent_nano_usd,
    JSONExtractInt(payload, 'reserved_nano_usd') AS reserved_nano_usd, fromUnixTimestamp64Micro(JSONExtractInt(payload, 'logged_at'), 'UTC') AS at,
    logged_at, event_id
FROM turnout.notices FINAL
WHERE event IN ('BudgetPeriodStarted', 'BudgetThresholdCrossed')
ORDER BY at, offset
LIMIT 1 BY event_id;

-- Limits in force: the last applied configuration and the commands after it. Of two with one subject the first counts.
CREATE OR REPLACE VIEW turnout.limits AS
SELECT scope, period, argMax(limit_usd, (offset, -place)) AS limit_usd
FROM (
    SELECT offset, b.1 AS scope, b.2 AS period, b.3 AS limit_usd, place
    FROM (
        SELECT offset, JSONExtract(JSONExtractString(payload, 'document'), 'budgets',
            'Array(Tuple(scope String, period String, limit_usd Decimal(38, 9)))') AS budgets
        FROM turnout.notices FINAL WHERE event = 'ConfigurationApplied'
            AND offset = (SELECT max(offset) FROM turnout.notices WHERE event = 'ConfigurationApplied')
    )
    ARRAY JOIN budgets AS b, arrayMap(n -> toInt32(n), arrayEnumerate(budgets)) AS place
    UNION ALL
    SELECT offset, JSONExtractString(payload, 'scope') AS scope, JSONExtractString(payload, 'period') AS period,
        CAST(JSONExtractInt(payload, 'limit_nano_usd') AS Decimal(38, 9)) / 1000000000 AS limit_usd, toInt32(0) AS place
    FROM turnout.notices FINAL WHERE event = 'BudgetSet'
        AND offset > (SELECT max(offset) FROM turnout.notices WHERE event = 'ConfigurationApplied')
)
GROUP BY scope, period;

-- The periods of budgets as they run now, UTC; weeks start on Monday.
CREATE OR REPLACE VIEW turnout.periods AS
SELECT p.1 AS period, p.2 AS start
FROM (
    SELECT arrayJoin([('hour', toStartOfHour(now('UTC'))), ('day', toDateTime(toStartOfDay(now('UTC')), 'UTC')),
        ('week', toDateTime(toMonday(now('UTC')), 'UTC')), ('month', toDateTime(toStartOfMonth(now('UTC')), 'UTC'))]) AS p
);

-- Spent in the current period from charges, which periods always hold whole hours of; reserved from the open reservations of llm.state.
CREATE OR REPLACE VIEW turnout.budgets AS
SELECT l.scope AS scope, l.period AS period, p.start AS period_start, l.limit_usd AS limit_usd,
    CAST(s.nano_usd AS Decimal(38, 9)) / 1000000000 AS spent_usd, CAST(r.nano_usd AS Decimal(38, 9)) / 1000000000 AS reserved_usd,
    CAST(NULL AS Nullable(Decimal(38, 9))) AS forecast_usd, CAST(NULL AS Nullable(Decimal(38, 9))) AS forecast_low_usd,
    CAST(NULL AS Nullable(Decimal(38, 9))) AS forecast_high_usd, t.threshold AS threshold
FROM turnout.limits AS l
INNER JOIN turnout.periods AS p ON p.period = l.period
LEFT JOIN (
    SELECT scope, q.period AS period, sum(c.nano_usd) AS nano_usd
    FROM turnout.charges AS c CROSS JOIN turnout.periods AS q
    ARRAY JOIN ['global', concat('tenant:', c.tenant), concat('provider:', c.provider), concat('deployment:', c.deployment)] AS scope
    WHERE c.hour >= (SELECT min(start) FROM turnout.periods) AND c.hour >= q.start
    GROUP BY scope, period
) AS s ON s.scope = l.scope AND s.period = l.period
LEFT JOIN (
    SELECT scope, sum(o.1) AS nano_usd
    FROM (
        SELECT subject, argMax(value, (fold_version, epoch, offset)) AS value FROM turnout.state WHERE kind = 'spend' GROUP BY subject
    )
    ARRAY JOIN mapValues(JSONExtract(value, 'open', 'Map(String, Tuple(nano_usd Int64, provider String, deployment String))')) AS o
    ARRAY JOIN ['global', concat('tenant:', subject), concat('provider:', o.2), concat('deployment:', o.3)] AS scope
    GROUP BY scope
) AS r ON r.scope = l.scope
LEFT JOIN (
    SELECT scope, period, period_start, limit_nano_usd, max(threshold) AS threshold FROM turnout.budget_transitions
    WHERE event = 'BudgetThresholdCrossed' GROUP BY scope, period, period_start, limit_nano_usd
) AS t ON t.scope = l.scope AND t.period = l.period AND t.period_start = p.start AND t.limit_nano_usd = toInt64(l.limit_usd * 1000000000);

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
WHERE a.n != b.n OR a.nano_usd != b.nano_usd
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
WHERE a.n != b.n OR a.nano_usd != b.nano_usd;
