"""Which dimension explains a breach: shares of the excess of bad events, and of how unevenly it fell."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Part:
    """Counts of one value of one dimension, in the breach and in the time before it."""

    dimension: str
    value: str
    bad: int
    whole: int
    bad_before: int
    whole_before: int


@dataclass(frozen=True, slots=True)
class Explanation:
    """`share`: of the excess bad events, 0..1; `traffic`: of all events; `lift`: share - traffic, what makes it a cause."""

    dimension: str
    value: str
    share: float
    traffic: float
    lift: float


# The one that names most wins where several explain the same: a deployment implies its model and region.
SPECIFIC = ("failure", "deployment", "tenant", "model", "provider", "region", "time")
NOISE = 0.1
"""Explanations whose lifts differ by less name the same events."""


def explanations(parts: Iterable[Part]) -> list[Explanation]:
    """Every value that had more bad events than before, the best explanation first.

    The excess of a value is what exceeds its own rate before (that of its whole dimension where it had no traffic), so a
    value that was always bad explains nothing new. Without an excess the list is empty.
    """
    by_dimension: dict[str, list[Part]] = {}
    for part in parts:
        by_dimension.setdefault(part.dimension, []).append(part)
    found = [each for group in by_dimension.values() for each in _of_dimension(group)]
    best = max((each.lift for each in found), default=0.0)
    return sorted(found, key=lambda each: _order(each, best))


def _order(each: Explanation, best: float) -> tuple[float, int, float, str]:
    close = best - each.lift < NOISE
    specific = SPECIFIC.index(each.dimension) if each.dimension in SPECIFIC else len(SPECIFIC)
    return (0.0, specific, -each.lift, each.value) if close else (best - each.lift, specific, -each.lift, each.value)


def _of_dimension(parts: list[Part]) -> list[Explanation]:
    whole, whole_before = sum(part.whole for part in parts), sum(part.whole_before for part in parts)
    rate_before = sum(part.bad_before for part in parts) / whole_before if whole_before else 0.0
    excess = {
        part.value: part.bad - part.whole * (part.bad_before / part.whole_before if part.whole_before else rate_before)
        for part in parts
    }
    total = sum(amount for amount in excess.values() if amount > 0)
    if total <= 0 or not whole:
        return []
    return [
        Explanation(
            part.dimension, part.value, excess[part.value] / total, part.whole / whole,
            excess[part.value] / total - part.whole / whole,
        )
        for part in parts
        if excess[part.value] > 0
    ]  # fmt: skip
