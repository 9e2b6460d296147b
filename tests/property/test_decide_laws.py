"""Laws of each strategy, cost strategy and balancer."""

from collections import Counter
from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from routing_worlds import NOW, called, health, view_of

from agents.routing.balancers import BALANCERS
from agents.routing.cost_strategies import COST_STRATEGIES
from agents.routing.decide import Decision, decide
from agents.routing.strategies import STRATEGIES
from agents.routing.view import RoutingView
from schemas.requests import parse_request
from schemas.units import MICROS_PER_S

LAWS = settings(max_examples=25, deadline=None)
POLICIES = [("cost", name) for name in COST_STRATEGIES] + [
    (name, cost) for name in STRATEGIES if name != "cost" for cost in ("minimize", "cost_quality", "cost_speed")
]


def decided(view: RoutingView, seed: int = 3, **routing: Any) -> Decision:
    body = {"messages": [{"role": "user", "content": "hello"}], "routing": {"task": "conversation", **routing}}
    asked = parse_request(orjson.dumps(body), max_bytes=10**6)
    return decide(asked, "acme", view, now=NOW, deadline_at=NOW + 300 * MICROS_PER_S, seed=seed)


@st.composite
def worlds(draw: st.DrawFn) -> tuple[dict[str, Any], dict[str, Any]]:
    """(document, tables): one deployment a model, all in the primary tier."""
    size = draw(st.integers(2, 7))
    catalog = {
        "models": [
            {"id": f"m{i}", "quality": {"conversation": draw(st.integers(0, 100)) / 100},
             "price_usd_per_million": {"input": draw(st.integers(1, 400)) / 100, "output": draw(st.integers(1, 400)) / 10}}
            for i in range(size)
        ],
        "deployments": [
            {"id": f"d{i}", "provider": "openai", "model": f"m{i}", "base_url": "http://127.0.0.1:1",
             "limits": {"concurrency": 10, "requests_per_minute": 1_000}}
            for i in range(size)
        ],
    }  # fmt: skip
    names = [f"d{i}" for i in range(size)]
    tables: dict[str, Any] = {
        "health": {name: health(draw(st.integers(0, 60)), draw(st.integers(0, 5)), draw(st.integers(100, 200)))
                   for name in names},
        "in_flight": {name: draw(st.integers(0, 9)) for name in names},
        "learned": {name: called(f"m{i}", draw(st.integers(1, 60)), draw(st.integers(0, 9)), draw(st.integers(9, 9_000)))
                    for i, name in enumerate(names)},
        "price_factors": draw(st.sampled_from((None, {"d0": 0.5}))),
        "forecast": draw(st.sampled_from((None, {"d1": 950.0}))),
        "explore": False,
    }  # fmt: skip
    budgets = [{"scope": "tenant:acme", "period": "day", "limit_usd": 1}]
    return {"catalog": catalog, "budgets": budgets}, tables


def with_policy(document: dict[str, Any], policy: tuple[str, str]) -> dict[str, Any]:
    routing = {"strategy": policy[0], "cost_strategy": policy[1], "balancer": "least_connections", "max_attempts": 8}
    return document | {"routing": routing}


@pytest.mark.parametrize("policy", POLICIES, ids="-".join)
@given(world=worlds(), rng=st.randoms(use_true_random=False))
@LAWS
def test_neither_memo_nor_the_order_of_the_catalog_shows(policy: tuple[str, str], world: Any, rng: Any) -> None:
    document, tables = with_policy(world[0], policy), world[1]
    view = view_of(document, **tables)
    first, again = decided(view), decided(view)
    fresh = decided(view_of(document, **tables))
    assert first == again == fresh
    shuffled = [*document["catalog"]["deployments"]]
    rng.shuffle(shuffled)
    other = decided(view_of(document | {"catalog": document["catalog"] | {"deployments": shuffled}}, **tables))
    assert (other.plan, other.reasons, other.estimates) == (first.plan, first.reasons, first.estimates)


