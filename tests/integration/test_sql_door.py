"""The SQL door on real chDB over real HTTP: what clients get, and what nobody gets through it."""

import asyncio
import base64
import datetime as dt
import gzip
import subprocess
import sys
import threading
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import clickhouse_connect
import pytest

from infra.sql import Account, Engine, RunningDoor, start_door
from infra.sql.errors import EngineUnavailable, SqlError

TYPES = """
CREATE TABLE turnout.types (
    id UInt32, note Nullable(String), provider LowCardinality(String), maybe LowCardinality(Nullable(String)),
    tags Array(LowCardinality(String)), spent Map(LowCardinality(String), UInt64), cost Decimal(38, 9), at DateTime64(6, 'UTC'),
    request UUID, pair Tuple(name String, count Int64), status Enum8('ok' = 1, 'error, (bad)' = 2), flag Bool,
    scores Array(Nullable(Float64)), nested Array(Tuple(String, Array(UInt8)))
) ENGINE = MergeTree ORDER BY id
"""
ROW = (
    1, None, "openai", None, ["a", "b", "a"], {"x": 7, "y": 9}, Decimal("12345678901234567890.123456789"),
    dt.datetime(2026, 1, 2, 3, 4, 5, 678901), uuid.UUID(int=7), {"name": "n", "count": -3}, "error, (bad)", True,
    [1.5, None], [("p", [1, 2]), ("q", [])],
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()


@dataclass(frozen=True, slots=True)
class Site:
    engine: Engine
    door: RunningDoor
    locked: RunningDoor

    def ask(
        self,
        sql: str = "",
        *,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
        locked: bool = False,
        path: str = "/",
        method: str | None = None,
        extra: Mapping[str, str] | None = None,
        **fields: str,
    ) -> Answer:
        query = urllib.parse.urlencode(({"query": sql} if sql else {}) | fields | dict(extra or {}))
        base = (self.locked if locked else self.door).url
        request = urllib.request.Request(
            f"{base}{path}{'?' + query if query else ''}", body, headers or {}, method=method
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return Answer(answer.status, dict(answer.headers), answer.read())
        except urllib.error.HTTPError as error:
            return Answer(error.code, dict(error.headers), error.read())

    def client(self) -> clickhouse_connect.driver.client.Client:
        return clickhouse_connect.get_client(host=self.door.host, port=self.door.port, database="turnout")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """An engine, an open door, and one that asks for a password; the doors live on a loop in a thread of their own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    with Engine(tmp_path_factory.mktemp("sql")) as engine:
        engine.execute(TYPES)
        engine.execute("CREATE TABLE turnout.events (id UInt64, tenant String) ENGINE = MergeTree ORDER BY id")
        engine.execute("INSERT INTO turnout.events SELECT number, toString(number % 3) FROM numbers(1000)")
        engine.execute("CREATE VIEW turnout.tenants AS SELECT tenant, count() AS n FROM turnout.events GROUP BY tenant")
        engine.execute("CREATE DATABASE secret")
        engine.execute("CREATE TABLE secret.keys (k String) ENGINE = MergeTree ORDER BY k")
        engine.execute("INSERT INTO secret.keys VALUES ('TOP-SECRET')")
        door = asyncio.run_coroutine_threadsafe(start_door(engine, port=0), loop).result(30)
        users = {"ana": Account("p:w"), "default": Account("other")}
        locked = asyncio.run_coroutine_threadsafe(start_door(engine, port=0, users=users), loop).result(30)
        yield Site(engine, door, locked)
        for one in (door, locked):
            asyncio.run_coroutine_threadsafe(one.close(), loop).result(30)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def test_types_make_the_round_trip(site: Site) -> None:
    writer = site.engine.client()
    names = site.engine.execute(
        "SELECT name FROM system.columns WHERE database = 'turnout' AND table = 'types' ORDER BY position"
    )
    writer.insert("types", [ROW], column_names=names.decode().split())
    writer.close()
    reader = site.client()
    assert reader.query("SELECT * FROM types").result_rows == [ROW]
    assert reader.query("SELECT * FROM types WHERE id = 99").result_rows == []
    reader.close()


def test_native_blocks_for_new_protocol_revisions(site: Site) -> None:
    plain = site.ask("SELECT toLowCardinality('a') AS x FROM numbers(3) FORMAT Native")
    framed = site.ask(
        "SELECT toLowCardinality('a') AS x FROM numbers(3) FORMAT Native", client_protocol_version="54460"
    )
    assert len(framed.body) == len(plain.body) + 8 + 1
    refused = site.ask("SELECT sumState(number) FROM numbers(3) FORMAT Native", client_protocol_version="54460")
    assert refused.status == 501 and "AggregateFunction" in refused.text


def test_parameters_and_streams_of_the_ordinary_client(site: Site) -> None:
    reader = site.client()
    rows = reader.query(
        "SELECT {a:UInt8} + 1, {s:String}, {l:Array(String)}", parameters={"a": 4, "s": "it's\n\t\\", "l": ["x", "y'z"]}
    ).result_rows
    assert rows == [(5, "it's\n\t\\", ["x", "y'z"])]
    with reader.query_row_block_stream("SELECT number FROM numbers(200000)") as stream:
        assert sum(row[0] for block in stream for row in block) == 199999 * 100000
    assert reader.command("SELECT count() FROM events") == 1000
    assert reader.query("SELECT number FROM numbers(9)", settings={"max_execution_time": 5}).row_count == 9
    assert reader.raw_query("SELECT 1 AS a", fmt="JSONEachRow") == b'{"a":1}\n'
    with pytest.raises(clickhouse_connect.driver.exceptions.DatabaseError, match="read-only"):
        reader.insert("events", [[1, "x"]], column_names=["id", "tenant"])
    reader.close()


def test_the_forms_of_curl(site: Site) -> None:
    assert site.ask("SELECT 1").body == b"1\n"
    assert site.ask(body=b"SELECT 2").body == b"2\n"
    assert site.ask("SELECT 3", body=b"FORMAT JSONEachRow").body == b'{"3":3}\n'
    assert site.ask("SELECT {x:String} AS x", param_x="a b", default_format="CSV").body == b'"a b"\n'
    assert site.ask("SELECT 1", headers={"X-ClickHouse-Format": "JSONEachRow"}).body == b'{"1":1}\n'
    assert site.ask("SELECT n FROM tenants WHERE tenant = '0'").body == b"334\n"
    assert site.ask("SELECT currentDatabase()", database="default").body == b"turnout\n"
    assert (
        site.ask("SELECT getSetting('session_timezone')", session_timezone="Asia/Tokyo", session_id="s").body
        == b"Asia/Tokyo\n"
    )
    assert site.ask(path="/ping").body == site.ask(path="/replicas_status").body == site.ask().body == b"Ok.\n"
    assert site.ask(method="OPTIONS").status == 204
    curl = [
        "curl",
        "-s",
        "-H",
        "Transfer-Encoding: chunked",
        "--compressed",
        "--data-binary",
        "@-",
        f"{site.door.url}/",
    ]
    done = subprocess.run(curl, input=b"SELECT number FROM numbers(2000)", capture_output=True, timeout=60, check=True)
    assert done.stdout.count(b"\n") == 2000


def test_gzip_both_ways_and_headers(site: Site) -> None:
    answer = site.ask(
        body=gzip.compress(b"SELECT number FROM numbers(2000) FORMAT JSONEachRow"),
        headers={"Content-Encoding": "gzip", "Accept-Encoding": "gzip"},
        query_id="q-7",
    )
    assert answer.status == 200, answer.text
    assert answer.headers["Content-Encoding"] == "gzip" and gzip.decompress(answer.body).count(b"\n") == 2000
    assert answer.headers["X-ClickHouse-Query-Id"] == "q-7"
    assert answer.headers["X-ClickHouse-Format"] == "JSONEachRow"
    assert answer.headers["X-ClickHouse-Timezone"] == site.engine.timezone
    assert answer.headers["X-ClickHouse-Server-Display-Name"] == "turnout"
    assert '"read_rows"' in answer.headers["X-ClickHouse-Summary"]


@pytest.mark.parametrize(
    ("sql", "status", "code", "name"),
    [
        ("SELEC 1", 400, 62, "SYNTAX_ERROR"),
        ("SELECT * FROM nothing_here", 404, 60, "UNKNOWN_TABLE"),
        ("SELECT nope FROM events", 404, 47, "UNKNOWN_IDENTIFIER"),
        ("SELECT nope(1)", 404, 46, "UNKNOWN_FUNCTION"),
        ("SELECT {a:UInt8}", 400, 456, "UNKNOWN_QUERY_PARAMETER"),
        ("SELECT throwIf(1)", 500, 395, "FUNCTION_THROW_IF_VALUE_IS_NON_ZERO"),
        ("SELECT number FROM numbers(2000000)", 500, 396, "TOO_MANY_ROWS_OR_BYTES"),
        ("SELECT 1 FORMAT Nonsense", 400, 73, "UNKNOWN_FORMAT"),
    ],
)
def test_errors_carry_their_code(site: Site, sql: str, status: int, code: int, name: str) -> None:
    answer = site.ask(sql)
    assert (answer.status, answer.headers["X-ClickHouse-Exception-Code"]) == (status, str(code))
    assert answer.text.startswith(f"Code: {code}. DB::Exception: ") and answer.text.endswith(f"({name})\n")


def test_accounts(site: Site) -> None:
    basic = base64.b64encode(b"ana:p:w").decode()
    for headers in (
        {"Authorization": f"Basic {basic}"},
        {"Authorization": "Bearer p:w"},
        {"X-ClickHouse-User": "ana", "X-ClickHouse-Key": "p:w"},
    ):
        assert site.ask("SELECT 1", headers=headers, locked=True).body == b"1\n"
    assert site.ask("SELECT 1", user="ana", password="p:w", locked=True).body == b"1\n"
    for headers in (
        {},
        {"Authorization": "Basic !!"},
        {"Authorization": "Bearer "},
        {"Authorization": "Bearer nope"},
        {"Authorization": f"Digest {basic}"},
        {"X-ClickHouse-User": "ana", "X-ClickHouse-Key": "wrong"},
        {"X-ClickHouse-User": "nobody", "X-ClickHouse-Key": "\0"[:0]},
    ):
        answer = site.ask("SELECT 1", headers=headers, locked=True)
        assert (answer.status, answer.headers["X-ClickHouse-Exception-Code"]) == (403, "516"), headers


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


def test_readers_do_not_change_the_writers_session(site: Site) -> None:
    client = site.engine.client()
    probe = "SELECT getSetting('readonly'), getSetting('max_threads'), getSetting('max_result_rows'), currentDatabase()"
    before = client.query(probe).result_rows
    reader = site.client()
    reader.query("SELECT count() FROM events", settings={"max_result_rows": 10})
    reader.close()
    assert client.query(probe).result_rows == before
    client.command("CREATE TABLE written (a UInt8) ENGINE = MergeTree ORDER BY a")
    client.insert("written", [[1]], column_names=["a"], settings={"max_insert_threads": 2})
    assert site.ask("SELECT a FROM written").body == b"1\n"
    client.command("DROP TABLE written")
    client.close()


def test_readers_side_by_side(site: Site) -> None:
    answers: list[Answer] = []
    threads = [
        threading.Thread(target=lambda: answers.append(site.ask("SELECT sum(id) FROM events"))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [answer.body for answer in answers] == [b"499500\n"] * 8


def test_raw_inserts_of_the_writer(site: Site) -> None:
    """The sink's way: a deduplication token, and the Avro, Native and RowBinary formats."""
    import io

    import fastavro

    site.engine.execute(
        "CREATE TABLE turnout.raw (a UInt32, b String) ENGINE = MergeTree ORDER BY a SETTINGS non_replicated_deduplication_window = 100"
    )
    client = site.engine.client()
    avro = io.BytesIO()
    schema = {"type": "record", "name": "r", "fields": [{"name": "a", "type": "int"}, {"name": "b", "type": "string"}]}
    fastavro.writer(avro, fastavro.parse_schema(schema), [{"a": 1, "b": "x"}])
    blocks = {
        "Avro": avro.getvalue(),
        "RowBinary": b"\x02\x00\x00\x00\x01y",
        "Native": b"\x02\x01\x01a\x06UInt32\x03\x00\x00\x00\x01b\x06String\x01z",
    }
    for fmt, block in blocks.items():
        for _ in range(2):
            client.raw_insert(
                "raw", insert_block=block, fmt=fmt, settings={"insert_deduplication_token": fmt, "async_insert": 0}
            )
    assert client.query("SELECT * FROM raw ORDER BY a").result_rows == [(1, "x"), (2, "y"), (3, "z")]
    for _ in range(2):
        client.insert("raw", [[4, "w"]], column_names=["a", "b"], settings={"insert_deduplication_token": "rows"})
    assert client.query("SELECT count() FROM raw").result_rows == [(4,)]
    client.close()
    site.engine.execute("DROP TABLE turnout.raw")


def test_a_second_opener_is_told_who_has_the_folder(site: Site) -> None:
    with pytest.raises(EngineUnavailable, match="stop it"):
        Engine(site.engine.path)
    code = f"from pathlib import Path; from infra.sql.engine import Engine; Engine(Path({str(site.engine.path)!r}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0 and "stop it, or ask it over its SQL port" in done.stderr


def test_a_second_folder_in_this_process_is_an_error(site: Site, tmp_path: Path) -> None:
    with pytest.raises(EngineUnavailable, match="another folder"):
        Engine(tmp_path / "other")
    assert site.engine.execute("SELECT 1") == b"1\n"


def test_a_taken_port_is_a_clear_error(site: Site) -> None:
    with pytest.raises(EngineUnavailable, match="is taken"):
        asyncio.run(start_door(site.engine, port=site.door.port))


def test_the_owner_gets_clean_errors(site: Site) -> None:
    with pytest.raises(SqlError) as caught:
        site.engine.execute("SELECT * FROM turnout.nothing")
    assert (caught.value.code, caught.value.name) == (60, "UNKNOWN_TABLE")
    assert site.engine.execute("SELECT {a:UInt8}", {"a": 5}) == b"5\n"
