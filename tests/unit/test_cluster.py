"""The migrations as a cluster runs them: every definition names it, every table is replicated, nothing else changes."""

import re
from pathlib import Path

import pytest

from infra.cli.main import run_command
from projections.clickhouse.arrivals import arrivals
from projections.clickhouse.cluster import clustered
from projections.clickhouse.migrate import migrations, rendered, statements
from schemas.errors import ConfigurationError
from streams.loading import load_settings

EVERY = [statement for sql in migrations().values() for statement in statements(sql)]
FIRST = re.compile(r"^(CREATE|DROP|ALTER|INSERT)", re.MULTILINE)


def code_of(statement: str) -> str:
    return "\n".join(line for line in statement.splitlines() if not line.startswith("--"))


def test_without_a_cluster_nothing_changes() -> None:
    assert [clustered(statement, "") for statement in EVERY] == EVERY


@pytest.mark.parametrize("statement", EVERY, ids=lambda statement: code_of(statement)[:60])
def test_every_definition_names_the_cluster_once_and_its_table_is_replicated(statement: str) -> None:
    found = clustered(statement, "main")
    verb = FIRST.search(code_of(found))
    assert verb is not None
    assert code_of(found).count("ON CLUSTER 'main'") == (0 if verb[1] == "INSERT" else 1)
    engines = re.findall(r"ENGINE = (\w+)", code_of(found))
    assert all(engine.startswith("Replicated") for engine in engines)
    assert "non_replicated" not in found
    back = found.replace(" ON CLUSTER 'main'", "").replace("ENGINE = Replicated", "ENGINE = ")
    assert back == statement.replace("non_replicated_", "replicated_")


def test_where_containers_arrive_is_on_every_server_too() -> None:
    _, definitions = arrivals()
    assert [clustered(each, "main").count("ON CLUSTER 'main'") for each in definitions] == [1, 1]
    assert all(clustered(each, "main").replace(" ON CLUSTER 'main'", "") == each for each in definitions)
    assert all(clustered(each, "main") in rendered("main") for each in definitions)


def test_an_engine_keeps_its_arguments() -> None:
    sql = "CREATE TABLE IF NOT EXISTS turnout.t (a Int64) ENGINE = ReplacingMergeTree(version) ORDER BY a"
    assert clustered(sql, "c'1") == (
        "CREATE TABLE IF NOT EXISTS turnout.t ON CLUSTER 'c\\'1' (a Int64)"
        " ENGINE = ReplicatedReplacingMergeTree(version) ORDER BY a"
    )


def test_the_command_prints_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "turnout.yaml"
    config.write_text('sql: {url: "http://127.0.0.1:8123", cluster: main}\n')
    assert run_command(["sql", "--migrations", "--config", str(config)]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("CREATE DATABASE IF NOT EXISTS turnout ON CLUSTER 'main';")
    assert "ENGINE = ReplicatedReplacingMergeTree" in printed
    assert "INSERT INTO turnout.migrations (name) VALUES ('001_log.sql');" in printed


def test_the_embedded_engine_is_in_no_cluster(tmp_path: Path) -> None:
    config = tmp_path / "turnout.yaml"
    config.write_text("sql: {cluster: main}\n")
    with pytest.raises(ConfigurationError, match="leave cluster out"):
        load_settings(config)
