-- What every budget will have spent at its period's end, foretold anew every few minutes; with 80 % it lies from low to high.
CREATE TABLE IF NOT EXISTS turnout.forecasts
(
    scope         String,
    period        LowCardinality(String),
    period_start  DateTime('UTC'),
    at            DateTime64(6, 'UTC'),
    nano_usd      Int64,
    low_nano_usd  Int64,
    high_nano_usd Int64
)
ENGINE = ReplacingMergeTree(at)
ORDER BY (scope, period);

CREATE OR REPLACE VIEW turnout.budget_transitions AS
SELECT subject, event, JSONExtractString(payload, 'scope') AS scope, JSONExtractString(payload, 'period') AS period,
    fromUnixTimestamp64Micro(JSONExtractInt(payload, 'period_start'), 'UTC') AS period_start, JSONExtractInt(payload, 'threshold') AS threshold,
    JSONExtractInt(payload, 'limit_nano_usd') AS limit_nano_usd, JSONExtractInt(payload, 'spent_nano_usd') AS spent_nano_usd,
    JSONExtractInt(payload, 'reserved_nano_usd') AS reserved_nano_usd, fromUnixTimestamp64Micro(JSONExtractInt(payload, 'logged_at'), 'UTC') AS at,
    logged_at, event_id
FROM turnout.notices FINAL
WHERE event IN ('BudgetPeriodStarted', 'BudgetLimitChanged', 'BudgetThresholdCrossed')
ORDER BY at, offset
LIMIT 1 BY event_id;

-- Limits in force: the last applied configuration and the commands after it. Of two with one subject the first counts.
CREATE OR REPLACE VIEW turnout.limits AS
SELECT scope, period, argMax(limit_usd, (offset, -place)) AS limit_usd
FROM (SELECT *, max(if(applied, offset, -1)) OVER () AS last_applied FROM turnout.limits_fold FINAL)
WHERE scope != '' AND if(applied, offset = last_applied, offset > last_applied)
GROUP BY scope, period;

-- Charges of the periods that run now, by scope. Added up by tenant and deployment before they are counted for every scope and period.
-- What `charges` says, written out: planning two views in each other took a tenth of the time of `budgets`.
CREATE OR REPLACE VIEW turnout.spent AS
SELECT scope, sums.1 AS period, sum(sums.2) AS nano_usd
FROM (
    SELECT c.tenant AS tenant, c.provider AS provider, c.deployment AS deployment,
        [('hour', sumIf(c.nano_usd, c.hour >= toStartOfHour(now('UTC')))), ('day', sumIf(c.nano_usd, c.hour >= toStartOfDay(now('UTC')))),
            ('week', sumIf(c.nano_usd, c.hour >= toDateTime(toMonday(now('UTC')), 'UTC'))),
            ('month', sumIf(c.nano_usd, c.hour >= toDateTime(toStartOfMonth(now('UTC')), 'UTC')))] AS sums
    FROM (
        SELECT hour, tenant, provider, deployment, nano_usd FROM turnout.tenant_hour
        UNION ALL
        SELECT toDateTime(toStartOfHour(f.logged_at), 'UTC') AS hour, f.tenant AS tenant, f.provider AS provider,
            f.deployment AS deployment, f.nano_usd AS nano_usd
        FROM turnout.charges_by_time AS f FINAL
        WHERE (f.hour, f.minute, f.source_topic, f.source_partition, f.source_offset, f.cost_id) IN (
            SELECT hour, minute, source_topic, source_partition, source_offset, cost_id FROM turnout.estimates_by_time
        ) AND f.estimated
    ) AS c
    WHERE c.hour >= least(toDateTime(toMonday(now('UTC')), 'UTC'), toDateTime(toStartOfMonth(now('UTC')), 'UTC'))
    GROUP BY tenant, provider, deployment
)
ARRAY JOIN sums
ARRAY JOIN ['global', concat('tenant:', tenant), concat('provider:', provider), concat('deployment:', deployment)] AS scope
GROUP BY scope, period;

-- What llm.state says of a scope, in the words of held_fold.
CREATE OR REPLACE VIEW turnout.held AS
SELECT part.scope AS scope, sum(part.reserved) AS reserved, maxMap(part.judged) AS judged, maxMap(part.starts) AS starts, maxMap(part.sums) AS sums
FROM (
    SELECT argMax(f.last.parts, (f.fold_version, f.last.epoch, f.last.offset)) AS parts
    FROM (SELECT * REPLACE (materialize(last) AS last) FROM turnout.held_fold FINAL) AS f
    WHERE f.written > f.removed GROUP BY f.kind, f.subject
)
ARRAY JOIN parts AS part
GROUP BY scope;

-- A tenant's time zone has periods of its own; all others hold whole hours of UTC. Most of its time is the plan's, not the rows'. Transitions
-- that stand twice change no maximum.
CREATE OR REPLACE VIEW turnout.budgets AS
SELECT b.scope AS scope, b.period AS period, b.period_start AS period_start, b.limit_usd AS limit_usd,
    CAST(b.spent AS Decimal(38, 9)) / 1000000000 AS spent_usd, CAST(b.reserved AS Decimal(38, 9)) / 1000000000 AS reserved_usd,
    if(f.scope = '', NULL, CAST(f.nano_usd AS Decimal(38, 9)) / 1000000000) AS forecast_usd,
    if(f.scope = '', NULL, CAST(f.low_nano_usd AS Decimal(38, 9)) / 1000000000) AS forecast_low_usd,
    if(f.scope = '', NULL, CAST(f.high_nano_usd AS Decimal(38, 9)) / 1000000000) AS forecast_high_usd, t.threshold AS threshold
FROM (
    SELECT l.scope AS scope, l.period AS period, l.limit_usd AS limit_usd, h.reserved AS reserved,
        mapContains(h.judged, l.period) AND mapContains(h.starts, l.period) AS zoned, h.judged[l.period] AS since,
        multiIf(zoned, toDateTime(fromUnixTimestamp64Micro(since, 'UTC'), 'UTC'), l.period = 'hour', toStartOfHour(now('UTC')),
            l.period = 'day', toDateTime(toStartOfDay(now('UTC')), 'UTC'), l.period = 'week', toDateTime(toMonday(now('UTC')), 'UTC'),
            toDateTime(toStartOfMonth(now('UTC')), 'UTC')) AS period_start,
        multiIf(NOT zoned, s.nano_usd, h.starts[l.period] >= since, h.sums[l.period], 0) AS spent
    FROM turnout.limits AS l
    LEFT JOIN turnout.spent AS s ON s.scope = l.scope AND s.period = l.period
    LEFT JOIN turnout.held AS h ON h.scope = l.scope
) AS b
LEFT JOIN (
    SELECT JSONExtractString(payload, 'scope') AS scope, JSONExtractString(payload, 'period') AS period,
        fromUnixTimestamp64Micro(JSONExtractInt(payload, 'period_start'), 'UTC') AS period_start,
        JSONExtractInt(payload, 'limit_nano_usd') AS limit_nano_usd, max(JSONExtractInt(payload, 'threshold')) AS threshold
    FROM turnout.notices WHERE event = 'BudgetThresholdCrossed' GROUP BY scope, period, period_start, limit_nano_usd
) AS t ON t.scope = b.scope AND t.period = b.period AND t.period_start = b.period_start AND t.limit_nano_usd = toInt64(b.limit_usd * 1000000000)
LEFT JOIN (SELECT * FROM turnout.forecasts FINAL) AS f
    ON f.scope = b.scope AND f.period = b.period AND f.period_start = b.period_start;
