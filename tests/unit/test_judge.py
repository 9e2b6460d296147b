"""Budgets are judged once a period and threshold."""

from collections.abc import Callable

from fold_events import SECOND, START, incurred, reserved
from fold_world import projection

from projections.fold import LogRecord
from projections.judge import BudgetFold, judge_budgets, pledges
from projections.spend import SpendFold
from schemas.events import BudgetLimitChanged, BudgetPeriodStarted, BudgetThresholdCrossed, Event
from schemas.inforce import InForce
from schemas.merge import HOUR, SpendTotals, period_start
from schemas.policy import Budget
from schemas.state import BudgetState, SpendState
from schemas.units import usd_to_nano

NOON = period_start("hour", START)
DOLLAR = usd_to_nano(1)


class Judge:
    """A judge that reads each of its judgements back, as its owner does."""

    def __init__(self, *budgets: Budget) -> None:
        self.inforce, self.totals = InForce(budgets=budgets), SpendTotals()
        self.fold, self.judged, self.offset = BudgetFold(), dict[str, BudgetState](), 0
        self.spend_fold, self.spend = SpendFold(), SpendState()

    def charge(self, dollars: float, now: int = NOON, settle: bool = True) -> None:
        self.offset += 1
        cost_id = f"c{self.offset}"
        events: list[Event] = [reserved(cost_id=cost_id, nano_usd=usd_to_nano(dollars))]
        events += [incurred(cost_id=cost_id, nano_usd=usd_to_nano(dollars))] if settle else []
        for event in events:
            self.spend, _ = self.spend_fold.step(self.spend, LogRecord("llm.costs", 0, 0, now, event), self.inforce)
        self.totals.put("acme", 0, self.spend)

    def judge(self, now: int = NOON, owns: Callable[[str], bool] = lambda subject: True) -> list[Event]:
        self.offset += 1
        pledged, position = pledges(self.inforce, owns), f"llm.transitions-0-{self.offset}"
        events = judge_budgets(pledged, self.totals, self.judged, now, owns, position)
        self.read_back(events, now)
        return events

    def read_back(self, events: list[Event], now: int = NOON) -> None:
        for event in events:
            subject = self.fold.subject(event)
            assert subject is not None
            record = LogRecord("llm.transitions", 0, 0, now, event)
            self.judged[subject], _ = self.fold.step(self.judged.get(subject, BudgetState()), record, self.inforce)


def thresholds(events: list[Event]) -> list[int]:
    return [event.threshold for event in events if isinstance(event, BudgetThresholdCrossed)]


def test_a_period_starts_once() -> None:
    judge = Judge(Budget(scope="tenant:acme", period="hour", limit_usd=10))
    (started,) = judge.judge()
    assert isinstance(started, BudgetPeriodStarted)
    assert started.event_id == "llm.transitions-0-1/BudgetPeriodStarted/tenant:acme/hour"
    assert (started.period_start, started.limit_nano_usd) == (NOON, 10 * DOLLAR)
    assert judge.judge(NOON + 5 * SECOND) == []
    assert [type(event) for event in judge.judge(NOON + HOUR)] == [BudgetPeriodStarted]


def test_each_threshold_is_crossed_once_a_period() -> None:
    judge = Judge(Budget(scope="global", period="hour", limit_usd=10))
    judge.charge(4.9)
    assert thresholds(judge.judge()) == []
    judge.charge(0.1)
    assert thresholds(judge.judge()) == [50]
    assert judge.judge() == []
    judge.charge(4)
    events = judge.judge()
    assert thresholds(events) == [70, 85]
    assert len({event.event_id for event in events}) == 2
    judge.charge(9, NOON + HOUR)
    assert thresholds(judge.judge(NOON + HOUR)) == [50, 70, 85]


def test_only_the_whole_limit_looks_at_reservations() -> None:
    judge = Judge(Budget(scope="provider:openai", period="day", limit_usd=10))
    judge.charge(6)
    judge.charge(3.9, settle=False)
    assert thresholds(judge.judge()) == [50]
    judge.charge(0.1, settle=False)
    assert thresholds(judge.judge()) == [100]
    assert judge.judge() == []


def test_money_that_is_spent_after_reservations_reached_the_limit_crosses_its_thresholds() -> None:
    judge = Judge(Budget(scope="global", period="day", limit_usd=10))
    for _ in range(10):
        judge.charge(1, settle=False)
    assert thresholds(judge.judge()) == [100]
    judge.charge(5)
    assert thresholds(judge.judge()) == [50]
    judge.charge(4.6)
    assert thresholds(judge.judge()) == [70, 85, 95]
    judge.charge(1)
    assert judge.judge() == []
    assert (judge.judged["global/day"].crossed, judge.judged["global/day"].exhausted) == (95, True)


