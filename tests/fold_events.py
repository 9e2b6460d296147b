"""Builders of events with defaults, for tests of folds."""

from typing import Any

from schemas.events import (
    AlertDelivered,
    AnomalyDetected,
    AttemptFailed,
    AttemptSucceeded,
    BudgetLimitChanged,
    BudgetPeriodStarted,
    BudgetThresholdCrossed,
    CircuitClosed,
    CircuitOpened,
    ClockTicked,
    CostIncurred,
    CostReserved,
    FeedbackGiven,
    PartitionPaused,
    PartitionResumed,
    ProbeFailed,
    ProbeSucceeded,
    RequestCompleted,
    SlaBreached,
    SlaMeasured,
    SlaRestored,
)
from schemas.ids import Source
from schemas.policy import Webhook

SECOND = 1_000_000
MINUTE_US = 60 * SECOND
START = 1_790_000_000 * SECOND
SOURCE = Source("llm.requests", 0, 7)
REQUEST: dict[str, Any] = {
    "event_id": "e", "occurred_at": START, "worker": "w", "source": SOURCE, "run": 1, "request_id": "r",
    "trace_id": "", "accepted_at": START,
}  # fmt: skip
ATTEMPT: dict[str, Any] = REQUEST | {
    "tenant": "acme", "number": 1, "deployment": "d1", "provider": "openai", "model": "m", "tier": "primary",
    "circuit_epoch": 0, "trial": False, "task": "code", "http_status": 200, "latency_ms": 100.0,
    "provider_request_id": "",
}  # fmt: skip
PROBE: dict[str, Any] = {
    "event_id": "e", "occurred_at": START, "worker": "w", "deployment": "d1", "provider": "openai", "circuit_epoch": 0,
    "latency_ms": 80.0, "http_status": 200, "jitter": 0.0,
}  # fmt: skip
COST: dict[str, Any] = REQUEST | {
    "tenant": "acme", "cost_id": "c1", "number": 1, "nano_usd": 1_000, "deployment": "d1", "provider": "openai",
    "model": "m",
}  # fmt: skip


def succeeded(**change: Any) -> AttemptSucceeded:
    return AttemptSucceeded(**ATTEMPT | {
        "first_token_ms": 0.0, "tokens_in": 10, "tokens_out": 20, "tokens_cached": 0, "tokens_cache_write": 0,
        "tokens_reasoning": 0, "finish_reason": "stop",
    } | change)  # fmt: skip


def failed(**change: Any) -> AttemptFailed:
    return AttemptFailed(**ATTEMPT | {
        "failure": "server_error", "http_status": 500, "retry_after_ms": 0, "next_action": "other",
        "counts_toward_circuit": True, "billed": "no", "provider_code": "", "jitter": 0.0,
    } | change)  # fmt: skip


def probe_succeeded(**change: Any) -> ProbeSucceeded:
    return ProbeSucceeded(**PROBE | change)


def probe_failed(**change: Any) -> ProbeFailed:
    return ProbeFailed(**PROBE | {"failure": "connect"} | change)


def reserved(**change: Any) -> CostReserved:
    return CostReserved(**COST | {"deadline_at": START + 60 * SECOND} | change)


def incurred(**change: Any) -> CostIncurred:
    return CostIncurred(**COST | {
        "certainty": "certain", "tokens_in": 1, "tokens_out": 1, "tokens_cached": 0, "tokens_cache_write": 0,
        "tokens_reasoning": 0, "price_version": "p1",
    } | change)  # fmt: skip


def ticked(control_offset: int = -1) -> ClockTicked:
    return ClockTicked(
        event_id="t", occurred_at=START, worker="w", topic="t", partition=0, control_offset=control_offset
    )


def period_started(**change: Any) -> BudgetPeriodStarted:
    given: dict[str, Any] = {
        "event_id": "e", "occurred_at": START, "worker": "", "subject": "global/hour", "derived_from": "x-0-1",
        "logged_at": START, "scope": "global", "period": "hour", "period_start": 0, "limit_nano_usd": 100,
    }  # fmt: skip
    return BudgetPeriodStarted(**given | change)


def threshold_crossed(**change: Any) -> BudgetThresholdCrossed:
    given: dict[str, Any] = {
        "event_id": "e", "occurred_at": START, "worker": "", "subject": "global/hour", "derived_from": "x-0-1",
        "logged_at": START, "scope": "global", "period": "hour", "period_start": 0, "limit_nano_usd": 100,
        "threshold": 50, "spent_nano_usd": 50, "reserved_nano_usd": 0,
    }  # fmt: skip
    return BudgetThresholdCrossed(**given | change)


