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


# Who or what was hit. The one that names most wins where several explain the same: a deployment implies its model and region.
SPECIFIC = ("deployment", "tenant", "model", "region", "provider")
NAMED = 0.25
"""A lift from which a dimension is named. What failed and when are named where nobody was hit more than others: every
outage has a kind and a beginning, whoever it hits."""
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
    found = [each for name, group in by_dimension.items() for each in _of_dimension(name, group)]
    best = max((each.lift for each in found if each.dimension in SPECIFIC), default=0.0)
    return sorted(found, key=lambda each: _order(each, best))


def _order(each: Explanation, best: float) -> tuple[int, float, int, float, str]:
    if each.dimension not in SPECIFIC:
        return (1, -each.lift, 0, 0.0, each.value)
    place = SPECIFIC.index(each.dimension)
    behind = 0.0 if best - each.lift < NOISE else best - each.lift
    return (0 if each.lift >= NAMED else 2, behind, place, -each.lift, each.value)


def _of_dimension(name: str, parts: list[Part]) -> list[Explanation]:
    whole, whole_before = sum(part.whole for part in parts), sum(part.whole_before for part in parts)
    bad_before = sum(part.bad_before for part in parts)
    excess = [
        part.bad - part.whole * (
            part.bad_before / part.whole_before if part.whole_before
            else bad_before / whole_before if whole_before else 0.0
        )
        for part in parts
    ]  # fmt: skip
    total = sum(amount for amount in excess if amount > 0)
    found = []
    for part, amount in zip(parts, excess, strict=True):
        if amount > 0:
            # Every call could have failed in every way: a kind of failure is held against its own share before.
            traffic = part.bad_before / max(1, bad_before) if name == "failure" else part.whole / whole
            found.append(Explanation(name, part.value, amount / total, traffic, amount / total - traffic))
    return found
