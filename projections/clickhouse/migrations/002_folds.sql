-- Traffic folded, right under duplicates and in any order: what a row replaces is chosen by its rank, or every column keeps a maximum.
-- In the order of time, so that a flush overlaps the last minutes alone and FINAL merges no more than those for any question
-- (ADR 18). Hour and minute are of the acceptance, which all events of a request carry. `source_key`: where a request stood as one
-- number, for joins; of two topics it tells with 64 bits.

-- A row per source: started (rank below 2^64) or its first outcome by (run, logged_at). A duplicate's rank is that of its run and
-- 2^62: a record that waited for the answer of another with its id may run after all, and then its own answer is its outcome.
CREATE TABLE IF NOT EXISTS turnout.answers_by_time
(
    hour             DateTime('UTC') CODEC(Delta, ZSTD),
    minute           DateTime('UTC') CODEC(Delta, ZSTD),
    source_topic     LowCardinality(String),
    source_partition UInt32,
    source_offset    Int64 CODEC(Delta, ZSTD),
    rank             UInt128 CODEC(ZSTD),
    request_id       String CODEC(ZSTD),
    tenant           LowCardinality(String),
    accepted_at      DateTime64(6, 'UTC') CODEC(Delta, ZSTD),
    logged_at        DateTime64(6, 'UTC') CODEC(Delta, ZSTD),
    run              Int64 CODEC(ZSTD),
    status           LowCardinality(String),
    code             LowCardinality(String),
    task             LowCardinality(String),
    strategy         LowCardinality(String),
    deployment       LowCardinality(String),
    provider         LowCardinality(String),
    model            LowCardinality(String),
    tier             LowCardinality(String),
    attempts         UInt16,
    fallback         Bool,
    latency_ms       Float64 CODEC(ZSTD),
    queue_ms         Float64 CODEC(ZSTD),
    first_token_ms   Float64 CODEC(ZSTD),
    tokens_in        Int64 CODEC(T64, ZSTD),
    tokens_out       Int64 CODEC(T64, ZSTD),
    source_key       UInt64 ALIAS bitXor(cityHash64(source_topic), toUInt64(source_offset) * 65536 + source_partition),
    INDEX requests request_id TYPE bloom_filter(0.01) GRANULARITY 1
)
ENGINE = ReplacingMergeTree(rank)
PARTITION BY toYYYYMM(hour)
ORDER BY (hour, minute, source_topic, source_partition, source_offset)
SETTINGS non_replicated_deduplication_window = 10000;

CREATE MATERIALIZED VIEW IF NOT EXISTS turnout.to_answers TO turnout.answers_by_time AS
SELECT toDateTime(toStartOfHour(l.accepted_at), 'UTC') AS hour, toDateTime(toStartOfMinute(l.accepted_at), 'UTC') AS minute,
    l.source_topic AS source_topic, l.source_partition AS source_partition, l.source_offset AS source_offset,
    if(l.event = 'RequestAccepted', toUInt128(toUnixTimestamp64Micro(l.logged_at)),
        bitShiftLeft(toUInt128(9223372036854775807 - l.run - if(l.event = 'RequestDeduplicated', 4611686018427387904, 0)), 64)
            + toUInt128(9223372036854775807 - toUnixTimestamp64Micro(l.logged_at))) AS rank,
    l.request_id AS request_id, l.tenant AS tenant, l.accepted_at AS accepted_at, l.logged_at AS logged_at,
    if(l.event = 'RequestAccepted', -1, l.run) AS run, if(l.event = 'RequestAccepted', 'running', toString(l.status)) AS status,
    l.code AS code, l.task AS task, l.strategy AS strategy, l.deployment AS deployment, l.provider AS provider, l.model AS model,
    l.tier AS tier, l.attempts AS attempts, l.fallback AS fallback, l.latency_ms AS latency_ms, l.queue_ms AS queue_ms,
    l.first_token_ms AS first_token_ms, l.tokens_in AS tokens_in, l.tokens_out AS tokens_out
FROM turnout.log AS l
WHERE l.event = 'RequestAccepted' OR (l.event IN ('RequestCompleted', 'RequestDeduplicated') AND l.status != '');

