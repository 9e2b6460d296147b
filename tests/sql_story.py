"""A story of records as the sink writes them, with the rows it comes to: for tests that ask SQL."""

import time
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from routing_worlds import NO_INPUTS

from projections.clickhouse.container import Block, Passing, block_of
from projections.clickhouse.rows import DeadLetter, IngestError, Recorded, Tombstone, row_of
from schemas.codec import Codec
from schemas.events import (
    AttemptFailed,
    AttemptStarted,
    AttemptSucceeded,
    BudgetSet,
    BudgetThresholdCrossed,
    CircuitOpened,
    ConfigurationApplied,
    CostIncurred,
    Event,
    RequestAccepted,
    RequestCompleted,
    RouteDecided,
)
from schemas.events.requests import Exclusion, PlanStep
from schemas.ids import Source
from schemas.inforce import digest_of, document_of
from schemas.merge import period_start
from schemas.policy import Configuration
from schemas.snapshots import Snapshot, encode_value
from schemas.state import CircuitState, Reservation, SpendState

NOW = time.time_ns() // 1_000
FIRST, TWICE, WAITING = (Source("llm.requests", 0, offset) for offset in (1, 2, 3))
CODEC = Codec()
PASSING = Passing(CODEC)
USD = Decimal("0.000000001")
CONFIGURATION = Configuration.model_validate({
    "catalog": {
        "models": [{"id": "m"}],
        "deployments": [
            {"id": f"d{n}", "provider": "openai", "model": "m", "base_url": "http://127.0.0.1:1"} for n in range(3)
        ],
    },
    "budgets": [
        {"scope": "tenant:acme", "period": "month", "limit_usd": 0.1},
        {"scope": "global", "period": "month", "limit_usd": 7},
    ],
})  # fmt: skip


def block(kind: str, topic: str, partition: int, offset: int, logged_at: int, recorded: Recorded) -> Block:
    """A record as the sink hands it to the engine: as it was written, where the engine can decode it."""
    place = kind, topic, partition, offset, logged_at
    passed = PASSING.block(*place, CODEC.encode(recorded)) if isinstance(recorded, Event) else None
    return passed or block_of(row_of(*place, recorded))


@dataclass
class Log:
    """Gives every record the next offset of its topic, and a time."""

    blocks: list[Block] = field(default_factory=list)
    ends: dict[str, int] = field(default_factory=dict)

    def add(self, kind: str, event: Recorded) -> None:
        offset = self.ends.get(kind, 0)
        self.ends[kind] = offset + 1
        self.blocks.append(block(kind, f"llm.{kind}", 0, offset, NOW + len(self.blocks), event))

    @property
    def ranges(self) -> dict[tuple[str, int], tuple[int, int]]:
        return {(f"llm.{kind}", 0): (0, end - 1) for kind, end in self.ends.items()}


def of(source: Source, run: int, **more: Any) -> dict[str, Any]:
    return {
        "event_id": f"{source}-{run}", "occurred_at": NOW, "worker": "w", "source": source, "run": run,
        "request_id": f"r-{source.offset}", "tenant": "acme", "trace_id": "", "accepted_at": NOW,
    } | more  # fmt: skip


def called(number: int, deployment: str) -> dict[str, Any]:
    return {
        "number": number, "deployment": deployment, "provider": "openai", "model": "m",
        "tier": "primary" if number == 1 else "secondary", "circuit_epoch": 0, "trial": False,
    }  # fmt: skip


def accepted(source: Source, run: int) -> RequestAccepted:
    return RequestAccepted(
        **of(source, run), task="code", strategy="cost", priority="standard", estimated_tokens_in=1,
        estimated_tokens_out=1, deadline_at=NOW, streaming=False,
    )  # fmt: skip


def completed(source: Source, run: int, deployment: str, attempts: int) -> RequestCompleted:
    return RequestCompleted(
        **of(source, run), status="ok", code="", retryable=False, task="code", strategy="cost", priority="standard",
        deployment=deployment, provider="openai", model="m", tier="primary", attempts=attempts, fallback=attempts > 1,
        streaming=False, queue_ms=1.0, decision_ms=0.1, first_token_ms=0.0, provider_ms=9.0, total_ms=20.0 + run,
        tokens_in=10, tokens_out=20, cost_nano_usd=0,
    )  # fmt: skip


def succeeded(source: Source, run: int, number: int, deployment: str) -> AttemptSucceeded:
    return AttemptSucceeded(
        **of(source, run), **called(number, deployment), task="code", http_status=200, latency_ms=100.0,
        first_token_ms=0.0, tokens_in=10, tokens_out=20, tokens_cached=0, tokens_cache_write=0, tokens_reasoning=0,
        finish_reason="stop", provider_request_id="",
    )  # fmt: skip


