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
