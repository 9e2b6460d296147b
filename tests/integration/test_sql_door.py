"""The SQL door on real chDB over real HTTP: what clients get."""

import asyncio
import base64
import datetime as dt
import gzip
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import clickhouse_connect
import pytest
from sql_site import Answer, Site, small_site

from infra.sql import Engine, start_door
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


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with small_site(tmp_path_factory.mktemp("sql")) as site:
        site.engine.execute(TYPES)
        yield site


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
