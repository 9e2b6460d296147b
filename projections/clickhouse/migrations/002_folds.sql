-- Folds: only idempotent aggregates, so they are right under duplicates and in any order.
-- A minimum over a tuple keeps the first: outcomes by (run, logged_at), charges by (estimated, logged_at).
CREATE TABLE IF NOT EXISTS turnout.requests_fold
(
    tenant           LowCardinality(String),
    hour             DateTime('UTC'),
    request_id       String,
    source_topic     LowCardinality(String),
    source_partition UInt32,
    source_offset    Int64,
    accepted_at      SimpleAggregateFunction(max, DateTime64(6, 'UTC')),
    started_at       SimpleAggregateFunction(max, DateTime64(6, 'UTC')),
    task             SimpleAggregateFunction(max, LowCardinality(String)),
    strategy         SimpleAggregateFunction(max, LowCardinality(String)),
    outcome          SimpleAggregateFunction(min, Tuple(run Int64, logged_at DateTime64(6, 'UTC'), status String, code String,
        task String, strategy String, deployment String, provider String, model String, tier String, attempts UInt16, fallback Bool,
        latency_ms Float64, queue_ms Float64, first_token_ms Float64, tokens_in Int64, tokens_out Int64)),
    certain          SimpleAggregateFunction(maxMap, Map(String, Int64)),
    estimated        SimpleAggregateFunction(maxMap, Map(String, Int64))
)
ENGINE = AggregatingMergeTree
PARTITION BY toYYYYMM(hour)
ORDER BY (tenant, hour, request_id, source_topic, source_partition, source_offset)
SETTINGS non_replicated_deduplication_window = 10000;

CREATE MATERIALIZED VIEW IF NOT EXISTS turnout.to_requests TO turnout.requests_fold AS
SELECT l.tenant AS tenant, toDateTime(toStartOfHour(l.accepted_at), 'UTC') AS hour, l.request_id AS request_id,
    l.source_topic AS source_topic, l.source_partition AS source_partition, l.source_offset AS source_offset,
    max(l.accepted_at) AS accepted_at,
    maxIf(l.logged_at, l.event = 'RequestAccepted') AS started_at,
    maxIf(l.task, l.event = 'RequestAccepted') AS task,
    maxIf(l.strategy, l.event = 'RequestAccepted') AS strategy,
    min((if(l.event IN ('RequestCompleted', 'RequestDeduplicated') AND l.status != '', l.run, 9223372036854775807), l.logged_at,
        toString(l.status), toString(l.code), toString(l.task), toString(l.strategy), toString(l.deployment), toString(l.provider),
        toString(l.model), toString(l.tier), l.attempts, l.fallback, l.latency_ms, l.queue_ms, l.first_token_ms, l.tokens_in,
        l.tokens_out)) AS outcome,
    maxMap(if(l.event = 'CostIncurred' AND l.status = 'certain', map(l.cost_id, l.nano_usd), map())) AS certain,
    maxMap(if(l.event = 'CostIncurred' AND l.status != 'certain', map(l.cost_id, l.nano_usd), map())) AS estimated
FROM turnout.log AS l
WHERE l.event IN ('RequestAccepted', 'RequestCompleted', 'RequestDeduplicated', 'CostIncurred')
GROUP BY tenant, hour, request_id, source_topic, source_partition, source_offset;

-- `rank`: 0 started, 1 abandoned, 2 failed, 3 succeeded. Charges start at -1: an attempt may cost nothing.
CREATE TABLE IF NOT EXISTS turnout.attempts_fold
(
    tenant           LowCardinality(String),
    hour             DateTime('UTC'),
    request_id       String,
    source_topic     LowCardinality(String),
    source_partition UInt32,
    source_offset    Int64,
    run              Int64,
    number           UInt16,
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
    estimated        SimpleAggregateFunction(max, Int64)
)
ENGINE = AggregatingMergeTree
PARTITION BY toYYYYMM(hour)
ORDER BY (tenant, hour, request_id, source_topic, source_partition, source_offset, run, number)
SETTINGS non_replicated_deduplication_window = 10000;

CREATE MATERIALIZED VIEW IF NOT EXISTS turnout.to_attempts TO turnout.attempts_fold AS
SELECT l.tenant AS tenant, toDateTime(toStartOfHour(l.accepted_at), 'UTC') AS hour, l.request_id AS request_id,
    l.source_topic AS source_topic, l.source_partition AS source_partition, l.source_offset AS source_offset,
    l.run AS run, l.number AS number,
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
GROUP BY tenant, hour, request_id, source_topic, source_partition, source_offset, run, number;

CREATE TABLE IF NOT EXISTS turnout.costs_fold
(
    tenant  LowCardinality(String),
    hour    DateTime('UTC'),
    cost_id String,
    charge  SimpleAggregateFunction(min, Tuple(estimated UInt8, logged_at DateTime64(6, 'UTC'), nano_usd Int64, request_id String,
        source_topic String, source_partition UInt32, source_offset Int64, run Int64, number UInt16, deployment String, provider String,
        model String, tokens_in Int64, tokens_out Int64, tokens_cached Int64, tokens_reasoning Int64, price_version String))
)
ENGINE = AggregatingMergeTree
PARTITION BY toYYYYMM(hour)
ORDER BY (tenant, hour, cost_id)
SETTINGS non_replicated_deduplication_window = 10000;

CREATE MATERIALIZED VIEW IF NOT EXISTS turnout.to_costs TO turnout.costs_fold AS
SELECT l.tenant AS tenant, toDateTime(toStartOfHour(l.accepted_at), 'UTC') AS hour, l.cost_id AS cost_id,
    min((toUInt8(l.status != 'certain'), l.logged_at, l.nano_usd, l.request_id, toString(l.source_topic), l.source_partition,
        l.source_offset, l.run, l.number, toString(l.deployment), toString(l.provider), toString(l.model), l.tokens_in, l.tokens_out,
        l.tokens_cached, l.tokens_reasoning, toString(l.code))) AS charge
FROM turnout.log AS l
WHERE l.event = 'CostIncurred'
GROUP BY tenant, hour, cost_id;

-- Which costs were ever estimated: few, and the only ones that may still change.
CREATE TABLE IF NOT EXISTS turnout.estimates
(
    tenant  LowCardinality(String),
    hour    DateTime('UTC'),
    cost_id String
)
ENGINE = ReplacingMergeTree
ORDER BY (tenant, hour, cost_id)
SETTINGS non_replicated_deduplication_window = 10000;

CREATE MATERIALIZED VIEW IF NOT EXISTS turnout.to_estimates TO turnout.estimates AS
SELECT l.tenant AS tenant, toDateTime(toStartOfHour(l.accepted_at), 'UTC') AS hour, l.cost_id AS cost_id
FROM turnout.log AS l
WHERE l.event = 'CostIncurred' AND l.status != 'certain';

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
    'DeadLetter', 'IngestError');
