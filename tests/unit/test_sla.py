"""Targets: how they are measured, when they breach, worsen and end, what scopes stand for."""

from collections.abc import Callable
from typing import Any

import pytest
from fold_events import SECOND, START, breached, completed, failed, measured, probe_failed, restored, succeeded
from pydantic import ValidationError

from projections.breach import Evidence, SlaFold, judge_sla, promises
from projections.fold import LogRecord
from projections.health import HealthFold
from projections.measure import measure, status_of, tally_of_health, tally_of_requests
from projections.sla import counted
from schemas.events import Event, SlaBreached, SlaMeasured, SlaRestored
from schemas.inforce import InForce
from schemas.merge import MINUTE, RequestTotals
from schemas.policy import Configuration, SlaTarget
from schemas.spans import SCORES_SPAN
from schemas.state import HealthState, QualityState, RequestCounts, ScoresBucket, SlaState

CATALOG: dict[str, Any] = {
    "models": [{"id": "m"}],
    "deployments": [
        {"id": "d1", "provider": "openai", "model": "m", "base_url": "http://x"},
        {"id": "d2", "provider": "openai", "model": "m", "base_url": "http://x"},
        {"id": "d3", "provider": "google", "model": "m", "base_url": "http://x"},
    ],
}
MINUTE_NOW = START // MINUTE


def counts(ok: int = 0, code: str = "all_attempts_failed", bad: int = 0, ms: float = 100.0) -> RequestCounts:
    found = RequestCounts(MINUTE_NOW)
    for event in [completed(total_ms=ms)] * ok + [completed(status="error", code=code)] * bad:
        found = counted(found, event)
    return found


def target(metric: str = "availability", **more: Any) -> SlaTarget:
    return SlaTarget.model_validate({"metric": metric, "target": 0.99} | more)


class Judge:
    """A judge that reads what it says back. `requests`: of one tenant."""

    def __init__(self, *targets: SlaTarget) -> None:
        self.inforce = InForce(configuration=Configuration.model_validate({"catalog": CATALOG, "sla": targets}))
        self.totals, self.health, self.quality = RequestTotals(), dict[str, HealthState](), dict[str, QualityState]()
        self.fold, self.judged, self.offset = SlaFold(), dict[str, SlaState](), 0

    def judge(self, now: int = START, owns: Callable[[str], bool] = lambda subject: True) -> list[Event]:
        self.offset += 1
        evidence = Evidence(self.totals, self.health, self.quality)
        promised, position = promises(self.inforce, self.totals.tenants, owns), f"llm.transitions-0-{self.offset}"
        events = judge_sla(promised, self.inforce, evidence, self.judged, now, owns, position)
        for event in events:
            subject = self.fold.subject(event)
            assert subject is not None
            record = LogRecord("llm.transitions", 0, 0, now, event)
            self.judged[subject], _ = self.fold.step(self.judged.get(subject, SlaState()), record, self.inforce)
        return events

    def saw(self, found: RequestCounts, tenant: str = "acme") -> None:
        self.totals.put("requests_minute", f"0/{tenant}", 0, found)


def kinds(events: list[Event]) -> list[str]:
    return [type(event).__name__ for event in events]


@pytest.mark.parametrize(
    ("code", "availability", "success"),
    [("all_attempts_failed", 900_000, 900_000), ("throttled", 1_000_000, 900_000), ("invalid_request", 1_000_000, 1_000_000)],
)  # fmt: skip
def test_whose_fault_an_error_is(code: str, availability: int, success: int) -> None:
    tally = tally_of_requests(counts(90, code, 10), 900)
    assert measure(target("availability"), tally).value == availability
    assert measure(target("success_rate"), tally).value == success


def test_every_metric_of_requests() -> None:
    tally = tally_of_requests(counts(90, bad=10, ms=200.0), 900)
    assert measure(target("throughput_per_s"), tally).value == 100_000
    cost = measure(target("cost_per_success_usd", target=1), tally)
    assert cost.value == round(1e6 * 100 * 1_000 / 1e9 / 90)
    latency = measure(target("latency_p95_ms", target=150), tally)
    assert abs(latency.value / 1e6 - 200) < 7
    # All of them are slower than the target, 5 % may be.
    assert (latency.status, latency.burn) == ("warning", 20_000)
    assert measure(target("quality"), tally).status == "unknown"


