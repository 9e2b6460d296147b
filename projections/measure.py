"""Metrics of a window of counts, and what they say of a target: status, error budget, burn rates.

A burn rate is the share of bad events over the share that the target allows: at 1 the error budget lasts exactly as long as
the window, at 10 a tenth of it (Google SRE workbook, chapter 5). The short window shows whether it still burns.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from projections.histogram import quantile, value_of
from schemas.merge import MINUTE, merge_counts
from schemas.policy import SlaTarget
from schemas.spans import SCORES_KEPT, SCORES_SPAN
from schemas.state import HealthState, QualityState, RequestCounts
from schemas.units import MICROS_PER_S, NANO

MICRO = 1_000_000
UNKNOWN = -1
HEALTH_WINDOW_S = 15 * 60
"""Health of deployments and providers is kept for 15 minutes: their targets are judged over that at most."""
SCORE = 1000
"""Feedback is summed in thousandths."""
SHORT = 12
"""The short window is a twelfth of the long one, as in the workbook's 1 h and 5 min; a minute at least."""
HIGHER_IS_BETTER = frozenset({"availability", "success_rate", "throughput_per_s", "quality"})
LATENCY_QUANTILE = 0.95
RANK = {"": 0, "unknown": 0, "met": 0, "missed": 1, "warning": 2, "critical": 3}
SEVERITY = {"missed": "info", "warning": "warning", "critical": "critical"}


@dataclass(frozen=True, slots=True)
class Tally:
    """What happened in a window. `up`, `down`: what counts as available or not; `good`, `bad`: as success or not.

    `cost`: nano-USD, None where no state knows it. `scored`, `scores`: feedback, its number and sum in thousandths.
    """

    up: int
    down: int
    good: int
    bad: int
    latency: Mapping[int, int]
    window_s: float
    cost: int | None = None
    scored: int = 0
    scores: int = 0


@dataclass(frozen=True, slots=True)
class Measurement:
    """`value` in millionths of the metric's unit, burn rates in thousandths; -1: unknown, or no error budget."""

    value: int
    sample: int
    status: str
    burn: int = UNKNOWN


def tally_of_requests(counts: RequestCounts, window_s: float) -> Tally:
    """A tenant is available where its requests are answered; a limit in force is no outage, but no success either."""
    return Tally(
        up=counts.ok, down=counts.failed, good=counts.ok, bad=counts.failed + counts.limited, latency=counts.latency,
        window_s=window_s, cost=counts.cost,
    )  # fmt: skip


def tally_of_health(state: HealthState, window_s: float, now: int) -> Tally:
    """A deployment is available where calls and probes come back; one that says "later" (429) is not down."""
    first = now // MINUTE - max(1, -(-round(window_s * MICROS_PER_S) // MINUTE)) + 1
    buckets = [bucket for bucket in state.buckets if bucket.minute >= first]
    succeeded, failed = sum(bucket.succeeded for bucket in buckets), sum(bucket.failed for bucket in buckets)
    limited = sum(bucket.rate_limited for bucket in buckets)
    latency: dict[int, int] = {}
    for bucket in buckets:
        latency = merge_counts(latency, bucket.latency)
    return Tally(
        up=succeeded + sum(bucket.probes_succeeded for bucket in buckets),
        down=failed - limited + sum(bucket.probes_failed for bucket in buckets),
        good=succeeded, bad=failed, latency=latency, window_s=window_s,
    )  # fmt: skip


def quality_window_s(window_s: float) -> int:
    """Seconds: feedback is kept by days of UTC, 28 of them, so a window is whole days that end with today."""
    return max(1, min(-(-round(window_s * MICROS_PER_S) // SCORES_SPAN), SCORES_KEPT)) * (SCORES_SPAN // MICROS_PER_S)


def tally_of_scores(states: Iterable[QualityState], window_s: float, now: int) -> Tally:
    """Feedback on these deployments, all tasks alike; nothing else is counted."""
    first = now // SCORES_SPAN - quality_window_s(window_s) * MICROS_PER_S // SCORES_SPAN + 1
    found = [
        bucket for state in states for buckets in state.tasks.values() for bucket in buckets if bucket.day >= first
    ]  # fmt: skip
    return Tally(
        up=0, down=0, good=0, bad=0, latency={}, window_s=window_s, scored=sum(bucket.count for bucket in found),
        scores=sum(bucket.total for bucket in found),
    )  # fmt: skip


def measure(target: SlaTarget, tally: Tally) -> Measurement:
    """The metric of a window against its target; unknown below the target's minimum sample."""
    sample, value = _value(target.metric, tally)
    if value is None or (sample < target.minimum_sample and target.metric != "throughput_per_s"):
        return Measurement(UNKNOWN, sample, "unknown")
    return Measurement(round(value * MICRO), sample, status_of(target, value), _burn(target, tally))


def status_of(target: SlaTarget, value: float) -> str:
    """met | missed | warning | critical. A target without `warning` warns as soon as it is missed."""

    def worse(limit: float | None) -> bool:
        return limit is not None and (value < limit if target.metric in HIGHER_IS_BETTER else value > limit)

    if worse(target.critical):
        return "critical"
    if worse(target.target if target.warning is None else target.warning):
        return "warning"
    return "missed" if worse(target.target) else "met"


def _value(metric: str, tally: Tally) -> tuple[int, float | None]:
    """Sample and value; None where nothing was counted or nobody counts it."""
    match metric:
        case "availability":
            return tally.up + tally.down, _share(tally.up, tally.down)
        case "success_rate":
            return tally.good + tally.bad, _share(tally.good, tally.bad)
        case "latency_p95_ms":
            return tally.good, quantile(tally.latency, LATENCY_QUANTILE) if tally.latency else None
        case "throughput_per_s":
            return tally.good, tally.good / tally.window_s
        case "cost_per_success_usd":
            return tally.good, tally.cost / NANO / tally.good if tally.cost is not None and tally.good else None
        case "quality":
            return tally.scored, tally.scores / SCORE / tally.scored if tally.scored else None
        case _:
            return 0, None


def _share(good: int, bad: int) -> float | None:
    return good / (good + bad) if good + bad else None


def _burn(target: SlaTarget, tally: Tally) -> int:
    match target.metric:
        case "availability":
            bad, whole, allowed = tally.down, tally.up + tally.down, 1 - target.target
        case "success_rate":
            bad, whole, allowed = tally.bad, tally.good + tally.bad, 1 - target.target
        case "latency_p95_ms":
            bad = sum(count for index, count in tally.latency.items() if value_of(index) > target.target)
            whole, allowed = tally.good, 1 - LATENCY_QUANTILE
        case _:
            return UNKNOWN
    if not whole:
        return UNKNOWN
    # A target of 100 % allows nothing: one bad event in a million is taken as its budget.
    return round(1000 * bad / whole / max(allowed, 1e-6))
