"""Histograms of latencies in milliseconds: log-bucket index to count, exact to merge."""

import math
from collections.abc import Mapping

from schemas.histogram import bucket, value_of
from schemas.merge import merge_counts as merge

__all__ = ["add", "bucket", "merge", "quantile", "value_of"]


def add(histogram: Mapping[int, int], ms: float) -> dict[int, int]:
    """The histogram with one more value."""
    changed = dict(histogram)
    index = bucket(ms)
    changed[index] = changed.get(index, 0) + 1
    return changed


def quantile(histogram: Mapping[int, int], q: float) -> float:
    """The q-quantile (nearest rank) in milliseconds, within 3.2 %; 0.0 when nothing was counted."""
    rank = max(1, math.ceil(q * sum(histogram.values())))
    seen = 0
    for index in sorted(histogram):
        seen += histogram[index]
        if seen >= rank:
            return value_of(index)
    return 0.0
