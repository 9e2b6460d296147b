"""Utilities on fixed scales, so that a third deployment never turns the order of two others."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from agents.routing.estimates import Table
from agents.routing.setting import Setting

REFERENCE_NANO_USD = 10_000_000
"""A call of 0.01 USD has the cost utility 0.5; ten times dearer or cheaper is a sixth less or more."""
DECADES = 6.0
TARGET_MS = 5_000.0
"""The time that counts 0.5 where no SLA names one."""
# budget_aware has new weights with every call that is paid.
SUMS_KEPT = 8


def utility(setting: Setting) -> Table:
    """Sum of weight x utility by place: log cost, time against the target, quality, success, free capacity."""
    return scaled(setting, setting.cost, setting.ms, setting.pace.success, setting.pace.sums)


def scaled(setting: Setting, cost: Any, ms: Any, success: Any, sums: dict[object, Any]) -> Table:
    """The utility by place of these costs (nano-USD a success), times and success shares instead of the estimates.

    `sums`: memo of what no request changes, for a pace and its success shares: 8 of 20 us.
    """
    weights = setting.weights
    cost_weight = weights.get("cost", 0.0)
    key = ("utility", *weights.items())
    total = sums.get(key)
    if total is None:
        if len(sums) >= SUMS_KEPT:
            sums.clear()
        total = sums[key] = (
            cost_weight * (0.5 + math.log10(REFERENCE_NANO_USD) / DECADES)
            + weights.get("quality", 0.0) * setting.pace.quality.astype(np.float64)
            + weights.get("reliability", 0.0) * success
        )
    if cost_weight:
        # Nothing is cheaper than a nano-USD: what is free has a utility too.
        total = total - np.log10(np.maximum(cost, 1.0)) * (cost_weight / DECADES)
    if weight := weights.get("speed", 0.0):
        total = total + weight / (1 + ms / np.float64(setting.target_ms))
    if weight := weights.get("load", 0.0):
        total = total + weight * setting.free()
    table: Table = total.astype("<f4")
    return table


def utility_spreads(setting: Setting, places: Sequence[int]) -> list[float]:
    """One standard deviation of the utility at each of the places."""
    get, facts, ms, target_ms = setting.weights.get, setting.pace.facts, setting.ms, setting.target_ms
    cost, speed, reliability = get("cost", 0.0) / (DECADES * math.log(10)), get("speed", 0.0), get("reliability", 0.0)
    quality, quality_sd = get("quality", 0.0), setting.field.quality_sd
    length_sd = setting.pace.length_sd
    spreads = []
    for k in places:
        fact = facts[k]
        spend = cost * math.hypot(fact.success_sd / fact.success, length_sd[k]) if cost else 0.0
        wait = 0.0
        if speed:
            late = ms.item(k) / target_ms
            wait = speed * late * fact.time_spread / (1 + late) ** 2
        spreads.append(math.hypot(spend, wait, quality * quality_sd[k], reliability * fact.success_sd))
    return spreads
