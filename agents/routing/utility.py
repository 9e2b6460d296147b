"""Utilities on fixed scales, so that a third deployment never turns the order of two others."""

import math

import numpy as np

from agents.routing.estimates import Table
from agents.routing.setting import Setting

REFERENCE_NANO_USD = 10_000_000
"""A call of 0.01 USD has the cost utility 0.5; ten times dearer or cheaper is a sixth less or more."""
DECADES = 6.0
TARGET_MS = 5_000.0
"""The time that counts 0.5 where no SLA names one."""
# How far the length of a model's answers lies from the common prior, one standard deviation, relative.
LENGTH_SPREAD = 0.2
# A profile's quality that no feedback has confirmed.
QUALITY_SPREAD = 0.1


def utility(setting: Setting) -> Table:
    """Sum of weight x utility by place: log cost, time against the target, quality, success, free capacity."""
    weights = setting.weights
    total = np.zeros(len(setting.field.members))
    if weight := weights.get("cost", 0.0):
        # Nothing is cheaper than a nano-USD: what is free has a utility too.
        total += weight * (0.5 - np.log10(np.maximum(setting.cost, 1.0) / REFERENCE_NANO_USD) / DECADES)
    if weight := weights.get("speed", 0.0):
        total += weight / (1 + setting.ms / np.float64(setting.target_ms))
    if weight := weights.get("quality", 0.0):
        total += weight * setting.pace.quality
    if weight := weights.get("reliability", 0.0):
        total += weight * setting.pace.success
    if weight := weights.get("load", 0.0):
        total += weight * setting.free()
    return total.astype("<f4")


def utility_spread(setting: Setting, k: int) -> float:
    """One standard deviation of the utility at a place."""
    weights, fact = setting.weights, setting.pace.facts[k]
    late = setting.ms.item(k) / setting.target_ms
    return math.sqrt(
        (weights.get("cost", 0.0) * math.hypot(fact.success_sd / fact.success, LENGTH_SPREAD) / DECADES / math.log(10))
        ** 2
        + (weights.get("speed", 0.0) * late * fact.time_spread / (1 + late) ** 2) ** 2
        + (weights.get("quality", 0.0) * QUALITY_SPREAD) ** 2
        + (weights.get("reliability", 0.0) * fact.success_sd) ** 2
    )
