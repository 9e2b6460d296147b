"""Which of equal replicas takes a request, balancer by balancer: read as documentation."""

from collections import Counter
from dataclasses import replace
from typing import Any

import orjson

from agents.routing.decide import decide
from agents.routing.view import RoutingView
from schemas.inforce import InForce
from schemas.policy import Configuration
from schemas.requests import parse_request
from schemas.units import MICROS_PER_S

NOW = 1_790_000_000_000_000


class NothingSpent:
    def spent(self, scope: str, period: str, now: int) -> int:
        return 0

    def reserved(self, scope: str) -> int:
        return 0


def view(balancer: str, count: int = 2, weights: tuple[float, ...] = (), **tables: Any) -> RoutingView:
    deployments = [
        {"id": f"d{i}", "provider": "openai", "model": "m", "base_url": "http://127.0.0.1:1",
         "weight": weights[i] if weights else 1, "limits": {"tokens_per_minute": 1_000}}
        for i in range(count)
    ]  # fmt: skip
    routing = {"strategy": "cost", "balancer": balancer, "cost_strategy": "minimize"}
    document = {"catalog": {"models": [{"id": "m"}], "deployments": deployments}, "routing": routing}
    inforce = InForce(configuration=Configuration.model_validate(document))
    return RoutingView(**{
        "inforce": inforce, "circuits": {}, "health": {}, "spend": NothingSpent(), "in_flight": {}, "cooling": {},
        "out_of_service": {}, "turn": 0, **tables,
    })  # fmt: skip


def first(seen: RoutingView, seed: int = 1, session: str | None = None) -> str:
    body = {"messages": [{"role": "user", "content": "hello"}], "routing": {"session": session}}
    asked = parse_request(orjson.dumps(body), max_bytes=10_000)
    decision = decide(asked, "acme", seen, now=NOW, deadline_at=NOW + 30 * MICROS_PER_S, seed=seed)
    return decision.plan[0].deployment


def test_round_robin_takes_turns_within_the_group() -> None:
    seen = view("round_robin")
    assert [first(replace(seen, turns={"m/primary": turn})) for turn in range(4)] == ["d0", "d1", "d0", "d1"]
    assert first(replace(seen, turns={"another/primary": 1})) == "d0"


def test_weighted_round_robin_spreads_evenly() -> None:
    seen = view("weighted_round_robin", weights=(3, 1))
    assert [first(replace(seen, turn=turn)) for turn in range(4)] == ["d0", "d0", "d1", "d0"]


def test_least_connections_counts_by_weight() -> None:
    assert first(view("least_connections", weights=(4, 1), in_flight={"d0": 4, "d1": 1})) == "d0"


def test_least_connections_of_several_workers_do_not_herd() -> None:
    seen = view("least_connections", 6, in_flight={f"d{i}": 5 for i in range(1, 6)}, workers=2)
    firsts = Counter(first(seen, seed) for seed in range(60))
    assert len(firsts) > 1
    assert firsts["d0"] < 60


def test_least_response_time_weighs_time_and_queue() -> None:
    assert first(view("least_response_time", response_ms={"d0": 100, "d1": 300}, in_flight={"d0": 1})) == "d0"
    assert first(view("least_response_time", response_ms={"d0": 100, "d1": 300}, in_flight={"d0": 3})) == "d1"


def test_consistent_hash_keeps_a_session() -> None:
    seen = view("consistent_hash", 4)
    assert len({first(seen, seed, "s-1") for seed in range(9)}) == 1
    assert len({first(seen, 1, f"s-{i}") for i in range(40)}) == 4


def test_performance_draws_by_speed_and_adaptive_weights_are_clamped() -> None:
    times = {"d0": 10.0, "d1": 1_000.0}
    fast = Counter(first(view("performance_based", response_ms=times), seed) for seed in range(200))
    clamped = Counter(first(view("adaptive_weighted", response_ms=times), seed) for seed in range(200))
    assert fast["d1"] < clamped["d1"] < clamped["d0"]


def test_token_aware_takes_the_freest() -> None:
    assert first(view("token_aware", tokens_in_flight={"d0": 500, "d1": 100})) == "d1"
