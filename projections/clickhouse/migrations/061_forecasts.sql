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

-- As before, with what the period will come to. Spent in the current period from charges, which UTC periods always hold whole hours of, or from the state of a tenant with a time zone, and
-- reserved from the open reservations of llm.state, arrays in the order of schemas.state.Reservation.
CREATE OR REPLACE VIEW turnout.budgets AS
SELECT l.scope AS scope, l.period AS period, coalesce(z.start, p.start) AS period_start, l.limit_usd AS limit_usd,
    CAST(if(z.start IS NULL, s.nano_usd, z.nano_usd) AS Decimal(38, 9)) / 1000000000 AS spent_usd, CAST(r.nano_usd AS Decimal(38, 9)) / 1000000000 AS reserved_usd,
    if(f.scope = '', NULL, CAST(f.nano_usd AS Decimal(38, 9)) / 1000000000) AS forecast_usd,
    if(f.scope = '', NULL, CAST(f.low_nano_usd AS Decimal(38, 9)) / 1000000000) AS forecast_low_usd,
    if(f.scope = '', NULL, CAST(f.high_nano_usd AS Decimal(38, 9)) / 1000000000) AS forecast_high_usd, t.threshold AS threshold
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
    ARRAY JOIN mapValues(JSONExtract(value, 'open', 'Map(String, Tuple(Int64, Int64, Int64, String, String, String, String, Int64, String, String, Int64))')) AS o
    ARRAY JOIN ['global', concat('tenant:', subject), concat('provider:', o.5), concat('deployment:', o.4)] AS scope
    GROUP BY scope
) AS r ON r.scope = l.scope
LEFT JOIN (
    -- Tenants with a time zone: the period that was judged last, and the tenant's sum where it is of that period.
    SELECT m.scope AS scope, m.period AS period, toNullable(toDateTime(fromUnixTimestamp64Micro(m.start, 'UTC'), 'UTC')) AS start,
        if(m.sums[m.place] >= m.start, m.sums[m.place + 1], 0) AS nano_usd
    FROM (
        SELECT concat('tenant:', k.subject) AS scope, JSONExtractString(b.value, 'period') AS period,
            JSONExtractInt(b.value, 'period_start') AS start, 3 * indexOf(['hour', 'day', 'week', 'month'], period) - 2 AS place,
            JSONExtract(k.value, 'totals', 'local', 'Array(Int64)') AS sums
        FROM (
            SELECT subject, argMax(value, (fold_version, epoch, offset)) AS value FROM turnout.state WHERE kind = 'spend' GROUP BY subject
        ) AS k
        INNER JOIN (
            SELECT subject, argMax(value, (fold_version, epoch, offset)) AS value FROM turnout.state WHERE kind = 'budget' GROUP BY subject
        ) AS b ON JSONExtractString(b.value, 'scope') = concat('tenant:', k.subject)
        WHERE JSONExtractString(k.value, 'zone') != ''
    ) AS m
) AS z ON z.scope = l.scope AND z.period = l.period
LEFT JOIN (
    SELECT scope, period, period_start, limit_nano_usd, max(threshold) AS threshold FROM turnout.budget_transitions
    WHERE event = 'BudgetThresholdCrossed' GROUP BY scope, period, period_start, limit_nano_usd
) AS t ON t.scope = l.scope AND t.period = l.period AND t.period_start = coalesce(z.start, p.start) AND t.limit_nano_usd = toInt64(l.limit_usd * 1000000000)
LEFT JOIN (SELECT * FROM turnout.forecasts FINAL) AS f
    ON f.scope = l.scope AND f.period = l.period AND f.period_start = coalesce(z.start, p.start);
