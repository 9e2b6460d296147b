"""What a platform team asks by name: every question through the command and the SQL door, over rows a sink would have written."""

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest
from routing_worlds import NO_INPUTS
from sql_site import running_site
from sql_story import FIRST, NOW, TWICE, Log, completed, of, snapshot, story

from infra.cli.main import run_command
from projections.clickhouse.migrate import migrate
from projections.clickhouse.queries import QUESTIONS
from projections.clickhouse.writer import Writer
from schemas.events import RouteDecided
from schemas.events.requests import PlanStep
from schemas.ids import Source
from schemas.state import SlaState

REFUSED = Source("llm.requests", 0, 9)
SLA = SlaState(
    metric="success_rate", scope="global", window_s=900, status="missed", value=980_000, target=990_000,
    sample=100, burn=2_000, burn_short=500, measured_at=NOW,
)  # fmt: skip


def rich_story() -> Log:
    """The story, with a decision that explored, one that drew the likeliest, and targets with and without an error budget."""
    log = story()
    for run, places, likely in ((4, (0, 1), (0.25, 0.75)), (7, (1, 0), (0.75, 0.25))):
        log.add("decisions", RouteDecided(
            **of(TWICE, run), plan=(PlanStep(f"d{places[0]}", "primary"),), strategy="adaptive", cost_strategy="minimize",
            balancer="round_robin", task="code", confidence=0.8, reasons=(), candidates=places, estimates=b"",
            propensities=likely, excluded=(), cut=False, control_offset=1, seed=3, decision_us=40.0,
            **NO_INPUTS,
        ))  # fmt: skip
    # Nothing was decided about it, and the charge of a request that still runs is not its.
    log.add("decisions", replace(
        completed(REFUSED, 4, "", 0), status="error", code="throttled", task="", strategy="", total_ms=1.0,
    ))  # fmt: skip
    log.add("state", snapshot("sla", "success_rate/global/900", 4, SLA))
    slow = SlaState(
        metric="latency_p95_ms", scope="global", window_s=900, status="met", value=8_000_000, target=9_000_000
    )
    log.add("state", snapshot("sla", "latency_p95_ms/global/900", 4, slow))
    return log


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The configuration of a command whose SQL door serves the story."""
    folder = tmp_path_factory.mktemp("questions")
    with running_site(folder / "sql", {}) as site:
        with contextlib.closing(site.engine.client()) as client:
            migrate(client)
            told = rich_story()
            Writer(client, "s").write(told.ranges, told.blocks)
        file = folder / "turnout.yaml"
        file.write_text(f"sql: {{port: {site.door.port}}}\n")
        yield file


# The records may be of the hour or the day before by the time they are asked for.
GIVEN = {"days": "2", "hours": "2"}
ANSWERS: dict[str, list[dict[str, Any]]] = {
    "spend": [
        {"tenant": "acme", "provider": "openai", "model": "m", "charged": 4, "tokens": 90, "spent_usd": 0.000002488}
    ],
    "latency": [
        {"provider": "openai", "deployment": name, "calls": 1, "p50_ms": 100, "p95_ms": 100, "p99_ms": 100}
        for name in ("d0", "d1", "d2")
    ],
    "fallbacks": [{"failed": "d0", "failure": "rate_limited", "answered": "d2", "requests": 1, "mean_ms": 20}],
    "error_budget": [
        {"metric": "success_rate", "scope": "global", "window_s": 900, "value": 0.98, "target": 0.99, "status": "missed",
         "burn_rate": 2, "error_budget_left": -1, "breach": None},
        {"metric": "latency_p95_ms", "value": 8, "status": "met", "burn_rate": None, "error_budget_left": None},
    ],
    "circuits": [{"deployment": "d1", "status": "open", "reason": "5 failures", "trips": 1}],
    "budgets": [
        {"scope": "tenant:acme", "period": "month", "limit_usd": 0.00001, "spent_usd": 0.000002488,
         "reserved_usd": 0.00000025, "used": 0.2738, "threshold": 50},
        {"scope": "global", "period": "month", "limit_usd": 7, "used": 0, "threshold": 0},
    ],
    "slowest": [
        {"request_id": "r-2", "tenant": "acme", "task": "code", "status": "ok", "deployment": "d0", "attempts": 1,
         "total_ms": 24, "waited_ms": 1, "cost_usd": 0.000002011},
        {"request_id": "r-1", "deployment": "d2", "attempts": 2, "total_ms": 20, "cost_usd": 0.0000004},
        {"request_id": "r-9", "status": "error", "code": "throttled", "total_ms": 1, "cost_usd": 0},
    ],
    "failures": [{"provider": "openai", "failure": "rate_limited", "failed": 1, "deployments": 1, "share": 1}],
    "cost_per_success": [
        {"task": "code", "requests": 2, "answered": 2, "spent_usd": 0.000002411, "usd_per_answer": 0.000001206},
        {"task": "", "requests": 1, "answered": 0, "spent_usd": 0, "usd_per_answer": None},
    ],
    "queue_wait": [{"requests": 3, "p50_ms": 1, "p95_ms": 1, "worst_ms": 1}],
    "exploration": [
        {"strategy": "adaptive", "task": "code", "decided": 2, "drawn": 2, "explored": 1, "share": 0.5,
         "mean_propensity": 0.5},
        {"strategy": "cost", "task": "code", "decided": 1, "drawn": 0, "explored": 0, "share": 0, "mean_propensity": None},
    ],
}  # fmt: skip
"""Question -> what stands in the columns named, row by row."""


def asked(capfdbinary: pytest.CaptureFixture[bytes], config: Path, name: str, **given: str) -> list[dict[str, Any]]:
    known = QUESTIONS[name].parameters
    params = [part for key, value in given.items() if key in known for part in ("--param", f"{key}={value}")]
    status = run_command(["sql", "--question", name, *params, "--format", "JSONEachRow", "--config", str(config)])
    out, err = capfdbinary.readouterr()
    assert (status, err) == (0, b"")
    return [orjson.loads(line) for line in out.splitlines()]


@pytest.mark.parametrize("name", QUESTIONS)
def test_every_question_has_its_answer(capfdbinary: pytest.CaptureFixture[bytes], config: Path, name: str) -> None:
    rows = asked(capfdbinary, config, name, **GIVEN)
    expected = ANSWERS[name]
    assert len(rows) == len(expected)
    for row, wanted in zip(rows, expected, strict=True):
        assert {key: number(row[key]) for key in wanted} == wanted


def test_a_table_without_rows_says_so(capfdbinary: pytest.CaptureFixture[bytes], config: Path) -> None:
    found = []
    for condition in ("0", "1"):
        status = run_command(["sql", f"SELECT 7 AS seven WHERE {condition}", "--config", str(config)])
        found.append((status, capfdbinary.readouterr().out.split()))
    (empty, full) = found
    assert empty == (0, [b"(no", b"rows)"])
    assert full[0] == 0 and full[1][0] == b"seven" and full[1][-1] == b"7"


def number(value: Any) -> Any:
    """64-bit integers and decimals may come as text, so that JavaScript keeps them."""
    with contextlib.suppress(TypeError, ValueError):
        return float(value)
    return value


def test_every_question_runs_as_it_stands(capfdbinary: pytest.CaptureFixture[bytes], config: Path) -> None:
    assert ANSWERS.keys() == QUESTIONS.keys()
    for name, question in QUESTIONS.items():
        assert "\n" not in question.title
        asked(capfdbinary, config, name)


def test_parameters_reach_the_question(capfdbinary: pytest.CaptureFixture[bytes], config: Path) -> None:
    (slowest,) = asked(capfdbinary, config, "slowest", hours="2", limit="1")
    assert slowest["request_id"] == "r-2"
    assert str(FIRST) not in str(slowest)


def test_a_budget_at_its_pace_reaches_its_periods_end(capfdbinary: pytest.CaptureFixture[bytes], config: Path) -> None:
    began = datetime.now(UTC)
    row = asked(capfdbinary, config, "budgets")[0]
    since, until = (datetime.fromisoformat(row[name]).replace(tzinfo=UTC) for name in ("since", "until"))
    ended = datetime.now(UTC)
    assert since.day == until.day == 1 and 28 <= (until - since).days <= 31
    # Asked between the two moments; whole seconds have passed then, rounded down, and at least one counts.
    passed = [max(1, int((at - since).total_seconds()) + more) for at, more in ((began, 0), (ended, 1))]
    most, least = (0.000002488 * (until - since).total_seconds() / seconds for seconds in passed)
    assert least - 2e-9 <= float(row["at_this_pace_usd"]) <= most + 2e-9