def scored(*days: tuple[int, int, int], task: str = "code") -> QualityState:
    """`days`: how many days ago, number of scores, each in thousandths."""
    today = START // SCORES_SPAN
    return QualityState({task: tuple(ScoresBucket(today - ago, n, n * each) for ago, n, each in days)})


def test_quality_is_what_feedback_says() -> None:
    quality = {"metric": "quality", "target": 0.8, "critical": 0.5}
    judge = Judge(
        target(**quality, scope="deployment:d1"), target(**quality, scope="provider:openai", window_s=7 * 86_400),
        target(**quality, scope="global", window_s=32 * 86_400), target(**quality, scope="tenant:acme"),
        target(**quality, scope="deployment:d3"),
    )  # fmt: skip
    judge.quality = {
        "d1": scored((6, 10, 1000), (0, 20, 400)), "d2": scored((7, 100, 0), (3, 30, 1000), task="analysis"),
        "gone": scored((27, 50, 900)), "d3": scored((0, 19, 0)),
    }  # fmt: skip
    found = {event.subject: event for event in judge.judge() if isinstance(event, SlaMeasured)}
    said = {subject: (event.value_micros, event.sample, event.status) for subject, event in found.items()}
    assert said == {
        # Windows are whole days, 28 at most.
        "quality/deployment:d1/86400": (400_000, 20, "critical"),
        "quality/provider:openai/604800": (800_000, 60, "met"),
        "quality/global/2419200": (round(1e6 * (10 + 8 + 30 + 45) / 229), 229, "critical"),
        "quality/tenant:acme/86400": (-1, 0, "unknown"),
        "quality/deployment:d3/86400": (-1, 19, "unknown"),
    }
    assert [event.burn_milli for event in found.values()] == [-1] * 5


def test_quality_recovers_when_people_say_so() -> None:
    judge = Judge(target("quality", target=0.8, scope="deployment:d1"))
    judge.quality = {"d1": scored((0, 20, 700))}
    assert kinds(judge.judge()) == ["SlaMeasured", "SlaBreached"]
    judge.quality = {"d1": scored((0, 60, 900))}
    assert kinds(judge.judge(START + SECOND)) == ["SlaMeasured", "SlaRestored"]


def test_health_of_deployments() -> None:
    fold, state = HealthFold(), HealthState()
    events: list[Event] = [succeeded()] * 6 + [failed()] + [failed(failure="rate_limited")] * 2 + [probe_failed()]
    for event in events:
        state, _ = fold.step(state, LogRecord("llm.attempts", 0, 0, START, event), InForce())
    tally = tally_of_health(state, 900, START)
    assert (tally.up, tally.down, tally.good, tally.bad) == (6, 2, 6, 3)
    assert measure(target("cost_per_success_usd", minimum_sample=1), tally).status == "unknown"
    assert tally_of_health(state, 60, START + 2 * MINUTE).up == 0


def test_levels_go_by_the_direction_of_the_metric() -> None:
    slow = target("latency_p95_ms", target=5_000, warning=8_000, critical=15_000)
    assert [status_of(slow, ms) for ms in (5_000, 5_001, 8_001, 15_001)] == ["met", "missed", "warning", "critical"]
    up = target(critical=0.95)
    assert [status_of(up, share) for share in (0.99, 0.989, 0.949)] == ["met", "warning", "critical"]


def test_burn_rate_says_how_fast_the_error_budget_goes() -> None:
    assert measure(target(), tally_of_requests(counts(90, bad=10), 900)).burn == 10_000
    assert measure(target(), tally_of_requests(counts(99, bad=1), 900)).burn == 1_000
    assert measure(target(), tally_of_requests(counts(99), 900)).burn == 0


