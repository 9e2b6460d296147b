"""Random logs of events with ticks and control changes, for tests of folds."""

from dataclasses import dataclass
from random import Random

from fold_events import (
    HOOK,
    SECOND,
    SECOND_HOOK,
    START,
    anomaly_detected,
    breached,
    circuit_closed,
    circuit_opened,
    completed,
    delivered,
    failed,
    feedback,
    incurred,
    limit_changed,
    measured,
    partition_paused,
    partition_resumed,
    period_started,
    probe_failed,
    probe_succeeded,
    reserved,
    restored,
    succeeded,
    threshold_crossed,
    ticked,
)
from fold_world import projection
from hypothesis import strategies as st

from projections.fold import LogRecord
from schemas.events import Event


@dataclass(frozen=True)
class Log:
    """A partition of a topic with what a projector that ran from its start derived at each record."""

    kind: str
    records: tuple[LogRecord, ...]
    derived: tuple[tuple[Event, ...], ...]


DEPLOYMENTS = ("d1", "d2", "d3")
# Mostly close together, sometimes past open times and windows, sometimes a clock that goes back.
GAPS = (0, 1_000, SECOND // 2, SECOND, SECOND, SECOND, 5 * SECOND, 70 * SECOND, 1_000 * SECOND, -2 * SECOND)
LONG_GAPS = (*GAPS, 3_600 * SECOND, 86_400 * SECOND)
TASKS = ("code", "math")
MOODS = {
    "well": ("ok", "ok", "ok", "ok", "bad", "trial", "probe", "tick"),
    "outage": ("bad", "bad", "bad", "bad", "badprobe", "badtrial", "ok", "tick"),
    "recovery": ("probe", "probe", "probe", "trial", "trial", "ok", "badprobe", "tick"),
    "commands": ("command", "command", "bad", "probe", "trial", "ok"),
}
"""What is likely while a mood lasts: circuits move only when like follows like."""
# A log is drawn from a seed: choices that Hypothesis draws one by one hardly ever add up to an outage.
SEEDS = st.integers(0, 2**32)


@st.composite
def attempts_logs(draw: st.DrawFn, partition: int = 0) -> Log:
    """Attempts, probes and ticks of three deployments, most under the epoch that their circuit has then."""
    chance, length = Random(draw(SEEDS)), draw(st.integers(1, 80))
    live = projection("attempts", partition)
    records, derived, now, offset, at_control = [], [], START, 0, chance.randint(-1, 0)
    mood, focus = "well", "d1"
    for _ in range(length):
        if chance.random() < 0.12:
            mood, focus = chance.choice(tuple(MOODS)), chance.choice(DEPLOYMENTS)
        now += chance.choice(GAPS)
        offset += chance.randint(1, 2)
        deployment = focus if chance.random() < 0.8 else chance.choice(DEPLOYMENTS)
        circuit = live.snapshot("circuit", deployment)
        said = {
            "deployment": deployment,
            "circuit_epoch": max(0, (circuit.epoch if circuit else 0) - (chance.random() < 0.1)),
            "latency_ms": chance.choice((0.0, 12.5, 900.0, 1_500.0, 40_000.0)),
        }
        if chance.random() < 0.03:
            now += chance.choice((3_600, 5 * 3_600, 90_000)) * SECOND
        jitter, counts = chance.uniform(-1, 1), chance.random() < 0.85
        failure = "server_error" if counts else chance.choice(("rate_limited", "empty_completion"))
        called = {"task": chance.choice(TASKS), "model": "m" if chance.random() < 0.95 else "other"}
        event: Event
        match chance.choice(MOODS[mood]):
            case "tick":
                event = ticked(at_control)
            case "command":
                at_control += 1
                event = ticked(at_control)
            case "ok":
                first, tokens = chance.choice((0.0, 33.0)), chance.choice((0, 1, 20, 300, 100_000))
                event = succeeded(**said, **called, first_token_ms=first, tokens_out=tokens)
            case "trial":
                event = succeeded(**said, trial=True)
            case "bad":
                event = failed(**said, **called, failure=failure, counts_toward_circuit=counts, jitter=jitter)
            case "badtrial":
                event = failed(**said, failure=failure, counts_toward_circuit=counts, jitter=jitter, trial=True)
            case "probe":
                event = probe_succeeded(**said)
            case _:
                event = probe_failed(**said, failure=failure, jitter=jitter)
        records.append(LogRecord("llm.attempts", partition, offset, now, event))
        derived.append(tuple(live.apply(records[-1])))
    return Log("attempts", tuple(records), tuple(derived))


@st.composite
def costs_logs(draw: st.DrawFn, partition: int = 0) -> Log:
    """Reservations, settlements (some twice, some late, some never) and ticks; derived charges come back later."""
    chance, length = Random(draw(SEEDS)), draw(st.integers(1, 60))
    live = projection("costs", partition)
    records, derived, now = [], [], START
    pending: list[Event] = []
    for offset in range(length):
        now += chance.choice(LONG_GAPS)
        number = chance.randint(0, 6)
        said = {
            "cost_id": f"c{number}", "tenant": f"tenant{number % 3}", "nano_usd": chance.randint(0, 5_000),
            "deployment": f"d{number % 2}", "provider": chance.choice(("openai", "google")),
        }  # fmt: skip
        event: Event
        match chance.choice(("tick", "tick", "reserve", "reserve", "reserve", "settle", "settle", "estimate", "back")):
            case "back" if pending:
                event = pending.pop(chance.randrange(len(pending)))
            case "tick" | "back":
                event = ticked(offset // 10)
            case "reserve":
                event = reserved(**said, deadline_at=now + chance.choice((0, 60 * SECOND)))
            case "settle":
                event = incurred(**said)
            case _:
                event = incurred(**said, certainty="estimated")
        records.append(LogRecord("llm.costs", partition, offset, now, event))
        derived.append(tuple(live.apply(records[-1])))
        pending += derived[-1]
    return Log("costs", tuple(records), tuple(derived))


@st.composite
def decisions_logs(draw: st.DrawFn, partition: int = 0) -> Log:
    """Requests of three tenants with every kind of outcome, some logged an hour or a day later, and ticks."""
    chance, length = Random(draw(SEEDS)), draw(st.integers(1, 60))
    live = projection("decisions", partition)
    records, derived, now = [], [], START
    for offset in range(length):
        now += chance.choice(LONG_GAPS)
        code = chance.choice(("", "", "", "", "all_attempts_failed", "throttled", "invalid_request"))
        event: Event = ticked(offset // 10) if chance.random() < 0.1 else completed(
            tenant=f"te/nant{chance.randint(0, 2)}", status="error" if code else "ok", code=code,
            fallback=chance.random() < 0.2, total_ms=chance.choice((5.0, 80.0, 900.0)),
            cost_nano_usd=chance.randint(0, 5_000),
        )  # fmt: skip
        records.append(LogRecord("llm.decisions", partition, offset, now, event))
        derived.append(tuple(live.apply(records[-1])))
    return Log("decisions", tuple(records), tuple(derived))


@st.composite
def alerts_logs(draw: st.DrawFn, partition: int = 0) -> Log:
    """Causes of alerts, some written twice, the alerts that follow from them read back (some twice), and deliveries."""
    chance, length = Random(draw(SEEDS)), draw(st.integers(1, 80))
    live = projection("transitions", partition)
    records, derived, now, at_control, number = [], [], START, 0, 1
    pending: list[Event] = []
    told: list[Event] = []
    for offset in range(length):
        now += chance.choice(GAPS)
        said = {"derived_from": f"llm.attempts-0-{offset}", "logged_at": now}
        event: Event
        match chance.choice(
            ("tick", "tick", "command", "circuit", "sla", "sla", "other", "back", "back", "hook", "hook")
        ):
            case "back" if pending:
                event = pending.pop(0) if chance.random() < 0.8 else chance.choice(pending)
                told.append(event)
            case "hook" if told:
                change = chance.choice(told)
                hook = chance.choice((HOOK, HOOK, SECOND_HOOK))
                event = delivered(
                    subject=change.subject, kind=change.kind, alert=change.alert, change=change.change, webhook=hook.name
                )  # fmt: skip
            case "tick" | "back" | "hook":
                event = ticked(at_control)
            case "command":
                at_control += 1
                event = ticked(at_control)
            case "circuit":
                make = chance.choice((circuit_opened, circuit_closed))
                event = make(**said, epoch=offset // 5 + chance.randint(0, 1))
            case "sla":
                number += chance.random() < 0.2
                make = chance.choice((measured, breached, breached, restored))
                event = make(**said, **({} if make is measured else {"number": number}), **(
                    {"severity": chance.choice(("info", "warning", "critical"))} if make is breached else {}
                ))  # fmt: skip
            case _:
                event = chance.choice((
                    anomaly_detected(**said, minute=now // SECOND // 60), partition_paused(**said, offset=offset // 9),
                    partition_resumed(**said, offset=offset // 9), period_started(**said, period_start=offset // 20),
                    threshold_crossed(**said, period_start=offset // 20, threshold=chance.choice((50, 85, 95, 100))),
                    limit_changed(**said, period_start=offset // 20, threshold=chance.choice((0, 0, 50, 95))),
                ))  # fmt: skip
        records.append(LogRecord("llm.transitions", partition, offset, now, event))
        derived.append(tuple(live.apply(records[-1])))
        pending += derived[-1]
    return Log("transitions", tuple(records), tuple(derived))


@st.composite
def transitions_logs(draw: st.DrawFn, partition: int = 0) -> Log:
    """Judgements of two budgets, some written twice, and ticks."""
    chance, length = Random(draw(SEEDS)), draw(st.integers(1, 40))
    live = projection("transitions", partition)
    records, derived, now = [], [], START
    for offset in range(length):
        now += chance.choice(GAPS)
        scope = chance.choice(("global", "tenant:a"))
        said = {"scope": scope, "subject": f"{scope}/hour", "period_start": max(0, offset // 10 - chance.randint(0, 1))}
        said |= {"limit_nano_usd": chance.choice((100, 100, 200))}
        event: Event
        match chance.choice(("tick", "start", "cross", "cross", "limit")):
            case "tick":
                event = ticked()
            case "limit":
                event = limit_changed(**said | {"limit_nano_usd": chance.choice((-1, 100, 300))})
            case "start":
                event = period_started(**said)
            case _:
                event = threshold_crossed(**said, threshold=chance.choice((50, 85, 100)))
        records.append(LogRecord("llm.transitions", partition, offset, now, event))
        derived.append(tuple(live.apply(records[-1])))
    return Log("transitions", tuple(records), tuple(derived))


@st.composite
def feedback_logs(draw: st.DrawFn, partition: int = 0) -> Log:
    """Scores of a few requests, many given twice, over weeks, and ticks."""
    chance, length = Random(draw(SEEDS)), draw(st.integers(1, 60))
    live = projection("feedback", partition)
    records, derived, now = [], [], START
    for offset in range(length):
        now += chance.choice((*LONG_GAPS, 9 * 86_400 * SECOND))
        event: Event = feedback(
            request_id=f"r{chance.randint(0, 20)}", given_by=chance.choice(("", "anna")),
            deployment=chance.choice(DEPLOYMENTS), task=chance.choice(TASKS), score=chance.choice((0.0, 0.333, 1.0)),
        )  # fmt: skip
        if chance.random() < 0.2:
            event = ticked()
        records.append(LogRecord("llm.feedback", partition, offset, now, event))
        derived.append(tuple(live.apply(records[-1])))
    return Log("feedback", tuple(records), tuple(derived))


KINDS = (
    attempts_logs,
    attempts_logs,
    attempts_logs,
    costs_logs,
    transitions_logs,
    decisions_logs,
    alerts_logs,
    feedback_logs,
)


def logs(partition: int = 0) -> st.SearchStrategy[Log]:
    """A log of any kind; attempts most often, whose folds have the most rules."""
    return st.sampled_from(KINDS).flatmap(lambda kind: kind(partition))
