"""The calendar of budgets: hours, days, weeks and months, in UTC or as the clocks of a time zone show them.

Pure: an instant and a zone's name say everything, so a replay comes to the same periods. A day begins with the first
instant of its date, so it has 23 or 25 hours where clocks change, and it may begin at 01:00 where midnight is skipped.
"""

from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from schemas.policy import Period
from schemas.units import MICROS_PER_S

PERIODS: tuple[Period, ...] = ("hour", "day", "week", "month")
MINUTE = 60 * MICROS_PER_S
QUARTER = 15 * MINUTE
HOUR = 3_600 * MICROS_PER_S
DAY = 24 * HOUR


def period_start(period: Period, at: int, zone: str = "") -> int:
    """Start of the period that `at` is in; both in microseconds. Weeks start on Monday. `zone`: IANA name, empty for UTC."""
    if zone:
        return _local(period, at // QUARTER, zone)[0]
    match period:
        case "hour":
            return at - at % HOUR
        case "day":
            return at - at % DAY
        case "week":
            # 1 January 1970 was a Thursday, the fourth day of its week.
            return at - (at + 3 * DAY) % (7 * DAY)
        case "month":
            return _month_start(at // DAY)


def period_end(period: Period, at: int, zone: str = "") -> int:
    """End of the period that `at` is in, which is the start of the next one; in microseconds."""
    if zone:
        return _local(period, at // QUARTER, zone)[1]
    start = period_start(period, at)
    match period:
        case "hour":
            return start + HOUR
        case "day":
            return start + DAY
        case "week":
            return start + 7 * DAY
        case "month":
            return period_start("month", start + 32 * DAY)


@lru_cache(maxsize=1024)
def _month_start(day: int) -> int:
    moment = datetime.fromtimestamp(day * 86_400, UTC).replace(day=1)
    return int(moment.timestamp()) * MICROS_PER_S


# Offsets are multiples of 15 minutes and clocks change at such a time, so no period begins within a quarter of an hour.
@lru_cache(maxsize=4096)
def _local(period: Period, quarter: int, zone: str) -> tuple[int, int]:
    where = ZoneInfo(zone)
    at = quarter * QUARTER
    local = datetime.fromtimestamp(at // MICROS_PER_S, where)
    if period == "hour":
        offset = local.utcoffset()
        assert offset is not None
        start = at - (at + offset // timedelta(microseconds=1)) % HOUR
        return start, start + HOUR
    first = local.date()
    if period == "week":
        first -= timedelta(days=first.weekday())
    elif period == "month":
        first = first.replace(day=1)
    after = first + timedelta(days={"day": 1, "week": 7, "month": 32}[period])
    return _midnight(first, where), _midnight(after.replace(day=1) if period == "month" else after, where)


def _midnight(day: date, where: ZoneInfo) -> int:
    # fold=0: the first of two midnights, and in place of one that is skipped the instant at which clocks change.
    return int(datetime(day.year, day.month, day.day, tzinfo=where).timestamp()) * MICROS_PER_S
