"""Hourly spend of many scopes, as SQL gives it, as a table of forecasts."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from projections.forecast import forecast
from schemas.periods import HOUR
from schemas.units import MICROS_PER_S, nano_to_usd

Rows = list[dict[str, Any]]


def forecast_rows(
    spend: Iterable[Mapping[str, Any]], limits: Mapping[str, float], first: datetime, at: datetime,
    period: tuple[datetime, datetime],
) -> Rows:  # fmt: skip
    """One row a scope, in the order in which scopes come; US dollars, None where it is unknown or without a limit.

    `spend`: scope, start (seconds) and nano_usd of hours from `first` (the start of a UTC day) on; hours without spend may
    lack, hours after `at` do not count.
    """
    begin, now = _micros(first), _micros(at)
    scopes: dict[str, list[int]] = {}
    for row in spend:
        hours = scopes.setdefault(row["scope"], [0] * ((now - begin) // HOUR + 1))
        place = (row["start"] * MICROS_PER_S - begin) // HOUR
        if place < len(hours):
            hours[place] += row["nano_usd"]
    start, end = (_micros(each) for each in period)
    rows = []
    for scope, hours in scopes.items():
        found = forecast(hours, begin, now, start, end)
        spent = sum(hours[(start - begin) // HOUR :])
        point, low, high = (found.point, found.low, found.high) if found else (None, None, None)
        rows.append({
            "scope": scope, "spent_usd": nano_to_usd(spent), "forecast_usd": _usd(point), "low_usd": _usd(low),
            "high_usd": _usd(high), "limit_usd": limits.get(scope),
        })  # fmt: skip
    return rows


def _micros(at: datetime) -> int:
    return int(at.timestamp()) * MICROS_PER_S


def _usd(nano: int | None) -> float | None:
    return None if nano is None else nano_to_usd(nano)
