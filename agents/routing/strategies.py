"""Strategies: each ranks the candidates of one block, none filters. A strategy is one entry in STRATEGIES."""

from collections.abc import Callable
from dataclasses import dataclass

from agents.routing.adaptive import Explored, believed, explored
from agents.routing.estimates import Column
from agents.routing.kernel.columns import values_at
from agents.routing.kernel.ranking import ranked
from agents.routing.setting import Setting
from agents.routing.utility import utility, utility_spreads

COST_TIE = 0.02
QUALITY_TIE = 0.01
Scores = Callable[[Setting], Column]
"""float64 by place, rounded to float32; higher is better, each by itself: no candidate changes another's."""
Rank = Callable[[Setting, Column, int, int], list[int]]
"""(setting, scores, start, end) -> the places of the block, best first; equals in the order of their ids."""
Spread = Callable[[Setting, list[int]], list[float]]
"""One standard deviation of the score at each of the places."""


@dataclass(frozen=True, slots=True)
class Strategy:
    """`draw`: what it explores in the first block (start, end), if it does."""

    scores: Scores
    rank: Rank
    spread: Spread
    draw: Callable[[Setting, Column, int, int], Explored | None] | None = None


def by_score(setting: Setting, scores: Column, start: int, end: int) -> list[int]:
    """Descending."""
    return ranked(scores, start, end)


def by_cost(setting: Setting, scores: Column, start: int, end: int) -> list[int]:
    """Ascending; of those within 2 % of the cheapest left, the better quality first."""
    return ranked(scores, start, end, setting.pace.lacking, 1 + COST_TIE)


def by_quality(setting: Setting, scores: Column, start: int, end: int) -> list[int]:
    """Descending; of those within a point of the best left, the cheaper first."""
    return ranked(scores, start, end, setting.cost, 1.0, QUALITY_TIE)


def by_reliability(setting: Setting, scores: Column, start: int, end: int) -> list[int]:
    """Descending; of equals the shorter p99 of the time first, nobody's last."""
    return ranked(scores, start, end, setting.pace.latest_ms)


def by_load(setting: Setting, scores: Column, start: int, end: int) -> list[int]:
    """Descending; of equals the fewest calls under way for its weight first."""
    return ranked(scores, start, end, setting.crowding())


STRATEGIES: dict[str, Strategy] = {
    "cost": Strategy(
        lambda setting: -setting.cost,
        by_cost,
        lambda setting, places: setting.pace.spreads.of_cost(setting.cost, places),
    ),
    "speed": Strategy(
        lambda setting: -setting.ms, by_score, lambda setting, places: setting.pace.spreads.of_time(setting.ms, places)
    ),
    "quality": Strategy(
        lambda setting: setting.pace.quality,
        by_quality,
        lambda setting, places: values_at(setting.field.quality_sd, places),
    ),
    "reliability": Strategy(
        lambda setting: setting.pace.lower,
        by_reliability,
        lambda setting, places: values_at(setting.pace.success_sd, places),
    ),
    "load_balanced": Strategy(lambda setting: setting.free(), by_load, lambda setting, places: [0.0] * len(places)),
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
