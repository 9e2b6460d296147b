"""Commands without a broker: help, exit statuses, sentences, what is read and what is printed."""

import struct
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import typer
from routing_worlds import NO_INPUTS

from infra.cli.explanation import estimates_of, explained, words
from infra.cli.main import COMMANDS, GROUPS, app, run_command
from infra.cli.send import parse_bodies
from infra.cli.set_values import known
from infra.cli.sql import credentials_of, door_url, question_of, sentence
from infra.sql.account import accounts_of
from projections.clickhouse.queries import QUESTIONS
from schemas.errors import ConfigurationError
from schemas.events import (
    AttemptFailed,
    AttemptStarted,
    AttemptSucceeded,
    CostIncurred,
    Exclusion,
    PlanStep,
    RequestCompleted,
    RouteDecided,
)
from schemas.ids import Source
from streams.answers import Sent, first_answer
from streams.control import ControlLog
from streams.settings import load_settings

GROUP_COMMANDS = [
    (name, command.name) for name, group in GROUPS.items() for command in group.registered_commands if command.name
]


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    status = run_command(arguments)
    printed = capsys.readouterr()
    return status, printed.out, printed.err


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
        (("cost=-1",), "cost=-1 cannot weigh; give a number of 0 or more"),
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


FIVE_MISTAKES = """\
kafka:
  partitons: 8
  event_retention_days: 20
catalog:
  models:
    - {id: small, tier: middling}
  deployments:
    - id: one
      provider: openai
      model: small
      base_url: https://example.invalid
      api_key: env:TURNOUT_TEST_NO_SUCH_KEY
budgets:
  - {scope: "tenant:acme", period: month, limit_usd: 5}
circuit:
  failure_threshold: 0
"""


