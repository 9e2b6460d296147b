"""Merges are associative and commutative, and sums that are kept equal sums made anew."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

from fold_events import START
from fold_logs import Log, attempts_logs, costs_logs
from fold_world import projection
from hypothesis import given
from hypothesis import strategies as st

from projections.histogram import add, bucket, merge, quantile, value_of
from projections.periods import PERIODS, period_start, period_starts
from schemas.merge import SpendTotals, merge_health
from schemas.periods import period_end
from schemas.policy import Period
from schemas.state import HealthState, SpendState

LATENCIES = st.floats(0.01, 600_000)
HISTOGRAMS = st.lists(LATENCIES, max_size=20).map(lambda items: histogram_of(items))
INSTANTS = st.integers(0, 4_000_000_000_000_000)
TENANTS = ("tenant:tenant0", "tenant:tenant1")
SCOPES = ("global", *TENANTS, "provider:openai", "provider:google", "deployment:d0", "deployment:d1")


def histogram_of(items: Iterable[float]) -> dict[int, int]:
    histogram: dict[int, int] = {}
    for item in items:
        histogram = add(histogram, item)
    return histogram


def health_of(log: Log) -> HealthState:
    projected = projection("attempts")
    for record in log.records:
        projected.apply(record)
    return merge_health(projected.snapshot("health", each) for each in projected.subjects("health"))


@given(HISTOGRAMS, HISTOGRAMS, HISTOGRAMS)
def test_histograms_merge_in_any_order(a: dict[int, int], b: dict[int, int], c: dict[int, int]) -> None:
    assert merge(a, b) == merge(b, a)
    assert merge(merge(a, b), c) == merge(a, merge(b, c))
    assert merge(a, {}) == a


@given(LATENCIES, LATENCIES)
def test_buckets_keep_order_and_their_value(one: float, other: float) -> None:
    assert (bucket(one) <= bucket(other)) == (one <= other) or bucket(one) == bucket(other)
    assert abs(value_of(bucket(one)) - one) <= 0.032 * one
    assert bucket(value_of(bucket(one))) == bucket(one)


@given(st.lists(LATENCIES, min_size=1, max_size=50), st.floats(0, 1))
def test_quantiles_are_near_the_nearest_rank(items: list[float], q: float) -> None:
    ordered = sorted(items)
    exact = ordered[max(0, -int(-q * len(items) // 1) - 1)]
    assert abs(quantile(histogram_of(items), q) - exact) <= 0.032 * exact


def test_latencies_that_make_no_sense_have_a_bucket() -> None:
    assert bucket(float("nan")) == bucket(-1.0) == bucket(0.0)
    assert bucket(float("inf")) == bucket(1e12)
    assert quantile({}, 0.5) == 0.0


@given(attempts_logs(), attempts_logs(), attempts_logs())
def test_health_merges_in_any_order(one: Log, two: Log, three: Log) -> None:
    a, b, c = health_of(one), health_of(two), health_of(three)
    assert merge_health([a, b]) == merge_health([b, a])
    assert merge_health([merge_health([a, b]), c]) == merge_health([a, merge_health([b, c])]) == merge_health([c, b, a])
    assert merge_health([a]) == a


def zone_of(scope: str, last: dict[tuple[str, int], SpendState]) -> str:
    return next((state.zone for (tenant, _), state in last.items() if scope == f"tenant:{tenant}" and state.zone), "")


def named(tenant: str, own: str, zone: str) -> tuple[str, ...]:
    """What a scope of a tenant's state counts for, where the tenant asked for has this time zone."""
    match own:
        case "tenant":
            return ("global",) if zone else ("global", f"tenant:{tenant}")
        case "local":
            return (f"tenant:{tenant}",)
        case _:
            return (own,)


