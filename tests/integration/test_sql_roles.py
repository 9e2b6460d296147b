"""Users with roles at the SQL door: a tenant sees its own rows, whatever it asks."""

import json
from collections.abc import Iterator
from contextlib import closing

import pytest
from sql_site import Answer, Site, running_site

from infra.sql import ADMIN, ANALYST, Account, parse_role
from infra.sql.roles import POLICIES, VIEWS
from projections.clickhouse.migrate import migrate
from schemas.inforce import document_of
from schemas.policy import Configuration

USERS = {
    "boss": Account("b", ADMIN), "ana": Account("a", ANALYST), "acme": Account("t", parse_role("tenant:acme")),
    "quote": Account("q", parse_role("tenant:o'ne\\x/")), "ghost": Account("g", parse_role("tenant:acm")),
}  # fmt: skip
TENANTS = ("acme", "rival", "acme/x")
SCOPES = ("global", *(f"tenant:{tenant}" for tenant in TENANTS))
CONFIGURATION = Configuration.model_validate({
    "catalog": {"models": [{"id": "m"}],
                "deployments": [{"id": "d0", "provider": "openai", "model": "m", "base_url": "http://127.0.0.1:1"}]},
    "budgets": [{"scope": scope, "period": "month", "limit_usd": 1000 + n} for n, scope in enumerate(SCOPES)],
})  # fmt: skip
# Four events a request of each tenant; a rival's rows hold RIVAL wherever text stands.
TRAFFIC = """
INSERT INTO turnout.log (topic, offset, event, tenant, accepted_at, logged_at, request_id, source_topic, source_offset, run, number,
    deployment, status, code, cost_id, nano_usd, latency_ms, payload)
SELECT 'llm.x', n, ['RequestAccepted', 'RouteDecided', 'AttemptSucceeded', 'CostIncurred', 'RequestCompleted'][n % 5 + 1] AS event,
    [{tenants}][intDiv(n, 5) % 3 + 1] AS who, now64(6), now64(6), concat(secret, '-', toString(intDiv(n, 5))),
    'llm.requests', intDiv(n, 5), 1, 1, concat(secret, '-d'), if(event = 'CostIncurred', 'certain', 'ok'), 'p1',
    concat(secret, '-', toString(intDiv(n, 5))), if(who = 'acme', 1, 1000000), 5, concat('{{"reasons": ["', secret, '"]}}')
FROM (SELECT number AS n, ['acme', 'RIVAL', 'RIVAL'][intDiv(number, 5) % 3 + 1] AS secret FROM numbers(3000))
"""
STATE = """
INSERT INTO turnout.log (topic, offset, event, version, kind, subject, source_topic, run, logged_at, payload)
SELECT 'llm.state', 9000 + number, 'Snapshot', 1, k, s, 'llm.costs', 1, now64(6), v FROM (
    SELECT arrayJoin(arrayConcat(
        arrayMap(t -> ('spend', t, concat('{{"open": {{"x": {{"nano_usd": ', if(t = 'acme', '7', '999'), ', "provider": "p",',
            ' "deployment": "d0"}}}}}}')), [{tenants}]),
        arrayMap(t -> ('sla', concat('latency_p95_ms/', t, '/900'), concat('{{"metric": "latency_p95_ms", "scope": "', t, '",',
            ' "window_s": 900, "value": 1, "target": 1, "status": "met"}}')), [{scopes}]))) AS r,
        r.1 AS k, r.2 AS s, r.3 AS v, rowNumberInAllBlocks() AS number)
"""


def quoted(words: tuple[str, ...]) -> str:
    return ", ".join(f"'{word}'" for word in words)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with running_site(tmp_path_factory.mktemp("sql"), USERS) as site:
        with closing(site.engine.client()) as client:
            migrate(client)
            payload = f'{{"document": {json.dumps(document_of(CONFIGURATION))}}}'
            client.command(
                "INSERT INTO turnout.log (topic, offset, event, logged_at, payload)"
                " SELECT 'llm.control', 0, 'ConfigurationApplied', now64(6), {payload:String}",
                parameters={"payload": payload},
            )
            client.command(TRAFFIC.format(tenants=quoted(TENANTS)))
            client.command(STATE.format(tenants=quoted(TENANTS), scopes=quoted(SCOPES)))
        yield site


