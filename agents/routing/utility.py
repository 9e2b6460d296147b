"""Utilities on fixed scales, so that a third deployment never turns the order of two others."""

import math
from typing import Any

from agents.routing.estimates import Column
from agents.routing.kernel.columns import utilities
from agents.routing.setting import Setting

REFERENCE_NANO_USD = 10_000_000
"""A call of 0.01 USD has the cost utility 0.5; ten times dearer or cheaper is a sixth less or more."""
DECADES = 6.0
TARGET_MS = 5_000.0
"""The time that counts 0.5 where no SLA names one."""
# budget_aware has new weights with every call that is paid.
SUMS_KEPT = 8


def utility(setting: Setting) -> Column:
    """Sum of weight x utility by place: log cost, time against the target, quality, success, free capacity."""
    return scaled(setting, setting.cost, setting.ms, setting.pace.success, setting.pace.sums)


def scaled(setting: Setting, cost: Any, ms: Any, success: Any, sums: dict[object, Any]) -> Column:
    """The utility by place of these costs (nano-USD a success), times and success shares instead of the estimates.

    `sums`: memo of what no request changes, for a pace and its success shares: 8 of 20 us.
    """
    weights = setting.weights
    cost_weight = weights.get("cost", 0.0)
    key = tuple(weights.items())
    total = sums.get(key)
    if total is None:
        if len(sums) >= SUMS_KEPT:
            sums.clear()
        total = sums[key] = (
            cost_weight * (0.5 + math.log10(REFERENCE_NANO_USD) / DECADES)
            + weights.get("quality", 0.0) * setting.pace.quality
            + weights.get("reliability", 0.0) * success
        )
    load = weights.get("load", 0.0)
    free = setting.free() if load else None
    utility_by_place: Column = utilities(
        total, cost, ms, free, cost_weight / DECADES, weights.get("speed", 0.0), load, setting.target_ms
    )
    return utility_by_place


def utility_spreads(setting: Setting, places: list[int]) -> list[float]:
    """One standard deviation of the utility at each of the places."""
    get = setting.weights.get
    spreads: list[float] = setting.pace.spreads.of_utility(
        setting.ms, places, get("cost", 0.0) / DECADES, get("speed", 0.0), get("quality", 0.0), get("reliability", 0.0),
        setting.target_ms,
    )  # fmt: skip
    return spreads
