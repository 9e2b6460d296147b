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

INSERT INTO turnout.catalogs_fold (offset, logged_at, deployments)
SELECT n.offset, n.logged_at, arrayMap(d -> JSONExtractString(d, 'id'),
    JSONExtractArrayRaw(JSONExtractString(n.payload, 'document'), 'catalog', 'deployments'))
FROM turnout.notices AS n FINAL
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

INSERT INTO turnout.limits_fold (offset, applied, place, scope, period, limit_usd)
SELECT n.offset AS offset, n.event = 'ConfigurationApplied' AS applied, b.1 AS place, b.2 AS scope, b.3 AS period, b.4 AS limit_usd
FROM (
    SELECT offset, event, JSONExtract(JSONExtractString(payload, 'document'), 'budgets',
            'Array(Tuple(scope String, period String, limit_usd Decimal(38, 9)))') AS listed,
        if(event = 'BudgetSet', [(toInt32(1), JSONExtractString(payload, 'scope'), JSONExtractString(payload, 'period'),
                CAST(JSONExtractInt(payload, 'limit_nano_usd') AS Decimal(38, 9)) / 1000000000)],
            arrayConcat([(toInt32(0), '', '', CAST(0 AS Decimal(38, 9)))],
                arrayMap((l, p) -> (toInt32(p), l.1, l.2, l.3), listed, arrayEnumerate(listed)))) AS limits
    FROM turnout.notices FINAL
    WHERE event IN ('ConfigurationApplied', 'BudgetSet')
) AS n
ARRAY JOIN n.limits AS b;

CREATE OR REPLACE VIEW turnout.catalogs AS
SELECT offset, logged_at, deployments FROM turnout.catalogs_fold FINAL;

-- Limits in force: the last applied configuration and the commands after it. Of two with one subject the first counts.
CREATE OR REPLACE VIEW turnout.limits AS
SELECT scope, period, argMax(limit_usd, (offset, -place)) AS limit_usd
FROM turnout.limits_fold FINAL
WHERE scope != '' AND if(applied, offset = (SELECT max(offset) FROM turnout.limits_fold WHERE applied),
    offset > (SELECT max(offset) FROM turnout.limits_fold WHERE applied))
GROUP BY scope, period;
