"""Budget periods. The calendar itself stands in schemas, because agents read sums by period too."""

from functools import lru_cache

from schemas.periods import PERIODS, QUARTER, period_start
from schemas.policy import Period

__all__ = ["PERIODS", "period_start", "period_starts"]


def period_starts(at: int, zone: str = "") -> tuple[tuple[Period, int], ...]:
    """Every period that `at` (microseconds) is in, with its start. `zone`: IANA name, empty for UTC."""
    return _starts(at // QUARTER, zone)


@lru_cache(maxsize=1024)
def _starts(quarter: int, zone: str) -> tuple[tuple[Period, int], ...]:
    return tuple((period, period_start(period, quarter * QUARTER, zone)) for period in PERIODS)
