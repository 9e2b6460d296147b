"""What the command line asks, by name. Parameters stand in braces with their type, as ClickHouse binds them."""

from collections.abc import Mapping
from dataclasses import dataclass

QUERIES: dict[str, str] = {
    # since: what a run did from that moment on.
    "summary": """
        SELECT count() AS requests, countIf(status = 'ok') AS ok, countIf(status = 'error') AS errors,
            countIf(status = 'running') AS running, countIf(fallback) AS fallbacks,
            round(quantileIf(0.5)(latency_ms, status = 'ok'), 1) AS p50_ms,
            round(quantileIf(0.95)(latency_ms, status = 'ok'), 1) AS p95_ms,
            round(quantileIf(0.99)(latency_ms, status = 'ok'), 1) AS p99_ms, sum(cost_usd) AS cost_usd
        FROM turnout.requests
        WHERE accepted_at >= {since:DateTime64(6, 'UTC')} AND status != 'deduplicated'""",
    "request": "SELECT * FROM turnout.requests WHERE request_id = {request_id:String} ORDER BY accepted_at, source",
    "request_decisions": """
        SELECT run, logged_at, plan, strategy, cost_strategy, balancer, task, confidence, reasons, candidates,
            excluded
        FROM turnout.decisions WHERE request_id = {request_id:String} ORDER BY run, logged_at""",
    "request_attempts": """
        SELECT source, run, number, deployment, provider, model, tier, outcome, failure, http_status, latency_ms,
            cost_usd
        FROM turnout.attempts WHERE request_id = {request_id:String} ORDER BY source, run, number""",
    "request_events": """
        SELECT logged_at, topic, partition, offset, event, run, number, deployment, payload
        FROM turnout.events WHERE request_id = {request_id:String} ORDER BY logged_at, topic, partition, offset""",
    # minutes: how far to look back from now.
    "provider_health": """
        SELECT provider, deployment, sum(requests) AS calls, sum(success_rate * requests) / nullIf(calls, 0) AS success,
            max(p95_ms) AS worst_p95_ms, sum(tokens_in + tokens_out) AS tokens, sum(cost_usd) AS cost
        FROM turnout.provider_health
        WHERE minute >= now() - toIntervalMinute({minutes:UInt32})
        GROUP BY provider, deployment ORDER BY provider, deployment""",
    "tenant_costs": """
        SELECT tenant, provider, model, sum(charges) AS charged, sum(tokens_in + tokens_out) AS tokens,
            sum(cost_usd) AS cost
        FROM turnout.tenant_costs
        WHERE hour >= {since:DateTime('UTC')}
        GROUP BY tenant, provider, model ORDER BY cost DESC""",
    # lost: accepted and without an outcome an hour later; duplicated: more than one final ok.
    "integrity": """
        SELECT
            (SELECT count() FROM turnout.requests
                WHERE status = 'running' AND accepted_at < now64(6) - toIntervalHour(1)) AS lost,
            (SELECT count() FROM (
                SELECT 1 FROM turnout.log FINAL WHERE event = 'RequestCompleted' AND status = 'ok'
                GROUP BY source_topic, source_partition, source_offset HAVING count() > 1)) AS duplicated,
            (SELECT count() FROM turnout.drift) AS drifted,
            (SELECT count() FROM turnout.ingest_errors) AS unreadable""",
    # since: the start of a UTC day; `start`: seconds.
    "spend_by_hour": """
        SELECT scope, toUnixTimestamp(c.hour) AS start, toInt64(sum(c.nano_usd)) AS nano_usd
        FROM turnout.charges AS c
        ARRAY JOIN ['global', concat('tenant:', c.tenant), concat('provider:', c.provider),
            concat('deployment:', c.deployment)] AS scope
        WHERE c.hour >= {since:DateTime('UTC')}
        GROUP BY scope, start ORDER BY scope, start""",
    "limits": "SELECT scope, limit_usd FROM turnout.limits WHERE period = {period:String}",
    # since, until: the period; minutes: width of a point of the series. A target is measured once a minute.
    "sla_report": """
        SELECT metric, scope, window_s, count() AS measured, countIf(h.status = 'met') AS met,
            countIf(h.status = 'unknown') AS unknown, met / nullIf(measured - unknown, 0) AS compliance,
            avg(h.value) AS mean, min(h.value) AS lowest, max(h.value) AS highest, argMax(h.target, h.at) AS wanted,
            sum(h.burn_rate * 60 / h.window_s) AS budget_spent
        FROM turnout.sla_history AS h
        WHERE h.at >= {since:DateTime('UTC')} AND h.at < {until:DateTime('UTC')}
        GROUP BY metric, scope, window_s ORDER BY metric, scope, window_s""",
    "sla_report_series": """
        SELECT metric, scope, window_s, toUnixTimestamp(toStartOfInterval(h.at, toIntervalMinute({minutes:UInt32}))) AS start,
            avg(h.value) AS mean, countIf(h.status = 'met') / nullIf(countIf(h.status != 'unknown'), 0) AS compliance
        FROM turnout.sla_history AS h
        WHERE h.at >= {since:DateTime('UTC')} AND h.at < {until:DateTime('UTC')}
        GROUP BY metric, scope, window_s, start ORDER BY metric, scope, window_s, start""",
    "sla_report_breaches": """
        SELECT breach, metric, scope, window_s, severity, toString(b.began_at) AS began,
            if(b.ended_at IS NULL, NULL, toString(b.ended_at)) AS ended, value, target, reason,
            dateDiff('second', b.began_at, coalesce(b.ended_at, now64(6))) AS lasted_s
        FROM turnout.sla_breaches AS b
        WHERE b.began_at < {until:DateTime('UTC')}
            AND coalesce(b.ended_at, now64(6)) >= {since:DateTime('UTC')}
        ORDER BY b.began_at""",
    "breach": """
        SELECT metric, scope, window_s, target, toUnixTimestamp(b.began_at) AS began,
            toUnixTimestamp(coalesce(b.ended_at, now64(6))) AS ended
        FROM turnout.sla_breaches AS b WHERE b.breach = {breach:String}""",
    # Attempts of a scope before `since` and from then on, counted by every dimension at once. slow: milliseconds, 0 where
    # the breach is of failures; width: seconds of one value of the dimension time.
    "cause": """
        SELECT c.part.1 AS dimension, c.part.2 AS part_value, countIf(c.now_in AND c.is_bad) AS bad, countIf(c.now_in) AS whole,
            countIf(NOT c.now_in AND c.is_bad) AS bad_before, countIf(NOT c.now_in) AS whole_before
        FROM (
            SELECT a.logged_at >= {since:DateTime('UTC')} AS now_in,
                if({slow:Float64} > 0, a.outcome = 'succeeded' AND a.latency_ms > {slow:Float64}, a.outcome = 'failed') AS is_bad,
                arrayJoin(arrayFilter(p -> p.2 != '', [
                    ('deployment', toString(a.deployment)), ('provider', toString(a.provider)), ('model', toString(a.model)),
                    ('tenant', toString(a.tenant)), ('region', d.region), ('failure', toString(a.failure)),
                    ('time', if(a.logged_at >= {since:DateTime('UTC')},
                        toString(toStartOfInterval(a.logged_at, toIntervalSecond({width:UInt32}))), 'before'))
                ])) AS part
            FROM turnout.attempts AS a
            LEFT JOIN (
                SELECT JSONExtractString(k.item, 'id') AS id, JSONExtractString(k.item, 'region') AS region
                FROM (
                    SELECT arrayJoin(JSONExtractArrayRaw(JSONExtractString(argMax(n.payload, n.offset), 'document'),
                        'catalog', 'deployments')) AS item
                    FROM turnout.notices AS n FINAL WHERE n.event = 'ConfigurationApplied'
                ) AS k
            ) AS d ON d.id = a.deployment
            WHERE a.logged_at >= {before:DateTime('UTC')} AND a.logged_at < {until:DateTime('UTC')}
                AND a.outcome IN ('succeeded', 'failed')
                AND ({scope:String} = 'global' OR {scope:String} IN (concat('tenant:', a.tenant), concat('provider:', a.provider),
                    concat('deployment:', a.deployment)))
        ) AS c
        GROUP BY dimension, part_value ORDER BY dimension, part_value""",
}