def ask(site: Site, user: str, sql: str, **fields: str) -> Answer:
    return site.ask(sql, locked=True, user=user, password=USERS[user].password, **fields)


def test_every_table_has_a_policy(site: Site) -> None:
    tables = site.engine.execute(
        "SELECT name FROM system.tables WHERE database = 'turnout' AND engine LIKE '%MergeTree'"
    )
    assert set(tables.decode().split()) - set(POLICIES) == set()


@pytest.mark.parametrize("view", VIEWS)
def test_a_tenant_reads_every_view_and_its_own_rows_alone(site: Site, view: str) -> None:
    own = ask(site, "acme", f"SELECT * FROM {view} FORMAT JSONEachRow")
    assert own.status == 200, own.text
    assert (
        b"RIVAL" not in own.body
        and b"rival" not in own.body
        and b"acme/x" not in own.body
        and b"global" not in own.body
    )
    column = "scope" if view in ("budgets", "sla") else "tenant"
    value = "tenant:acme" if column == "scope" else "acme"
    counted = f"SELECT count() > 0, uniqExact({column}), any({column}) FROM {view}"
    assert ask(site, "acme", counted).text == f"1\t1\t{value}\n"
    assert ask(site, "acme", counted.replace(view, f"turnout.{view}")).text == f"1\t1\t{value}\n"
    assert int(ask(site, "ana", f"SELECT uniqExact({column}) FROM {view}").text) >= 3
    expected = ask(site, "ana", f"SELECT count() FROM {view} WHERE {column} = '{value}'").text
    assert ask(site, "acme", f"SELECT count() FROM {view}").text == expected
    for other in ("quote", "ghost"):
        assert ask(site, other, f"SELECT count() FROM {view}").text == "0\n"


def test_a_tenant_s_sums_are_its_own(site: Site) -> None:
    assert ask(site, "acme", "SELECT sum(cost_usd), sum(charges) FROM tenant_costs").text == "0.0000002\t200\n"
    assert (
        ask(site, "acme", "SELECT limit_usd, spent_usd, reserved_usd FROM budgets").text
        == "1001\t0.0000002\t0.000000007\n"
    )
    assert ask(site, "acme", "SELECT count(), uniqExact(candidates) FROM decisions").text == "200\t1\n"
    assert ask(site, "boss", "SELECT count() > 600 FROM events").text == "1\n"


def test_what_has_no_tenant_is_refused_in_a_sentence(site: Site) -> None:
    for name in (
        "circuits",
        "provider_health",
        "alerts",
        "dead_letters",
        "drift",
        "state",
        "log",
        "notices",
        "charges_by_time",
    ):
        answer = ask(site, "acme", f"SELECT * FROM {name}")
        assert answer.status == 403 and f"{name} is not kept by tenant: read answers, attempts" in answer.text
        assert ask(site, "ana", f"SELECT count() FROM {name}").status == 200


def test_an_admin_sees_how_the_tables_stand(site: Site) -> None:
    parts = "SELECT count() > 0 FROM system.parts WHERE database = 'turnout'"
    assert ask(site, "boss", parts).text == "1\n"
    assert ask(site, "ana", parts).status == ask(site, "acme", parts).status == 403
    assert (
        ask(site, "boss", "DROP TABLE turnout.log").status
        == ask(site, "boss", "SELECT * FROM system.users").status
        == 403
    )


