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
}
