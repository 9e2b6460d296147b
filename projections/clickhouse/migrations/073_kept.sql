-- From when on the raw events are all there: months before were dropped (projections/clickhouse/retention.py).
CREATE TABLE IF NOT EXISTS turnout.kept
(
    since DateTime('UTC')
)
ENGINE = ReplacingMergeTree
ORDER BY since;

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
