"""Balancers among replicas: how far their shares lie from the shares they promise, and what load does to the p95."""

import heapq
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import orjson

from agents.routing.decide import decide
from agents.routing.view import RoutingView
from infra.bench.simulator_runs import PATIENCE, START, Unlimited
from schemas.inforce import InForce
from schemas.policy import Configuration
from schemas.requests import ChatRequest, parse_request
from schemas.units import MICROS_PER_S

BALANCERS = ("round_robin", "weighted_round_robin", "least_connections")
REPLICAS = 5
WORKERS = 4
REQUESTS = 10_000
USUAL_MS = 800.0
SLOTS = 8
"""Calls that a replica serves side by side; more wait."""
PUBLISHED = MICROS_PER_S
"""Workers publish their loads every second."""


def replicas(weights: Sequence[float], slots: int | None = None) -> RoutingView:
    """A view of replicas of one model with these weights, and a concurrency limit if one is given."""
    document = {
        "catalog": {
            "models": [{"id": "m", "quality": {"conversation": 0.8}, "price_usd_per_million": {"input": 1, "output": 4}}],
            "deployments": [
                {"id": f"r{k}", "provider": "openai_compatible", "model": "m", "base_url": "http://127.0.0.1:1",
                 "weight": weight, "limits": {"concurrency": slots}}
                for k, weight in enumerate(weights)
            ],
        }
    }  # fmt: skip
    configuration = Configuration.model_validate(document)
    return RoutingView(
        inforce=InForce(configuration=configuration), circuits={}, health={}, spend=Unlimited(), in_flight={},
        cooling={}, out_of_service={}, turn=0, turns={},
    )  # fmt: skip


def asked(balancer: str) -> ChatRequest:
    routing = {"strategy": "cost", "balancer": balancer, "task": "conversation"}
    return parse_request(
        orjson.dumps({"messages": [{"role": "user", "content": "hello"}], "routing": routing}), max_bytes=10_000
    )


@dataclass(slots=True)
class Worker:
    """`own`: its calls under way by replica; `others`: those of the others as last published; `turns`: by turn key."""

    own: Counter[str]
    others: Mapping[str, int]
    turns: Counter[str]


@dataclass(frozen=True, slots=True)
class Served:
    """`share` of the requests by replica; `ms` of each request, its wait included."""

    share: np.ndarray
    ms: np.ndarray


def served(
    balancer: str, weights: Sequence[float], workers: int, requests: int, per_second: float, seed: int,
    slots: int | None = None,
) -> Served:  # fmt: skip
    """Requests that arrive at random at workers chosen at random, each with its own view, loads published every second.

    `slots`: calls it serves side by side, the others wait; None: all.
    """
    rng = np.random.default_rng((seed, 5))
    base, request = replace(replicas(weights), workers=workers), asked(balancer)
    names = [deployment.id for deployment in base.inforce.configuration.catalog.deployments]
    position = {name: k for k, name in enumerate(names)}
    crew = [Worker(Counter(), {}, Counter()) for _ in range(workers)]
    free = [[0] * (slots or 0) for _ in names]
    under_way: list[tuple[int, int, str]] = []
    counts, times = np.zeros(len(names)), np.zeros(requests)
    arrivals = START + np.cumsum(rng.exponential(MICROS_PER_S / per_second, requests))
    service = USUAL_MS * np.exp(0.4 * rng.standard_normal(requests))
    whose, seeds = rng.integers(workers, size=requests).tolist(), rng.integers(1 << 62, size=requests).tolist()
    published = START
    for number, at in enumerate(arrivals.astype(np.int64).tolist()):
        while under_way and under_way[0][0] <= at:
            _, owner, name = heapq.heappop(under_way)
            crew[owner].own[name] -= 1
        if workers > 1 and at >= published + PUBLISHED:
            published = at
            total: Counter[str] = Counter()
            for worker in crew:
                total.update(worker.own)
            for worker in crew:
                worker.others = {name: total[name] - worker.own[name] for name in names}
        worker = crew[whose[number]]
        loads = {name: worker.own[name] + worker.others.get(name, 0) for name in names}
        decision = decide(
            request, "simulated", replace(base, in_flight=loads, turns=worker.turns), now=at,
            deadline_at=at + PATIENCE, seed=seeds[number],
        )  # fmt: skip
        name = decision.plan[0].deployment
        worker.turns[decision.turn_key] += 1
        worker.own[name] += 1
        k = position[name]
        counts[k] += 1
        begin, took = at, int(service[number] * 1_000)
        if slots:
            begin = max(at, heapq.heappop(free[k]))
            heapq.heappush(free[k], begin + took)
        times[number] = (begin + took - at) / 1_000
        heapq.heappush(under_way, (begin + took, whose[number], name))
    return Served(counts / requests, times)


def share_error(balancer: str, workers: int, seed: int, requests: int = REQUESTS) -> float:
    """The largest relative distance of a replica's share from its weight's share; equal shares for round robin.

    All replicas take the same time, so that as many connections as its weight says are as many requests, too.
    """
    rng = np.random.default_rng((seed, 6))
    weights = [1.0] * REPLICAS if balancer == "round_robin" else rng.choice([1.0, 2.0, 3.0, 4.0], REPLICAS).tolist()
    # Busy enough for connections to tell replicas apart: about ten calls under way a unit of weight.
    per_second = 10 * sum(weights) / (USUAL_MS / 1_000)
    share = served(balancer, weights, workers, requests, per_second, seed).share
    promised = np.array(weights) / sum(weights)
    return float(np.abs(share / promised - 1).max())


def degradation(balancer: str, seed: int, requests: int) -> float:
    """p95 of the time at 60 % of the capacity over the p95 of an idle system, less 1."""
    weights = [1.0] * REPLICAS
    capacity = REPLICAS * SLOTS / (USUAL_MS / 1_000 * float(np.exp(0.4**2 / 2)))

    def p95(load: float) -> float:
        return float(np.percentile(served(balancer, weights, 1, requests, load * capacity, seed, SLOTS).ms, 95))

    return p95(0.6) / p95(0.02) - 1