def charged(source: Source, run: int, number: int, deployment: str, nano: int, certainty: str) -> CostIncurred:
    return CostIncurred(
        **of(source, run), cost_id=f"{source}/{run}/{number}", number=number, nano_usd=nano, deployment=deployment,
        provider="openai", model="m", certainty=certainty, tokens_in=10, tokens_out=20, tokens_cached=0,
        tokens_cache_write=0, tokens_reasoning=0, price_version="p1",
    )  # fmt: skip


def transition(**more: Any) -> dict[str, Any]:
    return {"event_id": "t", "occurred_at": NOW, "worker": "w", "derived_from": "llm.attempts-0-1",
            "logged_at": NOW} | more  # fmt: skip


def command(**more: Any) -> dict[str, Any]:
    return {"event_id": "c", "occurred_at": NOW, "worker": "w", "author": "me"} | more


def snapshot(kind: str, subject: str, offset: int, value: object) -> Snapshot:
    return Snapshot(kind, 1, subject, "llm.costs", 0, 5, offset, NOW, encode_value(value))


def story() -> Log:
    """A fallback, a request that ran twice, one still running; one estimate replaced and one that stands."""
    log = Log()
    document = document_of(CONFIGURATION)
    log.add("control", ConfigurationApplied(**command(), document=document, digest=digest_of(document)))
    log.add("control", BudgetSet(**command(), scope="tenant:acme", period="month", limit_nano_usd=10_000, at_limit=""))
    log.add("decisions", accepted(FIRST, 0))
    log.add("decisions", RouteDecided(
        **of(FIRST, 0), plan=(PlanStep("d0", "primary"), PlanStep("d2", "secondary")), strategy="cost",
        cost_strategy="minimize", balancer="round_robin", task="code", confidence=0.8, reasons=("cheapest",),
        candidates=(0, 2), estimates=b"\x00\x00\x80\x3f" * 2, propensities=(),
        excluded=(Exclusion(1, "circuit_open", NOW),), cut=False, control_offset=1, seed=3, decision_us=40.0,
        **NO_INPUTS,
    ))  # fmt: skip
    log.add("attempts", AttemptStarted(**of(FIRST, 0), **called(1, "d0"), deadline_at=NOW))
    log.add("attempts", AttemptFailed(
        **of(FIRST, 0), **called(1, "d0"), task="code", failure="rate_limited", http_status=429, latency_ms=5.0,
        retry_after_ms=0, next_action="other", counts_toward_circuit=False, billed="no", provider_code="",
        provider_request_id="", jitter=0.0,
    ))  # fmt: skip
    log.add("attempts", AttemptStarted(**of(FIRST, 0), **called(2, "d2"), deadline_at=NOW))
    log.add("attempts", succeeded(FIRST, 0, 2, "d2"))
    log.add("costs", charged(FIRST, 0, 2, "d2", 900, "estimated"))
    log.add("costs", charged(FIRST, 0, 2, "d2", 400, "certain"))
    log.add("decisions", completed(FIRST, 0, "d2", 2))
    for run in (7, 4):
        log.add("decisions", accepted(TWICE, run))
        log.add("attempts", AttemptStarted(**of(TWICE, run), **called(1, f"d{run % 2}"), deadline_at=NOW))
        log.add("attempts", succeeded(TWICE, run, 1, f"d{run % 2}"))
        log.add("costs", charged(TWICE, run, 1, f"d{run % 2}", 1_000 + run, "certain"))
        log.add("decisions", completed(TWICE, run, f"d{run % 2}", 1))
    log.add("decisions", accepted(WAITING, 4))
    log.add("attempts", AttemptStarted(**of(WAITING, 4), **called(1, "d1"), deadline_at=NOW))
    log.add("costs", charged(WAITING, 4, 1, "d1", 77, "estimated"))
    opened = CircuitOpened(
        **transition(subject="d1"), deployment="d1", epoch=3, reason="5 failures", open_until=NOW, trips=1
    )
    log.add("transitions", opened)
    log.add("transitions", opened)
    log.add("transitions", BudgetThresholdCrossed(
        **transition(event_id="b", subject="tenant:acme/month"), scope="tenant:acme", period="month",
        period_start=period_start("month", NOW), threshold=50, spent_nano_usd=1, reserved_nano_usd=0,
        limit_nano_usd=10_000,
    ))  # fmt: skip
    log.add("state", snapshot("circuit", "d1", 9, CircuitState("open", 3, trips=1, failures=5, open_until=NOW)))
    log.add("state", snapshot("circuit", "d1", 2, CircuitState()))
    held = Reservation(250, NOW, 1, "d1", "openai", "m", str(WAITING), 4, "r-3", "", NOW)
    log.add("state", snapshot("spend", "acme", 4, SpendState(open={"x": held})))
    log.add("state", snapshot("load", "gone", 0, {}))
    log.add("state", Tombstone.parse(snapshot("load", "gone", 0, {}).key))
    log.add("dead-letters", DeadLetter("not JSON", "llm.requests", 0, 4, 3, "ab", NOW))
    log.add("costs", IngestError("no schema", 12, "cd"))
    return log
