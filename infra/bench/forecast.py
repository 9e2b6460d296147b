"""Forecasts against what came: `python -m infra.bench.forecast [--json FILE] [--seeds N]`.

90 days of seeded spend with weekly and daily seasons: three months of 30 days. From day 10 on the end of the month that a moment
is in is forecast from the hours before it. The spend is made otherwise than the model thinks: everything multiplies, noise is
lognormal, a trend goes on, and now and then a day costs twice as much.
"""

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from projections.forecast import forecast
from schemas.periods import DAY, HOUR
from schemas.units import NANO

DAYS, MONTH, FROM = 90, 30, 10
START = 20_000 * DAY
STEP = 43
"""Hours between moments: nearly two days, and each at another hour of the day."""
SPIKES = 1 / 60


@dataclass(frozen=True, slots=True)
class Outcome:
    """A forecast made at hour `hour` of the 90 days, and the `truth`; nano-USD."""

    hour: int
    truth: int
    point: int
    low: int
    high: int

    @property
    def off(self) -> float:
        """Relative to the truth."""
        return abs(self.point - self.truth) / self.truth

    @property
    def covered(self) -> bool:
        return self.low <= self.truth <= self.high


def spend(seed: int) -> NDArray[np.int64]:
    """nano-USD by hour over 90 days from a Thursday."""
    chance = np.random.default_rng(seed)
    day, weekend = np.arange(DAYS), chance.uniform(0.2, 0.9)
    week = np.ones(7)
    week[[2, 3]] = weekend
    week *= np.exp(chance.normal(0, 0.08, 7))
    start, trend, wander = (
        chance.uniform(5, 500),
        chance.normal(0, 0.004) * day,
        np.cumsum(chance.normal(0, 0.01, DAYS)),
    )
    level = start * np.exp(trend + wander + chance.normal(0, chance.uniform(0.04, 0.2), DAYS))
    level *= week[day % 7] * np.where(chance.random(DAYS) < SPIKES, 2.0, 1.0)
    peak = chance.uniform(9, 17)
    profile = 0.2 + np.exp(-0.5 * ((np.arange(24) - peak) / chance.uniform(2, 5)) ** 2)
    hours = np.outer(level, profile / profile.sum()) * np.exp(chance.normal(0, 0.3, (DAYS, 24)))
    whole: NDArray[np.int64] = np.rint(hours.ravel() * NANO).astype(np.int64)
    return whole


def outcomes(seed: int) -> Iterator[Outcome]:
    """Forecasts of one seed, from day 10 to the end. The hour in progress is half over."""
    hours = [int(each) for each in spend(seed)]
    for hour in range(24 * FROM + seed % STEP, 24 * DAYS, STEP):
        begin = hour // (24 * MONTH) * 24 * MONTH
        seen = [*hours[:hour], hours[hour] // 2]
        found = forecast(
            seen, START, START + hour * HOUR + HOUR // 2, START + begin * HOUR, START + (begin + 24 * MONTH) * HOUR
        )
        assert found is not None
        yield Outcome(hour, sum(hours[begin : begin + 24 * MONTH]), found.point, found.low, found.high)


def measure(seeds: int) -> dict[str, float]:
    """Median and p90 of the relative error, share of truths inside the interval; of all months and of each."""
    found = [each for seed in range(seeds) for each in outcomes(seed)]
    figures: dict[str, float] = {"forecasts": len(found)}
    months = {f"_month_{k + 1}": [e for e in found if e.hour // (24 * MONTH) == k] for k in range(DAYS // MONTH)}
    for name, some in {"": found, **months}.items():
        off = [each.off for each in some]
        figures[f"error_median{name}"] = round(float(np.median(off)), 4)
        figures[f"error_p90{name}"] = round(float(np.quantile(off, 0.9)), 4)
        figures[f"covered{name}"] = round(sum(each.covered for each in some) / len(some), 4)
    return figures


def main(arguments: list[str] | None = None) -> int:
    """Print the figures; exit code 0."""
    parser = argparse.ArgumentParser(prog="python -m infra.bench.forecast", description="How good forecasts are.")
    parser.add_argument("--json", metavar="FILE", help="write the figures to FILE")
    parser.add_argument("--seeds", type=int, default=60, help="histories of 90 days (default 60)")
    given = parser.parse_args(arguments)
    figures = measure(given.seeds)
    for name, value in figures.items():
        print(f"{name:<22} {value:>9.4g}")
    if given.json:
        Path(given.json).write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