def test_a_changed_limit_is_judged_anew() -> None:
    judge = Judge(Budget(scope="global", period="day", limit_usd=10))
    judge.charge(10)
    assert thresholds(judge.judge()) == [50, 70, 85, 95, 100]
    judge.inforce = InForce(budgets=(Budget(scope="global", period="day", limit_usd=100),))
    (changed,) = judge.judge()
    assert isinstance(changed, BudgetLimitChanged)
    assert (changed.limit_nano_usd, changed.threshold, changed.spent_nano_usd) == (100 * DOLLAR, 0, 10 * DOLLAR)
    assert judge.judge() == []
    judge.charge(45)
    assert thresholds(judge.judge()) == [50]
    assert judge.judge() == []
    assert judge.judged["global/day"].limit == 100 * DOLLAR


def test_what_a_new_limit_leaves_crossed_is_announced_again_even_after_a_crash_between() -> None:
    judge = Judge(Budget(scope="global", period="day", limit_usd=10))
    judge.charge(10)
    judge.judge()
    judge.inforce = InForce(budgets=(Budget(scope="global", period="day", limit_usd=14),))
    totals, offset = judge.judged.copy(), judge.offset
    events = judge.judge()
    assert isinstance(events[0], BudgetLimitChanged)
    assert events[0].threshold == 70
    assert thresholds(events) == [50, 70]
    judge.judged, judge.offset = totals, offset
    judge.read_back(events[:1])
    assert thresholds(judge.judge()) == [50, 70]
    assert judge.judge() == []


def test_a_budget_that_is_no_longer_in_force_is_said_to_be_gone_once_and_may_come_back() -> None:
    budget = Budget(scope="global", period="day", limit_usd=10)
    judge = Judge(budget)
    judge.charge(9)
    judge.judge()
    judge.inforce = InForce()
    (gone,) = judge.judge()
    assert isinstance(gone, BudgetLimitChanged)
    assert (gone.limit_nano_usd, gone.threshold) == (-1, 0)
    assert judge.judge() == []
    judge.inforce = InForce(budgets=(budget,))
    back = judge.judge()
    assert isinstance(back[0], BudgetLimitChanged)
    assert thresholds(back) == [50, 70, 85]


def test_periods_of_a_tenant_follow_its_clocks_and_never_begin_twice() -> None:
    budget = Budget(scope="tenant:acme", period="day", limit_usd=10)
    judge = Judge(budget)
    midnight = period_start("day", NOON)
    (first,) = judge.judge(midnight + 20 * HOUR)
    judge.inforce = InForce(budgets=(budget,), zones={"acme": "Asia/Kolkata"})
    # By the clocks of Kolkata the day began at 18:30 UTC.
    (local,) = judge.judge(midnight + 20 * HOUR + SECOND)
    assert isinstance(first, BudgetPeriodStarted)
    assert isinstance(local, BudgetPeriodStarted)
    assert local.period_start == midnight + 18 * HOUR + HOUR // 2
    judge.inforce = InForce(budgets=(budget,))
    assert judge.judge(midnight + 20 * HOUR + 2 * SECOND) == [], "the day that was announced goes on"
    assert [type(each) for each in judge.judge(midnight + 24 * HOUR)] == [BudgetPeriodStarted]


def test_only_owned_budgets_are_judged_and_each_subject_once() -> None:
    one, two = Budget(scope="global", limit_usd=1), Budget(scope="global", limit_usd=2)
    judge = Judge(one, two, Budget(scope="tenant:a", limit_usd=1))
    (started,) = judge.judge(owns=lambda subject: subject == "global/day")
    assert isinstance(started, BudgetPeriodStarted)
    assert started.limit_nano_usd == DOLLAR


def test_judgements_read_twice_change_nothing() -> None:
    judge = Judge(Budget(scope="global", period="hour", limit_usd=10))
    judge.charge(9)
    events = judge.judge()
    before = dict(judge.judged)
    judge.read_back(events)
    assert judge.judged == before
    judge.read_back(events[:1])
    assert judge.judged == before


def test_a_clock_that_goes_back_judges_nothing() -> None:
    judge = Judge(Budget(scope="global", period="hour", limit_usd=10))
    judge.judge(NOON)
    assert judge.judge(NOON - 1) == []


def test_its_own_judgements_are_read_back_and_nothing_else() -> None:
    partition = projection("transitions")
    for judgement in (BudgetPeriodStarted, BudgetLimitChanged, BudgetThresholdCrossed):
        assert partition.concerns(judgement)
    assert set(BudgetFold().reads) == {BudgetPeriodStarted, BudgetLimitChanged, BudgetThresholdCrossed}
