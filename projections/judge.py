"""Judges budgets by the merged spend of all tenants, and folds its own judgements so that it never judges twice."""

from collections.abc import Callable, Mapping

from projections.fold import LogRecord
from projections.periods import period_start
from schemas.events import BudgetPeriodStarted, BudgetThresholdCrossed, Event
from schemas.inforce import InForce
from schemas.merge import SpendTotals
from schemas.policy import Budget
from schemas.state import BudgetState

EXHAUSTED = 100
"""Percent. This threshold looks at spent + reserved, the others at spent alone."""
UNJUDGED = BudgetState()
Stepped = tuple[BudgetState, tuple[Event, ...]]


def judge_budgets(
    inforce: InForce,
    totals: SpendTotals,
    judged: Mapping[str, BudgetState],
    now: int,
    owns: Callable[[str], bool],
    derived_from: str,
) -> list[Event]:
    """What is new about the budgets that this partition owns. `now`: microseconds; `judged`: by Budget.subject.

    A budget whose limit changed is judged anew under the new limit. Of two budgets with one subject the first counts.
    """
    events: list[Event] = []
    budgets: dict[str, Budget] = {}
    for budget in inforce.budgets:
        budgets.setdefault(budget.subject, budget)
    for subject, budget in budgets.items():
        if owns(subject):
            events += _judge(budget, totals, judged.get(subject, UNJUDGED), now, derived_from)
    return events


def _judge(budget: Budget, totals: SpendTotals, state: BudgetState, now: int, derived_from: str) -> list[Event]:
    events: list[Event] = []
    start, limit, subject = period_start(budget.period, now), budget.limit_nano_usd, budget.subject
    if start < state.period_start:
        return events
    new = state == UNJUDGED or start > state.period_start
    if new:
        events.append(BudgetPeriodStarted(
            event_id=f"{derived_from}/BudgetPeriodStarted/{subject}", occurred_at=now, worker="", subject=subject,
            derived_from=derived_from, logged_at=now, scope=budget.scope, period=budget.period, period_start=start,
            limit_nano_usd=limit,
        ))  # fmt: skip
    crossed = 0 if new or limit != state.limit else state.crossed
    spent, reserved = totals.spent(budget.scope, budget.period, now), totals.reserved(budget.scope)
    for threshold in sorted({*budget.thresholds, EXHAUSTED}):
        amount = spent + reserved if threshold == EXHAUSTED else spent
        if threshold > crossed and amount * 100 >= threshold * limit:
            events.append(BudgetThresholdCrossed(
                event_id=f"{derived_from}/BudgetThresholdCrossed/{subject}/{threshold}", occurred_at=now, worker="",
                subject=subject, derived_from=derived_from, logged_at=now, scope=budget.scope, period=budget.period,
                period_start=start, threshold=threshold, spent_nano_usd=spent, reserved_nano_usd=reserved,
                limit_nano_usd=limit,
            ))  # fmt: skip
    return events


class BudgetFold:
    """kind `budget`: `scope/period` -> BudgetState. Spend and limit are those of the last judgement."""

    kind: str = "budget"
    version: int = 1
    reads: tuple[type[Event], ...] = (BudgetPeriodStarted, BudgetThresholdCrossed)

    def initial(self) -> BudgetState:
        return UNJUDGED

    def subject(self, event: Event) -> str | None:
        return event.subject if isinstance(event, BudgetPeriodStarted | BudgetThresholdCrossed) else None

    def step(self, state: BudgetState, record: LogRecord, inforce: InForce) -> Stepped:
        event = record.event
        if isinstance(event, BudgetPeriodStarted):
            if state != UNJUDGED and event.period_start <= state.period_start:
                return state, ()
            return BudgetState(event.scope, event.period, event.period_start, event.limit_nano_usd), ()
        assert isinstance(event, BudgetThresholdCrossed)
        if event.period_start < state.period_start:
            return state, ()
        same = event.period_start == state.period_start and event.limit_nano_usd == state.limit
        if same and event.threshold <= state.crossed:
            return state, ()
        return BudgetState(
            event.scope, event.period, event.period_start, event.limit_nano_usd, event.spent_nano_usd,
            event.reserved_nano_usd, event.threshold,
        ), ()  # fmt: skip

    def tick(self, state: BudgetState, subject: str, record: LogRecord, inforce: InForce) -> Stepped:
        return state, ()
