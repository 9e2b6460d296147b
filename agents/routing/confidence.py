"""How sure a ranking is: the probability that its first is truly the best, under the estimates' uncertainty."""

import math
from collections.abc import Callable, Sequence

from agents.routing.estimates import Table

RIVALS = 3
SQRT2 = math.sqrt(2)


def confidence(scores: Table, spread_of: Callable[[int], float], winner: int, rivals: Sequence[int]) -> float:
    """Product over the next three of P(winner's score > theirs) for independent normals; 1.0 without a rival.

    Places are those of the estimates; replicas of the winner are no rivals.
    """
    mean, sd = scores.item(winner), spread_of(winner)
    sure = 1.0
    for k in rivals[:RIVALS]:
        gap, spread = mean - scores.item(k), math.hypot(sd, spread_of(k))
        if spread:
            sure *= 0.5 * (1 + math.erf(gap / spread / SQRT2))
        elif gap <= 0:
            sure *= 0.5 if gap == 0 else 0.0
    return round(sure, 4)
