"""Balancers: which of several equal replicas takes the request. A balancer is one function in BALANCERS."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import lru_cache
from math import gcd, lcm

from agents.routing.compiled import Compiled
from agents.routing.view import RoutingView

Balancer = Callable[[Sequence[int], Compiled, RoutingView, int], int]
"""(positions of the replicas in order of their ids, catalog, view, seed) -> the position chosen."""
LONGEST_CYCLE = 1_000


def round_robin(replicas: Sequence[int], compiled: Compiled, view: RoutingView, seed: int) -> int:
    """Each in its turn."""
    return replicas[view.turn % len(replicas)]


def weighted_round_robin(replicas: Sequence[int], compiled: Compiled, view: RoutingView, seed: int) -> int:
    """Each as often as its weight says, spread evenly over the cycle (the smooth form that nginx uses)."""
    cycle = smooth_cycle(tuple(compiled.weight[position] for position in replicas))
    return replicas[cycle[view.turn % len(cycle)]]


def least_connections(replicas: Sequence[int], compiled: Compiled, view: RoutingView, seed: int) -> int:
    """The fewest calls under way for its weight, this one included; equals in their turn."""
    loads = [(view.in_flight.get(compiled.ids[p], 0) + 1) / compiled.weight[p] for p in replicas]
    least = min(loads)
    equals = [p for p, load in zip(replicas, loads, strict=True) if load == least]
    return equals[view.turn % len(equals)]


@lru_cache(maxsize=1024)
def smooth_cycle(weights: tuple[float, ...]) -> tuple[int, ...]:
    """Places of one cycle. Weights count to a hundredth, and are rounded where it would pass 1,000 places."""
    parts = [max(Fraction(weight).limit_denominator(100), Fraction(1, 100)) for weight in weights]
    scale = lcm(*(part.denominator for part in parts))
    whole = [int(part * scale) for part in parts]
    common = gcd(*whole)
    whole = [weight // common for weight in whole]
    total = sum(whole)
    if total > LONGEST_CYCLE:
        whole = [max(1, weight * LONGEST_CYCLE // total) for weight in whole]
        total = sum(whole)
    current = [0] * len(whole)
    cycle = []
    for _ in range(total):
        current = [have + weight for have, weight in zip(current, whole, strict=True)]
        place = max(range(len(whole)), key=current.__getitem__)
        current[place] -= total
        cycle.append(place)
    return tuple(cycle)


BALANCERS: dict[str, Balancer] = {
    "round_robin": round_robin,
    "weighted_round_robin": weighted_round_robin,
    "least_connections": least_connections,
}
