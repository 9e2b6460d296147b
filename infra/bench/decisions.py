"""`python -m infra.bench.decisions`: CPU time of a decision, event content included, beside LiteLLM's own selection.

Health of one deployment changes every 200 decisions, calls in flight and prompt lengths at each; one in 25 circuits is
open. The task is named by the request: reading it from text is measured by itself (`task_p95_us`).
"""

import argparse
import asyncio
import gc
import importlib
import importlib.util
import json
import random
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson

from agents.routing.decide import decide
from agents.routing.task import task_of
from agents.routing.view import RoutingView
from schemas.inforce import InForce
from schemas.policy import Configuration
from schemas.requests import ChatRequest, parse_request
from schemas.spans import CALLS_KEPT, CALLS_SPAN
from schemas.state import CallsBucket, CircuitState, HealthBucket, HealthState, LearnedState
from schemas.units import MICROS_PER_S

SIZES = (4, 16, 50, 200)
STRATEGIES = ("cost", "speed", "quality", "reliability", "load_balanced", "weighted", "adaptive")
PARTS = 5
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


def learned(model: str, rng: random.Random) -> LearnedState:
    """An hour of calls of the task."""
    last = MINUTE * 60 * MICROS_PER_S // CALLS_SPAN
    buckets = []
    for span in range(last - CALLS_KEPT + 1, last + 1):
        good = rng.randint(1, 20)
        buckets.append(
            CallsBucket(span, good, rng.randint(0, 2), 200 * good, 300 * good, rng.randint(2, 9) * 10**6 * good)
        )
    return LearnedState(model, {"conversation": tuple(buckets)})


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
        learned={name: learned(f"m{i % len(models)}", rng) for i, name in enumerate(names)},
    )  # fmt: skip


def asked(strategy: str, words: int) -> ChatRequest:
    body = {
        "messages": [{"role": "user", "content": "word " * words}],
        "routing": {"strategy": strategy, "task": "conversation", "session": "s-1"},
    }
    return parse_request(orjson.dumps(body), max_bytes=10**6)