@dataclass(frozen=True, slots=True)
class Question:
    """What a platform team asks the contract's views. `parameters`: name -> default, as text.

    Days and hours count back from now: the current day or hour is the first of them.
    """

    title: str
    sql: str
    parameters: Mapping[str, str]


# Views are cut by `hour`, where they have it: it stands in their sorting key, so that older hours are never read.
QUESTIONS: dict[str, Question] = {
    "spend": Question(
        "Spend by tenant and model, today (UTC).",
        """
        SELECT tenant, provider, model, sum(c.charges) AS charged, sum(c.tokens_in + c.tokens_out) AS tokens,
            sum(c.cost_usd) AS spent_usd
        FROM turnout.tenant_costs AS c
        WHERE hour >= toStartOfDay(now('UTC')) - toIntervalDay({days:UInt32} - 1)
        GROUP BY tenant, provider, model ORDER BY spent_usd DESC, tenant, provider, model LIMIT {limit:UInt32}""",
        {"days": "1", "limit": "100"},
    ),
    # From the digests of every minute (error 0.1 %): a day of calls need not be read again.
    "latency": Question(
        "Calls and latency percentiles of what succeeded, by deployment.",
        """
        SELECT provider, deployment, calls, round(digest[1], 1) AS p50_ms, round(digest[2], 1) AS p95_ms,
            round(digest[3], 1) AS p99_ms
        FROM (
            SELECT provider, deployment, sum(m.succeeded) AS calls, quantilesTDigestIfMerge(0.5, 0.95, 0.99)(m.latency) AS digest
            FROM turnout.provider_minute AS m
            WHERE minute >= toStartOfHour(now('UTC')) - toIntervalHour({hours:UInt32} - 1)
            GROUP BY provider, deployment
        )
        WHERE calls > 0
        ORDER BY p95_ms DESC, deployment""",
        {"hours": "24"},
    ),
    "fallbacks": Question(
        "Requests that another deployment had to answer: which one failed, why, and who answered.",
        """
        SELECT a.deployment AS failed, a.failure AS failure, r.deployment AS answered, uniqExact(r.source) AS requests,
            round(avg(r.latency_ms), 1) AS mean_ms
        FROM (
            SELECT source, run, deployment, failure FROM turnout.attempts
            WHERE hour >= toStartOfHour(now('UTC')) - toIntervalHour({hours:UInt32} - 1) AND outcome = 'failed'
        ) AS a
        INNER JOIN (
            SELECT source, run, deployment, latency_ms FROM turnout.answers
            WHERE hour >= toStartOfHour(now('UTC')) - toIntervalHour({hours:UInt32} - 1) AND fallback
        ) AS r ON r.source = a.source AND r.run = a.run
        GROUP BY failed, failure, answered ORDER BY requests DESC, failed, failure, answered""",
        {"hours": "24"},
    ),
    "error_budget": Question(
        "Targets as they stand: value, status, how fast the error budget burns and what is left of it.",
        """
        SELECT metric, scope, window_s, value, target, status, burn_rate, error_budget_left, breach, measured_at
        FROM turnout.sla
        ORDER BY error_budget_left IS NULL, error_budget_left, metric, scope, window_s""",
        {},
    ),
    "circuits": Question(
        "Transitions of circuits, the newest first, and why.",
        """
        SELECT at, deployment, status, reason, trips, open_until
        FROM turnout.circuit_transitions
        WHERE at >= now64(6) - toIntervalHour({hours:UInt32})
        ORDER BY at DESC, epoch DESC LIMIT {limit:UInt32}""",
        {"hours": "24", "limit": "100"},
    ),
    # At this pace: what was spent so far, spread evenly over the whole period.
    "budgets": Question(
        "Budgets: spent, reserved, used share, and what the period comes to at this pace.",
        """
        SELECT scope, period, b.period_start AS since, limit_usd, spent_usd, reserved_usd,
            round(toFloat64(b.spent_usd + b.reserved_usd) / nullIf(toFloat64(b.limit_usd), 0), 4) AS used, threshold,
            multiIf(period = 'hour', since + toIntervalHour(1), period = 'day', since + toIntervalDay(1),
                period = 'week', since + toIntervalWeek(1), since + toIntervalMonth(1)) AS until,
            round(toFloat64(b.spent_usd) * dateDiff('second', since, until)
                / greatest(dateDiff('second', since, now('UTC')), 1), 9) AS at_this_pace_usd
        FROM turnout.budgets AS b
        ORDER BY used DESC, scope, period""",
        {},
    ),
    "slowest": Question(
        "The slowest requests and where their time went; `turnout explain REQUEST_ID` tells each one's story.",
        """
        SELECT request_id, tenant, task, status, code, deployment, attempts, round(latency_ms, 1) AS total_ms,
            round(queue_ms, 1) AS waited_ms, cost_usd, accepted_at
        FROM turnout.requests AS r
        WHERE hour >= toStartOfHour(now('UTC')) - toIntervalHour({hours:UInt32} - 1) AND r.completed
            AND r.status != 'deduplicated'
        ORDER BY r.latency_ms DESC, request_id LIMIT {limit:UInt32}""",
        {"hours": "24", "limit": "20"},
    ),
    # Share: of all failed attempts of the provider.
    "failures": Question(
        "Failed attempts by provider and kind.",
        """
        SELECT provider, failure, count() AS failed, uniqExact(a.deployment) AS deployments,
            round(failed / sum(failed) OVER (PARTITION BY provider), 4) AS share, max(a.logged_at) AS last_at
        FROM turnout.attempts AS a
        WHERE hour >= toStartOfHour(now('UTC')) - toIntervalHour({hours:UInt32} - 1) AND outcome = 'failed'
        GROUP BY provider, failure ORDER BY failed DESC, provider, failure""",
        {"hours": "24"},
    ),
    # Failed requests and second runs are paid for as well: their cost counts, their answers do not. Joined by where a request
    # stood, for `requests` has the charges of every hour.
    "cost_per_success": Question(
        "Cost of a successful answer, by task.",
        """
        SELECT a.task AS task, count() AS requests, countIf(a.status = 'ok') AS answered,
            CAST(sum(c.nano_usd) AS Decimal(38, 9)) / 1000000000 AS spent_usd,
            round(toFloat64(spent_usd) / nullIf(answered, 0), 9) AS usd_per_answer
        FROM (
            SELECT source_key, task, status FROM turnout.answers_by_time FINAL
            WHERE hour >= toStartOfHour(now('UTC')) - toIntervalHour({hours:UInt32} - 1)
                AND status NOT IN ('running', 'deduplicated')
        ) AS a
        LEFT JOIN (
            SELECT source_key, sum(nano_usd) AS nano_usd FROM turnout.charges_by_time FINAL
            WHERE hour >= toStartOfHour(now('UTC')) - toIntervalHour({hours:UInt32} - 1)
            GROUP BY source_key
        ) AS c ON c.source_key = a.source_key
        GROUP BY task ORDER BY usd_per_answer DESC, task""",
        {"hours": "24"},
    ),
    "queue_wait": Question(
        "How long requests waited before they were decided, by hour.",
        """
        SELECT hour, count() AS requests, round(quantile(0.5)(r.queue_ms), 1) AS p50_ms,
            round(quantile(0.95)(r.queue_ms), 1) AS p95_ms, round(max(r.queue_ms), 1) AS worst_ms
        FROM turnout.answers AS r
        WHERE hour >= toStartOfHour(now('UTC')) - toIntervalHour({hours:UInt32} - 1) AND r.completed
            AND r.status != 'deduplicated'
        GROUP BY hour ORDER BY hour""",
        {"hours": "24"},
    ),
    # Explored: the plan began with another deployment than the likeliest one. Drawn: the choice left something to chance.
    "exploration": Question(
        "Decisions that explored: how many by strategy and task, and how likely their choice was.",
        """
        SELECT strategy, task, count() AS decided, countIf(c.drawn) AS drawn, countIf(c.propensity < c.likeliest) AS explored,
            round(explored / decided, 4) AS share, round(avgIf(c.propensity, c.drawn), 4) AS mean_propensity
        FROM turnout.choices AS c
        WHERE hour >= toStartOfHour(now('UTC')) - toIntervalHour({hours:UInt32} - 1)
        GROUP BY strategy, task ORDER BY decided DESC, strategy, task""",
        {"hours": "24"},
    ),
}
