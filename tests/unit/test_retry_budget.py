"""The retry budget: a share, a floor and a window."""

from hypothesis import given
from hypothesis import strategies as st

from agents.retry_budget import FAILING_AFTER, FLOOR, SHARE, WINDOW_S, RetryBudget, allows, ended, started
from schemas.units import MICROS_PER_S


def firsts(count: int, budget: RetryBudget | None = None, now: int = 0) -> RetryBudget:
    budget = budget or RetryBudget()
    for _ in range(count):
        budget = started(budget, now, "first")
    return budget


def repeats(budget: RetryBudget, now: int) -> int:
    """How many repeated calls it allows."""
    spent = 0
    while allows(budget, now):
        budget, spent = started(budget, now, "repeat"), spent + 1
    return spent


def test_a_quiet_deployment_may_be_tried_again() -> None:
    assert repeats(RetryBudget(), 0) == FLOOR


def test_a_share_of_the_calls_while_they_are_in_the_window() -> None:
    budget = firsts(1_000)
    assert repeats(budget, (WINDOW_S - 1) * MICROS_PER_S) == FLOOR + SHARE * 1_000
    assert repeats(budget, WINDOW_S * MICROS_PER_S) == FLOOR


def test_a_fallback_that_is_answered_is_a_call_like_any_other() -> None:
    budget = RetryBudget()
    for _ in range(1_000):
        assert allows(budget, 0)
        budget = started(budget, 0, "fallback")
    assert allows(budget, 0)
    for _ in range(1_000):
        budget = ended(budget, 0, "fallback", True)
    assert repeats(budget, 0) == FLOOR + SHARE * 1_000


def test_fallbacks_that_fail_spend_it() -> None:
    budget, spent = RetryBudget(), 0
    while allows(budget, 0):
        budget, spent = ended(started(budget, 0, "fallback"), 0, "fallback", False), spent + 1
    assert spent == FLOOR


def test_fallbacks_to_a_failing_deployment_are_counted_while_under_way() -> None:
    budget, spent = RetryBudget(), 0
    for _ in range(FAILING_AFTER):
        budget = ended(budget, 0, "first", False)
    while allows(budget, 0):
        budget, spent = started(budget, 0, "fallback"), spent + 1
    assert spent == FLOOR
    assert allows(ended(budget, 0, "first", True), 0)


@given(st.lists(st.tuples(st.integers(0, 3_000_000), st.booleans()), max_size=300))
def test_never_more_than_the_share_and_the_floor_in_any_window(steps: list[tuple[int, bool]]) -> None:
    """Repeated calls that were allowed, against the calls of the same ten seconds."""
    budget, now = RetryBudget(), 0
    log: list[tuple[int, int, int]] = []
    for wait, wants_extra in steps:
        now += wait
        if not wants_extra:
            budget = started(budget, now, "first")
            log.append((now // MICROS_PER_S, 1, 0))
        elif allows(budget, now):
            budget = started(budget, now, "repeat")
            log.append((now // MICROS_PER_S, 0, 1))
            recent = [entry for entry in log if entry[0] > now // MICROS_PER_S - WINDOW_S]
            assert sum(extra for _, _, extra in recent) <= FLOOR + SHARE * sum(calls for _, calls, _ in recent)
        assert len(budget.buckets) <= WINDOW_S
