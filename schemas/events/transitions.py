"""What folds conclude: circuits, budgets, SLA, anomalies, alerts. Each is derived and carries a derived id."""

from dataclasses import dataclass

from schemas.events.base import Event


@dataclass(frozen=True, slots=True, kw_only=True)
class DerivedEvent(Event):
    """`derived_from`: topic-partition-offset of the record that caused it; with the kind and subject it makes the id.

    `logged_at`: broker time of that record in microseconds. A second copy after a crash has the same id.
    """

    subject: str
    derived_from: str
    logged_at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CircuitEvent(DerivedEvent):
    """`subject` is the deployment. `epoch`: the circuit's epoch after the transition."""

    deployment: str
    epoch: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CircuitOpened(CircuitEvent):
    """`open_until`: microseconds; `trips`: how often in a row it opened."""

    open_until: int
    trips: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CircuitHalfOpened(CircuitEvent):
    """A probe succeeded: one trial call per worker at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CircuitClosed(CircuitEvent):
    """Ordinary traffic returns."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetPeriodStarted(DerivedEvent):
    """`subject`: scope/period. `period_start`: microseconds."""

    scope: str
    period: str
    period_start: int
    limit_nano_usd: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetThresholdCrossed(DerivedEvent):
    """`threshold`: share of the limit in percent; amounts in nano-USD."""

    scope: str
    period: str
    period_start: int
    threshold: int
    spent_nano_usd: int
    reserved_nano_usd: int
    limit_nano_usd: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetLimitChanged(DerivedEvent):
    """The limit changed within a period; `limit_nano_usd`: the new one, -1 where the budget is no longer in force.

    `threshold`: the highest that is crossed under it, percent, 0 for none. Each is announced again beside it.
    """

    scope: str
    period: str
    period_start: int
    threshold: int
    spent_nano_usd: int
    reserved_nano_usd: int
    limit_nano_usd: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SlaEvent(DerivedEvent):
    """`subject`: metric/scope/window. Values in millionths of the metric's unit, -1 where unknown; `sample`: a count."""

    metric: str
    scope: str
    window_s: int
    value_micros: int
    target_micros: int
    sample: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SlaMeasured(SlaEvent):
    """A target was measured, once a minute and when it changed. `status`: unknown | met | missed | warning | critical.

    Burn rates in thousandths, over the window and over its last twelfth; -1: the metric has no error budget.
    """

    status: str
    burn_milli: int
    burn_short_milli: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SlaBreached(SlaEvent):
    """A breach, subject#number, began or worsened. `severity`: info | warning | critical."""

    number: int
    severity: str
    burn_milli: int
    burn_short_milli: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SlaRestored(SlaEvent):
    """A breach ended. `breached_at`: microseconds."""

    number: int
    breached_at: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AnomalyDetected(DerivedEvent):
    """A minute of a deployment stood out. `subject`: measure/deployment; `measure`: latency_p50_ms | failure_share.

    `minute`: broker time in minutes; `direction`: up | down; `size_milli`: thousandths of a robust sigma. Values in
    millionths of the unit; the baseline is the median of the minutes before.
    """

    measure: str
    deployment: str
    minute: int
    direction: str
    size_milli: int
    value_micros: int
    baseline_micros: int
    sample: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionPaused(DerivedEvent):
    """`subject` is a partition, topic-number, that stands still at `offset` until a worker can read what stands there."""

    offset: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionResumed(DerivedEvent):
    """The partition was folded past the offset at which it stood still."""

    offset: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertEvent(DerivedEvent):
    """`alert` is its stable id, kind:subject#number; `subject` that of its cause. `change` counts the changes of a subject.

    `kind`: sla | budget | circuit | anomaly | partition; `severity`: info | warning | critical | emergency.
    """

    alert: str
    kind: str
    number: int
    change: int
    severity: str
    text: str
    raised_at: int
    silenced: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertRaised(AlertEvent):
    """Something needs attention."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertEscalated(AlertEvent):
    """It got worse, or nothing came of it for `alerts.escalate_after_s`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertResolved(AlertEvent):
    """Its cause is gone. `severity`: the highest that it reached."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertDelivered(DerivedEvent):
    """A webhook heard of a change of an alert, or never will. `outcome`: delivered | dead_lettered | dropped.

    Dropped: the webhook was taken out of the configuration meanwhile.

    `webhook`: its name; its URL may hold a secret. `attempts`: calls made by the worker that ended it.
    """

    alert: str
    kind: str
    change: int
    webhook: str
    outcome: str
    attempts: int
    http_status: int