def limit_changed(**change: Any) -> BudgetLimitChanged:
    given: dict[str, Any] = {
        "event_id": "e", "occurred_at": START, "worker": "", "subject": "global/hour", "derived_from": "x-0-1",
        "logged_at": START, "scope": "global", "period": "hour", "period_start": 0, "limit_nano_usd": 200,
        "threshold": 0, "spent_nano_usd": 50, "reserved_nano_usd": 0,
    }  # fmt: skip
    return BudgetLimitChanged(**given | change)


def feedback(**change: Any) -> FeedbackGiven:
    given: dict[str, Any] = {
        "event_id": "e", "occurred_at": START, "worker": "", "request_id": "r", "tenant": "acme", "deployment": "d1",
        "task": "code", "score": 0.5, "given_by": "", "source": "",
    }  # fmt: skip
    return FeedbackGiven(**given | change)


def completed(**change: Any) -> RequestCompleted:
    return RequestCompleted(**REQUEST | {
        "tenant": "acme", "status": "ok", "code": "", "retryable": False, "task": "code", "strategy": "cost",
        "priority": "standard", "deployment": "d1", "provider": "openai", "model": "m", "tier": "primary", "attempts": 1,
        "fallback": False, "streaming": False, "queue_ms": 1.0, "decision_ms": 0.1, "first_token_ms": 0.0,
        "provider_ms": 90.0, "total_ms": 100.0, "tokens_in": 10, "tokens_out": 20, "cost_nano_usd": 1_000,
    } | change)  # fmt: skip


DERIVED: dict[str, Any] = {
    "event_id": "e", "occurred_at": START, "worker": "", "derived_from": "x-0-1", "logged_at": START,
}  # fmt: skip
TARGET: dict[str, Any] = DERIVED | {
    "subject": "availability/global/900", "metric": "availability", "scope": "global", "window_s": 900,
    "value_micros": 900_000, "target_micros": 990_000, "sample": 100,
}  # fmt: skip


def measured(**change: Any) -> SlaMeasured:
    return SlaMeasured(**TARGET | {"status": "warning", "burn_milli": 10_000, "burn_short_milli": 9_000} | change)


def breached(**change: Any) -> SlaBreached:
    given = {"number": 1, "severity": "warning", "burn_milli": 10_000, "burn_short_milli": 9_000}
    return SlaBreached(**TARGET | given | change)


def restored(**change: Any) -> SlaRestored:
    return SlaRestored(**TARGET | {"number": 1, "breached_at": START, "reason": "the target is met"} | change)


def anomaly_detected(**change: Any) -> AnomalyDetected:
    return AnomalyDetected(**DERIVED | {
        "subject": "latency_p50_ms/d1", "measure": "latency_p50_ms", "deployment": "d1", "minute": START // SECOND // 60,
        "direction": "up", "size_milli": 4_000, "value_micros": 400_000_000, "baseline_micros": 100_000_000,
        "sample": 50,
    } | change)  # fmt: skip


def circuit_opened(**change: Any) -> CircuitOpened:
    given = {"subject": "d1", "deployment": "d1", "epoch": 1, "reason": "5 failures", "open_until": START, "trips": 1}
    return CircuitOpened(**DERIVED | given | change)


def circuit_closed(**change: Any) -> CircuitClosed:
    return CircuitClosed(
        **DERIVED | {"subject": "d1", "deployment": "d1", "epoch": 3, "reason": "3 successes"} | change
    )


def partition_paused(**change: Any) -> PartitionPaused:
    return PartitionPaused(**DERIVED | {"subject": "llm.costs-1", "offset": 7, "reason": "an unknown event"} | change)


def partition_resumed(**change: Any) -> PartitionResumed:
    return PartitionResumed(**DERIVED | {"subject": "llm.costs-1", "offset": 7} | change)


def delivered(**change: Any) -> AlertDelivered:
    return AlertDelivered(**DERIVED | {
        "subject": "d1", "alert": "circuit:d1#1", "kind": "circuit", "change": 1, "webhook": HOOK.name,
        "outcome": "delivered", "attempts": 1, "http_status": 200,
    } | change)  # fmt: skip


HOOK, SECOND_HOOK = Webhook(url="http://a.test"), Webhook(url="http://b.test", min_severity="critical")
