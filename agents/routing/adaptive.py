"""Thompson sampling over what calls really came to: one draw decides, 64 draws count the propensities."""

from collections.abc import Mapping
from itertools import repeat
from typing import Any, NamedTuple

import numpy as np

from agents.routing.estimates import Column, Table
from agents.routing.setting import Setting
from agents.routing.utility import scaled, utility
from agents.routing.view import Posterior

DRAWS = 64
PRIOR_CALLS = 4.0
"""The estimates' utility counts like four calls."""
CALL_SPREAD = 0.2
"""One standard deviation of a single call's utility."""
# A fixed table: the same everywhere, and a slice costs a hundredth of a generator. float32 hides a last bit of libm.
NORMALS = np.random.RandomState(20_260_101).standard_normal(1 << 17).astype("<f4")
MASK = (1 << 64) - 1
NOTHING = Posterior(0.0, 0.0)


class Evidence(NamedTuple):
    """By place. `sums`: calls x mean; `calls`: the prior's included; `spread`: one standard deviation of the utility."""

    found: list[Posterior]
    sums: Column
    calls: Column
    spread: Table


class Explored(NamedTuple):
    """`winner`: the first draw's place. `share`: of the draws that each place won, float64 by place of the block."""

    winner: int
    share: Any


def believed(setting: Setting) -> tuple[Table, Table]:
    """Mean and standard deviation of the utility by place: the estimates' as prior, realised ones as evidence."""
    if setting.belief is not None:
        return setting.belief
    prior = utility(setting)
    learned, ratios = setting.view.utilities, setting.pace.realised
    if learned:
        evidence = _evidence(setting, learned)
        setting.belief = ((PRIOR_CALLS * prior + evidence.sums) / evidence.calls).astype("<f4"), evidence.spread
        return setting.belief
    if ratios is None:
        setting.belief = prior, np.full(len(prior), CALL_SPREAD / PRIOR_CALLS**0.5, dtype="<f4")
        return setting.belief
    # A call's utility depends on its size, so what calls came to is told relative to what was expected of them.
    cost = (setting.pace.cost_in * setting.size_in + setting.pace.cost_out * ratios.length) * ratios.tries
    realised = scaled(setting, cost, setting.ms * ratios.time, ratios.success)
    total = PRIOR_CALLS + ratios.calls
    mean = (PRIOR_CALLS * prior + ratios.calls * realised) / total
    setting.belief = mean.astype("<f4"), (CALL_SPREAD / np.sqrt(total)).astype("<f4")
    return setting.belief


def _evidence(setting: Setting, learned: Mapping[tuple[str, str], Posterior]) -> Evidence:
    """As arrays, kept in the field while the posteriors are equal: 23 us at 50 deployments, 112 at 200."""
    field, task = setting.field, setting.task
    found = list(map(learned.get, [(task, name) for name in field.names], repeat(NOTHING)))
    known: Evidence | None = field.evidence
    if known is not None and known.found == found:
        return known
    mean, calls = np.array(found, dtype=np.float64).T
    total = PRIOR_CALLS + calls
    field.evidence = Evidence(found, calls * mean, total, (CALL_SPREAD / np.sqrt(total)).astype("<f4"))
    made: Evidence = field.evidence
    return made


def explored(setting: Setting, scores: Table, start: int, end: int) -> Explored | None:
    """None where nothing was learned for the task yet, or where exploring is not allowed."""
    if not knows_utilities(setting) or not may_explore(setting) or end - start < 2:
        return None
    spread = believed(setting)[1][start:end]
    size = end - start
    table = NORMALS if DRAWS * size < len(NORMALS) else np.resize(NORMALS, DRAWS * size + 1)
    offset = mixed(setting.seed) % (len(table) - DRAWS * size)
    normals = table[offset : offset + DRAWS * size].reshape(DRAWS, size)
    wins = (scores[start:end] + spread * normals).argmax(axis=1)
    return Explored(start + int(wins[0]), np.bincount(wins, minlength=size) / DRAWS)


def knows_utilities(setting: Setting) -> bool:
    """Whether calls of the task were made and came to something."""
    return bool(setting.view.utilities) or setting.pace.realised is not None


def may_explore(setting: Setting) -> bool:
    """The policy allows it, and the caller did not name a deployment."""
    return setting.view.explore and not setting.request.model.startswith("deployment:")


def mixed(seed: int) -> int:
    """splitmix64: seeds in a row become numbers all over 0..2**64."""
    value = (seed + 0x9E3779B97F4A7C15) & MASK
    value = ((value ^ value >> 30) * 0xBF58476D1CE4E5B9) & MASK
    value = ((value ^ value >> 27) * 0x94D049BB133111EB) & MASK
    return value ^ value >> 31
