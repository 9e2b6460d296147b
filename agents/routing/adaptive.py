"""Thompson sampling over what calls really came to: one draw decides, 64 draws count the propensities."""

from typing import Any, NamedTuple

import numpy as np

from agents.routing.estimates import Table
from agents.routing.setting import Setting
from agents.routing.utility import scaled

DRAWS = 64
PRIOR_SPREAD = 0.022
"""One standard deviation of the truth around the estimates' utility, what is doubted of quality aside."""
CALL_SPREAD = 0.03
"""One standard deviation of a single call's utility."""
CURIOSITY = 0.7
"""Draws spread less far than what is believed: in the simulator whole ones cost more than they found."""
# A fixed table: the same everywhere, and a slice costs a hundredth of a generator. float32 hides a last bit of libm.
NORMALS = np.random.RandomState(20_260_101).standard_normal(1 << 17).astype("<f4")
MASK = (1 << 64) - 1


class Explored(NamedTuple):
    """`winner`: the first draw's place. `share`: of the draws that each place won, float64 by place of the block."""

    winner: int
    share: Any


def believed(setting: Setting) -> tuple[Table, Table]:
    """Mean and standard deviation of the utility by place: the estimates' as prior, realised ones as evidence."""
    if setting.belief is not None:
        return setting.belief
    pace = setting.pace
    # A drift shows in the last minutes before it moves an average: each estimate counts as far as it holds now.
    ms, ratios = setting.ms * pace.slower, pace.realised
    prior = scaled(setting, setting.cost / pace.hold, ms, pace.success_now, pace.sums_now)
    # Calls tell nothing about quality; feedback does, and has moved the estimate already.
    doubted = (setting.weights.get("quality", 0.0) * setting.field.quality_doubt) ** 2
    if ratios is None:
        setting.belief = prior, np.sqrt(PRIOR_SPREAD**2 + doubted).astype("<f4")
        return setting.belief
    # A call's utility depends on its size, so what calls came to is told relative to what was expected of them.
    cost = (pace.cost_in * setting.size_in + pace.cost_out * ratios.length) * ratios.tries
    realised = scaled(setting, cost, ms * ratios.time, ratios.success, pace.sums_realised)
    # Weights are inverse variances, so a few calls move what is uncertain, and many are believed over any estimate.
    precision = 1 / PRIOR_SPREAD**2 + ratios.calls / CALL_SPREAD**2
    mean = realised + (prior - realised) / (PRIOR_SPREAD**2 * precision)
    setting.belief = mean.astype("<f4"), np.sqrt(1 / precision + doubted).astype("<f4")
    return setting.belief


def explored(setting: Setting, scores: Table, start: int, end: int) -> Explored | None:
    """None where nothing was learned for the task yet, or where exploring is not allowed."""
    if not knows_utilities(setting) or not may_explore(setting) or end - start < 2:
        return None
    spread = CURIOSITY * believed(setting)[1][start:end]
    size = end - start
    table = NORMALS if DRAWS * size < len(NORMALS) else np.resize(NORMALS, DRAWS * size + 1)
    offset = mixed(setting.seed) % (len(table) - DRAWS * size)
    normals = table[offset : offset + DRAWS * size].reshape(DRAWS, size)
    wins = (scores[start:end] + spread * normals).argmax(axis=1)
    return Explored(start + int(wins[0]), np.bincount(wins, minlength=size) / DRAWS)


def knows_utilities(setting: Setting) -> bool:
    """Whether calls of the task were made and came to something."""
    return setting.pace.realised is not None


def may_explore(setting: Setting) -> bool:
    """The policy allows it, and the caller did not name a deployment."""
    return setting.view.explore and not setting.request.model.startswith("deployment:")


def mixed(seed: int) -> int:
    """splitmix64: seeds in a row become numbers all over 0..2**64."""
    value = (seed + 0x9E3779B97F4A7C15) & MASK
    value = ((value ^ value >> 30) * 0xBF58476D1CE4E5B9) & MASK
    value = ((value ^ value >> 27) * 0x94D049BB133111EB) & MASK
    return value ^ value >> 31
