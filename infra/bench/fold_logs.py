"""Seeded logs of a busy partition: calls of attempts and charges of costs, with ticks of broker time."""

import random
from collections.abc import Callable
from typing import Any

from projections.fold import LogRecord
from schemas.events import (
    AttemptFailed,
    AttemptStarted,
    AttemptSucceeded,
    ClockTicked,
    CostIncurred,
    CostReserved,
    Event,
    ProbeFailed,
    ProbeSucceeded,
)
from schemas.ids import Source
from schemas.units import MICROS_PER_S

START = 1_790_000_000 * MICROS_PER_S
EVENTS_PER_S = 2_000
"""How dense the log is in broker time: what one partition of a busy cluster carries."""
TICK_EVERY = 5 * EVENTS_PER_S
DEPLOYMENTS = tuple(f"deployment-{number}" for number in range(40))
TENANTS = tuple(f"tenant-{number}" for number in range(50))
PROVIDERS = ("openai", "anthropic", "google", "local")


def placed(topic: str, count: int, event_at: Callable[[int, int], Event]) -> list[LogRecord]:
    """`count` records of partition 0, a tick at every fifth second of broker time."""
    records = []
    for offset in range(count):
        now = START + offset * MICROS_PER_S // EVENTS_PER_S
        event = ticked(topic, now) if offset % TICK_EVERY == TICK_EVERY - 1 else event_at(offset, now)
        records.append(LogRecord(topic, 0, offset, now, event))
    return records


def ticked(topic: str, now: int) -> ClockTicked:
    return ClockTicked(event_id=f"w/{now}", occurred_at=now, worker="w", topic=topic, partition=0, control_offset=-1)


def of_request(number: int, now: int) -> dict[str, Any]:
    return {
        "event_id": f"llm.requests-0-{number}/1/a", "occurred_at": now, "worker": "worker-1", "run": 1,
        "source": Source("llm.requests", number % 8, number), "request_id": f"request-{number}",
        "tenant": TENANTS[number % len(TENANTS)], "trace_id": "", "accepted_at": now,
    }  # fmt: skip


def attempts(count: int, seed: int = 7) -> list[LogRecord]:
    """Half of the records start a call, the others end one: 3 % fail, a deployment in outage fails always."""
    chance = random.Random(seed)
    down: dict[str, int] = {}

    def event_at(offset: int, now: int) -> Event:
        deployment = chance.choice(DEPLOYMENTS)
        provider = PROVIDERS[hash_of(deployment) % len(PROVIDERS)]
        if chance.random() < 20 / EVENTS_PER_S / 10:
            down[deployment] = now + 20 * MICROS_PER_S
        failing = down.get(deployment, 0) > now
        # The circuit's epoch moves with its transitions; a high one is never too old.
        probe: dict[str, Any] = {
            "event_id": f"p{offset}", "occurred_at": now, "worker": "w", "deployment": deployment, "provider": provider,
            "circuit_epoch": 1_000_000, "latency_ms": 80.0, "http_status": 200, "jitter": chance.uniform(-1, 1),
        }  # fmt: skip
        if chance.random() < 0.02:
            return ProbeFailed(**probe, failure="connect") if failing else ProbeSucceeded(**probe)
        call = of_request(offset // 2, now) | {
            "number": 1, "deployment": deployment, "provider": provider, "model": f"model-{provider}", "tier": "primary",
            "circuit_epoch": 1_000_000, "trial": True,
        }  # fmt: skip
        if offset % 2:
            return AttemptStarted(**call, deadline_at=now + 60 * MICROS_PER_S)
        latency = chance.lognormvariate(6, 0.5)
        if failing or chance.random() < 0.03:
            return AttemptFailed(
                **call, task="code", failure="server_error", http_status=500, latency_ms=latency, retry_after_ms=0,
                next_action="other", counts_toward_circuit=True, billed="no", provider_code="", provider_request_id="",
                jitter=chance.uniform(-1, 1),
            )  # fmt: skip
        return AttemptSucceeded(
            **call, task="code", http_status=200, latency_ms=latency, first_token_ms=latency / 4, tokens_in=300,
            tokens_out=200, tokens_cached=0, tokens_cache_write=0, tokens_reasoning=0, finish_reason="stop",
            provider_request_id="",
        )  # fmt: skip

    return placed("llm.attempts", count, event_at)


def costs(count: int, seed: int = 7) -> list[LogRecord]:
    """A reservation and the charge that settles it one second later; one in 500 is never settled and expires."""
    chance = random.Random(seed)
    open_calls: list[dict[str, Any]] = []

    def event_at(offset: int, now: int) -> Event:
        if offset % 2 and len(open_calls) > EVENTS_PER_S // 2:
            call = open_calls.pop(chance.randrange(100))
            if chance.random() >= 0.002:
                return CostIncurred(
                    **call, certainty="certain", tokens_in=300, tokens_out=200, tokens_cached=0, tokens_cache_write=0,
                    tokens_reasoning=0, price_version="2026-09",
                )  # fmt: skip
        deployment = chance.choice(DEPLOYMENTS)
        provider = PROVIDERS[hash_of(deployment) % len(PROVIDERS)]
        call = of_request(offset, now) | {
            "cost_id": f"llm.requests-0-{offset}/1/1", "number": 1, "nano_usd": chance.randrange(10_000_000),
            "deployment": deployment, "provider": provider, "model": f"model-{provider}",
        }  # fmt: skip
        call["tenant"] = chance.choice(TENANTS)
        open_calls.append(call)
        return CostReserved(**call, deadline_at=now + 2 * MICROS_PER_S)

    return placed("llm.costs", count, event_at)


def hash_of(name: str) -> int:
    """The same in every process, unlike hash()."""
    return sum(name.encode())
