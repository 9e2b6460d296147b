"""What nobody gets through the SQL door: writes, files, the network, other databases, other settings."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sql_site import Site, small_site


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with small_site(tmp_path_factory.mktemp("sql")) as site:
        yield site


@pytest.mark.parametrize(
    "sql",
    [
        "SHOW TABLES", "SHOW CREATE TABLE events", "DESCRIBE events", "DESC (SELECT 1 AS a)", "EXISTS TABLE turnout.events",
        "EXPLAIN SELECT * FROM events", "EXPLAIN AST SELECT 1", "EXPLAIN indexes = 1 SELECT * FROM events WHERE id = 3",
        "WITH t AS (SELECT id FROM events) SELECT count() FROM t JOIN events AS e ON e.id = t.id",
        "SELECT count() FROM (SELECT * FROM turnout.events UNION ALL SELECT * FROM `turnout`.`events`)",
        "SELECT tenant IN (SELECT tenant FROM tenants) FROM events LIMIT 1", "SELECT 1 -- ; DROP TABLE events",
        "SELECT name FROM system.tables WHERE database = 'turnout'", "SELECT 'file; url(''x'')' AS s;",
        "SELECT id, row_number() OVER (PARTITION BY tenant ORDER BY id) FROM events LIMIT 3",
        "SELECT arrayMap(x -> x + 1, [1, 2]), quantileTDigest(0.9)(id) FROM events",
        "SELECT 'a\nb', '\u2028 é' FROM events LIMIT 1", "SELECT * FROM view(SELECT 1)",
    ],
)  # fmt: skip
def test_honest_statements_pass(site: Site, sql: str) -> None:
    answer = site.ask(sql)
    assert answer.status == 200, answer.text


ATTACKS = [
    "INSERT INTO events VALUES (1, 'x')", "INSERT INTO events SELECT 1, 'x'", "INSERT INTO FUNCTION file('/tmp/x') SELECT 1",
    "CREATE TABLE turnout.t (a Int8) ENGINE = Memory", "CREATE TEMPORARY TABLE t (a Int8)", "CREATE DATABASE d",
    "CREATE VIEW turnout.v AS SELECT 1", "CREATE FUNCTION f AS x -> x", "CREATE USER u", "ATTACH TABLE turnout.t", "DETACH TABLE events",
    "DROP TABLE events", "TRUNCATE TABLE events", "RENAME TABLE events TO e2", "ALTER TABLE events DELETE WHERE 1",
    "DELETE FROM events WHERE 1", "UPDATE events SET tenant = 'x' WHERE 1", "OPTIMIZE TABLE events FINAL", "GRANT ALL ON *.* TO default",
    "SYSTEM FLUSH LOGS", "SYSTEM SHUTDOWN", "KILL QUERY WHERE 1", "SET readonly = 0", "SET max_threads = 64", "USE secret",
    "BACKUP TABLE events TO Disk('d', 'x')", "EXECUTE AS default SELECT 1", "CHECK TABLE events", "BEGIN TRANSACTION",
    "SELECT 1; DROP TABLE events", "SELECT 1; SELECT 2", "SELECT 1;\n-- x\n;INSERT INTO events VALUES (1, 'x')",
    "SELECT 1 INTO OUTFILE '{out}'", "SELECT 1 INTO/**/OUTFILE '{out}' TRUNCATE FORMAT CSV", "EXPLAIN SELECT 1 INTO OUTFILE '{out}'",
    "SHOW TABLES INTO OUTFILE '{out}'", "(SELECT 1) INTO OUTFILE '{out}' APPEND AND STDOUT",
    "SELECT file('/etc/passwd')", "SELECT `file`('/etc/passwd')", "SELECT FILE ('/etc/passwd')", "SELECT fi/**/le('/etc/passwd')",
    "SELECT arrayMap(x -> file(x), ['/etc/passwd'])", "SELECT arrayMap(file, ['/etc/passwd'])",
    "SELECT * APPLY(file) FROM (SELECT '/etc/passwd')", "SELECT * APPLY(x -> file(x)) FROM (SELECT '/etc/passwd')",
    "SELECT * REPLACE (file('/etc/passwd') AS dummy) FROM system.one",
    "WITH file('/etc/passwd') AS f SELECT f", "SELECT (SELECT file('/etc/passwd'))", "SELECT 1 ORDER BY file('/etc/passwd')",
    "SELECT 1 AS a ORDER BY a WITH FILL INTERPOLATE (a AS file('/etc/passwd'))", "SELECT 1 LIMIT length(file('/etc/passwd'))",
    "SELECT sum(1) OVER (ORDER BY file('/etc/passwd'))", "SELECT 1 WINDOW w AS (PARTITION BY file('/etc/passwd'))",
    "SELECT sum(1) OVER w FROM events WINDOW w AS (ORDER BY file('/etc/passwd'))",
    "SELECT * FROM file('/etc/passwd', LineAsString)", "SELECT * FROM (SELECT * FROM file('/etc/passwd', LineAsString))",
    "WITH t AS (SELECT * FROM file('/etc/passwd', LineAsString)) SELECT * FROM t", "DESCRIBE TABLE file('/etc/passwd')",
    "SELECT * FROM view(SELECT * FROM file('/etc/passwd', LineAsString))", "EXPLAIN SELECT * FROM file('/etc/passwd', LineAsString)",
    "EXPLAIN EXPLAIN SELECT * FROM url('http://127.0.0.1:1')", "EXPLAIN QUERY TREE SELECT file('/etc/passwd')",
    "EXPLAIN TABLE OVERRIDE mysql('a:1', 'b', 'c', 'd', 'e') COLUMNS (a Int8)",
    "SELECT * FROM url('http://127.0.0.1:1/', CSV, 'a String')", "SELECT * FROM s3('http://127.0.0.1:1/b/k', CSV, 'a String')",
    "SELECT * FROM remote('127.0.0.1', system.one)", "SELECT * FROM cluster('default', system.one)", "SELECT * FROM python('x')",
    "SELECT * FROM Python(x)", "SELECT * FROM executable('cat', TSV, 'a String', (SELECT 1))", "SELECT * FROM mysql('a:1','b','c','d','e')",
    "SELECT * FROM sqlite('/tmp/x', 't')", "SELECT * FROM fuzzJSON('a')", "SELECT * FROM input('a String')",
    "SELECT * FROM merge('system', 'users')", "SELECT * FROM merge('secret', '.*')", "SELECT * FROM loop(secret.keys) LIMIT 1",
    "SELECT * FROM mergeTreeIndex(secret, keys)", "SELECT * FROM dictionary('secret.keys')", "SELECT * FROM generateRandom('a String')",
    "SELECT * FROM viewIfPermitted(SELECT * FROM secret.keys ELSE null('k String'))",
    "SELECT * FROM secret.keys", "SELECT * FROM `secret`.`keys`", "SELECT * FROM \"secret\" . \"keys\"", "TABLE secret.keys",
    "SELECT * FROM events e JOIN secret.keys k ON 1", "SELECT * FROM events e, system.users u", "SELECT 'a' IN secret.keys",
    "SELECT 'a' GLOBAL NOT IN (secret.keys)", "SELECT 'a' IN (SELECT k FROM secret.keys)", "SELECT in('a', secret.keys)",
    "SELECT k FROM (SELECT 1) AS a LEFT JOIN (SELECT k FROM secret.keys) AS b ON 1", "EXISTS (SELECT k FROM secret.keys)",
    "SELECT EXISTS (SELECT k FROM secret.keys)", "SELECT 1 UNION ALL SELECT length(k) FROM secret.keys",
    "SELECT 1 INTERSECT SELECT length(k) FROM secret.keys", "SELECT 1 EXCEPT (SELECT length(k) FROM secret.keys)",
    "SHOW CREATE TABLE secret.keys", "DESCRIBE secret.keys", "EXPLAIN ESTIMATE SELECT * FROM secret.keys",
    "SELECT * FROM system.users", "SELECT * FROM system.processes", "SELECT * FROM system.query_log", "SELECT * FROM system.server_settings",
    "SELECT * FROM information_schema.tables", "SHOW GRANTS", "SHOW PROCESSLIST", "SHOW USERS", "SHOW ACCESS",
    "SELECT * FROM `/etc/passwd`", "SELECT * FROM '/etc/passwd'", "SELECT * FROM default.`/etc/passwd`", "SELECT * FROM `system.users`",
    "SELECT * FROM `turnout.x\n  TableIdentifier turnout.events`", "SELECT * FROM sуstem.users", "SELECT * FROM {t:Identifier}",
    "SELECT dictGet('secret.keys', 'k', 1)", "SELECT dictGetOrNull('secret.keys', 'k', 1)", "SELECT joinGet('secret.keys', 'k', 1)",
    "SELECT hasColumnInTable('127.0.0.1', 'secret', 'keys', 'k')", "SELECT getMacro('x')", "SELECT sleep(1)", "SELECT sleepEachRow(1)",
    "SELECT filesystemAvailable()", "SELECT aiGenerate('x')", "SELECT showCertificate()", "SELECT addressToLine(1)",
    "SELECT 1 SETTINGS readonly = 0", "SELECT 1 SETTINGS max_execution_time = 0", "SELECT * FROM (SELECT 1 SETTINGS max_threads = 64)",
    "SELECT 1 SETTINGS additional_result_filter = 'file(''/etc/passwd'') = 1'", "SELECT 1 FORMAT CSV SETTINGS profile = 'default'",
    "SELECT 1 SETTINGS format_template_resultset = '/etc/passwd' FORMAT Template", "SELECT 1 FORMAT Template", "SELECT 1 FORMAT Protobuf",
    "EXPLAIN SELECT 1 SETTINGS max_threads = 64", "SELECT 1 PARALLEL WITH SELECT 2", "\ufeffDROP TABLE events", "/* SELECT */ DROP TABLE events",
]  # fmt: skip


@pytest.mark.parametrize("sql", ATTACKS)
def test_attacks_are_refused(site: Site, tmp_path: Path, sql: str) -> None:
    out = tmp_path / "out"
    for answer in (
        site.ask(sql.replace("{out}", str(out)), param_t="secret.keys"),
        site.ask(
            body=sql.replace("{out}", str(out)).encode(),
            headers={"X-ClickHouse-User": "default"},
            param_t="secret.keys",
        ),
    ):
        assert answer.status in (400, 403, 404), answer.text
        assert "root:" not in answer.text and "TOP-SECRET" not in answer.text
        assert answer.headers["X-ClickHouse-Exception-Code"] in ("164", "497", "62", "73", "452"), answer.text
    assert not out.exists()
    assert site.engine.execute("SELECT count() FROM turnout.events") == b"1000\n"


@pytest.mark.parametrize(
    "fields",
    [
        {"readonly": "0"}, {"profile": "default"}, {"additional_result_filter": "1"}, {"allow_introspection_functions": "1"},
        {"dialect": "prql"}, {"format_template_row": "/etc/passwd"}, {"output_format_schema": "/tmp/x"}, {"role": "x"},
        {"a = 1; DROP TABLE events; --": "1"}, {"output_format_x = 1, readonly": "0"}, {"database": "secret"}, {"database": "system"},
        {"default_format": "Template"}, {"default_format": "CSV INTO OUTFILE '/tmp/x'"}, {"compress": "1"},
    ],
)  # fmt: skip
def test_parameters_smuggle_nothing(site: Site, fields: dict[str, str]) -> None:
    answer = site.ask("SELECT 1", extra=fields)
    assert answer.status in (400, 403, 501), answer.text


def test_limits_can_be_lowered_and_not_raised(site: Site) -> None:
    got = site.ask("SELECT getSetting('max_threads'), getSetting('max_execution_time'), getSetting('readonly')",
                   max_threads="64", max_execution_time="7")  # fmt: skip
    assert got.body == b"1\t7\t2\n"
    assert site.ask("SELECT getSetting('max_execution_time')", max_execution_time="0").body == b"30\n"
    assert site.ask("SELECT getSetting('session_timezone')", session_timezone="UTC' , readonly = '0").status != 200