@pytest.mark.parametrize("policy", POLICIES, ids="-".join)
@given(world=worlds())
@LAWS
def test_one_that_is_worse_in_everything_is_never_first_and_changes_nothing(policy: Any, world: Any) -> None:
    document, tables = with_policy(world[0], policy), world[1]
    catalog = document["catalog"]
    model = {"id": "worse", "price_usd_per_million": {"input": 90, "output": 900}, "quality": {"conversation": 0.0}}
    added = catalog["deployments"][0] | {"id": "zz", "model": "worse", "limits": {"concurrency": 30}}
    wider = {"models": [*catalog["models"], model], "deployments": [*catalog["deployments"], added]}
    more = {
        "health": tables["health"] | {"zz": health(20, 30, 320)}, "in_flight": tables["in_flight"] | {"zz": 29},
        "learned": tables["learned"] | {"zz": called("worse", 20, 60, 60_000)},
    }  # fmt: skip
    before = decided(view_of(document, **tables))
    after = decided(view_of(document | {"catalog": wider}, **{**tables, **more}))
    left = [step for step in after.plan if step.deployment != "zz"]
    if policy[0] != "load_balanced":
        assert left == list(before.plan)
    assert after.plan[0].deployment != "zz"


REPLICAS = st.integers(2, 6)


def replicas(size: int, balancer: str, weights: list[int] | None = None, **tables: Any) -> RoutingView:
    deployments = [
        {"id": f"d{i}", "provider": "openai", "model": "m", "base_url": "http://127.0.0.1:1",
         "weight": weights[i] if weights else 1}
        for i in range(size)
    ]  # fmt: skip
    routing = {"strategy": "cost", "balancer": balancer, "cost_strategy": "minimize"}
    return view_of({"catalog": {"models": [{"id": "m"}], "deployments": deployments}, "routing": routing}, **tables)


def chosen(view: RoutingView, seed: int = 3, **routing: Any) -> str:
    return decided(view, seed, **routing).plan[0].deployment


@pytest.mark.parametrize("balancer", BALANCERS)
@given(size=REPLICAS, seed=st.integers(0, 1 << 62), load=st.integers(0, 9))
@LAWS
def test_a_balancer_is_pure_and_stays_among_the_replicas(balancer: str, size: int, seed: int, load: int) -> None:
    view = replicas(size, balancer, in_flight={"d0": load})
    assert decided(view, seed) == decided(replicas(size, balancer, in_flight={"d0": load}), seed)
    assert len(decided(view, seed).plan) == min(size, 4)


@given(weights=st.lists(st.integers(1, 5), min_size=2, max_size=4), start=st.integers(0, 20))
@LAWS
def test_weighted_round_robin_is_exact_over_a_cycle_of_its_group(weights: list[int], start: int) -> None:
    total = sum(weights)
    view = replicas(len(weights), "weighted_round_robin", weights)
    counts = Counter(chosen(replace(view, turns={"m/primary": start + turn})) for turn in range(total))
    assert [counts[f"d{i}"] for i in range(len(weights))] == weights


@given(size=st.integers(3, 6), session=st.text(min_size=1, max_size=8))
@LAWS
def test_a_lost_replica_moves_only_its_own_sessions(size: int, session: str) -> None:
    view = replicas(size, "consistent_hash")
    before = chosen(view, session=session)
    for lost in range(size):
        after = chosen(replace(view, cooling={f"d{lost}": NOW + 1}), session=session)
        assert after == before if before != f"d{lost}" else after != before


@given(loads=st.lists(st.integers(0, 20), min_size=2, max_size=6), session=st.text(max_size=4))
@LAWS
def test_consistent_hash_bounds_the_load(loads: list[int], session: str) -> None:
    view = replicas(len(loads), "consistent_hash", in_flight={f"d{i}": load for i, load in enumerate(loads)})
    took = int(chosen(view, session=session)[1:])
    assert loads[took] + 1 <= 1 + 1.25 * (sum(loads) + 1) / len(loads)


@pytest.mark.parametrize("balancer", ["least_connections", "least_response_time", "token_aware"])
@given(loads=st.lists(st.integers(0, 20), min_size=2, max_size=6))
@LAWS
def test_of_equal_replicas_the_least_loaded_takes_it(balancer: str, loads: list[int]) -> None:
    view = replicas(len(loads), balancer, in_flight={f"d{i}": load for i, load in enumerate(loads)})
    assert loads[int(chosen(view)[1:])] == min(loads)


@given(world=worlds(), seed=st.integers(0, 1 << 62))
@LAWS
def test_propensities_are_shares_of_64_draws(world: Any, seed: int) -> None:
    document, tables = with_policy(world[0], ("adaptive", "cost_quality")), world[1]
    view = view_of(document, **{**tables, "explore": True})
    shares = decided(view, seed).propensities
    assert sum(shares) == 1
    assert shares[0] > 0
    assert all((64 * share).is_integer() for share in shares)
    assert decided(view, seed, strategy="weighted").propensities == ()