def percentiles(took_ns: list[int], high: int = 99) -> tuple[float, float]:
    """p50 and p99 (or another, in percent) in microseconds: of five parts, in the order of time, the least of each.

    CPU time of a shared machine includes what a neighbour takes from its caches and clock; a part may be free of it.
    """
    size = max(1, len(took_ns) // PARTS)
    parts = [sorted(took_ns[start : start + size]) for start in range(0, size * min(PARTS, len(took_ns)), size)]
    return min(part[size // 2] for part in parts) / 1000, min(part[size * high // 100] for part in parts) / 1000


def timed(rounds: int, call: Callable[[int], object], between: Callable[[int], None]) -> tuple[float, float]:
    """Thread CPU of `call`, the first fifth of the rounds left out. `between` changes the world, unmeasured."""
    took = []
    gc.collect()
    for number in range(rounds):
        between(number)
        started = time.thread_time_ns()
        call(number)
        took.append(time.thread_time_ns() - started)
    return percentiles(took[rounds // 5 :])


def turnout(size: int, strategy: str, rounds: int) -> tuple[float, float]:
    rng = random.Random(size)
    view = world(size, rng)
    names = list(view.in_flight)
    requests = [asked(strategy, 10 + 7 * i) for i in range(50)]
    balancers = ("performance_based", "least_connections", "round_robin")
    configurations = [
        view.inforce.configuration.model_copy(
            update={"routing": view.inforce.configuration.routing.model_copy(update={"balancer": balancer})}
        )
        for balancer in balancers
    ]
    views = [
        replace(view, inforce=replace(view.inforce, configuration=configuration)) for configuration in configurations
    ]
    in_flight: Any = view.in_flight
    fresh: Any = view.health

    def change(number: int) -> None:
        in_flight[rng.choice(names)] = rng.randint(0, 20)
        if number % 200 == 199:
            fresh[rng.choice(names)] = health(rng)

    def call(number: int) -> object:
        return decide(
            requests[number % 50], "acme", views[number % 3], now=NOW + number * 3_000,
            deadline_at=NOW + 600 * MICROS_PER_S, seed=number,
        )  # fmt: skip

    return timed(rounds, call, change)


def task_us(rounds: int) -> tuple[float, float]:
    """Task of a prompt of 2,000 characters that names none: p50 and p95."""
    rng = random.Random(1)
    words = ("write", "a", "function", "that", "sorts", "the", "list", "explain", "why", "proof", "story", "report")
    requests = []
    for _ in range(50):
        text = " ".join(rng.choice(words) for _ in range(500))[:2_000]
        requests.append(parse_request(orjson.dumps({"messages": [{"role": "user", "content": text}]}), max_bytes=10**6))
    took = []
    for number in range(rounds):
        started = time.thread_time_ns()
        task_of(requests[number % 50])
        took.append(time.thread_time_ns() - started)
    return percentiles(took[rounds // 5 :], 95)


def litellm(size: int, rounds: int) -> dict[str, tuple[float, float]]:
    """LiteLLM's selection among `size` deployments of one model group: shuffled, and by cost."""
    # By name: it is no dependency, and not installed where types are checked.
    Router = importlib.import_module("litellm").Router

    found = {}
    for name, strategy in (("shuffle", "simple-shuffle"), ("cheapest", "cost-based-routing")):
        router = Router(
            model_list=[
                {
                    "model_name": "group",
                    "litellm_params": {
                        "model": "openai/gpt-4o-mini", "api_key": "none", "api_base": f"http://127.0.0.1:{i + 1}",
                        "rpm": 5_000, "input_cost_per_token": 1e-7 * (i + 1), "output_cost_per_token": 4e-7,
                    },
                }
                for i in range(size)
            ],
            routing_strategy=strategy,
        )  # fmt: skip
        messages = [{"role": "user", "content": "word " * 100}]

        async def pick(router: Any = router, messages: Any = messages) -> tuple[float, float]:
            took = []
            for _ in range(rounds):
                started = time.thread_time_ns()
                await router.async_get_available_deployment(model="group", messages=messages, request_kwargs={})
                took.append(time.thread_time_ns() - started)
            return percentiles(took[rounds // 5 :])

        found[name] = asyncio.run(pick())
    return found


def main(given: argparse.Namespace) -> None:
    figures: dict[str, float] = {}
    for size in SIZES:
        each = {strategy: turnout(size, strategy, given.rounds) for strategy in STRATEGIES}
        for strategy, (p50, p99) in each.items():
            figures[f"{strategy}_{size}_p50_us"], figures[f"{strategy}_{size}_p99_us"] = p50, p99
            print(f"{size:4} deployments  {strategy:14} p50 {p50:7.1f} us  p99 {p99:7.1f} us")
        others = [took for strategy, took in each.items() if strategy != "adaptive"]
        figures[f"turnout_{size}_p50_us"] = max(p50 for p50, _ in others)
        figures[f"turnout_{size}_p99_us"] = max(p99 for _, p99 in others)
    figures["task_p50_us"], figures["task_p95_us"] = task_us(given.rounds)
    if importlib.util.find_spec("litellm") is None:
        print("LiteLLM is not installed, so its figures are left out: pip install litellm==1.106.2")
    else:
        for size in SIZES:
            for name, (p50, p99) in litellm(size, max(100, given.rounds // 10)).items():
                figures[f"litellm_{size}_{name}_p50_us"], figures[f"litellm_{size}_{name}_p99_us"] = p50, p99
                print(f"{size:4} deployments  LiteLLM {name:8} p50 {p50:7.1f} us  p99 {p99:7.1f} us")
    print(f"task from 2,000 characters: p50 {figures['task_p50_us']:.1f} us  p95 {figures['task_p95_us']:.1f} us")
    if given.json:
        text = json.dumps({name: round(figure, 1) for name, figure in figures.items()}, indent=2)
        Path(given.json).write_text(text + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m infra.bench.decisions", description="Time of a decision.")
    parser.add_argument("--json", metavar="FILE", help="write the figures to FILE")
    parser.add_argument("--rounds", type=int, default=5_000, help="decisions of a strategy and size (default 5000)")
    main(parser.parse_args())