def test_check_names_five_mistakes_with_their_lines(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "turnout.yaml"
    file.write_text(FIVE_MISTAKES)
    status, out, err = run(capsys, "check", "--config", str(file))
    assert (status, out) == (2, "")
    for line, words_there in (
        (2, "partitons"), (3, "event_retention_days is 20"), (6, "catalog.models.0.tier"),
        (12, "env:TURNOUT_TEST_NO_SUCH_KEY"), (16, "circuit.failure_threshold"),
    ):  # fmt: skip
        assert any(said.startswith(f"{file}:{line}: ") and words_there in said for said in err.splitlines()), err
    assert len(err.splitlines()) == 5


def test_check_names_each_credential_that_is_missing(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "key").write_text("k-1\n")
    file = tmp_path / "turnout.yaml"
    file.write_text(
        "catalog:\n  models: [{id: small}]\n  deployments:\n"
        "    - id: one\n      provider: openai\n      model: small\n      base_url: 'http://127.0.0.1:1'\n"
        f"      api_key:\n        - 'file:{tmp_path}/key'\n        - env:TURNOUT_TEST_NO_SUCH_KEY\n"
    )
    status, _, err = run(capsys, "check", "--config", str(file))
    assert status == 2
    assert err.startswith(f"{file}:10: ")
    assert "env:TURNOUT_TEST_NO_SUCH_KEY" in err
    assert len(err.splitlines()) == 1
    for wrong in ("[]", "[env:A, env:A]", "[env:A, sk-1]", "[env:A, '']"):
        text = file.read_text().partition("      api_key:")[0] + f"      api_key: {wrong}\n"
        (tmp_path / "wrong.yaml").write_text(text)
        status, _, err = run(capsys, "check", "--config", str(tmp_path / "wrong.yaml"))
        assert status == 2
        assert "api_key" in err
        assert "sk-1" not in err


def test_check_says_what_is_there(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("k-1\n")
    file = tmp_path / "turnout.yaml"
    file.write_text(
        "catalog:\n  models: [{id: small}]\n  deployments:\n"
        f"    - {{id: one, provider: openai, model: small, base_url: 'http://127.0.0.1:1', api_key: 'file:{key}'}}\n"
    )
    status, out, err = run(capsys, "check", "--config", str(file))
    assert (status, err) == (0, "")
    assert out.startswith(f"ok: {file}: 1 model, 1 deployment, 0 budgets")
    key.write_text("")
    status, _, err = run(capsys, "check", "--config", str(file))
    assert status == 2
    assert "is empty" in err
    assert f"{file}:4: " in err


@pytest.mark.parametrize(
    ("text", "line", "part"),
    [
        ("budgets:\n  - {scope: global, limit_usd: 1}\n  - {scope: global, limit_usd: 2}\n", 3, "earlier one"),
        ("budgets:\n  - {scope: 'deployment:none', limit_usd: 1}\n", 2, "deployment none"),
        ("tenants:\n  - {id: a, topic: x}\n  - {id: b, topic: x}\n", 3, "tenants.1.topic"),
        ("worker:\n  drain_s: 70\n", 2, "drain_s"),
        ("kafka: [\n", 2, "YAML"),
    ],
)
def test_check_sees_what_no_single_key_shows(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, text: str, line: int, part: str
) -> None:
    file = tmp_path / "turnout.yaml"
    file.write_text(text)
    status, _, err = run(capsys, "check", "--config", str(file))
    assert status == 2
    assert err.startswith(f"{file}:{line}: ")
    assert part in err


def test_check_of_a_file_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = run(capsys, "check", "--config", "/no/such/file")
    assert (status, out) == (2, "")
    assert err.startswith("/no/such/file cannot be read")


def test_bodies_are_json_or_json_lines() -> None:
    assert parse_bodies(b'{\n"a": 1\n}', "f") == [{"a": 1}]
    assert parse_bodies(b'{"a": 1}\n\n{"a": 2}\n', "f") == [{"a": 1}, {"a": 2}]
    for text, named in ((b"hello\n", "f:1"), (b'{"a": 1}\n[1]\n', "f:2"), (b"", "f is empty"), (b"[{}]", "f:1")):
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


SENT = Sent("r-1", "default", "llm.requests", 3, 50, 1_000_000, repeatable=True)


def answer(timestamp: int, **headers: str) -> Any:
    items = [(name.replace("_", "-"), value.encode()) for name, value in headers.items()]
    return SimpleNamespace(timestamp=timestamp, headers=items)


def test_the_first_answer_of_a_request_wins() -> None:
    own = answer(1_000_010, turnout_source="llm.requests-3-50")
    again = answer(1_000_020, turnout_source="llm.requests-3-50")
    assert first_answer([own, again], SENT) is own
    bare = answer(1_000_005)
    assert first_answer([bare, own], SENT) is bare
    assert first_answer([], SENT) is None


def test_an_earlier_publication_answers_too_unless_it_may_be_retried() -> None:
    own = answer(1_000_010, turnout_source="llm.requests-3-50")
    final = answer(999_000, turnout_source="llm.requests-3-40", turnout_retryable="false", turnout_tenant="default")
    retryable = answer(999_000, turnout_source="llm.requests-3-40", turnout_retryable="true", turnout_tenant="default")
    other = answer(999_000, turnout_source="llm.requests-3-40", turnout_retryable="false", turnout_tenant="acme")
    ancient = answer(100, turnout_source="llm.requests-3-40", turnout_retryable="false", turnout_tenant="default")
    assert first_answer([final, own], SENT) is final
    for passed_over in (retryable, other, ancient):
        assert first_answer([passed_over, own], SENT) is own


def origin(kind: str, at: int) -> dict[str, Any]:
    return {
        "event_id": kind, "occurred_at": at, "worker": "w", "source": Source("llm.requests", 0, 7), "run": 3,
        "request_id": "r-1", "tenant": "acme", "trace_id": "0" * 32, "accepted_at": 1_000_000,
    }  # fmt: skip


def attempt(number: int, deployment: str) -> dict[str, Any]:
    return {"number": number, "deployment": deployment, "provider": "openai", "model": "small", "tier": "primary",
            "circuit_epoch": 0, "trial": False}  # fmt: skip


def a_life() -> list[Any]:
    return [
        RouteDecided(
            **origin("RouteDecided", 1), plan=(PlanStep("one", "primary"), PlanStep("two", "secondary")),
            strategy="cost", cost_strategy="minimize", balancer="round_robin", task="code", confidence=0.5,
            reasons=("cheapest of 2",),
            candidates=(0, 1), estimates=struct.pack("<16f", *range(16)), propensities=(),
            excluded=(Exclusion(2, "circuit_open", 5_000_000),),
            cut=False, control_offset=4, seed=1, decision_us=40.0,
            **NO_INPUTS,
        ),
        AttemptStarted(**origin("AttemptStarted", 2), **attempt(1, "one"), deadline_at=9),
        AttemptFailed(
            **origin("AttemptFailed", 3), **attempt(1, "one"), task="code", failure="server_error", http_status=500,
            latency_ms=12.0, retry_after_ms=0, next_action="other", counts_toward_circuit=True, billed="no",
            provider_code="", provider_request_id="", jitter=0.0,
        ),
        AttemptSucceeded(
            **origin("AttemptSucceeded", 4), **attempt(2, "two"), task="code", http_status=200, latency_ms=30.0,
            first_token_ms=0.0, tokens_in=10, tokens_out=5, tokens_cached=0, tokens_cache_write=0, tokens_reasoning=0,
            finish_reason="stop", provider_request_id="",
        ),
        CostIncurred(
            **origin("CostIncurred", 5), cost_id="c2", number=2, nano_usd=123_000, deployment="two", provider="openai",
            model="small", certainty="certain", tokens_in=10, tokens_out=5, tokens_cached=0, tokens_cache_write=0,
            tokens_reasoning=0, price_version="p",
        ),
        RequestCompleted(
            **origin("RequestCompleted", 6), status="ok", code="", retryable=False, task="code", strategy="cost",
            priority="standard", deployment="two", provider="openai", model="small", tier="secondary", attempts=2,
            fallback=True, streaming=False, queue_ms=1.0, decision_ms=0.04, first_token_ms=0.0, provider_ms=42.0,
            total_ms=45.0, tokens_in=10, tokens_out=5, cost_nano_usd=123_000,
        ),
    ]  # fmt: skip


def test_a_request_is_told_in_words() -> None:
    stories = explained(a_life(), ControlLog())
    assert len(stories) == 1
    text = "\n".join(words(stories[0]))
    assert "Plan: one (primary), then two (secondary)." in text
    assert "Left out deployment #2: circuit open until 00:00:05Z." in text
    assert "Attempt 1 on one failed after 12.0 ms: server error with HTTP 500; the next deployment was tried." in text
    assert "Attempt 2 on two succeeded after 30.0 ms: 10 tokens in, 5 out, cost $0.000123 (certain)." in text
    assert "Answered ok by two, by fallback in 45.0 ms" in text
    assert stories[0]["cost_usd"] == 0.000123


def test_estimates_are_unpacked_by_name() -> None:
    decided = a_life()[0]
    first, second = estimates_of(decided)
    assert (first["tokens_in"], first["score"]) == (0.0, 7.0)
    assert (second["tokens_in"], second["score"]) == (8.0, 15.0)
