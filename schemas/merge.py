"""Partial states of several partitions as one: associative, commutative, exact in integers. Decay happens when read."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import TypeVar

from schemas.policy import Period
from schemas.state import HealthBucket, HealthState, PeriodSpend, QualityState, ScoresBucket, SpendState
from schemas.units import MICROS_PER_S

PERIODS: tuple[Period, ...] = ("hour", "day", "week", "month")
HOUR = 3_600 * MICROS_PER_S
DAY = 24 * HOUR
Key = tuple[str, str, int]
K = TypeVar("K")


def period_start(period: Period, at: int) -> int:
    """Start of the UTC period that `at` is in; both in microseconds. Weeks start on Monday."""
    match period:
        case "hour":
            return at - at % HOUR
        case "day":
            return at - at % DAY
        case "week":
            # 1 January 1970 was a Thursday, the fourth day of its week.
            return at - (at + 3 * DAY) % (7 * DAY)
        case "month":
            return _month_start(at // DAY)


@lru_cache(maxsize=1024)
def _month_start(day: int) -> int:
    moment = datetime.fromtimestamp(day * 86_400, UTC).replace(day=1)
    return int(moment.timestamp()) * MICROS_PER_S


def merge_counts(left: Mapping[int, int], right: Mapping[int, int]) -> dict[int, int]:
    """Two histograms as one: log-bucket index to count."""
    merged = dict(left)
    for bucket, count in right.items():
        merged[bucket] = merged.get(bucket, 0) + count
    return merged


def merge_health(states: Iterable[HealthState]) -> HealthState:
    """Health of several deployments or partitions as one, minute by minute, oldest first."""
    minutes: dict[int, HealthBucket] = {}
    for state in states:
        for bucket in state.buckets:
            known = minutes.get(bucket.minute)
            minutes[bucket.minute] = bucket if known is None else _add(known, bucket)
    return HealthState(tuple(minutes[minute] for minute in sorted(minutes)))


def _add(left: HealthBucket, right: HealthBucket) -> HealthBucket:
    return HealthBucket(
        minute=left.minute,
        succeeded=left.succeeded + right.succeeded,
        failed=left.failed + right.failed,
        probes_succeeded=left.probes_succeeded + right.probes_succeeded,
        probes_failed=left.probes_failed + right.probes_failed,
        rate_limited=left.rate_limited + right.rate_limited,
        tokens_in=left.tokens_in + right.tokens_in,
        tokens_out=left.tokens_out + right.tokens_out,
        latency=merge_counts(left.latency, right.latency),
        first_token=merge_counts(left.first_token, right.first_token),
    )


def merge_quality(states: Iterable[QualityState]) -> QualityState:
    """Feedback of several partitions as one, by task and day, oldest first. What was seen stays with the parts."""
    tasks: dict[str, dict[int, ScoresBucket]] = {}
    for state in states:
        for task, buckets in state.tasks.items():
            days = tasks.setdefault(task, {})
            for one in buckets:
                known = days.get(one.day)
                days[one.day] = one if known is None else ScoresBucket(
                    one.day, known.count + one.count, known.total + one.total, known.squares + one.squares
                )  # fmt: skip
    return QualityState({task: tuple(days[day] for day in sorted(days)) for task, days in sorted(tasks.items())})


class SpendTotals:
    """Sums of all tenants' spend, kept as their states change. Owns the last state put for each tenant and partition.

    Scopes: global, tenant:T, provider:P, deployment:D. Amounts are nano-USD.
    """

    def __init__(self) -> None:
        self._parts: dict[tuple[str, int], SpendState] = {}
        self._held: dict[tuple[str, int], dict[str, int]] = {}
        self._spent: dict[Key, int] = {}
        self._reserved: dict[str, int] = {}

    def put(self, tenant: str, partition: int, state: SpendState) -> None:
        """Replace what this tenant had on this partition; SpendState() forgets it."""
        key = tenant, partition
        before = self._parts.get(key, SpendState())
        for scope in before.totals.keys() | state.totals.keys():
            old, new = before.totals.get(scope, {}), state.totals.get(scope, {})
            if old != new:
                self._count(tenant, scope, old, -1)
                self._count(tenant, scope, new, 1)
        held = _reserved_by_scope(tenant, state)
        for scope, amount in self._held.get(key, {}).items():
            _accumulate(self._reserved, scope, -amount)
        for scope, amount in held.items():
            _accumulate(self._reserved, scope, amount)
        self._parts[key], self._held[key] = state, held

    def spent(self, scope: str, period: Period, now: int) -> int:
        """Spend in the period that `now` (microseconds) is in."""
        return self._spent.get((scope, period, period_start(period, now)), 0)

    def reserved(self, scope: str) -> int:
        """What calls that nothing settled yet may cost."""
        return self._reserved.get(scope, 0)

    def _count(self, tenant: str, scope: str, periods: Mapping[str, PeriodSpend], sign: int) -> None:
        names = (f"tenant:{tenant}", "global") if scope == "tenant" else (scope,)
        for period, spend in periods.items():
            for name in names:
                _accumulate(self._spent, (name, period, spend.start), sign * spend.spent)


def _reserved_by_scope(tenant: str, state: SpendState) -> dict[str, int]:
    held: dict[str, int] = {}
    for reservation in state.open.values():
        amount = reservation.nano_usd
        provider, deployment = f"provider:{reservation.provider}", f"deployment:{reservation.deployment}"
        for scope in ("global", f"tenant:{tenant}", provider, deployment):
            held[scope] = held.get(scope, 0) + amount
    return held


def _accumulate(sums: dict[K, int], key: K, amount: int) -> None:
    # Sums that return to zero leave the table, so that past periods do not pile up.
    total = sums.get(key, 0) + amount
    if total:
        sums[key] = total
    else:
        sums.pop(key, None)
