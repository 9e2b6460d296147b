"""Partial states of several partitions as one: associative, commutative, exact in integers. Decay happens when read."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from schemas.periods import DAY as DAY
from schemas.periods import HOUR as HOUR
from schemas.periods import MINUTE as MINUTE
from schemas.periods import PERIODS as PERIODS
from schemas.periods import period_start as period_start
from schemas.policy import Period
from schemas.state import HealthBucket, HealthState, QualityState, RequestCounts, ScoresBucket, SpendState, Sums
from schemas.units import MICROS_PER_S

Key = tuple[str, str, int]
NO_SPEND = SpendState()


@dataclass(frozen=True, slots=True)
class Bucket:
    """A ring of `slots` buckets of time, each `width` microseconds wide."""

    width: int
    slots: int


BUCKETS: dict[str, Bucket] = {
    "requests_minute": Bucket(MINUTE, 60),
    "requests_hour": Bucket(HOUR, 48),
    "requests_day": Bucket(DAY, 32),
}
"""Kind of state -> its ring, finest first."""
K = TypeVar("K")


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

    Scopes: global, tenant:T, provider:P, deployment:D. Amounts are nano-USD. Periods are UTC, those of a tenant in the
    time zone that its spend was folded in. `moves`: how often states were put, by which a reader knows what is new to it.
    """

    def __init__(self) -> None:
        self._parts: dict[tuple[str, int], SpendState] = {}
        self._held: dict[tuple[str, int], dict[str, int]] = {}
        self._spent: dict[Key, int] = {}
        self._reserved: dict[str, int] = {}
        self._zones: dict[str, str] = {}
        self._moved: dict[str, int] = {}
        self.moves = 0

    def put(self, tenant: str, partition: int, state: SpendState) -> None:
        """Replace what this tenant had on this partition; SpendState() forgets it."""
        key = tenant, partition
        self.moves += 1
        before = self._parts.get(key, NO_SPEND)
        for scope in before.totals.keys() | state.totals.keys():
            old, new = before.totals.get(scope, ()), state.totals.get(scope, ())
            if old != new:
                self._count(tenant, scope, old, -1)
                self._count(tenant, scope, new, 1)
        if before.open != state.open:
            held = _reserved_by_scope(tenant, state)
            for scope, amount in self._held.get(key, {}).items():
                _accumulate(self._reserved, scope, -amount)
            for scope, amount in held.items():
                _accumulate(self._reserved, scope, amount)
                self._moved[scope] = self.moves
            self._held[key] = held
        if before.zone != state.zone:
            self._zones.pop(f"tenant:{tenant}", None)
            if state.zone:
                self._zones[f"tenant:{tenant}"] = state.zone
        self._parts[key] = state

    def spent(self, scope: str, period: Period, now: int) -> int:
        """Spend in the period that `now` (microseconds) is in."""
        zone = self._zones.get(scope, "")
        name = f"local:{scope}" if zone else scope
        return self._spent.get((name, period, period_start(period, now, zone)), 0)

    def moved_since(self, scope: str, moves: int) -> bool:
        """Whether the scope may hold more than after so many moves."""
        return self._moved.get(scope, 0) > moves

    def reserved(self, scope: str) -> int:
        """What calls that nothing settled yet may cost."""
        return self._reserved.get(scope, 0)

    def _count(self, tenant: str, scope: str, sums: Sums, sign: int) -> None:
        names: tuple[str, ...] = (scope,)
        if scope == "tenant":
            names = f"tenant:{tenant}", "global"
        elif scope == "local":
            names = (f"local:tenant:{tenant}",)
        for name in names:
            self._moved[name.removeprefix("local:")] = self.moves
        for place, period in enumerate(PERIODS):
            for name in names if sums else ():
                _accumulate(self._spent, (name, period, sums[3 * place]), sign * sums[3 * place + 1])


def merge_requests(items: Iterable[RequestCounts]) -> RequestCounts:
    """Counts of several tenants, buckets or partitions as one; `start` is the latest of them."""
    start, ok, failed, limited, refused, fallbacks, cost = -1, 0, 0, 0, 0, 0, 0
    latency: dict[int, int] = {}
    for item in items:
        start = max(start, item.start)
        ok, failed, limited, refused = (
            ok + item.ok,
            failed + item.failed,
            limited + item.limited,
            refused + item.refused,
        )
        fallbacks, cost = fallbacks + item.fallbacks, cost + item.cost
        for bucket, count in item.latency.items():
            latency[bucket] = latency.get(bucket, 0) + count
    return RequestCounts(start, ok, failed, limited, refused, fallbacks, cost, latency)


class RequestTotals:
    """Sums of every tenant's requests by bucket of time, kept as their counts change: a window reads few of them.

    Scopes: global, tenant:T. Owns the last counts put for each slot and partition.
    """

    def __init__(self) -> None:
        self._parts: dict[tuple[str, str, int], RequestCounts] = {}
        self._sums: dict[tuple[str, str], dict[int, RequestCounts]] = {}
        self._tenants: set[str] = set()

    def put(self, kind: str, subject: str, partition: int, counts: RequestCounts) -> None:
        """Replace what this slot (`subject`: slot/tenant) had on this partition."""
        tenant = subject.partition("/")[2]
        self._tenants.add(tenant)
        key = kind, subject, partition
        before = self._parts.get(key)
        self._parts[key] = counts
        for scope in ("global", f"tenant:{tenant}"):
            sums = self._sums.setdefault((kind, scope), {})
            if before is not None:
                _count(sums, before, -1)
            _count(sums, counts, 1)

    @property
    def tenants(self) -> list[str]:
        """Every tenant that had a request, sorted."""
        return sorted(self._tenants)

    def window(self, scope: str, window_s: float, now: int) -> RequestCounts:
        """Requests of the last `window_s` seconds: whole buckets up to the one that `now` (microseconds) is in.

        Up to an hour by minutes, up to two days by hours, above that by days, at most 32.
        """
        kind, first = window_start(window_s, now)
        sums = self._sums.get((kind, scope), {})
        return merge_requests(counts for start, counts in sums.items() if start >= first)


def _count(sums: dict[int, RequestCounts], counts: RequestCounts, sign: int) -> None:
    start = counts.start
    held = sums.get(start, RequestCounts(start))
    latency = dict(held.latency)
    for bucket, count in counts.latency.items():
        _accumulate(latency, bucket, sign * count)
    total = RequestCounts(
        start, held.ok + sign * counts.ok, held.failed + sign * counts.failed, held.limited + sign * counts.limited,
        held.refused + sign * counts.refused, held.fallbacks + sign * counts.fallbacks, held.cost + sign * counts.cost,
        latency,
    )  # fmt: skip
    if total == RequestCounts(start):
        sums.pop(start, None)
    else:
        sums[start] = total


def window_start(window_s: float, now: int) -> tuple[str, int]:
    """The kind of bucket that a window is counted in, and the number of its first bucket."""
    window = max(1, round(window_s * MICROS_PER_S))
    kind = next((kind for kind, ring in BUCKETS.items() if window <= ring.width * ring.slots), "requests_day")
    width = BUCKETS[kind].width
    return kind, now // width - min(-(-window // width), BUCKETS[kind].slots) + 1


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
