"""Who is whose replica, and which of them stand in one provider's way."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import cython
import numpy as np


def numbered(names: Sequence[Hashable]) -> Any:
    """A column of whole numbers, equal where the names are."""
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(name, len(numbers)) for name in names], dtype=np.intp)


@cython.cclass
class Kin:
    """Of the places of a field: the group of replicas, the provider with its credential (`lane`), and the block."""

    group: cython.Py_ssize_t[::1]
    lane: cython.Py_ssize_t[::1]
    block: cython.Py_ssize_t[::1]

    def __init__(self, group: Sequence[Hashable], lane: Sequence[Hashable], block: Sequence[Hashable]) -> None:
        self.group, self.lane, self.block = numbered(group), numbered(lane), numbered(block)

    def rivals(self, order: list[int], winner: int, most: int) -> list[int]:
        """The first `most` in this order that are no replicas of the winner."""
        k: cython.Py_ssize_t
        at: cython.Py_ssize_t
        own: cython.Py_ssize_t = self.group[winner]
        found: list[int] = []
        for at in range(len(order)):
            k = order[at]
            if self.group[k] != own:
                found.append(order[at])
                if len(found) == most:
                    break
        return found

    def spread_lanes(self, places: list[int], most: int) -> None:
        """Give each of the first `most` places to a replica of another lane than those before it, where its block has one."""
        step: cython.Py_ssize_t
        later: cython.Py_ssize_t
        here: cython.Py_ssize_t
        other: cython.Py_ssize_t
        for step in range(1, min(most, len(places))):
            here = places[step]
            if not self._used(places, step, here):
                continue
            for later in range(step + 1, len(places)):
                other = places[later]
                alike: cython.bint = self.group[other] == self.group[here] and self.block[other] == self.block[here]
                if alike and not self._used(places, step, other):
                    places.insert(step, places.pop(later))
                    break

    @cython.cfunc
    def _used(self, places: list[int], step: cython.Py_ssize_t, place: cython.Py_ssize_t) -> cython.bint:
        """Whether one of the first `step` places has the lane of `place`."""
        k: cython.Py_ssize_t
        at: cython.Py_ssize_t
        for at in range(step):
            k = places[at]
            if self.lane[k] == self.lane[place]:
                return True
        return False
