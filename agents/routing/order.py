"""The order of trial: block by block, by the strategy within a block, the winner by the balancer among its replicas."""

from typing import NamedTuple

from agents.routing.adaptive import knows_utilities, may_explore
from agents.routing.balancers import BALANCERS
from agents.routing.choice import Choice
from agents.routing.estimates import RECORDED, Column
from agents.routing.field import Field
from agents.routing.kernel.columns import values_at
from agents.routing.kernel.confidence import RIVALS, confidence
from agents.routing.setting import Setting
from agents.routing.strategies import QUALITY_TIE, STRATEGIES, SUPERLATIVES
from schemas.events import PlanStep
from schemas.units import nano_to_usd

SAME_PRICE = 1.01


class Ordered(NamedTuple):
    """`places` in the order of trial: all, or at least the first 32. `leaders`: how many stand in the winner's block.

    `replicas`: among how many the balancer chose, in the turn of `turn_key`. `propensities`: by place where it
    explored, else None.
    """

    places: list[int]
    leaders: int
    scores: Column
    replicas: int
    turn_key: str
    turn: int
    confidence: float
    propensities: list[float] | None
    reasons: tuple[str, ...]


def ordered(setting: Setting, choice: Choice, most: int, recorded: Column | None = None) -> Ordered:
    """Order the places of the field. `most`: length of the plan. `recorded`: scores of a decision that is re-made, which
    does not say again how sure it was."""
    strategy, field = STRATEGIES[choice.strategy], setting.field
    scores = strategy.scores(setting) if recorded is None else recorded
    start, leaders = field.bounds[0]
    ranking = strategy.rank(setting, scores, start, leaders)
    places = list(ranking)
    reasons: tuple[str, ...] = ()
    propensities = None
    explored = strategy.draw(setting, scores, start, leaders) if strategy.draw else None
    winner = places[0]
    if explored is not None:
        share = explored.share
        propensities = share + [0.0] * (len(field.members) - leaders)
        winner = explored.winner
        reasons = (_explored(setting, winner, ranking[0], share[winner]),)
    elif choice.strategy == "adaptive":
        reasons = (_not_explored(setting),)
    if choice.cost_strategy == "arbitrage" and choice.strategy in ("cost", "weighted", "adaptive") and explored is None:
        winner, gain = _arbitrage(setting, ranking)
        reasons += gain
    winner, replicas, turn_key, turn = _balanced(setting, winner, choice, leaders)
    if winner != places[0]:
        places.remove(winner)
        places.insert(0, winner)
    every = not setting.request.routing.fallback
    for start, end in field.bounds[1:]:
        if len(places) >= RECORDED and not every:
            break
        places += strategy.rank(setting, scores, start, end)
    sure = 1.0
    if leaders > 1 and recorded is None:
        contest = [winner, *field.kin.rivals(ranking, winner, RIVALS)]
        sure = confidence(values_at(scores, contest), strategy.spread(setting, contest))
    if most > 1 and len(places) > 2:
        field.kin.spread_lanes(places, most)
    return Ordered(places, leaders, scores, replicas, turn_key, turn, sure, propensities, reasons)


def _balanced(setting: Setting, winner: int, choice: Choice, leaders: int) -> tuple[int, int, str, int]:
    """The winner's place after balancing, among how many, and the turn it was."""
    field, view = setting.field, setting.view
    group = field.group[winner]
    if choice.strategy == "load_balanced":
        equal, key = list(range(leaders)), f"*/{group[1]}"
    else:
        equal, key = field.groups[group], f"{group[0]}/{group[1]}"
        if len(equal) > 1 and view.price_factors:
            price = setting.cost[winner] * SAME_PRICE
            equal = [
                k for k in equal if setting.cost[k] <= price and setting.cost[winner] <= setting.cost[k] * SAME_PRICE
            ]
    if len(equal) < 2:
        return winner, 1, key, 0
    turn = view.turn if view.turns is None else view.turns.get(key, 0)
    return BALANCERS[choice.balancer](equal, setting, turn), len(equal), key, turn


def _arbitrage(setting: Setting, ranking: list[int]) -> tuple[int, tuple[str, ...]]:
    """The cheapest now of the same model or of no lower quality than the tolerance allows; the gain is said."""
    first = ranking[0]
    group, quality = setting.field.group, setting.pace.qualities
    cost = setting.cost.tolist()
    alike = [k for k in ranking if group[k][0] == group[first][0] or abs(quality[k] - quality[first]) <= QUALITY_TIE]
    best = min(alike, key=lambda k: (cost[k], k))
    dearest = max(cost[k] for k in alike)
    if cost[best] >= dearest:
        return first, ()
    names = setting.field.names
    gain = nano_to_usd(round(dearest - cost[best]))
    return best, (
        f"arbitrage: {names[best]} saves {gain:.6f} USD a success against the dearest of {len(alike)} equals",
    )


def _explored(setting: Setting, winner: int, best: int, share: float) -> str:
    names = setting.field.names
    if winner == best:
        return f"adaptive: {names[winner]} won {share:.0%} of 64 draws from what was learned"
    return f"adaptive explored: {names[winner]} won {share:.0%} of 64 draws, {names[best]} is expected best"


def _not_explored(setting: Setting) -> str:
    if not knows_utilities(setting):
        return f"adaptive: nothing learned about {setting.task} yet, estimates used as priors"
    if not may_explore(setting):
        return "adaptive: exploring is not allowed here, the highest mean was taken"
    return "adaptive: nobody to choose from"


def plan_of(field: Field, places: list[int], fallback: bool, most: int) -> tuple[PlanStep, ...]:
    """The first `most` in the order of trial. Without fallback no other model than the first one's."""
    if fallback:
        return tuple([field.steps[k] for k in places[:most]])
    model = field.group[places[0]][0]
    return tuple([field.steps[k] for k in places if field.group[k][0] == model][:most])


def praise(choice: Choice, leaders: int, total: int, tier: str) -> str:
    """Why the winner won, such as "cheapest of 4 capable deployments"."""
    if total == 1:
        return "the only capable deployment left"
    word = SUPERLATIVES[choice.strategy]
    if leaders == total:
        return f"{word} of {total} capable deployments"
    return f"{word} of {leaders} in the first choice ({tier}), {total - leaders} more to fall back to"
