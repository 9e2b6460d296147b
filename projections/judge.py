"""Judges budgets by the merged spend of all tenants, and folds its own judgements so that it never judges twice."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from projections.fold import LogRecord
from projections.periods import period_start
from schemas.events import BudgetLimitChanged, BudgetPeriodStarted, BudgetThresholdCrossed, Event
from schemas.inforce import InForce
from schemas.merge import SpendTotals
from schemas.policy import Budget
from schemas.state import BudgetState

EXHAUSTED = 100
"""Percent. This threshold looks at spent + reserved, the others at spent alone."""
UNJUDGED = BudgetState()
GONE = -1
JUDGEMENTS = (BudgetPeriodStarted, BudgetLimitChanged, BudgetThresholdCrossed)
Stepped = tuple[BudgetState, tuple[Event, ...]]


@dataclass(frozen=True, slots=True)
class Pledge:
    """A budget as it is judged. `limit`: nano-USD; `zone`: of the clocks of its periods, "" for UTC; `thresholds`: ascending."""

    budget: Budget
    subject: str
    limit: int
    zone: str
    thresholds: tuple[int, ...]


def pledges(inforce: InForce, owns: Callable[[str], bool]) -> dict[str, Pledge]:
    """The budgets in force that a partition owns, by subject. Of two with one subject the first counts."""
    found: dict[str, Pledge] = {}
    for budget in inforce.budgets:
        subject = budget.subject
        if subject not in found and owns(subject):
            zone = inforce.zones.get(budget.scope.removeprefix("tenant:"), "") if budget.scope != "global" else ""
            thresholds = tuple(sorted({*budget.thresholds, EXHAUSTED}))
            found[subject] = Pledge(budget, subject, budget.limit_nano_usd, zone, thresholds)
    return found


def judge_budgets(
    pledged: Mapping[str, Pledge],
    totals: SpendTotals,
    judged: Mapping[str, BudgetState],
    now: int,
    owns: Callable[[str], bool],
    derived_from: str,
) -> list[Event]:
    """What is new about the budgets that this partition owns. `now`: microseconds; `judged`: by Budget.subject.

    A budget whose limit changed is judged anew under the new limit.
    """
    events = judge_spend(pledged.values(), totals, judged, now, derived_from)
    for subject, state in judged.items():
        if state.limit != GONE and subject not in pledged and owns(subject):
            events.append(_limited(subject, state, GONE, 0, state.spent, state.reserved, now, derived_from))
    return events


def judge_spend(
    pledged: Iterable[Pledge], totals: SpendTotals, judged: Mapping[str, BudgetState], now: int, derived_from: str
) -> list[Event]:
    """What is new about these budgets, all of them in force."""
    events: list[Event] = []
    for pledge in pledged:
        events += _judge(pledge, totals, judged.get(pledge.subject, UNJUDGED), now, derived_from)
    return events


def _judge(pledge: Pledge, totals: SpendTotals, state: BudgetState, now: int, derived_from: str) -> list[Event]:
    events: list[Event] = []
    if now < state.period_start:
        return events
    budget, subject, limit = pledge.budget, pledge.subject, pledge.limit
    # Clocks that were set to another zone may put the beginning back: the period that was announced goes on.
    start = max(period_start(budget.period, now, pledge.zone), state.period_start)
    new = state == UNJUDGED or start > state.period_start
    if new:
        events.append(BudgetPeriodStarted(
            event_id=f"{derived_from}/BudgetPeriodStarted/{subject}", occurred_at=now, worker="", subject=subject,
            derived_from=derived_from, logged_at=now, scope=budget.scope, period=budget.period, period_start=start,
            limit_nano_usd=limit,
        ))  # fmt: skip
    spent, reserved = totals.spent(budget.scope, budget.period, now), totals.reserved(budget.scope)
    reached = [
        threshold for threshold in pledge.thresholds
        if (spent + reserved if threshold == EXHAUSTED else spent) * 100 >= threshold * limit
    ]  # fmt: skip
    anew = new or limit != state.limit
    crossed, exhausted = (0, False) if anew else (state.crossed, state.exhausted)
    if anew and not new:
        named = BudgetState(budget.scope, budget.period, start)
        events.append(_limited(subject, named, limit, max(reached, default=0), spent, reserved, now, derived_from))
    for threshold in reached:
        news = not exhausted if threshold == EXHAUSTED else threshold > crossed
        if news:
            events.append(BudgetThresholdCrossed(
                event_id=f"{derived_from}/BudgetThresholdCrossed/{subject}/{threshold}", occurred_at=now, worker="",
                subject=subject, derived_from=derived_from, logged_at=now, scope=budget.scope, period=budget.period,
                period_start=start, threshold=threshold, spent_nano_usd=spent, reserved_nano_usd=reserved,
                limit_nano_usd=limit,
            ))  # fmt: skip
    return events


def _limited(
    subject: str, state: BudgetState, limit: int, threshold: int, spent: int, reserved: int, now: int, derived_from: str
) -> Event:  # fmt: skip
    return BudgetLimitChanged(
        event_id=f"{derived_from}/BudgetLimitChanged/{subject}/{limit}", occurred_at=now, worker="", subject=subject,
        derived_from=derived_from, logged_at=now, scope=state.scope, period=state.period,
        period_start=state.period_start, threshold=threshold, spent_nano_usd=spent, reserved_nano_usd=reserved,
        limit_nano_usd=limit,
    )  # fmt: skip


class BudgetFold:
    """kind `budget`: `scope/period` -> BudgetState. Spend and limit are those of the last judgement."""

    kind: str = "budget"
    version: int = 2
    reads: tuple[type[Event], ...] = JUDGEMENTS

    def initial(self) -> BudgetState:
        return UNJUDGED

    def subject(self, event: Event) -> str | None:
        return event.subject if isinstance(event, JUDGEMENTS) else None

    def step(self, state: BudgetState, record: LogRecord, inforce: InForce) -> Stepped:
        event = record.event
        if isinstance(event, BudgetPeriodStarted):
            if state != UNJUDGED and event.period_start <= state.period_start:
                return state, ()
            return BudgetState(event.scope, event.period, event.period_start, event.limit_nano_usd), ()
        if isinstance(event, BudgetLimitChanged):
            if event.period_start < state.period_start or event.limit_nano_usd == state.limit:
                return state, ()
            # The thresholds under the new limit stand in events of their own, which may not be written yet.
            return BudgetState(
                event.scope, event.period, event.period_start, event.limit_nano_usd, event.spent_nano_usd,
                event.reserved_nano_usd,
            ), ()  # fmt: skip
        assert isinstance(event, BudgetThresholdCrossed)
        if event.period_start < state.period_start:
            return state, ()
        same = event.period_start == state.period_start and event.limit_nano_usd == state.limit
        crossed, exhausted = (state.crossed, state.exhausted) if same else (0, False)
        known = exhausted if event.threshold == EXHAUSTED else event.threshold <= crossed
        if known:
            return state, ()
        if event.threshold == EXHAUSTED:
            exhausted = True
        else:
            crossed = event.threshold
        return BudgetState(
            event.scope, event.period, event.period_start, event.limit_nano_usd, event.spent_nano_usd,
            event.reserved_nano_usd, crossed, exhausted,
        ), ()  # fmt: skip

    def tick(self, state: BudgetState, subject: str, record: LogRecord, inforce: InForce) -> Stepped:
        return state, ()
