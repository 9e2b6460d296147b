"""A seeded log of requests as routers and projectors write it: seven events each, more where a call failed over."""

import random
from collections.abc import Iterator
from typing import Any

from schemas.events import (
    AttemptFailed,
    AttemptStarted,
    AttemptSucceeded,
    CostIncurred,
    CostReserved,
    Event,
    RequestAccepted,
    RequestCompleted,
    RouteDecided,
)
from schemas.events.requests import Exclusion, PlanStep
from schemas.ids import Source
from schemas.units import MICROS_PER_MS, MICROS_PER_S

DEPLOYMENTS = tuple(f"deployment-{number:02}" for number in range(12))
MODELS = tuple(f"model-{number}" for number in range(6))
PROVIDERS = ("openai", "anthropic", "google")
TENANTS = tuple(f"tenant-{number:02}" for number in range(20))
TASKS = ("conversation", "code", "analysis", "math")
STRATEGIES = ("cost", "weighted", "adaptive", "quality")
FAILING = 0.05
PRICE_VERSION = "2026-11-01"
Logged = tuple[str, Event]
"""Kind of the topic, and the event."""


def requests_log(
    requests: int, partitions: int, began: int, per_s: float, seed: int = 7, first: int = 0
) -> Iterator[tuple[int, Logged]]:
    """(partition, (kind, event)) of so many requests that were accepted `per_s` a second from `began` (microseconds) on.

    `first`: the number of the first of them, which says where it stood.
    """
    chance = random.Random(seed)
    for number in range(first, first + requests):
        at = began + round((number - first) * MICROS_PER_S / per_s)
        for kind, event in of_request(number, number % partitions, at, chance):
            yield number % partitions, (kind, event)


def of_request(number: int, partition: int, at: int, chance: random.Random) -> Iterator[Logged]:
    """The events of one request in the order they are written."""
    source = Source("llm.requests", partition, number)
    tenant, task = chance.choice(TENANTS), chance.choice(TASKS)
    strategy, first = chance.choice(STRATEGIES), chance.randrange(len(DEPLOYMENTS))
    latency_ms, tokens_out = chance.lognormvariate(6.5, 0.5), chance.randrange(20, 600)
    failed = chance.random() < FAILING
    shared: dict[str, Any] = {
        "occurred_at": at, "worker": "bench", "source": source, "run": 1, "request_id": f"r-{number:012x}",
        "tenant": tenant, "trace_id": f"{number:032x}", "accepted_at": at,
    }  # fmt: skip

    def said(kind: str, number: int = 0) -> dict[str, Any]:
        return shared | {"event_id": f"{source}@1/{kind}/{number}"}

    yield "decisions", RequestAccepted(
        **said("accepted"), task=task, strategy=strategy, priority="standard", estimated_tokens_in=200,
        estimated_tokens_out=300, deadline_at=at + 120 * MICROS_PER_S, streaming=False,
    )  # fmt: skip
    yield "decisions", RouteDecided(
        **said("decided"), plan=tuple(PlanStep(DEPLOYMENTS[(first + k) % 12], "primary") for k in range(3)),
        strategy=strategy, cost_strategy="minimize", balancer="round_robin", task=task, confidence=0.7,
        reasons=("cheapest of 12 capable deployments", "0.000120 USD a success, 812 ms, success 0.98, quality 0.71"),
        candidates=tuple((first + k) % 12 for k in range(12)), estimates=bytes(12 * 32), propensities=(),
        excluded=(Exclusion(3, "circuit_open", at),), cut=False, control_offset=1, seed=number, decision_us=60.0,
        blocks=(), in_flight=(), inputs=b"", turn=number, workers=2, session=0, fallback=True,
    )  # fmt: skip
    tries = 2 if failed else 1
    for attempt in range(1, tries + 1):
        place = (first + attempt - 1) % 12
        called = said("attempt", attempt) | {
            "number": attempt, "deployment": DEPLOYMENTS[place], "provider": PROVIDERS[place % 3],
            "model": MODELS[place % 6], "tier": "primary", "circuit_epoch": 0, "trial": False,
        }  # fmt: skip
        cost = said("cost", attempt) | {
            "cost_id": f"{source}@1/{attempt}", "number": attempt, "deployment": DEPLOYMENTS[place],
            "provider": PROVIDERS[place % 3], "model": MODELS[place % 6],
        }  # fmt: skip
        yield "attempts", AttemptStarted(**called, deadline_at=at + 120 * MICROS_PER_S)
        yield "costs", CostReserved(**cost, nano_usd=2_000_000, deadline_at=at + 120 * MICROS_PER_S)
        good = attempt == tries
        ended = called | {"occurred_at": at + round(latency_ms * MICROS_PER_MS), "task": task, "latency_ms": latency_ms}
        if good:
            yield "attempts", AttemptSucceeded(
                **ended, http_status=200, first_token_ms=latency_ms / 4, tokens_in=200, tokens_out=tokens_out,
                tokens_cached=0, tokens_cache_write=0, tokens_reasoning=0, finish_reason="stop", provider_request_id="p",
            )  # fmt: skip
        else:
            yield "attempts", AttemptFailed(
                **ended, failure="server_error", http_status=500, retry_after_ms=0, next_action="other",
                counts_toward_circuit=True, billed="no", provider_code="", provider_request_id="p", jitter=0.0,
            )  # fmt: skip
        yield "costs", CostIncurred(
            **cost, nano_usd=tokens_out * 2_000 if good else 0, certainty="certain", tokens_in=200 if good else 0,
            tokens_out=tokens_out if good else 0, tokens_cached=0, tokens_cache_write=0, tokens_reasoning=0,
            price_version=PRICE_VERSION,
        )  # fmt: skip
    place = (first + tries - 1) % 12
    yield "decisions", RequestCompleted(
        **said("completed"), status="ok", code="", retryable=False, task=task, strategy=strategy, priority="standard",
        deployment=DEPLOYMENTS[place], provider=PROVIDERS[place % 3], model=MODELS[place % 6], tier="primary",
        attempts=tries, fallback=failed, streaming=False, queue_ms=2.0, decision_ms=0.1, first_token_ms=latency_ms / 4,
        provider_ms=latency_ms, total_ms=latency_ms + 5, tokens_in=200, tokens_out=tokens_out,
        cost_nano_usd=tokens_out * 2_000,
    )  # fmt: skip
