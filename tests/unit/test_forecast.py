"""Forecasts: how good they are, what they know exactly, and what a few days cannot tell."""

import pytest

from infra.bench.forecast import measure
from projections.clickhouse.forecasts import forecast_rows, history_start
from projections.forecast import KEPT_DAYS, forecast
from schemas.periods import DAY, HOUR, period_end, period_start
from schemas.units import NANO

START = 20_000 * DAY
MONTH = START + 20 * DAY, START + 50 * DAY
WEEK = (1.0, 1.0, 0.2, 0.0, 1.0, 1.0, 1.0)


def hours(days: int, extra: int = 0) -> list[int]:
    """Working hours of a week with a quiet and an idle day; `extra`: whole hours of the last day, and one that just began."""
    shape = [NANO if 8 <= hour < 18 else 0 for hour in range(24)]
    whole = [round(WEEK[day % 7] * each) for day in range(days + 1) for each in shape]
    return [*whole[: 24 * days + extra], 0]


def test_within_five_percent_and_an_interval_that_holds_eighty() -> None:
    found = measure(24)
    assert found["forecasts"] > 1000
    assert found["error_median"] <= 0.05
    assert 0.75 <= found["covered"] <= 0.85
    # Each of the three months by itself, also the one that began with the history.
    assert all(found[f"error_median_month_{month}"] <= 0.05 for month in (1, 2, 3))


def test_what_repeats_exactly_is_foretold() -> None:
    seen = hours(30)
    found = forecast(seen, START, START + 30 * DAY, *MONTH)
    truth = sum(hours(50)[24 * 20 :])
    assert found is not None
    assert found.spent == sum(seen[24 * 20 :])
    assert found.point == pytest.approx(truth, rel=0.03)
    assert found.low <= truth <= found.high


def test_the_hour_of_the_day_counts() -> None:
    """At six in the evening the day's spend is over, at noon 60 % of it is still to come."""
    day = START + 28 * DAY, START + 29 * DAY
    for hour, share in ((12, 0.4), (18, 1.0)):
        found = forecast(hours(28, hour), START, day[0] + hour * HOUR, *day)
        assert found is not None
        assert found.spent == 10 * NANO * share
        assert found.point == pytest.approx(10 * NANO, rel=0.05)


def test_a_period_that_is_nearly_over_is_nearly_known() -> None:
    early = forecast(hours(30), START, START + 30 * DAY, *MONTH)
    late = forecast(hours(49, 23), START, START + 49 * DAY + 23 * HOUR, *MONTH)
    assert early is not None
    assert late is not None
    assert late.spent <= late.low <= late.point <= late.high
    assert (late.high - late.low) * 10 < early.high - early.low


def test_one_day_out_of_line_moves_little() -> None:
    seen = hours(30)
    spoiled = [each * 10 if 24 * 15 <= place < 24 * 16 else each for place, each in enumerate(seen)]
    usual, after = (forecast(each, START, START + 30 * DAY, *MONTH) for each in (seen, spoiled))
    assert usual is not None
    assert after is not None
    # The mean of its 30 days rose by 45 %.
    assert after.point == pytest.approx(usual.point, rel=0.12)


def test_the_scale_of_money_changes_nothing() -> None:
    small = [each // 1000 for each in hours(30)]
    found, less = (forecast(each, START, START + 30 * DAY, *MONTH) for each in (hours(30), small))
    assert found is not None
    assert less is not None
    assert less.point * 1000 == pytest.approx(found.point, rel=1e-6)
    assert less.high * 1000 == pytest.approx(found.high, rel=1e-6)


def test_days_before_the_first_charge_are_no_history() -> None:
    late = [0] * 24 * 20 + hours(10)
    found = forecast(late, START, START + 30 * DAY, *MONTH)
    assert found is not None
    assert found.point == pytest.approx(sum(hours(30)), rel=0.15)


@pytest.mark.parametrize("seen", [[0] * (24 * 30 + 1), [0] * 24 * 27 + hours(3), [*[0] * 24 * 30, NANO]])
def test_too_few_days_are_unknown(seen: list[int]) -> None:
    assert forecast(seen, START, START + 30 * DAY, *MONTH) is None


def test_rows_of_sql_become_forecasts_by_scope() -> None:
    now = START + 30 * DAY + 600_000_000
    first, start, end = history_start(now, "month"), period_start("month", now), period_end("month", now)
    assert start - first >= 0 and now - first >= KEPT_DAYS * DAY
    spend = [
        {"scope": "global", "start": START // 1_000_000 + 3600 * place, "nano_usd": each}
        for place, each in enumerate(hours(35)) if each
    ]  # fmt: skip
    spend.append({"scope": "tenant:new", "start": START // 1_000_000 + 24 * 30 * 3600, "nano_usd": NANO})
    whole, new = forecast_rows(spend, {"global": 500.0}, now, "month")
    before = [0] * ((START - first) // HOUR)
    expected = forecast([*before, *hours(30)], first, now, start, end)
    assert expected is not None
    assert whole == {
        "scope": "global", "spent_usd": expected.spent / NANO, "forecast_usd": expected.point / NANO,
        "low_usd": expected.low / NANO, "high_usd": expected.high / NANO, "limit_usd": 500.0,
    }  # fmt: skip
    assert list(new.values()) == ["tenant:new", 1.0, None, None, None, None]
