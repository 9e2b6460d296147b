"""Commands without a broker: help, exit statuses, sentences, what is read and what is printed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from cli_run import run

from infra.cli.bodies import parse_bodies
from infra.cli.main import COMMANDS, GROUPS, app
from infra.cli.options import print_json, print_table, print_text, say
from infra.cli.set_values import known
from infra.cli.sql import credentials_of, door_url, question_of, sentence
from infra.sql.account import accounts_of
from projections.clickhouse.queries import QUESTIONS
from schemas.errors import ConfigurationError
from streams.loading import load_settings

GROUP_COMMANDS = [
    (name, command.name) for name, group in GROUPS.items() for command in group.registered_commands if command.name
]


@pytest.mark.parametrize("path", [(), *((name,) for name in (*COMMANDS, *GROUPS)), *GROUP_COMMANDS])
def test_help_has_an_example(capsys: pytest.CaptureFixture[str], path: tuple[str, ...]) -> None:
    status, out, err = run(capsys, *path, "--help")
    assert (status, err) == (0, "")
    assert "Example" in out or len(path) == 1


def test_every_command_takes_a_configuration() -> None:
    group = typer.main.get_command(app)
    for name in COMMANDS:
        assert "--config" in {text for param in group.commands[name].params for text in param.opts}, name  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "arguments",
    [
        ("nonsense",),
        ("tail",),
        ("set", "circuit", "d", "ajar"),
        ("set", "budget", "global", "day", "much"),
        ("check", "--no"),
        ("sql",),
        ("sql", "SELECT 1", "--question", "spend"),
        ("sql", "SELECT 1", "--param", "days=1"),
        ("sql", "--question", "nonsense"),
        ("sql", "--question", "spend", "--param", "hours=1"),
        ("sql", "--question", "error_budget", "--param", "days"),
    ],
)
def test_usage_errors_are_one_sentence(capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]) -> None:
    status, out, err = run(capsys, *arguments)
    assert (status, out) == (2, "")
    assert err.startswith("turnout: ")
    assert "--help" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("costs=1",), "costs is no weight; use one of cost, speed, quality, reliability, load"),
        (("cost",), "cost is no weight; write a name, = and a number"),
        (("cost=much",), "cost=much is no weight"),
        (("cost=-1",), "cost=-1 cannot weigh; give a number of 0 to 1000000"),
        (("cost=nan",), "cost=nan cannot weigh"),
        (("cost=1", "cost=2"), "cost is named twice"),
        (("cost=0",), "Nothing weighs"),
        ((), "Nothing weighs"),
        (("cost=1", "--clear"), "--clear takes no weights"),
    ],
)
def test_wrong_weights_are_one_sentence(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], said: str
) -> None:
    status, out, err = run(capsys, "set", "weights", *arguments)
    assert (status, out) == (2, "")
    assert said in err
    assert err.count("\n") == 1


def test_no_broker_is_a_failed_operation(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "turnout.yaml"
    file.write_text("kafka: {bootstrap_servers: 127.0.0.1:1}\n")
    for arguments in (("topics", "list"), ("status",), ("tail", "attempts"), ("set", "strategy", "cost")):
        status, out, err = run(capsys, *arguments, "--config", str(file))
        assert (status, out) == (1, ""), arguments
        assert "No Kafka broker answers" in err
        assert "Traceback" not in err


def test_no_sql_door_is_a_failed_operation(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "turnout.yaml"
    file.write_text("sql: {port: 1}\n")
    status, out, err = run(capsys, "sql", "SELECT 1", "--config", str(file))
    assert (status, out) == (1, "")
    assert err.startswith("No SQL door answers at http://127.0.0.1:1")


def test_named_questions_are_listed_with_their_parameters(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = run(capsys, "sql", "--questions")
    assert (status, err) == (0, "")
    for name, question in QUESTIONS.items():
        (line,) = [each for each in out.splitlines() if each.split()[:1] == [name]]
        assert question.title in line
        assert all(f"{key}={default}" in line for key, default in question.parameters.items())


def test_a_question_keeps_its_defaults_where_nothing_is_given() -> None:
    assert question_of("spend", ["days=7"]) == (QUESTIONS["spend"].sql, {"days": "7", "limit": "100"})


def test_bodies_are_json_or_json_lines() -> None:
    assert parse_bodies(b'{\n"a": 1\n}', "f") == [{"a": 1}]
    assert parse_bodies(b'{"a": 1}\n\n{"a": 2}\n', "f") == [{"a": 1}, {"a": 2}]
    for text, named in (
        (b"hello\n", "f:1"),
        (b'{"a": 1}\n[1]\n', "f:2"),
        (b"", "f is empty"),
        (b"[{}]", "f:1"),
        (b'{\n"a": 1,\n"b": 2,}\n', "f:3"),
    ):
        with pytest.raises(ConfigurationError, match=named):
            parse_bodies(text, "f")


def test_send_refuses_plain_text(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    prompt = tmp_path / "prompt.txt"
    prompt.write_text("Tell me a story\n")
    status, out, err = run(capsys, "send", str(prompt))
    assert (status, out) == (2, "")
    assert f"{prompt}:1: this is not a JSON object" in err
    status, _, err = run(capsys, "send", "Tell me a story")
    assert status == 2
    assert "cannot be read" in err


def test_unknown_names_bring_close_ones() -> None:
    known("openai-eu", {"openai-eu": 1}, "deployment")
    with pytest.raises(ConfigurationError, match="did you mean openai-eu"):
        known("openai-ue", {"openai-eu": 1, "local": 2}, "deployment")
    with pytest.raises(ConfigurationError, match="turnout apply"):
        known("x", {}, "deployment")


def test_a_clickhouse_error_becomes_a_sentence() -> None:
    text = "Code: 62. DB::Exception: Syntax error: failed at 1 (x). (SYNTAX_ERROR) (version 26.9.1 (official))\n"
    assert sentence(text) == "Syntax error: failed at 1 (x)."
    assert sentence("Code: 60. DB::Exception: Unknown table t. (UNKNOWN_TABLE)\n") == "Unknown table t."


def test_the_door_of_each_kind_of_url(tmp_path: Path) -> None:
    file = tmp_path / "turnout.yaml"
    file.write_text("sql: {url: 'http://clickhouse:8123'}\n")
    assert door_url(load_settings(None)) == "http://127.0.0.1:8123"
    assert door_url(load_settings(file)) == "http://clickhouse:8123"


def test_who_asks_the_sql_door(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "turnout.yaml"
    (tmp_path / "key").write_text("b\n")
    file.write_text(
        "sql: {users: [{name: acme, password: env:ACME_SQL, role: 'tenant:acme'},"
        f" {{name: boss, password: 'file:{tmp_path}/key', role: admin}}]}}\n"
    )
    settings = load_settings(file)
    monkeypatch.setenv("ACME_SQL", "t")
    assert credentials_of(load_settings(None), None) == {}
    assert credentials_of(settings, None) == {"X-ClickHouse-User": "boss", "X-ClickHouse-Key": "b"}
    assert credentials_of(settings, "acme") == {"X-ClickHouse-User": "acme", "X-ClickHouse-Key": "t"}
    with pytest.raises(ConfigurationError, match="acme, boss and not eve"):
        credentials_of(settings, "eve")
    found = accounts_of(settings.sql.users)
    assert {name: (account.password, str(account.role)) for name, account in found.items()} == {
        "acme": ("t", "tenant:acme"),
        "boss": ("b", "admin"),
    }


def test_a_small_number_in_a_table_is_written_out(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["limit_usd", "spent_usd", "of", "none"], [[1e-05, -0.000012, 0.25, None]])
    assert capsys.readouterr().out.splitlines()[-1].split() == ["0.00001", "-0.000012", "0.25"]


def test_control_characters_of_others_reach_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["tenant"], [["acme\x1b[2J\x9b31m"]])
    print_text("of tenant\x07:\n\tacme\x1b]0;title\x07")
    print_json({"tenant": "acme\x9b31m"})
    say("no tenant \x1b[31macme")
    printed = capsys.readouterr()
    assert "acme\\x1b[2J\\x9b31m" in printed.out
    assert "of tenant\\x07:\n\tacme\\x1b]0;title\\x07" in printed.out
    assert '{"tenant":"acme\\u009b31m"}' in printed.out
    assert printed.err == "no tenant \\x1b[31macme\n"


def test_what_a_terminal_cannot_show_is_no_error() -> None:
    code = (
        "import sys; from infra.cli import main; from infra.cli.options import print_table; "
        "main.app.command('table')(lambda: print_table(['x'], [['büro']])); sys.argv[1:] = ['table']; main.main()"
    )
    environment = os.environ | {"PYTHONIOENCODING": "ascii", "PYTHONPATH": os.pathsep.join(sys.path)}
    ran = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, b"")
    assert b"b?ro" in ran.stdout
