"""No record is passed over unseen: what is handed on follows what was handed on before, and commits follow what was served.

A fetch that was under way in a rebalance may be dropped on its way here while the consumer's position has moved past it, and
Faust drops a queued record whose generation has passed. The next record then does not follow the last one, and a commit after
it would lose all between. Pure: it decides, its owner seeks.
"""

from collections.abc import Iterable, Mapping
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
    PROVE = "prove"
    """They were missing in SEEKS readings: only the log itself can say that it does not have them."""


class Continuity:
    """Owns the next expected offset of each partition, and the offsets that were handed on and are not yet served."""

    def __init__(self) -> None:
        self._expected: dict[TP, int] = {}
        self._open: dict[TP, set[int]] = {}
        # Offset sought last, the nearest that was found instead, and how often: what is read again may be dropped again.
        self._sought: dict[TP, tuple[int, int, int]] = {}
        self._waiting: set[TP] = set()

    @property
    def positions(self) -> dict[TP, int]:
        """Where every partition is to be read on."""
        return dict(self._expected)

    @property
    def open(self) -> Iterable[tuple[TP, int]]:
        """The oldest record of each partition that is not served."""
        return [(tp, min(offsets)) for tp, offsets in self._open.items() if offsets]

    def expected(self, tp: TP) -> int | None:
        """The next offset; None for a partition that is not read."""
        return self._expected.get(tp)

    def floor(self, tp: TP) -> int | None:
        """Everything below was served: what may be committed. None for a partition that is not read."""
        offsets = self._open.get(tp)
        return min(offsets) if offsets else self._expected.get(tp)

    def begin(self, positions: Mapping[TP, int]) -> None:
        """Partitions are read from these offsets on; all others are forgotten."""
        self._expected = dict(positions)
        self._open = {}
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
            if offset == nearest and times == SEEKS:
                self._sought[tp] = expected, nearest, 0
                return Step.PROVE
            self._sought[tp] = expected, nearest, times + (offset == nearest)
            self._waiting.add(tp)
            return Step.SEEK
        return Step.DELIVER

    def behind(self, position: Mapping[TP, int]) -> list[TP]:
        """Partitions whose consumer stands after what is expected although nothing came: what it read was dropped."""
        return [tp for tp, expected in self._expected.items() if position.get(tp, expected) > expected]

    def delivered(self, tp: TP, offset: int) -> None:
        """The record was served at once."""
        self._expected[tp] = offset + 1

    def handed(self, tp: TP, offset: int) -> None:
        """The record is in the hands of whoever serves it."""
        self._expected[tp] = offset + 1
        self._open.setdefault(tp, set()).add(offset)

    def served(self, tp: TP, offset: int) -> None:
        """Whoever had the record has served it."""
        if tp in self._open:
            self._open[tp].discard(offset)

    def back(self, tp: TP, offset: int) -> None:
        """The partition is read again from an offset that was handed on."""
        self._expected[tp] = offset
        self._open[tp] = {each for each in self._open.get(tp, ()) if each < offset}
