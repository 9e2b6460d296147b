"""Strategies: each ranks the candidates of one block, none filters. A strategy is one function in STRATEGIES."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from agents.routing.estimates import Estimates, Table

COST_TIE = 0.02
QUALITY_TIE = 0.01
# How far the length of a model's answers lies from the common prior, one standard deviation, relative.
LENGTH_SPREAD = 0.2
# A profile's quality that no feedback has confirmed.
QUALITY_SPREAD = 0.1


@dataclass(frozen=True, slots=True)
class Ranked:
    """`order`: places of the block, best first. `scores`: of all places, higher is better; `spread`: its standard
    deviation at a place."""

    order: list[int]
    scores: Table
    spread: Callable[[int], float]


Strategy = Callable[[Estimates, Sequence[int]], Ranked]
"""Of a block: places of the estimates, ascending."""
CostStrategy = Callable[[Estimates], Estimates]


def by_cost(estimates: Estimates, block: Sequence[int]) -> Ranked:
    """Expected cost per success; of those within 2 % of the cheapest left, the better quality first."""
    cost = estimates.cost
    costs = cost.tolist()
    order = _ordered(cost, block)
    _ties(order, costs, (-estimates.quality).tolist(), 1 + COST_TIE, 0.0)

    def spread(k: int) -> float:
        fact = estimates.compiled.learned.facts[estimates.members[k]]
        return float(costs[k]) * math.hypot(fact.success_sd / fact.success, LENGTH_SPREAD)

    return Ranked(order, -cost, spread)


def by_speed(estimates: Estimates, block: Sequence[int]) -> Ranked:
    """Expected time to the last token at p75, the queue included."""
    ms = estimates.ms

    def spread(k: int) -> float:
        return float(ms[k]) * estimates.compiled.learned.facts[estimates.members[k]].time_spread

    return Ranked(_ordered(ms, block), -ms, spread)


def by_quality(estimates: Estimates, block: Sequence[int]) -> Ranked:
    """The quality's mean; of those within a point of the best left, the cheaper first."""
    lacking = -estimates.quality
    order = _ordered(lacking, block)
    _ties(order, lacking.tolist(), estimates.cost.tolist(), 1.0, QUALITY_TIE)
    return Ranked(order, estimates.quality, lambda k: QUALITY_SPREAD)


def by_reliability(estimates: Estimates, block: Sequence[int]) -> Ranked:
    """The lower bound of the success probability, then the p99 of the time; nobody's p99 comes last."""
    lower, members, facts = estimates.lower.tolist(), estimates.members, estimates.compiled.learned.facts
    order = sorted(block, key=lambda k: (-lower[k], facts[members[k]].p99_ms or math.inf))
    return Ranked(order, estimates.lower, lambda k: facts[members[k]].success_sd)


def _ordered(keys: Table, block: Sequence[int]) -> list[int]:
    """The block in ascending order of its keys; equals stay in the order of their ids."""
    if len(block) == len(keys):
        every: list[int] = keys.argsort(kind="stable").tolist()
        return every
    places = np.array(block)
    some: list[int] = places[keys[places].argsort(kind="stable")].tolist()
    return some


def _ties(order: list[int], first: list[float], second: list[float], factor: float, margin: float) -> None:
    """Sorts each run of `order` within first x factor + margin of its beginning by `second`, then `first`."""
    start, mixed = 0, False
    keys = [first[k] for k in order]
    bound = keys[0] * factor + margin
    for end in range(1, len(order) + 1):
        if end < len(order) and keys[end] <= bound:
            mixed = mixed or second[order[end]] != second[order[start]]
            continue
        if mixed:
            order[start:end] = sorted(order[start:end], key=lambda k: (second[k], first[k]))
        if end < len(order):
            start, mixed, bound = end, False, keys[end] * factor + margin


def minimize(estimates: Estimates) -> Estimates:
    """Cost only: prices and weights as they are."""
    return estimates


STRATEGIES: dict[str, Strategy] = {
    "cost": by_cost,
    "speed": by_speed,
    "quality": by_quality,
    "reliability": by_reliability,
}
COST_STRATEGIES: dict[str, CostStrategy] = {"minimize": minimize}
PRICED = frozenset(("cost", "weighted", "adaptive"))
"""The strategies that see what a cost strategy changed."""
SUPERLATIVES = {"cost": "cheapest", "speed": "fastest", "quality": "best", "reliability": "most reliable"}
