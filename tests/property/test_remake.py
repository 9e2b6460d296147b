"""A decision made again from its event alone, by its bytes: the same plan, whatever strategy, balancer and world it was."""

from dataclasses import replace
from typing import Any, get_args

import numpy as np
import orjson
import pytest
from decide_world import event_of
from hypothesis import given, settings
from hypothesis import strategies as st
from routing_worlds import NOW, called, health, view_of

from agents.routing.balancers import BALANCERS
from agents.routing.decide import Decision, decide
from agents.routing.remake import remade
from agents.routing.strategies import STRATEGIES
from agents.routing.view import RoutingView
from schemas.catalog import FALLBACK_TIERS
from schemas.errors import RequestError
from schemas.policy import CostStrategyName
from schemas.requests import parse_request
from schemas.state import CircuitState
from schemas.units import MICROS_PER_S

OPEN = CircuitState(status="open", open_until=NOW + MICROS_PER_S)


@st.composite
def worlds(draw: st.DrawFn) -> RoutingView:
    """Replicas of a few models in all tiers, some busy, some open, with or without health."""
    models = draw(st.integers(1, 4))
    catalog: dict[str, Any] = {"models": [], "deployments": []}
    tables: dict[str, dict[str, Any]] = {
        name: {} for name in ("circuits", "health", "learned", "in_flight", "tokens_in_flight", "response_ms")
    }
    for m in range(models):
        price = {"input": draw(st.integers(0, 40)) / 10, "output": draw(st.integers(0, 40)) / 4}
        quality = {"conversation": draw(st.integers(0, 100)) / 100}
        catalog["models"].append({"id": f"m{m}", "quality": quality, "price_usd_per_million": price})
    for d in range(draw(st.integers(1, 10))):
        name, model = f"d{draw(st.integers(0, 99)):02}-{d}", draw(st.integers(0, models - 1))
        catalog["deployments"].append({
            "id": name, "provider": draw(st.sampled_from(("openai", "anthropic"))), "model": f"m{model}",
            "base_url": "http://h", "weight": draw(st.integers(1, 4)), "api_key": draw(st.sampled_from(("env:A", "env:B"))),
            "fallback_tier": draw(st.sampled_from(FALLBACK_TIERS)),
            "limits": draw(st.sampled_from(({}, {"concurrency": 50, "tokens_per_minute": 90_000}))),
        })  # fmt: skip
        if draw(st.booleans()):
            good, bad, at = draw(st.integers(1, 90)), draw(st.integers(0, 9)), draw(st.integers(60, 200))
            tables["health"][name] = health(good, bad, at)
            tables["learned"][name] = called(f"m{model}", good, bad, draw(st.integers(10, 9_000)))
        if draw(st.booleans()):
            tables["in_flight"][name] = draw(st.integers(0, 40))
            tables["tokens_in_flight"][name] = draw(st.integers(0, 60_000))
            tables["response_ms"][name] = draw(st.floats(0.5, 9_000))
        if draw(st.integers(0, 9)) == 0:
            tables["circuits"][name] = OPEN
    routing = {"max_attempts": draw(st.integers(1, 5))}
    view = view_of({"catalog": catalog, "routing": routing}, **tables)
    return replace(view, turn=draw(st.integers(0, 50)), workers=draw(st.integers(1, 3)))


def asked(data: st.DataObject, view: RoutingView, strategy: str, balancer: str) -> Decision | None:
    names = [deployment.id for deployment in view.inforce.configuration.catalog.deployments]
    routing = {
        "strategy": strategy, "balancer": balancer, "task": "conversation", "fallback": data.draw(st.booleans()),
        "session": data.draw(st.none() | st.text(min_size=1, max_size=5)),
    }  # fmt: skip
    model = data.draw(st.sampled_from(["auto", "auto", "m0", f"deployment:{names[0]}"]))
    body = {"model": model, "messages": [{"role": "user", "content": "hello"}], "routing": routing}
    request = parse_request(orjson.dumps(body), max_bytes=10**6)
    try:
        return decide(
            request,
            "acme",
            view,
            now=NOW,
            deadline_at=NOW + 300 * MICROS_PER_S,
            seed=data.draw(st.integers(0, 2**63 - 1)),
        )
    except RequestError:
        return None


@pytest.mark.parametrize("balancer", BALANCERS)
@pytest.mark.parametrize("strategy", STRATEGIES)
@settings(max_examples=15, deadline=None)
@given(view=worlds(), data=st.data())
def test_a_plan_is_made_again_from_its_event(
    strategy: str, balancer: str, view: RoutingView, data: st.DataObject
) -> None:
    cost_strategy = data.draw(st.sampled_from(get_args(CostStrategyName)))
    configuration = view.inforce.configuration
    policy = configuration.routing.model_copy(update={"cost_strategy": cost_strategy})
    inforce = replace(view.inforce, configuration=configuration.model_copy(update={"routing": policy}))
    decision = asked(data, replace(view, inforce=inforce), strategy, balancer)
    if decision is None:
        return
    assert decision.strategy == strategy
    assert remade(event_of(decision), inforce) == decision.plan


def test_another_record_is_another_plan() -> None:
    """What is recorded decides: no part of the plan is copied."""
    catalog = {
        "models": [{"id": m, "price_usd_per_million": {"input": price, "output": price}} for m, price in (("a", 1), ("b", 9))],
        "deployments": [
            {"id": name, "provider": "openai", "model": name[0], "base_url": "http://h"} for name in ("a1", "a2", "b1")
        ],
    }  # fmt: skip
    view = view_of({"catalog": catalog})
    body = {
        "messages": [{"role": "user", "content": "hello"}],
        "routing": {"strategy": "cost", "balancer": "round_robin"},
    }
    request = parse_request(orjson.dumps(body), max_bytes=10**6)
    decision = decide(request, "acme", view, now=NOW, deadline_at=NOW + MICROS_PER_S, seed=1)
    event = event_of(decision)
    assert [step.deployment for step in decision.plan] == ["a1", "a2", "b1"]
    numbers = np.frombuffer(event.estimates, dtype="<f4").reshape(3, -1).copy()
    numbers[2, 2] = 1.0
    dearer = remade(replace(event, estimates=numbers.tobytes()), view.inforce)
    assert dearer is not None and dearer[0].deployment == "b1"
    turned = remade(replace(event, turn=1), view.inforce)
    assert turned is not None and turned[0].deployment == "a2"
    assert remade(replace(event, blocks=()), view.inforce) is None
    assert remade(replace(event, cut=True), view.inforce) is None
