"""Strategies: each ranks the candidates of one block, none filters. A strategy is one entry in STRATEGIES."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from agents.routing.adaptive import Explored, believed, explored
from agents.routing.estimates import Table
from agents.routing.setting import Setting
from agents.routing.utility import utility, utility_spreads

COST_TIE = 0.02
QUALITY_TIE = 0.01
RECORDED = 32
"""Places that are recorded; ties beyond them need no order."""
Scores = Callable[[Setting], Table]
"""float32 by place, higher is better, each by itself: no candidate changes another's."""
Rank = Callable[[Setting, Table, int, int], list[int]]
"""(setting, scores, start, end) -> the places of the block, best first; equals in the order of their ids."""
Spread = Callable[[Setting, list[int]], list[float]]
"""One standard deviation of the score at each of the places."""


@dataclass(frozen=True, slots=True)
class Strategy:
    """`draw`: what it explores in the first block (start, end), if it does."""

    scores: Scores
    rank: Rank
    spread: Spread
    draw: Callable[[Setting, Table, int, int], Explored | None] | None = None


def by_score(setting: Setting, scores: Table, start: int, end: int) -> list[int]:
    """Descending."""
    order: list[int] = (-scores[start:end]).argsort(kind="stable").tolist()
    return [start + k for k in order] if start else order


def by_cost(setting: Setting, scores: Table, start: int, end: int) -> list[int]:
    """Ascending; of those within 2 % of the cheapest left, the better quality first."""
    order = by_score(setting, scores, start, end)
    return _ties(order, setting.cost.tolist(), setting.pace.lacking, 1 + COST_TIE, 0.0)


def by_quality(setting: Setting, scores: Table, start: int, end: int) -> list[int]:
    """Descending; of those within a point of the best left, the cheaper first."""
    known = setting.pace.orders.get(("quality", start))
    if known is None:
        known = setting.pace.orders["quality", start] = by_score(setting, scores, start, end)
    return _ties(list(known), setting.pace.lacking, setting.cost.tolist(), 1.0, QUALITY_TIE)


def by_reliability(setting: Setting, scores: Table, start: int, end: int) -> list[int]:
    """Descending, then by the p99 of the time; nobody's p99 comes last."""
    known = setting.pace.orders.get(("reliability", start))
    if known is None:
        facts, lower = setting.pace.facts, scores.tolist()
        known = sorted(range(start, end), key=lambda k: (-lower[k], facts[k].p99_ms or math.inf))
        setting.pace.orders["reliability", start] = known
    return list(known)


def by_load(setting: Setting, scores: Table, start: int, end: int) -> list[int]:
    """Descending; of equals the fewest calls under way for its weight."""
    crowd = (setting.crowd()[start:end] + 1) / setting.pace.weights[start:end]
    order: list[int] = np.lexsort((crowd, -scores[start:end])).tolist()
    return [start + k for k in order] if start else order


def _ties(order: list[int], first: list[float], second: list[float], factor: float, margin: float) -> list[int]:
    """Sorts each run of `order` within first x factor + margin of its beginning by `second`, then `first`."""
    start, mixed = 0, False
    bound = first[order[0]] * factor + margin
    second_of_start = second[order[0]]
    for end, place in enumerate(order):
        if first[place] <= bound:
            mixed = mixed or second[place] != second_of_start
            continue
        if mixed:
            order[start:end] = sorted(order[start:end], key=lambda k: (second[k], first[k]))
        if end >= RECORDED:
            return order
        start, mixed = end, False
        bound = first[place] * factor + margin
        second_of_start = second[place]
    if mixed:
        order[start:] = sorted(order[start:], key=lambda k: (second[k], first[k]))
    return order


def cost_spreads(setting: Setting, places: list[int]) -> list[float]:
    facts, length_sd, cost = setting.pace.facts, setting.pace.length_sd, setting.cost
    return [cost.item(k) * math.hypot(facts[k].success_sd / facts[k].success, length_sd[k]) for k in places]


def time_spreads(setting: Setting, places: list[int]) -> list[float]:
    facts, ms = setting.pace.facts, setting.ms
    return [ms.item(k) * facts[k].time_spread for k in places]


STRATEGIES: dict[str, Strategy] = {
    "cost": Strategy(lambda setting: -setting.cost, by_cost, cost_spreads),
    "speed": Strategy(lambda setting: -setting.ms, by_score, time_spreads),
    "quality": Strategy(
        lambda setting: setting.pace.quality,
        by_quality,
        lambda setting, places: [setting.field.quality_sd[k] for k in places],
    ),
    "reliability": Strategy(
        lambda setting: setting.pace.lower,
        by_reliability,
        lambda setting, places: [setting.pace.facts[k].success_sd for k in places],
    ),
    "load_balanced": Strategy(
        lambda setting: setting.free().astype("<f4"), by_load, lambda setting, places: [0.0] * len(places)
    ),
    "weighted": Strategy(utility, by_score, utility_spreads),
    "adaptive": Strategy(
        lambda setting: believed(setting)[0],
        by_score,
        lambda setting, places: [believed(setting)[1].item(k) for k in places],
        explored,
    ),
}
SUPERLATIVES = {
    "cost": "cheapest", "speed": "fastest", "quality": "best", "reliability": "most reliable",
    "load_balanced": "chosen by load", "weighted": "highest weighted utility", "adaptive": "highest learned utility",
}  # fmt: skip