def test_a_breach_begins_worsens_and_ends_once() -> None:
    judge = Judge(target(critical=0.8))
    judge.saw(counts(90, bad=10))
    events = judge.judge()
    assert kinds(events) == ["SlaMeasured", "SlaBreached"]
    breach = events[1]
    assert isinstance(breach, SlaBreached)
    assert (breach.subject, breach.number, breach.severity) == ("availability/global/900", 1, "warning")
    assert (breach.value_micros, breach.sample, breach.burn_milli) == (900_000, 100, 10_000)
    assert judge.judge(START + SECOND) == []
    judge.saw(counts(70, bad=30))
    changed, worse = judge.judge(START + 2 * SECOND)
    assert isinstance(changed, SlaMeasured)
    assert changed.status == "critical"
    assert isinstance(worse, SlaBreached)
    assert (worse.number, worse.severity) == (1, "critical")
    # Better, and not yet good: the breach stands as it was.
    judge.saw(counts(90, bad=10))
    assert kinds(judge.judge(START + 3 * SECOND)) == ["SlaMeasured"]
    judge.saw(counts(999, bad=1))
    _, over = judge.judge(START + 4 * SECOND)
    assert isinstance(over, SlaRestored)
    assert (over.number, over.breached_at) == (1, START)
    judge.saw(counts(0, bad=30))
    again = judge.judge(START + 5 * SECOND)
    assert [event.number for event in again if isinstance(event, SlaBreached)] == [2]


def test_few_events_say_nothing_and_an_empty_window_ends_a_breach() -> None:
    judge = Judge(target())
    judge.saw(counts(0, bad=19))
    (unknown,) = judge.judge()
    assert isinstance(unknown, SlaMeasured)
    assert (unknown.status, unknown.value_micros, unknown.sample) == ("unknown", -1, 19)
    judge.saw(counts(0, bad=20))
    assert kinds(judge.judge(START + SECOND)) == ["SlaMeasured", "SlaBreached"]
    judge.saw(counts(1))
    assert "SlaRestored" not in kinds(judge.judge(START + 2 * SECOND))
    ended = judge.judge(START + 20 * MINUTE)
    assert kinds(ended) == ["SlaMeasured", "SlaRestored"]
    assert judge.judge(START + 21 * MINUTE) == []


def test_a_target_that_nobody_measures_is_said_to_be_unknown_once() -> None:
    judge = Judge(target("quality"))
    (unknown,) = judge.judge()
    assert isinstance(unknown, SlaMeasured)
    assert (unknown.status, unknown.value_micros) == ("unknown", -1)
    assert judge.judge(START + 5 * MINUTE) == []


def test_a_target_that_is_gone_ends_its_breach() -> None:
    judge = Judge(target())
    judge.saw(counts(0, bad=20))
    judge.judge()
    judge.inforce = InForce()
    (ended,) = judge.judge(START + SECOND)
    assert isinstance(ended, SlaRestored)
    assert ended.reason == "the target is no longer in force"
    assert judge.judge(START + 2 * SECOND) == []


def test_only_owned_targets_are_judged() -> None:
    judge = Judge(target(scope="tenant:*"))
    judge.saw(counts(0, bad=20))
    judge.saw(counts(0, bad=20), tenant="globex")
    events = judge.judge(owns=lambda subject: "globex" in subject)
    assert {event.subject for event in events if isinstance(event, SlaMeasured)} == {"availability/tenant:globex/900"}


def test_scopes_stand_for_what_they_match() -> None:
    sla = [
        target(scope=scope, window_s=3_600) for scope in ("provider:*", "deployment:d*", "tenant:*", "global", "global")
    ]
    judge = Judge(*sla)
    assert list(promises(judge.inforce, ["acme"], lambda subject: True)) == [
        "availability/provider:google/900", "availability/provider:openai/900", "availability/deployment:d1/900",
        "availability/deployment:d2/900", "availability/deployment:d3/900", "availability/tenant:acme/3600",
        "availability/global/3600",
    ]  # fmt: skip


def test_a_second_copy_of_a_judgement_changes_nothing() -> None:
    fold, state = SlaFold(), SlaState()
    story: list[Event] = [measured(), breached(), breached(severity="critical"), restored()]
    for event in story:
        state, _ = fold.step(state, LogRecord("llm.transitions", 0, 0, START, event), InForce())
    for event in story:
        after, _ = fold.step(state, LogRecord("llm.transitions", 0, 0, START, event), InForce())
        assert after is state


def test_a_percentage_is_no_ratio() -> None:
    with pytest.raises(ValidationError, match=r"write 0\.99 for 99 %"):
        target(target=99)
