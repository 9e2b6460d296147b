"""What a partition has to judge is kept, and made again where the configuration or the tenants changed."""

from fold_events import SECOND, START, incurred, reserved, ticked
from fold_world import CATALOG, projection

from projections.fold import LogRecord
from projections.spend import SpendFold
from schemas.events import BudgetPeriodStarted, BudgetThresholdCrossed, Event, SlaMeasured
from schemas.inforce import InForce
from schemas.policy import Budget, Configuration, SlaTarget
from schemas.snapshots import Snapshot, encode_value
from schemas.state import RequestCounts, SpendState
from schemas.units import MICROS_PER_S, usd_to_nano
from streams.judging import Judge
from streams.view import StateView

ACME = Budget(scope="tenant:acme", period="day", limit_usd=5)
GLOBEX = Budget(scope="tenant:globex", period="day", limit_usd=5)
PROMISED = SlaTarget(metric="availability", scope="tenant:*", target=0.9, window_s=900, minimum_sample=1)


def in_force(offset: int, *budgets: Budget) -> InForce:
    configuration = Configuration(catalog=CATALOG, budgets=budgets, sla=(PROMISED,))
    return InForce(offset=offset, applied=True, configuration=configuration, budgets=budgets)


CONTROL = (in_force(0, ACME), in_force(1, ACME, GLOBEX))


def served(view: StateView, tenant: str) -> None:
    """A request of this tenant in the minute of START."""
    counts = RequestCounts(START // (60 * MICROS_PER_S), ok=1)
    view.put(Snapshot(
        kind="requests_minute", fold_version=1, subject=f"0/{tenant}", topic="llm.decisions", partition=0, epoch=1, offset=1,
        logged_at=START, value=encode_value(counts),
    ))  # fmt: skip


def subjects(events: list[Event], shape: type) -> set[str]:
    return {event.subject for event in events if isinstance(event, shape)}  # type: ignore[attr-defined]


def test_a_new_tenant_and_a_new_budget_are_judged_at_the_next_tick() -> None:
    view = StateView()
    judge, judged = Judge(view, partitions=1), projection("transitions", given=lambda offset: CONTROL[offset])
    offset = 0

    def tick(control_offset: int) -> list[Event]:
        nonlocal offset
        offset += 1
        record = LogRecord("llm.transitions", 0, offset, START + offset * SECOND, ticked(control_offset))
        judged.apply(record)
        return judge.judge(judged, record)

    served(view, "acme")
    events = tick(0)
    assert subjects(events, BudgetPeriodStarted) == {"tenant:acme/day"}
    assert subjects(events, SlaMeasured) == {"availability/tenant:acme/900"}
    served(view, "initech")
    assert subjects(tick(0), SlaMeasured) == {"availability/tenant:acme/900", "availability/tenant:initech/900"}
    assert subjects(tick(1), BudgetPeriodStarted) == {"tenant:acme/day", "tenant:globex/day"}
    assert subjects(tick(1), BudgetPeriodStarted) == {"tenant:acme/day", "tenant:globex/day"}


def spend(dollars: int) -> SpendState:
    """What a tenant has spent when this was charged."""
    fold, state = SpendFold(), SpendState()
    for event in (reserved(), incurred(nano_usd=usd_to_nano(dollars))):
        state, _ = fold.step(state, LogRecord("llm.costs", 0, 0, START, event), CONTROL[1])
    return state


def test_news_of_a_budget_is_seen_where_its_spend_moved() -> None:
    view = StateView()
    judge, judged = Judge(view, partitions=1), projection("transitions", given=lambda offset: CONTROL[offset])
    record = LogRecord("llm.transitions", 0, 1, START, ticked(1))
    judged.apply(record)
    assert judge.budget_news(judged, START)
    for offset, event in enumerate(judge.judge(judged, record), 2):
        judged.apply(LogRecord("llm.transitions", 0, offset, START, event))
    assert not judge.budget_news(judged, START)
    # 2 of 5 dollars cross nothing, 3 cross the half: news until it is judged.
    view.spend.put("acme", 0, spend(2))
    assert not judge.budget_news(judged, START)
    view.spend.put("acme", 0, spend(3))
    assert judge.budget_news(judged, START)
    assert judge.budget_news(judged, START)
    events = judge.judge(judged, record)
    assert subjects(events, BudgetThresholdCrossed) == {"tenant:acme/day"}
    for offset, event in enumerate(events, 20):
        judged.apply(LogRecord("llm.transitions", 0, offset, START, event))
    assert not judge.budget_news(judged, START)
    # A day begins without any spend.
    assert judge.budget_news(judged, START + 86_400 * SECOND)