-- A row per charge: a certain one beats estimated ones, then the first.
CREATE TABLE IF NOT EXISTS turnout.charges_by_time
(
    hour             DateTime('UTC') CODEC(Delta, ZSTD),
    minute           DateTime('UTC') CODEC(Delta, ZSTD),
    source_topic     LowCardinality(String),
    source_partition UInt32,
    source_offset    Int64 CODEC(Delta, ZSTD),
    cost_id          String CODEC(ZSTD),
    rank             UInt64 CODEC(ZSTD),
    request_id       String CODEC(ZSTD),
    tenant           LowCardinality(String),
    estimated        Bool,
    nano_usd         Int64 CODEC(T64, ZSTD),
    logged_at        DateTime64(6, 'UTC') CODEC(Delta, ZSTD),
    run              Int64 CODEC(ZSTD),
    number           UInt16,
    deployment       LowCardinality(String),
    provider         LowCardinality(String),
    model            LowCardinality(String),
    tokens_in        Int64 CODEC(T64, ZSTD),
    tokens_out       Int64 CODEC(T64, ZSTD),
    tokens_cached    Int64 CODEC(T64, ZSTD),
    tokens_reasoning Int64 CODEC(T64, ZSTD),
    price_version    LowCardinality(String),
    source_key       UInt64 ALIAS bitXor(cityHash64(source_topic), toUInt64(source_offset) * 65536 + source_partition),
    INDEX requests request_id TYPE bloom_filter(0.01) GRANULARITY 1
)
ENGINE = ReplacingMergeTree(rank)
PARTITION BY toYYYYMM(hour)
ORDER BY (hour, minute, source_topic, source_partition, source_offset, cost_id)
SETTINGS non_replicated_deduplication_window = 10000;

CREATE MATERIALIZED VIEW IF NOT EXISTS turnout.to_charges TO turnout.charges_by_time AS
SELECT toDateTime(toStartOfHour(l.accepted_at), 'UTC') AS hour, toDateTime(toStartOfMinute(l.accepted_at), 'UTC') AS minute,
    l.source_topic AS source_topic, l.source_partition AS source_partition, l.source_offset AS source_offset, l.cost_id AS cost_id,
    if(l.status = 'certain', 9223372036854775808, 0) + toUInt64(9223372036854775807 - toUnixTimestamp64Micro(l.logged_at)) AS rank,
    l.request_id AS request_id, l.tenant AS tenant, l.status != 'certain' AS estimated, l.nano_usd AS nano_usd, l.logged_at AS logged_at,
    l.run AS run, l.number AS number, l.deployment AS deployment, l.provider AS provider, l.model AS model, l.tokens_in AS tokens_in,
    l.tokens_out AS tokens_out, l.tokens_cached AS tokens_cached, l.tokens_reasoning AS tokens_reasoning, l.code AS price_version
FROM turnout.log AS l
WHERE l.event = 'CostIncurred';

