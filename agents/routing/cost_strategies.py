"""Cost strategies: each changes the prices or weights that `cost`, `weighted` and `adaptive` see, before the ranking."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from agents.routing.budget import Gate
from agents.routing.compiled import Compiled
from agents.routing.view import RoutingView

COST_ALONE: Mapping[str, float] = {"cost": 1.0}
BALANCED: Mapping[str, float] = {"cost": 0.6, "quality": 0.4}
FASTER: Mapping[str, float] = {"cost": 0.5, "speed": 0.5}
MOST_COST = 0.95
# A limited deployment keeps a fifth of its requests free for interactive traffic; batch leaves it half.
HEADROOM: Mapping[str, float] = {"batch": 0.5}
USUAL_HEADROOM = 0.8
STEEPNESS = 5.0


@dataclass(frozen=True, slots=True)
class Terms:
    """`factors`: price seen over list price by deployment id, None for 1. `reasons`: what was changed, and why."""

    weights: Mapping[str, float]
    factors: Mapping[str, float] | None = None
    reasons: tuple[str, ...] = ()


CostStrategy = Callable[[Compiled, RoutingView, Gate, str], Terms]
"""(catalog, view, budgets, priority) -> terms."""
ONLY_COST, COST_AND_QUALITY, COST_AND_SPEED = Terms(COST_ALONE), Terms(BALANCED), Terms(FASTER)


def minimize(compiled: Compiled, view: RoutingView, gate: Gate, priority: str) -> Terms:
    """Cost only."""
    return ONLY_COST


def cost_quality(compiled: Compiled, view: RoutingView, gate: Gate, priority: str) -> Terms:
    """Weights 60/40."""
    return COST_AND_QUALITY


def cost_speed(compiled: Compiled, view: RoutingView, gate: Gate, priority: str) -> Terms:
    """Weights 50/50."""
    return COST_AND_SPEED


def arbitrage(compiled: Compiled, view: RoutingView, gate: Gate, priority: str) -> Terms:
    """Prices as they are now; then the cheapest of the same model or the same quality goes first (order.py)."""
    if not view.price_factors:
        return Terms(BALANCED, None, ("arbitrage: no current prices yet, list prices used",))
    return Terms(BALANCED, view.price_factors)


def budget_aware(compiled: Compiled, view: RoutingView, gate: Gate, priority: str) -> Terms:
    """Cost weighs half while money lasts to the end of the period, more in proportion when it burns faster."""
    if gate.burn is None:
        return Terms(
            {"cost": 0.5, "quality": 0.5}, None, ("budget_aware: no budget binds the caller, cost weighs 0.50",)
        )
    cost = min(MOST_COST, 0.5 * max(1.0, gate.burn))
    reason = f"budget_aware: burning {gate.burn:.2f} times as fast as the period allows, cost weighs {cost:.2f}"
    return Terms({"cost": cost, "quality": 1 - cost}, None, (reason,))


def predictive(compiled: Compiled, view: RoutingView, gate: Gate, priority: str) -> Terms:
    """Limited deployments get dearer when this hour's forecast leaves less than the headroom; for batch earlier."""
    if not view.forecast:
        return Terms(BALANCED, None, ("predictive: no forecast yet, prices as they are",))
    headroom = HEADROOM.get(priority, USUAL_HEADROOM)
    factors = {}
    for name, limits in zip(compiled.ids, compiled.limits, strict=True):
        if limits.requests_per_minute:
            over = view.forecast.get(name, 0.0) / limits.requests_per_minute - headroom
            if over > 0:
                factors[name] = 1 + STEEPNESS * over
    reason = f"predictive: {len(factors)} limited deployments keep headroom for this hour's forecast"
    return Terms(BALANCED, factors or None, (reason,) if factors else ())


COST_STRATEGIES: dict[str, CostStrategy] = {
    "minimize": minimize,
    "cost_quality": cost_quality,
    "cost_speed": cost_speed,
    "arbitrage": arbitrage,
    "budget_aware": budget_aware,
    "predictive": predictive,
}
PRICED = frozenset(("cost", "weighted", "adaptive"))
"""The strategies that see what a cost strategy changed."""
