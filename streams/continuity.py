"""No record is passed over unseen: what the consumer hands on must follow what it handed on before.

A fetch that was under way in a rebalance may be dropped on its way here while the consumer's position has moved past it. The
next record then does not follow the last one, and a commit after it would lose all between. Pure: it decides, its owner seeks.
"""

from collections.abc import Mapping
from enum import Enum

from faust.types import TP

SEEKS = 3


class Step(Enum):
    """What to do with a record."""

    DELIVER = "deliver"
    PASS = "pass"
    """It was read before, or comes again after a seek."""
    SEEK = "seek"
    """Records before it are missing: read again from `expected`."""


class Continuity:
    """Owns the next expected offset of each partition. A hole that is still there after SEEKS readings is the log's own: a
    transaction's marker, or what retention removed."""

    def __init__(self) -> None:
        self._expected: dict[TP, int] = {}
        # Offset sought last, the nearest that was found instead, and how often: what is read again may be dropped again.
        self._sought: dict[TP, tuple[int, int, int]] = {}
        self._waiting: set[TP] = set()

    @property
    def positions(self) -> dict[TP, int]:
        """Where every partition is to be read on."""
        return dict(self._expected)

    def expected(self, tp: TP) -> int:
        return self._expected[tp]

    def begin(self, positions: Mapping[TP, int]) -> None:
        """Partitions are read from these offsets on; all others are forgotten."""
        self._expected = dict(positions)
        self._sought.clear()
        self._waiting.clear()

    def batch(self) -> None:
        """A new fetch: what was sought may come from here on."""
        self._waiting.clear()

    def step(self, tp: TP, offset: int) -> Step:
        """The next record of a fetch."""
        expected = self._expected.get(tp)
        if expected is None:
            return Step.DELIVER
        if tp in self._waiting or offset < expected:
            return Step.PASS
        if offset > expected:
            sought, nearest, times = self._sought.get(tp, (expected, offset, 0))
            if sought != expected or offset < nearest:
                nearest, times = offset, 0
            if offset > nearest or times < SEEKS:
                self._sought[tp] = expected, nearest, times + (offset == nearest)
                self._waiting.add(tp)
                return Step.SEEK
        return Step.DELIVER

    def delivered(self, tp: TP, offset: int) -> None:
        """The record is in the hands of whoever serves it."""
        self._expected[tp] = offset + 1
