"""The retry budget of one deployment: extra calls are at most a fifth of the others in ten seconds, so that retries never
make an outage worse. A value with time as an argument.

A repeated call is extra from its start. A call that falls back from another deployment is extra once it failed: one that
was answered is traffic that found its place, and the next decision would have sent it there anyway. While a deployment
fails (three ended calls in a row), fallbacks under way are taken for failed ones.
"""

from dataclasses import dataclass, replace
from typing import Literal

from schemas.units import MICROS_PER_S

WINDOW_S = 10
SHARE = 0.2
# A quiet deployment has few calls to take a share of: one extra call every two seconds is no storm.
FLOOR = 5
FAILING_AFTER = 3
Kind = Literal["first", "repeat", "fallback"]


@dataclass(frozen=True, slots=True)
class RetryBudget:
    """`buckets`: (second, calls, extra calls) of the last ten seconds, oldest first. `failures`: in a row.

    `falling_back`: fallbacks under way.
    """

    buckets: tuple[tuple[int, int, int], ...] = ()
    failures: int = 0
    falling_back: int = 0


def started(budget: RetryBudget, now: int, kind: Kind) -> RetryBudget:
    """The budget after a call began at `now` (microseconds)."""
    if kind == "fallback":
        return replace(budget, falling_back=budget.falling_back + 1)
    return _counted(budget, now, calls=kind == "first", extra=kind == "repeat")


def ended(budget: RetryBudget, now: int, kind: Kind, good: bool | None) -> RetryBudget:
    """The budget after that call ended. `good`: None where the deployment is not to blame."""
    if good is not None:
        budget = replace(budget, failures=0 if good else budget.failures + 1)
    if kind != "fallback":
        return budget
    budget = replace(budget, falling_back=budget.falling_back - 1)
    return _counted(budget, now, calls=good is not False, extra=good is False)


def allows(budget: RetryBudget, now: int) -> bool:
    """Whether one more extra call at `now` (microseconds) stays within the budget."""
    oldest = now // MICROS_PER_S - WINDOW_S
    calls = 0
    extra = 1 + (budget.falling_back if budget.failures >= FAILING_AFTER else 0)
    for second, its_calls, its_extra in budget.buckets:
        if second > oldest:
            calls += its_calls
            extra += its_extra
    return extra <= FLOOR + SHARE * calls


def _counted(budget: RetryBudget, now: int, *, calls: int, extra: int) -> RetryBudget:
    second, buckets = now // MICROS_PER_S, budget.buckets
    # Time that goes back counts in the newest second.
    if buckets and buckets[-1][0] >= second:
        newest, known_calls, known_extra = buckets[-1]
        return replace(budget, buckets=(*buckets[:-1], (newest, known_calls + calls, known_extra + extra)))
    kept = tuple(bucket for bucket in buckets if bucket[0] > second - WINDOW_S)
    return replace(budget, buckets=(*kept, (second, int(calls), int(extra))))
