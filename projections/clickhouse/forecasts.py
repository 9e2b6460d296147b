"""Spend by hour, as SQL gives it, becomes forecasts: of any scope for a report, of every budget in force for `budgets`."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from clickhouse_connect.driver.client import Client

from projections.clickhouse.queries import QUERIES
from projections.forecast import KEPT_DAYS, forecast
from schemas.periods import DAY, HOUR, period_end, period_start
from schemas.policy import Period
from schemas.units import MICROS_PER_S, nano_to_usd

Rows = list[dict[str, Any]]
FORETOLD: tuple[Period, ...] = ("day", "week", "month")
"""An hour is too short to say anything of its end that its spend does not say itself."""
COLUMNS = ("scope", "period", "period_start", "at", "nano_usd", "low_nano_usd", "high_nano_usd")


def history_start(now: int, period: Period) -> int:
    """From when on hours matter for a forecast of the period that `now` is in; microseconds, the start of a UTC day."""
    return min(period_start(period, now), period_start("day", now) - KEPT_DAYS * DAY)


def hours_by_scope(spend: Iterable[Mapping[str, Any]], first: int, now: int) -> dict[str, list[int]]:
    """nano-USD of each hour from `first` to the one that `now` is in, by scope in the order in which scopes come.

    `spend`: scope, start (seconds) and nano_usd; hours without spend may lack, hours after `now` do not count.
    """
    scopes: dict[str, list[int]] = {}
    for row in spend:
        hours = scopes.setdefault(row["scope"], [0] * ((now - first) // HOUR + 1))
        place = (row["start"] * MICROS_PER_S - first) // HOUR
        if 0 <= place < len(hours):
            hours[place] += row["nano_usd"]
    return scopes


def forecast_rows(
    spend: Iterable[Mapping[str, Any]], limits: Mapping[str, float], now: int, period: Period
) -> Rows:  # fmt: skip
    """One row a scope, in the order in which scopes come; US dollars, None where it is unknown or without a limit.

    `spend`: as of `hours_by_scope`, from `history_start` on.
    """
    first, start, end = history_start(now, period), period_start(period, now), period_end(period, now)
    rows = []
    for scope, hours in hours_by_scope(spend, first, now).items():
        found = forecast(hours, first, now, start, end)
        point, low, high = (found.point, found.low, found.high) if found else (None, None, None)
        rows.append({
            "scope": scope, "spent_usd": nano_to_usd(sum(hours[(start - first) // HOUR :])), "forecast_usd": _usd(point),
            "low_usd": _usd(low), "high_usd": _usd(high), "limit_usd": limits.get(scope),
        })  # fmt: skip
    return rows


class Forecaster:
    """Keeps `turnout.forecasts`: what each budget of a UTC day, week or month will have spent at its end.

    A budget in the time zone of its tenant has none: its days are not the UTC days that spend is kept by.
    """

    def __init__(self, client: Client) -> None:
        self._client = client

    def refresh(self, now: int) -> int:
        """Foretell every budget anew; returns how many could be. `now`: microseconds."""
        rows = []
        for period in FORETOLD:
            scopes = {scope for scope, _ in self._rows("limits", period=period)}
            if not scopes:
                continue
            first, start, end = history_start(now, period), period_start(period, now), period_end(period, now)
            since = datetime.fromtimestamp(first // MICROS_PER_S, UTC).strftime("%Y-%m-%d %H:%M:%S")
            spend = (
                dict(zip(("scope", "start", "nano_usd"), row, strict=True))
                for row in self._rows("spend_by_hour", since=since)
            )
            for scope, hours in hours_by_scope(spend, first, now).items():
                if scope in scopes and (found := forecast(hours, first, now, start, end)) is not None:
                    rows.append([scope, period, start // MICROS_PER_S, now, found.point, found.low, found.high])
        if rows:
            self._client.insert("turnout.forecasts", rows, column_names=COLUMNS)
        return len(rows)

    def _rows(self, query: str, **parameters: object) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in self._client.query(QUERIES[query], parameters=parameters).result_rows]


def _usd(nano: int | None) -> float | None:
    return None if nano is None else nano_to_usd(nano)
