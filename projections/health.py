"""Health of a deployment: what came of its calls and probes in the last minutes, and how long they took."""

from dataclasses import replace

from projections.fold import LogRecord
from projections.histogram import add
from schemas.events import AttemptFailed, AttemptSucceeded, Event, ProbeFailed, ProbeSucceeded
from schemas.failures import Failure
from schemas.inforce import InForce
from schemas.state import HealthBucket, HealthState
from schemas.units import MICROS_PER_S

OUTCOMES = (AttemptSucceeded, AttemptFailed, ProbeSucceeded, ProbeFailed)
MINUTES = 15
MINUTE = 60 * MICROS_PER_S
NOTHING = HealthState()
Stepped = tuple[HealthState, tuple[Event, ...]]


class HealthFold:
    """kind `health`: deployment -> HealthState, minutes of broker time.

    `rate_limited` is a part of `failed`; latencies are those of attempts that succeeded.
    """

    kind: str = "health"
    version: int = 1
    reads: tuple[type[Event], ...] = OUTCOMES

    def initial(self) -> HealthState:
        return NOTHING

    def subject(self, event: Event) -> str | None:
        return event.deployment if isinstance(event, OUTCOMES) else None

    def step(self, state: HealthState, record: LogRecord, inforce: InForce) -> Stepped:
        minute = record.logged_at // MINUTE
        buckets = _recent(state.buckets, minute)
        if buckets and buckets[-1].minute == minute:
            return HealthState((*buckets[:-1], _counted(buckets[-1], record.event))), ()
        return HealthState((*buckets, _counted(HealthBucket(minute), record.event))), ()

    def tick(self, state: HealthState, subject: str, record: LogRecord, inforce: InForce) -> Stepped:
        buckets = _recent(state.buckets, record.logged_at // MINUTE)
        return (state if buckets is state.buckets else HealthState(buckets)), ()


def _recent(buckets: tuple[HealthBucket, ...], minute: int) -> tuple[HealthBucket, ...]:
    """Buckets of the last 15 minutes, this one included; the same object when none left the window."""
    if not buckets or buckets[0].minute > minute - MINUTES:
        return buckets
    return tuple(bucket for bucket in buckets if bucket.minute > minute - MINUTES)


def _counted(bucket: HealthBucket, event: Event) -> HealthBucket:
    match event:
        case AttemptSucceeded():
            first = event.first_token_ms
            return HealthBucket(
                bucket.minute, bucket.succeeded + 1, bucket.failed, bucket.probes_succeeded, bucket.probes_failed,
                bucket.rate_limited, bucket.tokens_in + event.tokens_in, bucket.tokens_out + event.tokens_out,
                add(bucket.latency, event.latency_ms),
                add(bucket.first_token, first) if first > 0 else bucket.first_token,
            )  # fmt: skip
        case AttemptFailed():
            limited = event.failure == Failure.RATE_LIMITED
            return replace(bucket, failed=bucket.failed + 1, rate_limited=bucket.rate_limited + limited)
        case ProbeSucceeded():
            return replace(bucket, probes_succeeded=bucket.probes_succeeded + 1)
        case _:
            return replace(bucket, probes_failed=bucket.probes_failed + 1)
