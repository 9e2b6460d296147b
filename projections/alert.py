"""Alerts: raised by what the folds and judges conclude, escalated when it worsens or lasts, resolved when its cause is gone.

One alert at a time for a subject; its causes are counted, not repeated. Every change is an event, and stays pending in the
state until each webhook that it concerns has heard of it: a restart neither loses nor repeats what the log holds.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import get_args

from projections.fold import LogRecord
from schemas.events import (
    AlertDelivered,
    AlertEscalated,
    AlertEvent,
    AlertRaised,
    AlertResolved,
    AnomalyDetected,
    BudgetLimitChanged,
    BudgetPeriodStarted,
    BudgetThresholdCrossed,
    CircuitClosed,
    CircuitOpened,
    DerivedEvent,
    Event,
    PartitionPaused,
    PartitionResumed,
    SlaBreached,
    SlaRestored,
)
from schemas.inforce import InForce
from schemas.policy import Severity
from schemas.state import AlertState, Notice
from schemas.units import MICROS_PER_S, clock_text, usd_text

SEVERITIES: tuple[Severity, ...] = get_args(Severity)
QUIET = AlertState()
ESCALATING = frozenset({"sla", "circuit", "partition"})
"""Kinds that get worse by lasting. A budget that is used up stays so until its period ends; only a threshold worsens it."""
ANOMALY_LIFE = 10 * 60 * MICROS_PER_S
"""An anomaly has no end of its own: ten minutes without another resolve it."""
NOTICES_KEPT = 50
"""Of one subject. A webhook that is away for long hears of the latest."""
Stepped = tuple[AlertState, tuple[Event, ...]]


@dataclass(frozen=True, slots=True)
class Cause:
    """What an event says of an alert. `severity`: empty where the cause is gone. `mark`: grows with each cause."""

    kind: str
    severity: str
    mark: int
    text: str


def rank(severity: str) -> int:
    """-1 for none, then info to emergency."""
    return SEVERITIES.index(severity) if severity in SEVERITIES else -1


def cause_of(event: Event) -> Cause | None:
    """What an event means for alerts, or None. A record written twice has the same mark."""
    match event:
        case CircuitOpened():
            # A person who forces a circuit knows.
            severity = "info" if event.reason.startswith("forced") else "warning"
            return Cause("circuit", severity, event.epoch, f"circuit of {event.deployment} opened: {event.reason}")
        case CircuitClosed():
            return Cause("circuit", "", event.epoch, f"circuit of {event.deployment} closed")
        case BudgetPeriodStarted():
            return Cause("budget", "", event.logged_at, f"a new {event.period} began for {event.scope}")
        case BudgetLimitChanged():
            # Judgements of one moment have one mark: what the new limit leaves crossed neither resolves nor repeats.
            severity = _of_threshold(event.threshold) if event.threshold else ""
            return Cause("budget", severity, event.logged_at, _limit_text(event))
        case BudgetThresholdCrossed():
            return Cause("budget", _of_threshold(event.threshold), event.logged_at, _budget_text(event))
        case SlaBreached():
            return Cause("sla", event.severity, 2 * event.number, _sla_text(event))
        case SlaRestored():
            return Cause("sla", "", 2 * event.number + 1, f"{event.metric} of {event.scope}: {event.reason}")
        case AnomalyDetected():
            return Cause("anomaly", _of_anomaly(event), event.minute, _anomaly_text(event))
        case PartitionPaused():
            return Cause("partition", "critical", 2 * event.offset, f"{event.subject} stands still: {event.reason}")
        case PartitionResumed():
            return Cause("partition", "", 2 * event.offset + 1, f"{event.subject} goes on")
        case _:
            return None


def _of_threshold(percent: int) -> str:
    if percent >= 100:
        return "emergency"
    return "critical" if percent >= 95 else "warning" if percent >= 85 else "info"


def _budget_text(event: BudgetThresholdCrossed) -> str:
    spent, limit = usd_text(event.spent_nano_usd), usd_text(event.limit_nano_usd)
    return f"{event.scope} used {event.threshold} % of its {event.period}: {spent} of {limit} USD"


def _limit_text(event: BudgetLimitChanged) -> str:
    if event.limit_nano_usd < 0:
        return f"{event.scope} has no limit a {event.period} any more"
    spent, limit = usd_text(event.spent_nano_usd), usd_text(event.limit_nano_usd)
    return f"the limit of {event.scope} is now {limit} USD a {event.period}, {spent} are spent"


def _sla_text(event: SlaBreached) -> str:
    value, target = event.value_micros / 1e6, event.target_micros / 1e6
    return (
        f"{event.metric} of {event.scope} is {value:g} over {event.window_s} s ({event.sample} events), "
        f"the target is {target:g}"
    )


def _of_anomaly(event: AnomalyDetected) -> str:
    return "warning" if event.direction == "up" else "info"


def _anomaly_text(event: AnomalyDetected) -> str:
    value, baseline = event.value_micros / 1e6, event.baseline_micros / 1e6
    return (
        f"{event.measure} of {event.deployment} went {event.direction} to {value:g} from {baseline:g}, "
        f"{event.size_milli / 1000:.1f} sigma"
    )


class AlertFold:
    """kind `alert`: `kind:subject` -> AlertState."""

    kind: str = "alert"
    version: int = 2
    reads: tuple[type[Event], ...] = (DerivedEvent, AlertDelivered)

    def initial(self) -> AlertState:
        return QUIET

    def subject(self, event: Event) -> str | None:
        if isinstance(event, AlertEvent | AlertDelivered):
            return f"{event.kind}:{event.subject}"
        cause = cause_of(event)
        return f"{cause.kind}:{event.subject}" if cause is not None and isinstance(event, DerivedEvent) else None

    def step(self, state: AlertState, record: LogRecord, inforce: InForce) -> Stepped:
        event = record.event
        if isinstance(event, AlertEvent):
            return _heard(state, event, record, inforce), ()
        if isinstance(event, AlertDelivered):
            return _delivered(state, event), ()
        cause = cause_of(event)
        assert cause is not None and isinstance(event, DerivedEvent), event
        return _caused(state, cause, event.subject, record, inforce)

    def tick(self, state: AlertState, subject: str, record: LogRecord, inforce: InForce) -> Stepped:
        now = record.logged_at
        if not state.open:
            return state, ()
        if state.kind == "anomaly" and now - state.seen_at >= ANOMALY_LIFE:
            return _resolved(state, f"no anomaly since {clock_text(state.seen_at)}", record, inforce)
        level, after = rank(state.severity), round(inforce.configuration.alerts.escalate_after_s * MICROS_PER_S)
        lasting = 0 < level < len(SEVERITIES) - 1 and now - state.changed_at >= after
        if state.kind not in ESCALATING or not lasting or inforce.silent(subject, now):
            return state, ()
        worse = replace(state, severity=SEVERITIES[level + 1], changed_at=now, told=state.told + 1)
        minutes = (now - state.raised_at) / MICROS_PER_S / 60
        return worse, (_told(AlertEscalated, worse, f"{state.text}; open for {minutes:.0f} min", record, inforce),)


def _caused(state: AlertState, cause: Cause, subject: str, record: LogRecord, inforce: InForce) -> Stepped:
    now = record.logged_at
    worse = rank(cause.severity) > rank(state.severity)
    # Of one mark only a worse severity is news: thresholds of one period, levels of one breach.
    if cause.mark < state.mark or (cause.mark == state.mark and not (cause.severity and worse)):
        return state, ()
    if not cause.severity:
        moved = replace(state, kind=cause.kind, subject=subject, mark=cause.mark, severity="", text=cause.text)
        if state.open:
            return _resolved(replace(state, mark=cause.mark), cause.text, record, inforce)
        return moved, ()
    if not state.open:
        raised = replace(
            state, kind=cause.kind, subject=subject, open=True, number=state.number + 1, severity=cause.severity,
            text=cause.text, raised_at=now, changed_at=now, seen_at=now, count=1, mark=cause.mark, told=state.told + 1,
        )  # fmt: skip
        return raised, (_told(AlertRaised, raised, cause.text, record, inforce),)
    again = replace(state, seen_at=now, count=state.count + 1, mark=cause.mark, text=cause.text)
    if not worse:
        return again, ()
    escalated = replace(again, severity=cause.severity, changed_at=now, told=state.told + 1)
    return escalated, (_told(AlertEscalated, escalated, cause.text, record, inforce),)


def _resolved(state: AlertState, text: str, record: LogRecord, inforce: InForce) -> Stepped:
    told = replace(state, told=state.told + 1)
    event = _told(AlertResolved, told, text, record, inforce)
    # The severity goes with the alert: the next cause, even of the same mark, begins a new one.
    return replace(told, open=False, severity="", text=text, changed_at=record.logged_at), (event,)


def _told(shape: type[AlertEvent], state: AlertState, text: str, record: LogRecord, inforce: InForce) -> AlertEvent:
    name = f"{state.kind}:{state.subject}"
    return shape(
        event_id=f"{record.position}/{shape.__name__}/{name}", occurred_at=record.logged_at, worker="",
        subject=state.subject, derived_from=record.position, logged_at=record.logged_at, alert=f"{name}#{state.number}",
        kind=state.kind, number=state.number, change=state.told, severity=state.severity, text=text,
        raised_at=state.raised_at, silenced=inforce.silent(name, record.logged_at),
    )  # fmt: skip


def _heard(state: AlertState, event: AlertEvent, record: LogRecord, inforce: InForce) -> AlertState:
    """The change stands in the log: now webhooks may hear of it. A second copy of it changes nothing."""
    if event.change <= state.heard:
        return state
    names = [
        hook.name for hook in inforce.configuration.alerts.webhooks if rank(hook.min_severity) <= rank(event.severity)
    ]
    state = replace(state, heard=event.change)
    if event.silenced or not names:
        return state
    change = type(event).__name__.removeprefix("Alert").lower()
    notice = Notice(
        change, event.severity, event.logged_at, record.offset, event.number, event.text, tuple(sorted(set(names)))
    )
    pending = {**state.pending, event.change: notice}
    return replace(state, pending=dict(sorted(pending.items())[-NOTICES_KEPT:]))


def _delivered(state: AlertState, event: AlertDelivered) -> AlertState:
    notice = state.pending.get(event.change)
    if notice is None or event.webhook not in notice.webhooks:
        return state
    left = tuple(name for name in notice.webhooks if name != event.webhook)
    pending = {change: each for change, each in state.pending.items() if change != event.change}
    if left:
        pending = dict(sorted((pending | {event.change: replace(notice, webhooks=left)}).items()))
    return replace(state, pending=pending)


def judge_partitions(
    alerts: Mapping[str, AlertState], covered: Callable[[str], int], now: int, derived_from: str
) -> list[Event]:
    """Which partitions that stood still were folded on. `covered`: topic-number -> the offset of its newest cursor."""
    return [
        PartitionResumed(
            event_id=f"{derived_from}/PartitionResumed/{state.subject}", occurred_at=now, worker="",
            subject=state.subject, derived_from=derived_from, logged_at=now, offset=state.mark // 2,
        )
        for state in alerts.values()
        if state.open and state.kind == "partition" and covered(state.subject) >= state.mark // 2
    ]  # fmt: skip