-- Which charges were ever estimated: few, and the only ones that may still change.
CREATE TABLE IF NOT EXISTS turnout.estimates_by_time
(
    hour             DateTime('UTC'),
    minute           DateTime('UTC'),
    source_topic     LowCardinality(String),
    source_partition UInt32,
    source_offset    Int64,
    cost_id          String,
    tenant           LowCardinality(String)
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(hour)
ORDER BY (hour, minute, source_topic, source_partition, source_offset, cost_id)
SETTINGS non_replicated_deduplication_window = 10000;

CREATE MATERIALIZED VIEW IF NOT EXISTS turnout.to_estimates TO turnout.estimates_by_time AS
SELECT c.hour AS hour, c.minute AS minute, c.source_topic AS source_topic, c.source_partition AS source_partition,
    c.source_offset AS source_offset, c.cost_id AS cost_id, c.tenant AS tenant
FROM turnout.charges_by_time AS c
WHERE c.estimated;

-- `rank`: 0 started, 1 abandoned, 2 failed, 3 succeeded. Charges start at -1: an attempt may cost nothing.
CREATE TABLE IF NOT EXISTS turnout.attempts_by_time
(
    hour             DateTime('UTC') CODEC(Delta, ZSTD),
    minute           DateTime('UTC') CODEC(Delta, ZSTD),
    source_topic     LowCardinality(String),
    source_partition UInt32,
    source_offset    Int64 CODEC(Delta, ZSTD),
    run              Int64 CODEC(ZSTD),
    number           UInt16,
    request_id       String CODEC(ZSTD),
    tenant           LowCardinality(String),
    deployment       SimpleAggregateFunction(max, LowCardinality(String)),
    provider         SimpleAggregateFunction(max, LowCardinality(String)),
    model            SimpleAggregateFunction(max, LowCardinality(String)),
    tier             SimpleAggregateFunction(max, LowCardinality(String)),
    started_at       SimpleAggregateFunction(max, DateTime64(6, 'UTC')),
    finished_at      SimpleAggregateFunction(max, DateTime64(6, 'UTC')),
    rank             SimpleAggregateFunction(max, UInt8),
    code             SimpleAggregateFunction(max, LowCardinality(String)),
    http_status      SimpleAggregateFunction(max, UInt16),
    latency_ms       SimpleAggregateFunction(max, Float64),
    first_token_ms   SimpleAggregateFunction(max, Float64),
    tokens_in        SimpleAggregateFunction(max, Int64),
    tokens_out       SimpleAggregateFunction(max, Int64),
    certain          SimpleAggregateFunction(max, Int64),
    estimated        SimpleAggregateFunction(max, Int64),
    INDEX requests request_id TYPE bloom_filter(0.01) GRANULARITY 1
)
ENGINE = AggregatingMergeTree
PARTITION BY toYYYYMM(hour)
ORDER BY (hour, minute, source_topic, source_partition, source_offset, run, number, request_id, tenant)
SETTINGS non_replicated_deduplication_window = 10000;

CREATE MATERIALIZED VIEW IF NOT EXISTS turnout.to_attempts TO turnout.attempts_by_time AS
SELECT toDateTime(toStartOfHour(l.accepted_at), 'UTC') AS hour, toDateTime(toStartOfMinute(l.accepted_at), 'UTC') AS minute,
    l.source_topic AS source_topic, l.source_partition AS source_partition, l.source_offset AS source_offset,
    l.run AS run, l.number AS number, l.request_id AS request_id, l.tenant AS tenant,
    max(l.deployment) AS deployment, max(l.provider) AS provider, max(l.model) AS model, max(l.tier) AS tier,
    maxIf(l.logged_at, l.event = 'AttemptStarted') AS started_at,
    maxIf(l.logged_at, l.event IN ('AttemptSucceeded', 'AttemptFailed', 'AttemptAbandoned')) AS finished_at,
    max(toUInt8(multiIf(l.event = 'AttemptSucceeded', 3, l.event = 'AttemptFailed', 2, l.event = 'AttemptAbandoned', 1, 0))) AS rank,
    maxIf(l.code, l.event IN ('AttemptFailed', 'AttemptAbandoned')) AS code,
    max(l.http_status) AS http_status, max(l.latency_ms) AS latency_ms, max(l.first_token_ms) AS first_token_ms,
    max(l.tokens_in) AS tokens_in, max(l.tokens_out) AS tokens_out,
    max(if(l.event = 'CostIncurred' AND l.status = 'certain', l.nano_usd, -1)) AS certain,
    max(if(l.event = 'CostIncurred' AND l.status != 'certain', l.nano_usd, -1)) AS estimated
FROM turnout.log AS l
WHERE l.event IN ('AttemptStarted', 'AttemptSucceeded', 'AttemptFailed', 'AttemptAbandoned', 'CostIncurred')
GROUP BY hour, minute, source_topic, source_partition, source_offset, run, number, request_id, tenant;

-- What chance decided. `propensity`: how likely the first of the plan was; `likeliest`: how likely the likeliest candidate.
CREATE TABLE IF NOT EXISTS turnout.choices_by_time
(
    hour       DateTime('UTC') CODEC(Delta, ZSTD),
    minute     DateTime('UTC') CODEC(Delta, ZSTD),
    topic      LowCardinality(String),
    partition  UInt32,
    offset     Int64 CODEC(Delta, ZSTD),
    tenant     LowCardinality(String),
    strategy   LowCardinality(String),
    task       LowCardinality(String),
    drawn      Bool,
    propensity Float64 CODEC(ZSTD),
    likeliest  Float64 CODEC(ZSTD)
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(hour)
ORDER BY (hour, minute, topic, partition, offset)
SETTINGS non_replicated_deduplication_window = 10000;

CREATE MATERIALIZED VIEW IF NOT EXISTS turnout.to_choices TO turnout.choices_by_time AS
SELECT toDateTime(toStartOfHour(d.accepted_at), 'UTC') AS hour, toDateTime(toStartOfMinute(d.accepted_at), 'UTC') AS minute,
    d.topic AS topic, d.partition AS partition, d.offset AS offset, d.tenant AS tenant, d.strategy AS strategy, d.task AS task,
    notEmpty(d.propensities) AS drawn, if(drawn, d.propensities[1], 1) AS propensity, if(drawn, arrayMax(d.propensities), 1) AS likeliest
FROM (
    SELECT l.accepted_at, l.topic, l.partition, l.offset, l.tenant, l.strategy, l.task,
        JSONExtract(l.payload, 'propensities', 'Array(Float64)') AS propensities
    FROM turnout.log AS l WHERE l.event = 'RouteDecided'
) AS d;

-- The last record a key holds: highest (epoch, covered offset, own offset). A tombstone hides what was written before it.
CREATE TABLE IF NOT EXISTS turnout.state_fold
(
    kind         LowCardinality(String),
    subject      String,
    fold_version UInt16,
    topic        LowCardinality(String),
    partition    UInt32,
    last         SimpleAggregateFunction(max, Tuple(epoch Int64, offset Int64, written Int64, logged_at DateTime64(6, 'UTC'), value String)),
    written      SimpleAggregateFunction(max, Int64),
    removed      SimpleAggregateFunction(max, Int64)
)
ENGINE = AggregatingMergeTree
ORDER BY (kind, subject, fold_version, topic, partition)
SETTINGS non_replicated_deduplication_window = 10000;

CREATE MATERIALIZED VIEW IF NOT EXISTS turnout.to_state TO turnout.state_fold AS
SELECT l.kind AS kind, l.subject AS subject, l.version AS fold_version, l.source_topic AS topic, l.source_partition AS partition,
    max(if(l.event = 'Snapshot', (l.run, l.source_offset, l.offset, l.logged_at, l.payload),
        (toInt64(-2), toInt64(-2), toInt64(-2), l.logged_at, ''))) AS last,
    max(if(l.event = 'Snapshot', l.offset, -1)) AS written,
    max(if(l.event = 'Tombstone', l.offset, -1)) AS removed
FROM turnout.log AS l
WHERE l.event IN ('Snapshot', 'Tombstone')
GROUP BY kind, subject, fold_version, topic, partition;

-- Snapshots of spend and of budgets, taken apart once and not for every question. `reserved`: open reservations, arrays in the order of
-- schemas.state.Reservation. By period, of tenants with a time zone: `sums` since `starts`; of every budget: `judged`, the start of the
-- period that was judged last, in microseconds.
CREATE TABLE IF NOT EXISTS turnout.held_fold
(
    kind         LowCardinality(String),
    subject      String,
    fold_version UInt16,
    topic        LowCardinality(String),
    partition    UInt32,
    last         SimpleAggregateFunction(max, Tuple(epoch Int64, offset Int64, written Int64, parts Array(Tuple(scope String, reserved Int64,
        judged Map(String, Int64), starts Map(String, Int64), sums Map(String, Int64))))),
    written      SimpleAggregateFunction(max, Int64),
    removed      SimpleAggregateFunction(max, Int64)
)
ENGINE = AggregatingMergeTree
ORDER BY (kind, subject, fold_version, topic, partition)
SETTINGS non_replicated_deduplication_window = 10000;

CREATE MATERIALIZED VIEW IF NOT EXISTS turnout.to_held TO turnout.held_fold AS
SELECT kind, subject, fold_version, topic, partition, (s.last.1, s.last.2, s.last.3, multiIf(
    value = '', [],
    kind = 'budget',
    [(JSONExtractString(value, 'scope'), 0, map(JSONExtractString(value, 'period'), JSONExtractInt(value, 'period_start')), none, none)],
    arrayConcat(
        arrayFlatten(arrayMap(o -> arrayMap(name -> (name, o.1, none, none, none),
            ['global', concat('tenant:', subject), concat('provider:', o.5), concat('deployment:', o.4)]), open)),
        if(JSONExtractString(value, 'zone') = '', [], [(concat('tenant:', subject), 0, none,
            mapFromArrays(periods, arrayMap(n -> local[3 * n - 2], arrayEnumerate(periods))),
            mapFromArrays(periods, arrayMap(n -> local[3 * n - 1], arrayEnumerate(periods))))])))) AS last, written, removed
FROM (
    SELECT *, last.5 AS value, CAST(map(), 'Map(String, Int64)') AS none, ['hour', 'day', 'week', 'month'] AS periods,
        JSONExtract(value, 'totals', 'local', 'Array(Int64)') AS local,
        mapValues(JSONExtract(value, 'open', 'Map(String, Tuple(Int64, Int64, Int64, String, String, String, String, Int64, String, String, Int64))')) AS open
    FROM turnout.state_fold WHERE kind IN ('spend', 'budget')
) AS s;

-- The few records of everything that is not traffic: transitions, control, dead letters, what the sink could not read.
CREATE TABLE IF NOT EXISTS turnout.notices
(
    event            LowCardinality(String),
    topic            LowCardinality(String),
    partition        UInt32,
    offset           Int64,
    logged_at        DateTime64(6, 'UTC'),
    event_id         String,
    request_id       String,
    source_topic     LowCardinality(String),
    source_partition UInt32,
    source_offset    Int64,
    subject          String,
    payload          String CODEC(ZSTD(3))
)
ENGINE = ReplacingMergeTree
ORDER BY (event, topic, partition, offset)
SETTINGS non_replicated_deduplication_window = 10000;

CREATE MATERIALIZED VIEW IF NOT EXISTS turnout.to_notices TO turnout.notices AS
SELECT event, topic, partition, offset, logged_at, event_id, request_id, source_topic, source_partition, source_offset, subject, payload
FROM turnout.log
WHERE event IN ('CircuitOpened', 'CircuitHalfOpened', 'CircuitClosed', 'BudgetPeriodStarted', 'BudgetThresholdCrossed',
    'TopicsCreated', 'ConfigurationApplied', 'BudgetSet', 'StrategySet', 'CircuitForced', 'DeploymentSwitched',
    'DeadLetter', 'IngestError', 'BudgetLimitChanged', 'WeightsSet', 'SlaMeasured', 'SlaBreached', 'SlaRestored', 'AnomalyDetected',
    'PartitionPaused', 'PartitionResumed', 'AlertRaised', 'AlertEscalated', 'AlertResolved', 'AlertDelivered', 'AlertSilenced');

-- Catalogs and limits as rows of their own: a configuration names every tenant's limits in one document, which no row policy can
-- split, and `decisions` need not read documents again for each question.
CREATE TABLE IF NOT EXISTS turnout.catalogs_fold
(
    offset      Int64,
    logged_at   DateTime64(6, 'UTC'),
    deployments Array(String)
)
ENGINE = ReplacingMergeTree
ORDER BY offset
SETTINGS non_replicated_deduplication_window = 10000;

CREATE MATERIALIZED VIEW IF NOT EXISTS turnout.to_catalogs TO turnout.catalogs_fold AS
SELECT n.offset AS offset, n.logged_at AS logged_at, arrayMap(d -> JSONExtractString(d, 'id'),
    JSONExtractArrayRaw(JSONExtractString(n.payload, 'document'), 'catalog', 'deployments')) AS deployments
FROM turnout.notices AS n
WHERE n.event = 'ConfigurationApplied';

-- A row of scope '' says that a configuration was applied there, whatever limits it holds; `place` is where a limit stood in it.
CREATE TABLE IF NOT EXISTS turnout.limits_fold
(
    offset    Int64,
    applied   Bool,
    place     Int32,
    scope     String,
    period    LowCardinality(String),
    limit_usd Decimal(38, 9)
)
ENGINE = ReplacingMergeTree
ORDER BY (offset, place)
SETTINGS non_replicated_deduplication_window = 10000;

CREATE MATERIALIZED VIEW IF NOT EXISTS turnout.to_limits TO turnout.limits_fold AS
SELECT n.offset AS offset, n.event = 'ConfigurationApplied' AS applied, b.1 AS place, b.2 AS scope, b.3 AS period, b.4 AS limit_usd
FROM (
    SELECT offset, event, JSONExtract(JSONExtractString(payload, 'document'), 'budgets',
            'Array(Tuple(scope String, period String, limit_usd Decimal(38, 9)))') AS listed,
        if(event = 'BudgetSet', [(toInt32(1), JSONExtractString(payload, 'scope'), JSONExtractString(payload, 'period'),
                CAST(JSONExtractInt(payload, 'limit_nano_usd') AS Decimal(38, 9)) / 1000000000)],
            arrayConcat([(toInt32(0), '', '', CAST(0 AS Decimal(38, 9)))],
                arrayMap((l, p) -> (toInt32(p), l.1, l.2, l.3), listed, arrayEnumerate(listed)))) AS limits
    FROM turnout.notices
    WHERE event IN ('ConfigurationApplied', 'BudgetSet')
) AS n
ARRAY JOIN n.limits AS b;