# An oracle answers otherwise when a rival's row is read at all: by an error, a division, a conversion that quotes its text.
BYPASSES = [
    "SELECT tenant FROM events WHERE tenant = 'rival'", "SELECT tenant FROM events WHERE tenant != 'acme'",
    "SELECT count() FROM events WHERE throwIf(tenant = 'rival', 'RIVAL') = 0",
    "SELECT count() FROM requests WHERE throwIf(tenant = 'rival', 'RIVAL') = 0",
    "SELECT count() FROM attempts WHERE throwIf(tenant = 'rival', 'RIVAL') = 0",
    "SELECT count() FROM costs WHERE throwIf(nano_usd = 1000000, 'RIVAL') = 0",
    "SELECT count() FROM decisions WHERE throwIf(tenant = 'rival', 'RIVAL') = 0",
    "SELECT count() FROM tenant_costs WHERE throwIf(tenant = 'rival', 'RIVAL') = 0",
    "SELECT count() FROM budgets WHERE throwIf(scope = 'tenant:rival', 'RIVAL') = 0",
    "SELECT count() FROM budgets WHERE throwIf(limit_usd = 1000, 'RIVAL') = 0",
    "SELECT count() FROM sla WHERE throwIf(scope = 'tenant:acme/x', 'RIVAL') = 0",
    "SELECT count() FROM events WHERE intDiv(1, tenant != 'rival') = 1", "SELECT sum(toUInt32(substring(request_id, 6))) FROM requests",
    "SELECT toInt32(request_id) FROM requests WHERE startsWith(request_id, 'R')", "SELECT throwIf(max(cost_usd) > 0.0000001, 'RIVAL') FROM costs",
    "SELECT * FROM requests AS `turnout.log`", "SELECT * FROM costs AS `turnout.catalogs_fold`", "SELECT * FROM events FINAL",
    "SELECT * FROM turnout.log", "SELECT * FROM log", "SELECT * FROM `log`", "SELECT * FROM \"turnout\".\"notices\"", "TABLE log",
    "SELECT 'RIVAL-1' IN (SELECT request_id FROM requests) AS x WHERE x", "SELECT 1 WHERE ('rival') IN (SELECT tenant FROM events)",
    "SELECT e.tenant FROM events AS e RIGHT JOIN log AS l ON 1", "SELECT l.tenant FROM answers_by_time AS l", "SELECT * FROM charges_by_time FINAL",
    "WITH t AS (SELECT * FROM log) SELECT * FROM t", "SELECT * FROM (SELECT * FROM attempts_by_time)", "SELECT * FROM view(SELECT * FROM log)",
    "SELECT (SELECT any(tenant) FROM log)", "SELECT 1 UNION ALL SELECT count() FROM log", "SELECT EXISTS (SELECT 1 FROM log) AS x WHERE x",
    "SELECT * FROM merge('turnout', 'log')", "SELECT * FROM merge('turnout', '.*')", "SELECT * FROM mergeTreeIndex(turnout, log)",
    "SELECT * FROM loop(turnout.log) LIMIT 1", "SELECT * FROM {t:Identifier}", "SELECT * FROM cluster('default', turnout.log)",
    "SELECT * FROM system.tables", "SELECT * FROM system.columns", "SELECT * FROM system.parts", "SELECT * FROM system.processes",
    "SELECT * FROM information_schema.tables", "EXPLAIN ESTIMATE SELECT * FROM events", "EXPLAIN indexes = 1 SELECT * FROM requests",
    "EXPLAIN QUERY TREE SELECT * FROM events", "EXPLAIN PIPELINE SELECT * FROM events", "SELECT * FROM provider_minute",
    "SHOW CREATE TABLE log", "DESCRIBE log", "EXISTS TABLE log", "SHOW CREATE TABLE turnout.notices",
    "SET log_comment = ''", "SELECT * FROM events SETTINGS log_comment = ''", "SELECT * FROM (SELECT * FROM events SETTINGS log_comment = '')",
    "SET profile = 'default'", "SELECT 1 SETTINGS profile = 'reader'", "SELECT * FROM events SETTINGS additional_table_filters = {}",
    "SELECT tenant FROM events WHERE 0 OR tenant LIKE '%r%' AND tenant NOT LIKE 'a%'", "SELECT maxIf(tenant, 1) AS t FROM events HAVING t > 'acme'",
    "SELECT tenant FROM turnout.events LIMIT 1 BY tenant OFFSET 1", "SELECT groupUniqArray(tenant) AS t FROM events HAVING length(t) > 1",
    "SELECT DISTINCT request_id FROM events WHERE request_id LIKE 'RIV%'", "SELECT quantile(1)(latency_ms), max(nano_usd) AS n FROM costs HAVING n > 1",
    "SELECT 1 WHERE 'rival' IN log", "SELECT 1 WHERE ('x', 'y') IN notices", "SELECT 1 WHERE 1 IN turnout.epochs",
]  # fmt: skip


