"""Clocks: the broker's, as this worker estimates it, and one that goes on while the machine sleeps."""

import time
from collections import deque

MICROS = 1_000_000


def boottime() -> float:
    """Seconds of CLOCK_BOOTTIME: it counts a suspend or a freeze, as a lease must."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class BrokerClock:
    """The monotonic clock plus the offset to the broker's, learned from acknowledgements.

    Of the last acknowledgements the one with the shortest round trip is believed: its timestamp was set at some moment
    between send and acknowledgement, so its error is at most half of that. Starts from this machine's clock.
    """

    def __init__(self) -> None:
        self._offset = time.time() - time.monotonic()
        self._samples: deque[tuple[float, float]] = deque(maxlen=64)
        self._next_sample = 0.0

    def now(self) -> int:
        """Broker time in microseconds."""
        return int((time.monotonic() + self._offset) * MICROS)

    def listens(self, sent: float) -> bool:
        """Whether the acknowledgement of a record sent at `sent` (monotonic seconds) is wanted.

        20 samples a second follow any drift; every record of a busy worker would cost more than it tells.
        """
        if sent < self._next_sample:
            return False
        self._next_sample = sent + 0.05
        return True

    def acknowledged(self, sent: float, broker_ms: int) -> None:
        """Learn from a record sent at `sent` (monotonic seconds), which the broker stamped `broker_ms`."""
        arrived = time.monotonic()
        # The broker's stamp has whole milliseconds, rounded down: half of one is its mean error.
        offset = (broker_ms + 0.5) / 1000 - (sent + arrived) / 2
        self._samples.append((arrived - sent, offset))
        self._offset = min(self._samples)[1]
