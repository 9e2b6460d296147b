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

-- The journal of a sink: one row a flush, written before its rows. It names every partition ever read, so the last row alone
-- says where to go on: `firsts` is where the flush began in a partition, `nexts` where it ended (equal: nothing there).
-- A flush is known to be written when the next one begins, or by done = 1 of a sink that stopped in order.
CREATE TABLE IF NOT EXISTS turnout.journal
(
    sink       String,
    epoch      UInt32,
    number     UInt64,
    done       UInt8,
    version    UInt64 DEFAULT number * 2 + done,
    topics     Array(String),
    partitions Array(UInt32),
    firsts     Array(Int64),
    nexts      Array(Int64),
    at         DateTime64(3, 'UTC') DEFAULT now64(3)
)
ENGINE = ReplacingMergeTree(version)
ORDER BY (sink, epoch);

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

-- From when on the raw events are all there: months before were dropped (projections/clickhouse/retention.py).
CREATE TABLE IF NOT EXISTS turnout.kept
(
    since DateTime('UTC')
)
ENGINE = ReplacingMergeTree
ORDER BY since;
