-- A target as it was judged last. A burn rate of 1 uses the error budget up in exactly one window.
CREATE OR REPLACE VIEW turnout.sla AS
SELECT JSONExtractString(value_json, 'metric') AS metric, JSONExtractString(value_json, 'scope') AS scope,
    JSONExtractUInt(value_json, 'window_s') AS window_s,
    if(JSONExtractInt(value_json, 'value') < 0, NULL, JSONExtractInt(value_json, 'value') / 1000000) AS value,
    JSONExtractInt(value_json, 'target') / 1000000 AS target, JSONExtractString(value_json, 'status') AS status,
    JSONExtractString(value_json, 'severity') AS severity, JSONExtractUInt(value_json, 'number') AS breaches,
    if(severity = '', NULL, concat(subject, '#', toString(breaches))) AS breach,
    if(severity = '', NULL, fromUnixTimestamp64Micro(JSONExtractInt(value_json, 'breached_at'), 'UTC')) AS breached_at,
    JSONExtractUInt(value_json, 'sample') AS sample,
    if(JSONExtractInt(value_json, 'burn') < 0, NULL, JSONExtractInt(value_json, 'burn') / 1000) AS burn_rate,
    if(JSONExtractInt(value_json, 'burn_short') < 0, NULL, JSONExtractInt(value_json, 'burn_short') / 1000) AS burn_rate_short,
    if(burn_rate IS NULL, NULL, 1 - burn_rate) AS error_budget_left,
    fromUnixTimestamp64Micro(JSONExtractInt(value_json, 'measured_at'), 'UTC') AS measured_at
FROM (
    SELECT s.subject AS subject, argMax(s.value, (s.fold_version, s.epoch, s.offset)) AS value_json
    FROM turnout.state AS s WHERE s.kind = 'sla' GROUP BY s.subject
);

-- A target over time: a row a minute and target, as it was last in that minute.
CREATE OR REPLACE VIEW turnout.sla_history AS
SELECT fromUnixTimestamp64Micro(JSONExtractInt(payload, 'logged_at'), 'UTC') AS at, subject,
    JSONExtractString(payload, 'metric') AS metric, JSONExtractString(payload, 'scope') AS scope,
    JSONExtractUInt(payload, 'window_s') AS window_s,
    if(JSONExtractInt(payload, 'value_micros') < 0, NULL, JSONExtractInt(payload, 'value_micros') / 1000000) AS value,
    JSONExtractInt(payload, 'target_micros') / 1000000 AS target, JSONExtractString(payload, 'status') AS status,
    JSONExtractUInt(payload, 'sample') AS sample,
    if(JSONExtractInt(payload, 'burn_milli') < 0, NULL, JSONExtractInt(payload, 'burn_milli') / 1000) AS burn_rate
FROM turnout.notices FINAL
WHERE event = 'SlaMeasured'
ORDER BY at DESC, subject
LIMIT 1 BY subject, toStartOfMinute(at);

-- A breach with its beginning and its end; the severity is the worst it had.
CREATE OR REPLACE VIEW turnout.sla_breaches AS
SELECT concat(subject, '#', toString(number)) AS breach, any(subject_metric) AS metric, any(subject_scope) AS scope,
    any(subject_window_s) AS window_s, number,
    ['info', 'warning', 'critical'][max(level)] AS severity,
    minIf(happened, kind = 'SlaBreached') AS began_at,
    if(countIf(kind = 'SlaRestored') = 0, NULL, maxIf(happened, kind = 'SlaRestored')) AS ended_at,
    argMinIf(measured, happened, kind = 'SlaBreached') AS value, any(wanted) AS target,
    anyIf(why, kind = 'SlaRestored') AS reason
