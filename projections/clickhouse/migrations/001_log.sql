-- One row per Kafka record; everything else is fed from here by materialized views inside the same insert.
-- Snapshots of llm.state: subject, kind, version = fold version, source_* = what it covers, run = epoch, payload = value.
CREATE TABLE IF NOT EXISTS turnout.log
(
    topic            LowCardinality(String),
    partition        UInt32,
    offset           Int64 CODEC(Delta, ZSTD),
    logged_at        DateTime64(6, 'UTC') CODEC(Delta, ZSTD),
    occurred_at      DateTime64(6, 'UTC') CODEC(Delta, ZSTD),
    accepted_at      DateTime64(6, 'UTC') CODEC(Delta, ZSTD),
    event            LowCardinality(String),
    version          UInt16,
    event_id         String CODEC(ZSTD),
    tenant           LowCardinality(String),
    request_id       String CODEC(ZSTD),
    source_topic     LowCardinality(String),
    source_partition UInt32,
    source_offset    Int64 CODEC(Delta, ZSTD),
    run              Int64 CODEC(ZSTD),
    number           UInt16,
    deployment       LowCardinality(String),
    provider         LowCardinality(String),
    model            LowCardinality(String),
    tier             LowCardinality(String),
    status           LowCardinality(String),
    code             LowCardinality(String),
    http_status      UInt16,
    task             LowCardinality(String),
    strategy         LowCardinality(String),
    attempts         UInt16,
    fallback         Bool,
    latency_ms       Float64 CODEC(ZSTD),
    queue_ms         Float64 CODEC(ZSTD),
    first_token_ms   Float64 CODEC(ZSTD),
    tokens_in        Int64 CODEC(T64, ZSTD),
    tokens_out       Int64 CODEC(T64, ZSTD),
    tokens_cached    Int64 CODEC(T64, ZSTD),
    tokens_reasoning Int64 CODEC(T64, ZSTD),
    cost_id          String CODEC(ZSTD),
    nano_usd         Int64 CODEC(T64, ZSTD),
    kind             LowCardinality(String),
    subject          String CODEC(ZSTD),
    payload          String CODEC(ZSTD(3)),
    INDEX requests request_id TYPE bloom_filter(0.01) GRANULARITY 4
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(accepted_at)
ORDER BY (tenant, toStartOfHour(accepted_at), topic, partition, offset)
SETTINGS non_replicated_deduplication_window = 10000;

-- What a sink is about to write (done = 0) and has written (done = 1). Arrays run in parallel: one range each.
CREATE TABLE IF NOT EXISTS turnout.intents
(
    sink       String,
    number     UInt64,
    epoch      UInt32,
    token      String,
    topics     Array(String),
    partitions Array(UInt32),
    firsts     Array(Int64),
    lasts      Array(Int64),
    done       UInt8,
    at         DateTime64(3, 'UTC') DEFAULT now64(3)
)
ENGINE = ReplacingMergeTree(done)
ORDER BY (sink, number)
TTL toDateTime(at) + INTERVAL 7 DAY;

-- Intents expire; how far each partition was written does not.
CREATE TABLE IF NOT EXISTS turnout.positions
(
    sink        String,
    epoch       UInt32,
    topic       LowCardinality(String),
    partition   UInt32,
    next_offset SimpleAggregateFunction(max, Int64)
)
ENGINE = AggregatingMergeTree
ORDER BY (sink, epoch, topic, partition);

CREATE MATERIALIZED VIEW IF NOT EXISTS turnout.to_positions TO turnout.positions AS
SELECT i.sink, i.epoch, r.1 AS topic, r.2 AS partition, max(r.3 + 1) AS next_offset
FROM turnout.intents AS i
ARRAY JOIN arrayZip(i.topics, i.partitions, i.lasts) AS r
WHERE i.done = 1
GROUP BY i.sink, i.epoch, topic, partition;

-- A new epoch begins when parts were found broken: Kafka is read again from its start under new tokens.
CREATE TABLE IF NOT EXISTS turnout.epochs
(
    sink     String,
    epoch    UInt32,
    broken   Array(String),
    repaired UInt8,
    at       DateTime64(3, 'UTC') DEFAULT now64(3)
)
ENGINE = ReplacingMergeTree(repaired)
ORDER BY (sink, epoch);
