"""Anomalies of a deployment's minutes: latency and failure share against a robust baseline of the minutes before.

The baseline is the median; a sigma is 1.4826 x the median absolute deviation, the standard deviation of a normal
distribution (Leys et al. 2013). Floors keep a baseline that hardly moves from calling noise an anomaly.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from projections.fold import LogRecord
from projections.histogram import quantile
from projections.measure import MICRO
from schemas.events import AnomalyDetected, Event
from schemas.inforce import InForce
from schemas.merge import MINUTE
from schemas.state import AnomalyState, HealthBucket, HealthState

SIGMAS = 2.0
MAD_TO_SIGMA = 1.4826
BASELINE_MINUTES = 5
"""Fewer minutes with traffic than this are no baseline."""
SAMPLE = 20
"""A minute with fewer calls says nothing."""
LATENCY_FLOOR = 0.1
"""Of the baseline: a median of log buckets is 3 % wide by itself, and one of 20 calls varies by more."""
SHARE_FLOOR = 0.02
NONE_YET = AnomalyState()
Stepped = tuple[AnomalyState, tuple[Event, ...]]


@dataclass(frozen=True, slots=True)
class Anomaly:
    """`size`: how many sigmas the value lies from the baseline."""

    direction: str
    size: float
    value: float
    baseline: float


def anomaly(value: float, before: Sequence[float], floor: Callable[[float], float]) -> Anomaly | None:
    """Whether a value stands out from those before it. `floor`: baseline -> the least sigma."""
    if len(before) < BASELINE_MINUTES:
        return None
    baseline = median(before)
    sigma = max(MAD_TO_SIGMA * median(abs(each - baseline) for each in before), floor(baseline))
    size = abs(value - baseline) / sigma
    if size <= SIGMAS:
        return None
    return Anomaly("up" if value > baseline else "down", size, value, baseline)


def latency_of(bucket: HealthBucket) -> tuple[int, float]:
    """Sample and median latency in milliseconds: a tail of few calls would be noise."""
    return bucket.succeeded, quantile(bucket.latency, 0.5)


def failures_of(bucket: HealthBucket) -> tuple[int, float]:
    """Sample and share of failed calls."""
    calls = bucket.succeeded + bucket.failed
    return calls, bucket.failed / calls if calls else 0.0


def latency_floor(sample: int) -> Callable[[float], float]:
    return lambda baseline: LATENCY_FLOOR * baseline


def share_floor(sample: int) -> Callable[[float], float]:
    """A share of few calls varies by its binomial standard error alone."""
    return lambda baseline: max(SHARE_FLOOR, math.sqrt(baseline * (1 - baseline) / sample))


MEASURES: dict[
    str, tuple[Callable[[HealthBucket], tuple[int, float]], Callable[[int], Callable[[float], float]]]
] = {
    "latency_p50_ms": (latency_of, latency_floor),
    "failure_share": (failures_of, share_floor),
}  # fmt: skip
"""Name -> its value in a minute, and the least sigma for a sample."""


def judge_anomalies(
    health: Mapping[str, HealthState], judged: Mapping[str, AnomalyState], now: int, owns: Callable[[str], bool],
    derived_from: str,
) -> list[Event]:  # fmt: skip
    """What stands out in the last whole minute of the deployments this partition owns, once a minute. `now`: microseconds."""
    events: list[Event] = []
    minute = now // MINUTE - 1
    for deployment, state in health.items():
        for measure, (value_of, floor) in MEASURES.items():
            subject = f"{measure}/{deployment}"
            if not owns(subject) or judged.get(subject, NONE_YET).minute >= minute:
                continue
            current = [bucket for bucket in state.buckets if bucket.minute == minute]
            if not current or (sample := value_of(current[0])[0]) < SAMPLE:
                continue
            past = [value_of(bucket) for bucket in state.buckets if bucket.minute < minute]
            before = [value for calls, value in past if calls >= SAMPLE]
            found = anomaly(value_of(current[0])[1], before, floor(sample))
            if found is not None:
                events.append(AnomalyDetected(
                    event_id=f"{derived_from}/AnomalyDetected/{subject}@{minute}", occurred_at=now, worker="",
                    subject=subject, derived_from=derived_from, logged_at=now, measure=measure, deployment=deployment,
                    minute=minute, direction=found.direction, size_milli=round(1000 * found.size),
                    value_micros=round(found.value * MICRO), baseline_micros=round(found.baseline * MICRO),
                    sample=sample,
                ))  # fmt: skip
    return events


class AnomalyFold:
    """kind `anomaly`: `measure/deployment` -> AnomalyState, so that a minute is judged once."""

    kind: str = "anomaly"
    version: int = 1
    reads: tuple[type[Event], ...] = (AnomalyDetected,)

    def initial(self) -> AnomalyState:
        return NONE_YET

    def subject(self, event: Event) -> str | None:
        return event.subject if isinstance(event, AnomalyDetected) else None

    def step(self, state: AnomalyState, record: LogRecord, inforce: InForce) -> Stepped:
        event = record.event
        assert isinstance(event, AnomalyDetected)
        if event.minute <= state.minute:
            return state, ()
        return AnomalyState(event.minute, event.direction, event.size_milli), ()

    def tick(self, state: AnomalyState, subject: str, record: LogRecord, inforce: InForce) -> Stepped:
        return state, ()
