"""Thompson sampling over what calls really came to: one draw decides, 64 draws count the propensities."""

from typing import NamedTuple

import numpy as np

from agents.routing.estimates import Column, Table
from agents.routing.evidence import PRIOR_SPREAD
from agents.routing.kernel.drawing import contests, mixed
from agents.routing.setting import Setting
from agents.routing.utility import SUMS_KEPT, scaled

DRAWS = 64
CURIOSITY = 0.7
"""Draws spread less far than what is believed: in the simulator whole ones cost more than they found."""
# A fixed table: the same everywhere, and a slice costs a hundredth of a generator. float32 hides a last bit of libm.
NORMALS = np.random.RandomState(20_260_101).standard_normal(1 << 17).astype("<f4")


class Explored(NamedTuple):
    """`winner`: the first draw's place. `share`: of the draws that each place won, by place of the block."""

    winner: int
    share: list[float]


def believed(setting: Setting) -> tuple[Column, Table]:
    """Mean and standard deviation of the utility by place: the estimates' as prior, realised ones as evidence."""
    if setting.belief is not None:
        return setting.belief
    pace = setting.pace
    # A drift shows in the last minutes before it moves an average: each estimate counts as far as it holds now.
    ms, ratios = setting.ms * pace.slower, pace.realised
    prior = scaled(setting, setting.cost / pace.hold, ms, pace.success_now, pace.sums_now)
    spread = _doubt(setting)
    if ratios is None:
        setting.belief = prior, spread
        return setting.belief
    # A call's utility depends on its size, so what calls came to is told relative to what was expected of them.
    cost = pace.realised_in * setting.size_in + pace.realised_out
    realised = scaled(setting, cost, ms * ratios.time, ratios.success, pace.sums_realised)
    mean = realised + (prior - realised) * ratios.prior
    setting.belief = mean.astype("<f4").astype(np.float64), spread
    return setting.belief


def _doubt(setting: Setting) -> Table:
    """One standard deviation of the utility by place, kept with the pace: no request changes it but by its weights."""
    pace, weight = setting.pace, setting.weights.get("quality", 0.0)
    known = pace.doubts.get(weight)
    if known is None:
        if len(pace.doubts) >= SUMS_KEPT:
            pace.doubts.clear()
        # Calls tell nothing about quality; feedback does, and has moved the estimate already.
        doubted = (weight * setting.field.quality_sd) ** 2
        variance = PRIOR_SPREAD**2 if pace.realised is None else pace.realised.variance
        known = pace.doubts[weight] = np.sqrt(variance + doubted).astype("<f4")
    return known


def explored(setting: Setting, scores: Column, start: int, end: int) -> Explored | None:
    """None where nothing was learned for the task yet, or where exploring is not allowed."""
    if not knows_utilities(setting) or not may_explore(setting) or end - start < 2:
        return None
    spread = CURIOSITY * believed(setting)[1][start:end]
    size = end - start
    table = NORMALS if DRAWS * size < len(NORMALS) else np.resize(NORMALS, DRAWS * size + 1)
    offset = mixed(setting.seed) % (len(table) - DRAWS * size)
    winner, won = contests(scores[start:end].astype("<f4"), spread, table[offset : offset + DRAWS * size], DRAWS)
    return Explored(start + winner, [count / DRAWS for count in won])


def knows_utilities(setting: Setting) -> bool:
    """Whether calls of the task were made and came to something."""
    return setting.pace.realised is not None


def may_explore(setting: Setting) -> bool:
    """The policy allows it, and the caller did not name a deployment."""
    return setting.view.explore and not setting.request.model.startswith("deployment:")
