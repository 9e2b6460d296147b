"""How sure a ranking is: the probability that its first is truly the best, under the estimates' uncertainty."""

from __future__ import annotations

import math

import cython
from cython.cimports.libc.math import erf

RIVALS = 6
OWN_DOUBT = 0.85
"""The part of a score's doubt that is its own: the rest all candidates share, and it turns no order."""
NODE = math.sqrt(3)
"""Gauss-Hermite quadrature over the winner's score, at its mean (2/3) and 1.7 standard deviations off it (1/6 each): three
nodes are calibrated as well as seven (infra.bench.simulator) at less than half the time."""
SQRT2 = math.sqrt(2)


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
