-- Additive: exact because an insert and its views share one deduplication token. `drift` proves them, Writer.repair rebuilds them.
-- Only certain costs are added up; the estimated ones that stand come from charges_by_time when read.
-- A repair empties them; a part that is removed because it is empty takes its deduplication tokens along, and the last batch written
-- once more after the repair would be counted twice.
CREATE TABLE IF NOT EXISTS turnout.provider_minute
(
    minute       DateTime('UTC') CODEC(DoubleDelta, ZSTD),
    provider     LowCardinality(String),
    deployment   LowCardinality(String),
    model        LowCardinality(String),
    succeeded    SimpleAggregateFunction(sum, UInt64),
    failed       SimpleAggregateFunction(sum, UInt64),
    abandoned    SimpleAggregateFunction(sum, UInt64),
    rate_limited SimpleAggregateFunction(sum, UInt64),
    tokens_in    SimpleAggregateFunction(sum, Int64),
    tokens_out   SimpleAggregateFunction(sum, Int64),
    nano_usd     SimpleAggregateFunction(sum, Int64),
    latency      AggregateFunction(quantilesTDigestIf(0.5, 0.95, 0.99), Float64, UInt8)
)
ENGINE = AggregatingMergeTree
PARTITION BY toYYYYMM(minute)
ORDER BY (provider, deployment, model, minute)
SETTINGS non_replicated_deduplication_window = 10000, remove_empty_parts = 0;

CREATE MATERIALIZED VIEW IF NOT EXISTS turnout.to_provider_minute TO turnout.provider_minute AS
SELECT toDateTime(toStartOfMinute(l.logged_at), 'UTC') AS minute, l.provider AS provider, l.deployment AS deployment, l.model AS model,
    countIf(l.event = 'AttemptSucceeded') AS succeeded, countIf(l.event = 'AttemptFailed') AS failed,
    countIf(l.event = 'AttemptAbandoned') AS abandoned,
    countIf(l.event = 'AttemptFailed' AND l.code = 'rate_limited') AS rate_limited,
    sumIf(l.tokens_in, l.event = 'AttemptSucceeded') AS tokens_in, sumIf(l.tokens_out, l.event = 'AttemptSucceeded') AS tokens_out,
    sumIf(l.nano_usd, l.event = 'CostIncurred') AS nano_usd,
    quantilesTDigestIfState(0.5, 0.95, 0.99)(l.latency_ms, toUInt8(l.event = 'AttemptSucceeded')) AS latency
FROM turnout.log AS l
WHERE l.event IN ('AttemptSucceeded', 'AttemptFailed', 'AttemptAbandoned') OR (l.event = 'CostIncurred' AND l.status = 'certain')
GROUP BY minute, provider, deployment, model;

CREATE TABLE IF NOT EXISTS turnout.tenant_hour
(
    hour       DateTime('UTC') CODEC(DoubleDelta, ZSTD),
    tenant     LowCardinality(String),
    provider   LowCardinality(String),
    deployment LowCardinality(String),
    model      LowCardinality(String),
    charges    SimpleAggregateFunction(sum, UInt64),
    tokens_in  SimpleAggregateFunction(sum, Int64),
    tokens_out SimpleAggregateFunction(sum, Int64),
    nano_usd   SimpleAggregateFunction(sum, Int64)
)
ENGINE = AggregatingMergeTree
PARTITION BY toYYYYMM(hour)
ORDER BY (tenant, hour, provider, deployment, model)
SETTINGS non_replicated_deduplication_window = 10000, remove_empty_parts = 0;

CREATE MATERIALIZED VIEW IF NOT EXISTS turnout.to_tenant_hour TO turnout.tenant_hour AS
SELECT toDateTime(toStartOfHour(l.logged_at), 'UTC') AS hour, l.tenant AS tenant, l.provider AS provider, l.deployment AS deployment,
    l.model AS model, count() AS charges, sum(l.tokens_in) AS tokens_in, sum(l.tokens_out) AS tokens_out, sum(l.nano_usd) AS nano_usd
FROM turnout.log AS l
WHERE l.event = 'CostIncurred' AND l.status = 'certain'
GROUP BY hour, tenant, provider, deployment, model;
