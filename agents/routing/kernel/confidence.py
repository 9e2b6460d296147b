"""How sure a ranking is: the probability that its first is truly the best, under the estimates' uncertainty."""

from __future__ import annotations

import math
from typing import Any

import cython
from cython.cimports.libc.math import erf, sqrt

RIVALS = 6
OWN_DOUBT = 0.85
"""The part of a score's doubt that is its own: the rest all candidates share, and it turns no order."""
NODE = math.sqrt(3)
"""Gauss-Hermite quadrature over the winner's score, at its mean (2/3) and 1.7 standard deviations off it (1/6 each): three
nodes are calibrated as well as seven (infra.bench.simulator) at less than half the time."""
SQRT2, LN10 = math.sqrt(2), math.log(10)


def confidence(means: list[float], spreads: list[float]) -> float:
    """P(the winner's score > all its rivals') for independent normals; 1.0 without a rival.

    Mean and standard deviation of the scores: the winner's first, then those of the next RIVALS that are no replicas.
    """
    k: cython.Py_ssize_t
    mean: cython.double = means[0]
    step: cython.double = spreads[0] * OWN_DOUBT * NODE
    own: cython.double = OWN_DOUBT * SQRT2
    at_mean: cython.double = 1.0
    below: cython.double = 1.0
    above: cython.double = 1.0
    for k in range(1, len(means)):
        doubt: cython.double = spreads[k]
        rival: cython.double = means[k]
        # So little stands for no doubt: erf is then one or minus one, or nothing where both scores are equal.
        scale: cython.double = 1 / max(doubt * own, 1e-150)
        gap: cython.double = (mean - rival) * scale
        wide: cython.double = step * scale
        at_mean *= 0.5 + 0.5 * erf(gap)
        below *= 0.5 + 0.5 * erf(gap - wide)
        above *= 0.5 + 0.5 * erf(gap + wide)
    return round((4 * at_mean + below + above) / 6, 4)


@cython.cfunc
def relative(values: cython.double[::1], spreads: cython.double[::1], places: list[int]) -> list[float]:
    """The spreads at these places, which are relative to the values there."""
    k: cython.Py_ssize_t
    at: cython.Py_ssize_t
    found: list[float] = []
    for at in range(len(places)):
        k = places[at]
        found.append(float(values[k] * spreads[k]))
    return found


@cython.cclass
class Spreads:
    """One standard deviation by place: of cost and time relative to them, of quality and success."""

    cost: cython.double[::1]
    time: cython.double[::1]
    quality: cython.double[::1]
    success: cython.double[::1]

    def __init__(self, cost: Any, time: Any, quality: Any, success: Any) -> None:
        self.cost, self.time, self.quality, self.success = cost, time, quality, success

    def of_cost(self, costs: cython.double[::1], places: list[int]) -> list[float]:
        """Of the costs at these places."""
        return relative(costs, self.cost, places)

    def of_time(self, times: cython.double[::1], places: list[int]) -> list[float]:
        """Of the times at these places."""
        return relative(times, self.time, places)

    def of_utility(
        self, times: cython.double[::1], places: list[int], decade: float, speed: float, quality: float, success: float,
        target: float,
    ) -> list[float]:  # fmt: skip
        """Of the utilities at these places. `decade`: what a decade of cost weighs; `target`: of the times."""
        k: cython.Py_ssize_t
        at: cython.Py_ssize_t
        by_cost: cython.double = decade / LN10
        by_speed: cython.double = speed
        by_quality: cython.double = quality
        by_success: cython.double = success
        target_ms: cython.double = target
        found: list[float] = []
        for at in range(len(places)):
            k = places[at]
            late: cython.double = times[k] / target_ms
            one: cython.double = by_cost * self.cost[k]
            two: cython.double = by_speed * late * self.time[k] / ((1 + late) * (1 + late))
            three: cython.double = by_quality * self.quality[k]
            four: cython.double = by_success * self.success[k]
            found.append(float(sqrt(one * one + two * two + three * three + four * four)))
        return found