@pytest.mark.parametrize("sql", BYPASSES)
def test_no_statement_shows_another_tenant_s_row(site: Site, sql: str) -> None:
    """Refused, or answered from acme's rows alone: what it asked about others is then empty."""
    answer = ask(site, "acme", sql, param_t="turnout.log")
    told = answer.text.replace(sql, "")
    if answer.status == 200:
        assert all(b"RIVAL" not in line and b"rival" not in line for line in answer.body.splitlines()), told
        assert "global" not in told and "acme/x" not in told
    else:
        assert (
            answer.headers["X-ClickHouse-Exception-Code"] != "395" and "RIVAL" not in told.partition("executing")[0]
        ), told


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("fields", [
    {"log_comment": ""}, {"log_comment": "turnout tenant rival"}, {"profile": "default"}, {"additional_table_filters": "{}"},
    {"database": "system"}, {"role": "admin"}, {"final": "0"}, {"optimize_move_to_prewhere": "0"}, {"max_rows_to_read": "1"},
    {"optimize_trivial_count_query": "1"}, {"output_format_write_statistics": "1", "default_format": "JSON"},
])  # fmt: skip
def test_no_parameter_shows_another_tenant_s_row(site: Site, fields: dict[str, str], view: str) -> None:
    plain = ask(site, "acme", f"SELECT count() FROM {view}").text
    answer = ask(site, "acme", f"SELECT count() FROM {view}", **fields)
    if "default_format" in fields:
        assert "statistics" not in answer.text and f'"count()": {plain.strip()}' in answer.text
    else:
        assert answer.text == plain or answer.status == 403, answer.text
    assert '"read_rows": "0"' in answer.headers.get("X-ClickHouse-Summary", '"read_rows": "0"')


def test_the_engine_alone_holds_without_the_guard(site: Site) -> None:
    """On a tenant's handle the tables themselves give its own rows: the list of names is the second lock."""
    handle = site.engine.handle()
    handle.query(f"SET log_comment = '{USERS['acme'].role.mark}'")
    handle.query("SET profile = 'tenant'")
    for statement in (
        "SELECT DISTINCT tenant FROM turnout.log", "SELECT DISTINCT tenant FROM turnout.answers_by_time FINAL",
        "SELECT DISTINCT tenant FROM merge('turnout', '^(log|charges_by_time)$')",
        "SELECT DISTINCT tenant FROM turnout.log PREWHERE throwIf(tenant = 'rival') = 0",
    ):  # fmt: skip
        assert handle.query(statement, "TSV").bytes() == b"acme\n"
    for statement in (
        "SET log_comment = ''",
        "SELECT 1 SETTINGS log_comment = ''",
        "SELECT * FROM mergeTreeIndex(turnout, log)",
    ):
        with pytest.raises(RuntimeError):
            handle.query(statement)
    assert handle.query("SELECT count() FROM turnout.provider_minute", "TSV").bytes() == b"0\n"
    handle.close()


@pytest.mark.parametrize("text", ["tenant:", "tenant", "root", "", "admin:x"])
def test_a_role_is_one_of_three(text: str) -> None:
    with pytest.raises(ValueError, match="admin, analyst or tenant:T"):
        parse_role(text)
