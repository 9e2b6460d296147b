"""What the command line asks, by name. Parameters stand in braces with their type, as ClickHouse binds them."""

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