@given(st.lists(costs_logs(), min_size=1, max_size=3), st.data())
def test_totals_kept_equal_totals_made_anew(parts: list[Log], data: st.DataObject) -> None:
    kept, last, now = SpendTotals(), dict[tuple[str, int], SpendState](), START
    projected = [projection("costs") for _ in parts]
    left = [iter(log.records) for log in parts]
    for turn in data.draw(st.permutations([i for i, log in enumerate(parts) for _ in log.records])):
        projected[turn].apply(next(left[turn]))
        now = max(now, projected[turn].clock)
        for tenant in projected[turn].subjects("spend"):
            # Costs are keyed by tenant: all of one stand on one partition.
            if int(tenant[-1]) % len(parts) != turn:
                continue
            last[tenant, turn] = projected[turn].snapshot("spend", tenant)
            kept.put(tenant, turn, last[tenant, turn])
    anew = SpendTotals()
    for (tenant, partition), state in data.draw(st.permutations(list(last.items()))):
        anew.put(tenant, partition, state)
    for scope in SCOPES:
        assert (
            kept.reserved(scope)
            == anew.reserved(scope)
            == sum(
                held.nano_usd
                for (tenant, _), state in last.items()
                for held in state.open.values()
                if scope in ("global", f"tenant:{tenant}", f"provider:{held.provider}", f"deployment:{held.deployment}")
            )
        )
        for period in PERIODS:
            assert kept.spent(scope, period, now) == anew.spent(scope, period, now) == sum(
                spend.spent
                for (tenant, _), state in last.items()
                for own in state.totals
                for name, spend in state.periods(own).items()
                if name == period and spend.start == period_start(period, now, state.zone if own == "local" else "")
                and scope in named(tenant, own, zone_of(scope, last))
            )  # fmt: skip
    for tenant, partition in last:
        kept.put(tenant, partition, SpendState())
    assert all(kept.spent(scope, p, now) == 0 == kept.reserved(scope) for scope in SCOPES for p in PERIODS)


@given(INSTANTS)
def test_periods_are_those_of_the_calendar(at: int) -> None:
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=at)
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    day = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    expected: dict[Period, datetime] = {
        "hour": moment.replace(minute=0, second=0, microsecond=0),
        "day": day,
        "week": day - timedelta(days=day.weekday()),
        "month": day.replace(day=1),
    }
    for period, start in period_starts(at):
        assert start == period_start(period, at) == (expected[period] - epoch) // timedelta(microseconds=1)


ZONES = st.sampled_from(
    ("Europe/Berlin", "Asia/Kolkata", "America/Havana", "Australia/Lord_Howe", "Asia/Beirut", "Africa/Cairo")
)
RECENT = st.integers(1_500_000_000_000_000, 2_000_000_000_000_000)


@given(RECENT, ZONES, st.sampled_from(PERIODS))
def test_periods_of_a_time_zone_are_those_of_its_clocks(at: int, zone: str, period: Period) -> None:
    def date_at(instant: int) -> tuple[int, ...]:
        local = datetime.fromtimestamp(instant // 1_000_000, ZoneInfo(zone))
        match period:
            case "hour":
                return (local.year, local.month, local.day, local.hour)
            case "day":
                return (local.year, local.month, local.day)
            case "week":
                return local.isocalendar()[:2]
            case "month":
                return (local.year, local.month)

    start, end = period_start(period, at, zone), period_end(period, at, zone)
    assert start <= at < end
    assert date_at(start) == date_at(at) == date_at(end - 1)
    if period != "hour":
        # The first and the last instant of it: a skipped or doubled hour of the clocks is within.
        assert date_at(start - 1) < date_at(start) < date_at(end)
    assert period_start(period, end - 1, zone) == start


@given(st.lists(INSTANTS, min_size=2, max_size=10))
def test_periods_never_go_back(instants: list[int]) -> None:
    for period in PERIODS:
        starts = [period_start(period, at) for at in sorted(instants)]
        assert all(one <= other for one, other in pairwise(starts))
