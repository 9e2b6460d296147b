"""The order of trial: block by block, by the strategy within a block, the winner by the balancer among its replicas."""

from collections.abc import Sequence
from dataclasses import dataclass

from agents.routing.balancers import BALANCERS
from agents.routing.choice import Choice
from agents.routing.compiled import Compiled
from agents.routing.confidence import RIVALS, confidence
from agents.routing.estimates import Estimates
from agents.routing.strategies import COST_STRATEGIES, PRICED, STRATEGIES, SUPERLATIVES, Ranked
from agents.routing.view import RoutingView


@dataclass(frozen=True, slots=True)
class Ordered:
    """`places`: places in the estimates, in the order of trial. `leaders`: how many stand in the winner's block.

    `ranked`: the winner's block, whose score is that of all. `replicas`: among how many the balancer chose.
    """

    places: list[int]
    leaders: int
    ranked: Ranked
    replicas: int
    confidence: float


def ordered(
    compiled: Compiled, view: RoutingView, estimates: Estimates, blocks: Sequence[int], choice: Choice, most: int,
    seed: int,
) -> Ordered:  # fmt: skip
    """Order the members of `estimates`; `blocks` is parallel to them, lower first. `most`: length of the plan."""
    if choice.strategy in PRICED:
        estimates = COST_STRATEGIES[choice.cost_strategy](estimates)
    strategy = STRATEGIES[choice.strategy]
    lowest = min(blocks)
    if blocks.count(lowest) == len(blocks):
        first, rest = list(range(len(blocks))), []
    else:
        first = [k for k, block in enumerate(blocks) if block == lowest]
        rest = sorted({block for block in blocks if block != lowest})
    ranked = strategy(estimates, first)
    places = list(ranked.order)
    winner, replicas = _balanced(compiled, view, estimates, places, choice.balancer, seed)
    if winner != places[0]:
        places.remove(winner)
        places.insert(0, winner)
    for block in rest:
        places += strategy(estimates, [k for k, other in enumerate(blocks) if other == block]).order
    sure = 1.0
    if len(first) > 1:
        sure = confidence(ranked, winner, _rivals(compiled, estimates, ranked.order, winner))
    if most > 1 and len(places) > 2:
        _spread_lanes(compiled, estimates.members, blocks, places, most)
    return Ordered(places, len(first), ranked, replicas, sure)


def _balanced(
    compiled: Compiled, view: RoutingView, estimates: Estimates, places: list[int], balancer: str, seed: int
) -> tuple[int, int]:
    """The winner's place after balancing, and among how many replicas."""
    members, group = estimates.members, compiled.group
    if not compiled.replicated[members[places[0]]]:
        return places[0], 1
    best = group[members[places[0]]]
    equal = [k for k in places if group[members[k]] == best]
    if len(equal) < 2:
        return places[0], 1
    equal.sort()
    chosen = BALANCERS[balancer]([members[k] for k in equal], compiled, view, seed)
    return next(k for k in equal if members[k] == chosen), len(equal)


def _rivals(compiled: Compiled, estimates: Estimates, order: list[int], winner: int) -> list[int]:
    """The next in rank that are no replicas of the winner."""
    members, group = estimates.members, compiled.group
    own = group[members[winner]]
    rivals = []
    for k in order:
        if group[members[k]] != own:
            rivals.append(k)
            if len(rivals) == RIVALS:
                break
    return rivals


def _spread_lanes(
    compiled: Compiled, members: Sequence[int], blocks: Sequence[int], places: list[int], most: int
) -> None:
    """Give a step to a replica of another provider or credential than those before it, where there is one."""
    group, lane = compiled.group, compiled.lane
    used = {lane[members[places[0]]]}
    for step in range(1, min(most, len(places))):
        here = members[places[step]]
        if lane[here] in used and compiled.replicated[here]:
            for later in range(step + 1, len(places)):
                other = members[places[later]]
                if (
                    group[other] == group[here]
                    and lane[other] not in used
                    and blocks[places[later]] == blocks[places[step]]
                ):
                    places.insert(step, places.pop(later))
                    break
        used.add(lane[members[places[step]]])


def praise(choice: Choice, leaders: int, total: int, tier: str) -> str:
    """Why the winner won, such as "cheapest of 4 capable deployments"."""
    word = SUPERLATIVES.get(choice.strategy, f"first by {choice.strategy}")
    if total == 1:
        return "the only capable deployment left"
    if leaders == total:
        return f"{word} of {total} capable deployments"
    return f"{word} of {leaders} in the first choice ({tier}), {total - leaders} more to fall back to"
