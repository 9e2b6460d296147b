"""How sure a ranking is: the probability that its first is truly the best, under the estimates' uncertainty."""

import math
from collections.abc import Sequence

RIVALS = 3
SQRT2 = math.sqrt(2)


def confidence(means: Sequence[float], spreads: Sequence[float]) -> float:
    """Product over the rivals of P(winner's score > theirs) for independent normals; 1.0 without a rival.

    Mean and standard deviation of the scores: the winner's first, then those of the next RIVALS that are no replicas.
    """
    mean, sd = means[0], spreads[0]
    sure = 1.0
    for other, other_sd in zip(means[1:], spreads[1:], strict=True):
        gap, spread = mean - other, math.hypot(sd, other_sd)
        if spread:
            sure *= 0.5 * (1 + math.erf(gap / spread / SQRT2))
        elif gap <= 0:
            sure *= 0.5 if gap == 0 else 0.0
    return round(sure, 4)
