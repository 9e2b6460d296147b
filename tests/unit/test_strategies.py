"""What each strategy and cost strategy puts first: read as documentation."""

from typing import Any

import orjson
import pytest

from agents.routing.decide import Decision, decide
from agents.routing.view import RoutingView
from schemas.errors import RequestError
from schemas.inforce import InForce
from schemas.policy import Configuration
from schemas.requests import parse_request
from schemas.spans import CALLS_SPAN
from schemas.state import CallsBucket, LearnedState
from schemas.units import MICROS_PER_S

DAY = 86_400 * MICROS_PER_S
NOON = 20_700 * DAY + DAY // 2


class Spent:
    def __init__(self, nano_usd: int = 0) -> None:
        self.nano_usd = nano_usd

    def spent(self, scope: str, period: str, now: int) -> int:
        return self.nano_usd

    def reserved(self, scope: str) -> int:
        return 0


def model(name: str, output: float, quality: float) -> dict[str, Any]:
    return {"id": name, "quality": {"conversation": quality}, "price_usd_per_million": {"input": 1, "output": output}}


def called(model: str, good: int, bad: int) -> LearnedState:
    """What calls of a conversation came to in the span of NOON, in two seconds each."""
    bucket = CallsBucket(NOON // CALLS_SPAN, good, bad, 0, 300 * good, 2 * MICROS_PER_S * good)
    return LearnedState(model, {"conversation": (bucket,)})


def decided(
    strategy: str, cost_strategy: str = "minimize", routing: dict[str, Any] | None = None, **tables: Any
) -> Decision:
    deployments = [
        {"id": name, "provider": "openai", "model": f"m-{name}", "base_url": "http://127.0.0.1:1",
         "limits": {"concurrency": 10, "requests_per_minute": 100}}
        for name in ("cheap", "good")
    ]  # fmt: skip
    document = {
        "catalog": {"models": [model("m-cheap", 1, 0.5), model("m-good", 2, 0.9)], "deployments": deployments},
        "routing": {"strategy": strategy, "cost_strategy": cost_strategy, "balancer": "least_connections"},
        "budgets": tables.pop("budgets", []),
    }
    configuration = Configuration.model_validate(document)
    forced = tables.pop("forced", {})
    inforce = InForce(configuration=configuration, budgets=configuration.budgets, forced=forced)
    empty: dict[str, Any] = {name: {} for name in ("circuits", "health", "in_flight", "cooling", "out_of_service")}
    view = RoutingView(**{"inforce": inforce, "spend": Spent(), "turn": 0, **empty, **tables})
    body = {"messages": [{"role": "user", "content": "hi"}], "routing": {"task": "conversation", **(routing or {})}}
    asked = parse_request(orjson.dumps(body), max_bytes=10_000)
    return decide(asked, "acme", view, now=NOON, deadline_at=NOON + 30 * MICROS_PER_S, seed=1)


def first(*given: Any, **named: Any) -> str:
    return decided(*given, **named).plan[0].deployment


def test_load_balanced_takes_the_most_spare_capacity() -> None:
    assert first("load_balanced", in_flight={"cheap": 4, "good": 3}) == "good"


def test_weights_of_the_request_win_over_the_cost_strategy() -> None:
    assert first("weighted", "minimize") == "cheap"
    assert first("weighted", "cost_quality") == "good"
    assert first("weighted", "cost_quality", {"weights": {"cost": 1.0}}) == "cheap"


def test_adaptive_learns_and_says_where_it_had_nothing() -> None:
    decision = decided("adaptive")
    assert "adaptive: nothing learned about conversation yet, estimates used as priors" in decision.reasons
    assert decision.propensities == ()
    learned = {"cheap": called("m-cheap", good=50, bad=450), "good": called("m-good", good=500, bad=0)}
    decision = decided("adaptive", learned=learned)
    assert decision.plan[0].deployment == "good"
    assert decision.propensities == (1.0, 0.0)
    assert decided("adaptive", learned=learned, explore=False).propensities == ()


def test_arbitrage_follows_prices_of_now_and_records_the_gain() -> None:
    assert first("cost", "arbitrage", price_factors={"good": 0.2}) == "good"
    assert "arbitrage: no current prices yet, list prices used" in decided("cost", "arbitrage").reasons


def test_budget_aware_weighs_cost_by_the_burn_rate() -> None:
    budgets = [{"scope": "tenant:acme", "period": "day", "limit_usd": 1}]
    decision = decided("weighted", "budget_aware", budgets=budgets, spend=Spent(750_000_000))
    assert any("burning 1.50 times as fast" in reason for reason in decision.reasons)


def test_predictive_keeps_headroom_and_sooner_for_batch() -> None:
    forecast = {"cheap": 75.0}
    assert first("cost", "predictive", forecast=forecast) == "cheap"
    assert first("cost", "predictive", {"priority": "batch"}, forecast=forecast) == "good"


@pytest.mark.parametrize(("used", "priority", "code"), [
    (0.96, "batch", "throttled"), (0.96, "standard", None), (0.985, "standard", "throttled"),
    (0.985, "interactive", None), (1.0, "interactive", "budget_exhausted"),
])  # fmt: skip
def test_budgets_switch_then_throttle_then_reject(used: float, priority: str, code: str | None) -> None:
    tables = {"budgets": [{"scope": "global", "limit_usd": 1}], "spend": Spent(round(used * 10**9))}
    if code is None:
        decision = decided("quality", routing={"priority": priority}, **tables)
        assert (decision.strategy, decision.plan[0].deployment) == ("cost", "cheap")
        assert any("instead of quality" in reason for reason in decision.reasons)
        return
    with pytest.raises(RequestError) as caught:
        decided("quality", routing={"priority": priority}, **tables)
    assert caught.value.code == code


def test_a_circuit_forced_open_counts_before_it_has_a_state() -> None:
    assert first("cost", forced={"cheap": "open"}) == "good"
