"""The world that decisions are measured in: deployments with full histories, and a tenant's requests."""

import random

import orjson

from agents.routing.view import RoutingView
from schemas.inforce import InForce
from schemas.policy import Configuration
from schemas.requests import ChatRequest, parse_request
from schemas.spans import CALLS_KEPT, CALLS_SPAN, LENGTHS_KEPT, LENGTHS_SPAN, PACE_KEPT, PACE_SPAN
from schemas.state import CallsBucket, CircuitState, HealthBucket, HealthState, LearnedState, LengthsBucket, PaceBucket
from schemas.units import MICROS_PER_S

NOW = 1_790_000_000_000_000
MINUTE = NOW // (60 * MICROS_PER_S)
OPEN = CircuitState(status="open", open_until=NOW + 3_600 * MICROS_PER_S)


class NothingSpent:
    """A budget that is bound to the caller and far from its limit."""

    def spent(self, scope: str, period: str, now: int) -> int:
        return 1_000

    def reserved(self, scope: str) -> int:
        return 0


def health(rng: random.Random) -> HealthState:
    """Fifteen minutes of traffic, 30 calls a minute in about ten buckets."""
    buckets = []
    for age in range(14, -1, -1):
        latency: dict[int, int] = {}
        for _ in range(30):
            index = rng.randint(150, 170)
            latency[index] = latency.get(index, 0) + 1
        first = {index - 30: count for index, count in latency.items()}
        buckets.append(HealthBucket(MINUTE - age, 30, rng.randint(0, 2), 0, 0, 0, 9_000, 9_000, latency, first))
    return HealthState(tuple(buckets))


def learned(rng: random.Random, model: str) -> LearnedState:
    """An hour of calls, a day of lengths and fifteen minutes of streams, all spans full."""
    span, day, pace = NOW // CALLS_SPAN, NOW // LENGTHS_SPAN, NOW // PACE_SPAN
    calls = tuple(
        CallsBucket(span - age, 100, rng.randint(0, 5), 9_000, 9_000, rng.randint(10**7, 10**8))
        for age in range(CALLS_KEPT - 1, -1, -1)
    )
    lengths = tuple(
        LengthsBucket(day - age, 30_000, {index: rng.randint(1, 20) for index in range(20, 40)})
        for age in range(LENGTHS_KEPT - 1, -1, -1)
    )
    paces = tuple(
        PaceBucket(pace - age, {index: rng.randint(1, 20) for index in range(30, 45)})
        for age in range(PACE_KEPT - 1, -1, -1)
    )
    return LearnedState(
        model, {"conversation": calls, "code": calls}, {"conversation": lengths, "code": lengths}, paces
    )


def world(size: int, rng: random.Random) -> RoutingView:
    """A view of `size` deployments of a quarter as many models, in three tiers, with limits."""
    models = [
        {
            "id": f"m{i}", "capabilities": ["tools", "streaming"], "quality": {"conversation": rng.uniform(0.4, 0.95)},
            "price_usd_per_million": {"input": rng.uniform(0.1, 3), "output": rng.uniform(0.4, 15)},
        }
        for i in range(max(1, size // 4))
    ]  # fmt: skip
    deployments = [
        {
            "id": f"d{i:03}", "provider": "openai", "model": f"m{i % len(models)}", "api_key": f"env:K{i % 5}",
            "base_url": "http://127.0.0.1:1", "fallback_tier": ("primary", "primary", "primary", "secondary")[i % 4],
            "limits": {"concurrency": 100, "requests_per_minute": 5_000},
        }
        for i in range(size)
    ]  # fmt: skip
    document = {
        "catalog": {"models": models, "deployments": deployments},
        "budgets": [{"scope": "tenant:acme", "period": "day", "limit_usd": 100}],
    }
    configuration = Configuration.model_validate(document)
    names = [deployment.id for deployment in configuration.catalog.deployments]
    return RoutingView(
        inforce=InForce(offset=7, configuration=configuration, budgets=configuration.budgets),
        circuits={name: OPEN if i % 25 == 24 else CircuitState() for i, name in enumerate(names)},
        health={name: health(rng) for name in names},
        spend=NothingSpent(), in_flight={name: rng.randint(0, 20) for name in names}, cooling={}, out_of_service={},
        turn=0, turns={},
        learned={name: learned(rng, f"m{i % len(models)}") for i, name in enumerate(names)},
    )  # fmt: skip


def asked(strategy: str, words: int) -> ChatRequest:
    body = {
        "messages": [{"role": "user", "content": "word " * words}],
        "routing": {"strategy": strategy, "task": "conversation", "session": "s-1"},
    }
    return parse_request(orjson.dumps(body), max_bytes=10**6)
