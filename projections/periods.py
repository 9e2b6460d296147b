"""Budget periods in UTC. The calendar itself stands in schemas, because agents read sums by period too."""

from functools import lru_cache

from schemas.merge import HOUR, PERIODS, period_start
from schemas.policy import Period

__all__ = ["PERIODS", "period_start", "period_starts"]


def period_starts(at: int) -> tuple[tuple[Period, int], ...]:
    """Every period that `at` (microseconds) is in, with its start."""
    return _starts(at // HOUR)


@lru_cache(maxsize=1024)
def _starts(hour: int) -> tuple[tuple[Period, int], ...]:
    return tuple((period, period_start(period, hour * HOUR)) for period in PERIODS)
