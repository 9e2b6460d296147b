"""What a partition has to judge is kept, and made again where the configuration or the tenants changed."""

from fold_events import SECOND, START, ticked
from fold_world import CATALOG, projection

from projections.fold import LogRecord
from schemas.events import BudgetPeriodStarted, Event, SlaMeasured
from schemas.inforce import InForce
from schemas.policy import Budget, Configuration, SlaTarget
from schemas.snapshots import Snapshot, encode_value
from schemas.state import RequestCounts
from schemas.units import MICROS_PER_S
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
