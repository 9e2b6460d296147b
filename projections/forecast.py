"""Spend to a period's end, with an interval, from what was spent by hour.

Days follow a structural model: a level that wanders, weekday effects, a trend that dies out, and noise in proportion to what
such a weekday spends. As a Gaussian process it is solved at once, and what few days cannot tell about any part of it widens
the interval. How noisy days are and how far the level wanders is weighed by how well past days were foretold: every pair of
a grid by its marginal likelihood (Rasmussen and Williams, Gaussian Processes for Machine Learning, 2.2, 5.4).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from schemas.periods import DAY, HOUR

Array = NDArray[np.float64]
KEPT_DAYS = 42
"""Days looked at: six of each weekday; what is older says little about the level."""
FEWEST_DAYS = 3
Z = 1.2816
"""Standard deviations on either side of the mean of a normal distribution that hold 80 % of it."""

# All of these are relative to the mean of a day.
LEVEL_SD = 0.5
WEEKDAY_SD = 0.4
SLOPE_SD = 0.005
DAMPING = 0.95
"""Of the trend, a day: 20 days' worth of it are still to come at most (Gardner and McKenzie 1985)."""
NOISE_SDS = 0.02 * 1.7 ** np.arange(7)
WANDER_RATIOS = np.array((0.0, 0.1, 0.25))
"""Standard deviation of the level's step from day to day over that of the noise."""
LEAST_FACTOR = 0.2
"""A weekday that spends (next to) nothing may still be as noisy as one that spends this share of a mean day."""
OUTLIER = 2.5
"""A day further off than this many standard deviations counts for as much less as it is further off."""
LEAST_SHARE = 0.05
"""A day of which less has passed tells nothing of itself."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """nano-USD at the period's end; with 80 % it lies from `low` to `high`. `spent`: of it, until now."""

    spent: int
    point: int
    low: int
    high: int


def forecast(hours: Sequence[int], first: int, now: int, start: int, end: int) -> Forecast | None:
    """What a period will have cost; None where fewer than three whole days of history precede it.

    `hours`: nano-USD of each hour from `first` (the start of a UTC day) to the one that `now` is in. `start`, `end`: of the
    period, starts of UTC days. All instants in microseconds.
    """
    assert first % DAY == start % DAY == end % DAY == 0 and start <= now < end
    assert len(hours) == (now - first) // HOUR + 1
    spent = sum(hours[max(0, (start - first) // HOUR) :])
    today = (now - first) // DAY
    whole = np.array(hours[: 24 * today], dtype=np.float64).reshape(today, 24)[-KEPT_DAYS:]
    begun = np.flatnonzero(whole.sum(axis=1))
    if len(begun) and begun[0] > 0:
        # Before its first charge a scope was not there, and of the first day nobody knows how much of it it was there.
        whole = whole[begun[0] + 1 :]
    if len(whole) < FEWEST_DAYS or not whole.any():
        return None
    scale = float(whole.mean()) * 24
    share = _share(whole, (now % DAY) / HOUR)
    ahead = (end - now // DAY * DAY) // DAY
    days = _Days(
        y=whole.sum(axis=1) / scale, today=sum(hours[24 * today :]) / scale, share=share, ahead=ahead,
        # 1 January 1970 was a Thursday; only that weekdays differ matters.
        weekdays=(now // DAY - len(whole) + np.arange(len(whole) + ahead)) % 7,
    )  # fmt: skip
    mean, sd = days.rest()
    point = spent + max(0.0, mean) * scale
    low, high = spent + max(0.0, mean - Z * sd) * scale, spent + max(0.0, mean + Z * sd) * scale
    return Forecast(spent, round(point), round(low), round(high))


def _share(whole: Array, hours: float) -> float:
    """The share of a day's spend that comes in its first hours. Days count alike, whatever they spent; those without nothing."""
    spending = whole[whole.sum(axis=1) > 0]
    profile = (spending / spending.sum(axis=1, keepdims=True)).mean(axis=0)
    done = int(hours)
    return float(profile[:done].sum() + profile[done] * (hours - done))


@dataclass(frozen=True, slots=True)
class _Days:
    """`y`: whole days; `today`: until now, of which `share` is usual; `ahead`: days to foretell, today included.

    `weekdays`: of all days, past ones first. Amounts relative to the mean of a day.
    """

    y: Array
    today: float
    share: float
    ahead: int
    weekdays: NDArray[np.int64]

    def rest(self) -> tuple[float, float]:
        """Mean and standard deviation of what is still to come."""
        n = len(self.y)
        seen, y, noise = np.arange(n), self.y, self._noise()
        if self.share >= LEAST_SHARE:
            seen = np.arange(n + 1)
            y = np.append(y, self.today / self.share)
            # Hours are noisy one by one: the less of the day is over, the less its extrapolation says.
            noise[n] /= self.share
        weight = np.ones(self.ahead)
        weight[0] = 1 - self.share
        off = self._fit(y, noise, seen, weight)[2]
        noise[seen] *= np.maximum(1.0, (off / OUTLIER) ** 2)
        mean, variance, _ = self._fit(y, noise, seen, weight)
        return mean, float(np.sqrt(variance))

    def _noise(self) -> Array:
        """Relative variance of each day's noise: days are as noisy as their weekday spends, in proportion."""
        n = len(self.y)
        same = np.equal.outer(self.weekdays, self.weekdays[:n])
        factor = (same @ self.y + 1) / (same.sum(axis=1) + 1)
        noise: Array = np.maximum(factor, LEAST_FACTOR) ** 2
        return noise

    def _fit(self, y: Array, noise: Array, seen: NDArray[np.int64], weight: Array) -> tuple[float, float, Array]:
        """Mean and variance of the weighted sum of the days ahead, and how many standard deviations each seen day is off."""
        n, whole = len(self.y), len(self.weekdays)
        at = np.arange(whole)
        later = np.maximum(at - n, 0)
        trend = np.where(at < n, at - n, DAMPING * (1 - DAMPING**later) / (1 - DAMPING))
        fixed = (
            LEVEL_SD**2
            + WEEKDAY_SD**2 * np.equal.outer(self.weekdays, self.weekdays)
            + SLOPE_SD**2 * np.outer(trend, trend)
        )
        wander = np.minimum.outer(at, at).astype(np.float64)
        sds, ratios = (each.ravel()[:, None, None] for each in np.meshgrid(NOISE_SDS, WANDER_RATIOS))
        signal = fixed + (sds * ratios) ** 2 * wander
        covariance = signal[:, seen[:, None], seen] + sds**2 * np.diag(noise[seen])
        inverse = np.linalg.inv(covariance)
        solved = inverse @ (y - 1)
        likelihood = -0.5 * ((y - 1) * solved).sum(axis=1) - 0.5 * np.linalg.slogdet(covariance)[1]
        odds = np.exp(likelihood - likelihood.max())
        odds /= odds.sum()
        cross = weight @ signal[:, n:, :][:, :, seen]
        means = weight.sum() + (cross * solved).sum(axis=1)
        # Of today only the rest is still to come: independent hours have that share of a day's variance.
        own = sds[:, 0, 0] ** 2 * (weight * self._noise()[n:]).sum()
        variances = np.einsum("i,kij,j->k", weight, signal[:, n:, n:], weight) + own
        variances -= np.einsum("ki,kij,kj->k", cross, inverse, cross)
        mean = float(odds @ means)
        best = int(odds.argmax())
        off = solved[best] / np.sqrt(np.diagonal(inverse[best]))
        # What is known exactly may come out as a rounding error below zero.
        return mean, max(0.0, float(odds @ (variances + (means - mean) ** 2))), off
