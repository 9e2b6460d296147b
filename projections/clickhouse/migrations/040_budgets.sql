-- Limits that change within a period, periods of a tenant's time zone, and reservations as llm.state writes them now.
CREATE MATERIALIZED VIEW IF NOT EXISTS turnout.to_notices_of_budgets TO turnout.notices AS
SELECT event, topic, partition, offset, logged_at, event_id, request_id, source_topic, source_partition, source_offset, subject, payload
FROM turnout.log
WHERE event = 'BudgetLimitChanged';

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

-- Spent in the current period from charges, which UTC periods always hold whole hours of, or from the state of a tenant with a time zone, and
-- reserved from the open reservations of llm.state, arrays in the order of schemas.state.Reservation.
CREATE OR REPLACE VIEW turnout.budgets AS
SELECT l.scope AS scope, l.period AS period, coalesce(z.start, p.start) AS period_start, l.limit_usd AS limit_usd,
    CAST(if(z.start IS NULL, s.nano_usd, z.nano_usd) AS Decimal(38, 9)) / 1000000000 AS spent_usd, CAST(r.nano_usd AS Decimal(38, 9)) / 1000000000 AS reserved_usd,
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
) AS t ON t.scope = l.scope AND t.period = l.period AND t.period_start = coalesce(z.start, p.start) AND t.limit_nano_usd = toInt64(l.limit_usd * 1000000000);