FROM (
    SELECT event AS kind, subject, JSONExtractUInt(payload, 'number') AS number, JSONExtractString(payload, 'metric') AS subject_metric,
        JSONExtractString(payload, 'scope') AS subject_scope, JSONExtractUInt(payload, 'window_s') AS subject_window_s,
        indexOf(['info', 'warning', 'critical'], JSONExtractString(payload, 'severity')) AS level,
        fromUnixTimestamp64Micro(JSONExtractInt(payload, 'logged_at'), 'UTC') AS happened,
        JSONExtractInt(payload, 'value_micros') / 1000000 AS measured, JSONExtractInt(payload, 'target_micros') / 1000000 AS wanted,
        JSONExtractString(payload, 'reason') AS why
    FROM turnout.notices FINAL
    WHERE event IN ('SlaBreached', 'SlaRestored')
)
GROUP BY subject, number;

CREATE OR REPLACE VIEW turnout.anomalies AS
SELECT fromUnixTimestamp64Micro(JSONExtractInt(payload, 'minute') * 60000000, 'UTC') AS minute,
    JSONExtractString(payload, 'deployment') AS deployment, JSONExtractString(payload, 'measure') AS measure,
    JSONExtractString(payload, 'direction') AS direction, JSONExtractInt(payload, 'size_milli') / 1000 AS sigmas,
    JSONExtractInt(payload, 'value_micros') / 1000000 AS value, JSONExtractInt(payload, 'baseline_micros') / 1000000 AS baseline,
    JSONExtractUInt(payload, 'sample') AS sample
FROM turnout.notices FINAL
WHERE event = 'AnomalyDetected'
ORDER BY minute
LIMIT 1 BY minute, deployment, measure;

-- An alert with its whole life: every change, and what each webhook heard of it.
CREATE OR REPLACE VIEW turnout.alerts AS
SELECT alert, any(about_kind) AS kind, any(about_subject) AS subject,
    ['info', 'warning', 'critical', 'emergency'][max(level)] AS severity,
    if(countIf(said = 'AlertResolved') > 0, 'resolved', 'open') AS status,
    minIf(happened, said = 'AlertRaised') AS raised_at,
    if(countIf(said = 'AlertResolved') = 0, NULL, maxIf(happened, said = 'AlertResolved')) AS resolved_at,
    countIf(said = 'AlertEscalated') AS escalations, argMinIf(words, happened, said = 'AlertRaised') AS text,
    arraySort(c -> c.1, groupArrayIf((change, happened, lower(substring(said, 6)), severity_then, words, silent)::Tuple(change UInt32,
        at DateTime64(6, 'UTC'), what String, severity String, text String, silenced Bool), said != 'AlertDelivered')) AS changes,
    arraySort(d -> d.1, groupArrayIf((change, happened, hook, outcome, tries, http)::Tuple(change UInt32, at DateTime64(6, 'UTC'),
        webhook String, outcome String, attempts UInt32, http_status UInt16), said = 'AlertDelivered')) AS deliveries
FROM (
    SELECT event AS said, JSONExtractString(payload, 'alert') AS alert, JSONExtractString(payload, 'kind') AS about_kind,
        subject AS about_subject, JSONExtractUInt(payload, 'change') AS change, JSONExtractString(payload, 'severity') AS severity_then,
        indexOf(['info', 'warning', 'critical', 'emergency'], severity_then) AS level,
        fromUnixTimestamp64Micro(JSONExtractInt(payload, 'logged_at'), 'UTC') AS happened, JSONExtractString(payload, 'text') AS words,
        JSONExtractBool(payload, 'silenced') AS silent, JSONExtractString(payload, 'webhook') AS hook,
        JSONExtractString(payload, 'outcome') AS outcome, JSONExtractUInt(payload, 'attempts') AS tries,
        JSONExtractUInt(payload, 'http_status') AS http
    FROM turnout.notices FINAL
    WHERE event IN ('AlertRaised', 'AlertEscalated', 'AlertResolved', 'AlertDelivered')
    ORDER BY offset
    LIMIT 1 BY event_id
)
GROUP BY alert;
