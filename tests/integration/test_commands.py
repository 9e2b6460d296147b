"""Commands against a real broker."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiokafka import AIOKafkaProducer
from routing_worlds import NO_INPUTS

from infra.cli.main import run_command
from infra.kafka import EmbeddedKafka
from schemas.codec import Codec
from schemas.events import Exclusion, RequestRejected, RouteDecided
from schemas.ids import Source

CATALOG = """\
catalog:
  models: [{{id: small, price_usd_per_million: {{input: 1, output: 2}}}}]
  deployments:
    - {{id: openai-eu, provider: openai, model: small, base_url: 'http://127.0.0.1:1'}}
kafka: {{bootstrap_servers: '{servers}', topic_prefix: {prefix}, partitions: 2}}
web: {{port: 0}}
sql: {{port: 1}}
budgets: [{{scope: global, period: day, limit_usd: 5}}]
"""


class CommandLine:
    """Runs commands on one configuration."""

    def __init__(self, file: Path, kafka: EmbeddedKafka, prefix: str, capfd: pytest.CaptureFixture[str]) -> None:
        self.file, self.prefix, self._servers, self._capfd = file, prefix, kafka.bootstrap_servers, capfd
        file.write_text(CATALOG.format(servers=kafka.bootstrap_servers, prefix=prefix))

    def __call__(self, *arguments: str, status: int = 0) -> str:
        """stdout of a command that must end with `status`, or stderr of one that must fail."""
        found = run_command([*arguments, "--config", str(self.file)])
        out, err = self._capfd.readouterr()
        assert found == status, (arguments, out, err)
        assert "Traceback" not in err
        return err if status else out

    def produce(self, kind: str, value: bytes, **options: Any) -> Any:
        async def send() -> Any:
            async with AIOKafkaProducer(bootstrap_servers=self._servers) as producer:
                return await producer.send_and_wait(f"{self.prefix}{kind}", value, **options)

        return asyncio.run(send())


@pytest.fixture
def turnout(kafka: EmbeddedKafka, prefix: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> CommandLine:
    made = CommandLine(tmp_path / "turnout.yaml", kafka, prefix, capfd)
    made("topics", "create")
    return made


def documents(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_topics_are_created_once_and_listed(turnout: CommandLine) -> None:
    assert turnout("topics", "create").startswith("0 topics created")
    recorded = documents(turnout("tail", "control", "--from-beginning", "--limit", "1"))
    assert recorded[0]["event"] == "TopicsCreated"
    assert recorded[0]["partitions"] == 2
    listed = {row["name"]: row for row in json.loads(turnout("topics", "list", "--json"))}
    assert listed[f"{turnout.prefix}control"] | {"purpose": ""} == {
        "name": f"{turnout.prefix}control", "partitions": 1, "retention": "for ever", "purpose": "",
    }  # fmt: skip
    assert listed[f"{turnout.prefix}state"]["retention"] == "compacted"
    assert listed[f"{turnout.prefix}attempts"]["retention"] == "40 days"
    assert f"{turnout.prefix}dead-letters" in turnout("topics", "list")


def test_another_number_of_partitions_is_a_configuration_error(turnout: CommandLine) -> None:
    turnout.file.write_text(turnout.file.read_text().replace("partitions: 2", "partitions: 3"))
    assert "partitions" in turnout("topics", "create", status=2)


def test_apply_prints_what_changes_and_publishes_it(turnout: CommandLine) -> None:
    out = turnout("apply", "--dry-run")
    assert "catalog.deployments[openai-eu].id" in out
    assert "applied" not in out
    assert "applied at control offset 1" in turnout("apply")
    assert turnout("apply") == "nothing changed; control offset 1\n"
    turnout.file.write_text(turnout.file.read_text() + "routing: {strategy: cost}\n")
    assert turnout("apply").splitlines() == ['routing.strategy: "adaptive" -> "cost"', "applied at control offset 2"]


def test_single_commands_are_checked_and_published(turnout: CommandLine) -> None:
    assert "turnout apply" in turnout("set", "deployment", "openai-eu", "off", status=2)
    turnout("apply")
    assert "did you mean openai-eu" in turnout("set", "circuit", "openai-ue", "open", status=2)
    assert "is no scope" in turnout("set", "budget", "nobody", "day", "1", status=2)
    assert "did you mean cost" in turnout("set", "strategy", "costs", status=2)
    assert "1e+10 is no limit" in turnout("set", "budget", "global", "day", "1e10", status=2)
    assert "nan is no limit" in turnout("set", "budget", "global", "day", "nan", status=2)
    assert "period': 'days' is not one of" in turnout("set", "budget", "global", "days", "5", status=2)
    assert "0 to 1000000" in turnout("set", "weights", "cost=1e308", status=2)
    assert "longer than a year" in turnout("set", "alert", "circuit:openai-eu", "silence", "9" * 30 + "d", status=2)
    # Such a scope is no scope of a budget, and a record that nobody can read would stop everybody for ever.
    assert "cannot be published" in turnout("set", "budget", "tenant:a\nb", "day", "5", status=2)
    for arguments in (
        ("set", "budget", "tenant:acme", "day", "200.1", "--at-limit", "local_only"),
        ("set", "strategy", "cost", "--tenant", "acme"),
        ("set", "weights", "cost=0.6", "quality=0.4", "--tenant", "acme"),
        ("set", "circuit", "openai-eu", "open"),
        ("set", "deployment", "openai-eu", "off"),
        ("set", "credential", "openai-eu", "release"),
    ):
        assert turnout(*arguments).startswith("published at control offset ")
    events = documents(turnout("tail", "control", "--from-beginning", "--limit", "8"))[2:]
    assert [event["event"] for event in events] == [
        "BudgetSet", "StrategySet", "WeightsSet", "CircuitForced", "DeploymentSwitched", "CredentialReleased",
    ]  # fmt: skip
    assert (events[0]["limit_nano_usd"], events[0]["at_limit"]) == (200_100_000_000, "local_only")
    assert (events[2]["weights"], events[2]["tenant"]) == ({"cost": 0.6, "quality": 0.4}, "acme")
    shown = json.loads(turnout("status", "--json"))
    assert shown["deployments"][0] | {"reason": ""} == {
        "deployment": "openai-eu", "circuit": "closed", "forced": "open", "service": "off", "open_until": None,
        "reason": "", "calls": 0, "success_rate": None, "p95_ms": None,
    }  # fmt: skip
    assert [(row["scope"], row["limit_usd"]) for row in shown["budgets"]] == [("global", 5.0), ("tenant:acme", 200.1)]
    assert "lag:" in turnout("status")
    assert "budget tenant:acme/day (set by a command): 200.1 -> nothing" in turnout("apply", "--dry-run")
    assert 'weights of acme (set by a command): {"cost":0.6,"quality":0.4} -> nothing' in turnout("apply", "--dry-run")
    turnout("set", "weights", "--clear", "--tenant", "acme")
    assert "weights" not in turnout("apply", "--dry-run")


def test_send_and_tail(turnout: CommandLine, tmp_path: Path) -> None:
    lines = tmp_path / "many.jsonl"
    lines.write_text('{"messages": [], "routing": {"request_id": "r-1"}}\n{"messages": []}\n')
    first, second = turnout("send", str(lines), "--key", "k").split()
    assert first == "r-1"
    seen = documents(turnout("tail", "requests", "--from-beginning", "--limit", "2"))
    assert {document["record"]["headers"]["request-id"] for document in seen} == {first, second}
    assert {document["record"]["key"] for document in seen} == {"k"}
    full_name = f"{turnout.prefix}requests"
    (only,) = documents(turnout("tail", full_name, "--from-beginning", "--request", second, "--limit", "1"))
    assert only["messages"] == []
    assert turnout("send", str(lines), "--wait", "--timeout", "0.5", status=1).count("No final answer of") == 2


def test_tail_shows_what_it_cannot_read(turnout: CommandLine) -> None:
    turnout.produce("attempts", b"\xffnonsense", partition=1)
    turnout.produce("state", None, key=b"1:load:w:-0", partition=0)  # type: ignore[arg-type]
    (strange,) = documents(turnout("tail", "attempts", "--from-beginning", "--limit", "1"))
    assert strange | {"record": {}} == {"undecodable": True, "length": 9, "partition": 1, "offset": 0, "record": {}}
    (gone,) = documents(turnout("tail", "state", "--from-beginning", "--limit", "1"))
    assert gone["tombstone"] is True
    assert "use one of attempts" in turnout("tail", "nothing", status=1)


@pytest.mark.parametrize("value", [b"not json \xc3\xa9", b"\xff\x00"])
def test_dead_letters_and_their_bytes(turnout: CommandLine, value: bytes) -> None:
    stored = turnout.produce("requests", value)
    source = {"topic": stored.topic, "partition": stored.partition, "offset": stored.offset}
    letter = {"reason": "invalid_request", "source": source, "length": len(value), "hash": sha256(value).hexdigest()}
    turnout.produce("dead-letters", orjson.dumps(letter | {"request_id": "r-7"}))
    turnout.produce("dead-letters", orjson.dumps(letter | {"source": source | {"offset": 99}}))
    name = f"{stored.topic}-{stored.partition}-{stored.offset}"
    assert documents(turnout("dead-letters", "list", "--json"))[0]["source"] == name
    assert name in turnout("dead-letters", "list")
    shown = turnout("dead-letters", "show", name)
    assert "reason: invalid_request" in shown
    assert (value.decode() if value[:1] == b"n" else value.hex()) in shown
    if value[:1] == b"n":
        assert turnout("dead-letters", "show", name, "--raw").encode() == value
    gone = f"{stored.topic}-{stored.partition}-99"
    assert "does not keep the bytes" in turnout("dead-letters", "show", gone, status=1)
    assert "No dead letter names" in turnout("dead-letters", "show", f"{stored.topic}-0-1234", status=1)
    assert "is no source" in turnout("dead-letters", "show", "nonsense", status=2)


def test_explain_without_events(turnout: CommandLine) -> None:
    assert "holds no event of the request r-none" in turnout("explain", "r-none", status=1)


def test_explain_tells_what_the_log_says(turnout: CommandLine) -> None:
    turnout("apply")
    origin = {
        "event_id": "e", "occurred_at": 1, "worker": "w", "source": Source(f"{turnout.prefix}requests", 0, 0), "run": 3,
        "request_id": "r-1", "tenant": "acme", "trace_id": "0" * 32, "accepted_at": 1_000_000,
    }  # fmt: skip
    decided = RouteDecided(
        **origin, plan=(), strategy="cost", cost_strategy="minimize", balancer="round_robin", task="code",
        confidence=0.5, reasons=("nothing is left",), candidates=(), estimates=b"", propensities=(),
        excluded=(Exclusion(0, "circuit_open", 0),), cut=False, control_offset=1, seed=1, decision_us=40.0,
        **NO_INPUTS,
    )  # fmt: skip
    turnout.produce("decisions", Codec("avro").encode(decided), partition=0)
    turnout.produce("decisions", Codec("json").encode(RequestRejected(**origin, code="throttled")), partition=0)
    told = turnout("explain", "r-1")
    assert "Left out openai-eu: circuit open." in told
    assert "Rejected without an attempt: throttled." in told
    assert "There is no final answer yet." in told
    (story,) = json.loads(turnout("explain", "r-1", "--json"))["runs"]
    assert story["decision"]["excluded"] == [{"deployment": "openai-eu", "reason": "circuit_open"}]


def test_ctrl_c_ends_a_tail_well(turnout: CommandLine) -> None:
    turnout.produce("responses", b'{"n": 1}')
    arguments = ["tail", "responses", "--from-beginning", "--config", str(turnout.file)]
    command = [sys.executable, "-m", "infra.cli.main", *arguments]
    # A test run in the background ignores SIGINT, and so would its children.
    heed = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)  # noqa: E731
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=heed) as tail:
        assert tail.stdout is not None
        assert tail.stderr is not None
        try:
            assert json.loads(tail.stdout.readline())["n"] == 1
            os.kill(tail.pid, signal.SIGINT)
            assert tail.wait(timeout=30) == 0
            assert tail.stderr.read() == b""
        finally:
            tail.kill()
