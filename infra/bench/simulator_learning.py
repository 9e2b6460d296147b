"""What outcomes teach: the tables of a RoutingView as the folds of a running system would fill them."""

from collections.abc import Mapping

import numpy as np

from agents.routing.view import Posterior
from infra.bench.simulator_world import TASKS, WEIGHTS, Outcome, Truth, utility_of
from projections.histogram import bucket
from schemas.state import HealthBucket, HealthState
from schemas.units import MICROS_PER_S

HALF_LIFE_S = 600
MINUTES = 15
PRIOR_GOOD, PRIOR_BAD = 9.0, 1.0
USUAL_SPREAD, USUAL_CALLS = 0.1, 5.0
"""The spread of a call's utility before there are calls to tell."""


class Learning:
    """Owns the counts by (task, deployment), decayed each minute, and the health of the last fifteen minutes.

    Published tables are fresh objects; what a view holds never changes.
    """

    def __init__(self, truth: Truth, start: int) -> None:
        size = len(truth.names)
        self._names, self._models = (
            truth.names,
            [deployment.model for deployment in truth.configuration.catalog.deployments],
        )
        shape = len(TASKS), size
        self._good, self._bad = np.zeros(shape), np.zeros(shape)
        # Sums over calls that succeeded: utilities of cost, speed and quality, tokens out, and the square of the whole.
        self._sums = np.zeros((5, *shape))
        self._minute = start // (60 * MICROS_PER_S)
        self._past: list[tuple[HealthBucket, ...]] = [()] * size
        self._counts = [[0] * 5 for _ in range(size)]
        self._latency: list[dict[int, int]] = [{} for _ in range(size)]
        self._first: list[dict[int, int]] = [{} for _ in range(size)]
        self._changed = set(range(size))
        self._health: dict[str, HealthState] = {}

    def tell(self, outcome: Outcome) -> None:
        """Count a call that ended."""
        place, counts = outcome.place, self._counts[outcome.place]
        self._changed.add(place)
        if not outcome.succeeded:
            counts[1] += 1
            counts[2] += bool(outcome.retry_at)
            self._bad[outcome.task, place] += not outcome.retry_at
            return
        counts[0] += 1
        counts[3] += outcome.tokens_in
        counts[4] += outcome.tokens_out
        for histogram, ms in ((self._latency[place], outcome.ms), (self._first[place], outcome.first_ms)):
            index = bucket(ms)
            histogram[index] = histogram.get(index, 0) + 1
        self._good[outcome.task, place] += 1
        whole = utility_of(outcome.cost, outcome.speed, outcome.quality, 1.0)
        self._sums[:, outcome.task, place] += outcome.cost, outcome.speed, outcome.quality, outcome.tokens_out, whole**2

    def advance(self, now: int) -> None:
        """Begin the minute of `now` (microseconds) if it is another."""
        minute = now // (60 * MICROS_PER_S)
        if minute == self._minute:
            return
        for place in range(len(self._names)):
            kept = tuple(bucket for bucket in self._past[place] if bucket.minute > minute - MINUTES)
            self._past[place] = (*kept, self._bucket(place))
            self._counts[place], self._latency[place], self._first[place] = [0] * 5, {}, {}
            self._changed.add(place)
        keep = 0.5 ** ((minute - self._minute) * 60 / HALF_LIFE_S)
        self._good *= keep
        self._bad *= keep
        self._sums *= keep
        self._minute = minute

    def _bucket(self, place: int) -> HealthBucket:
        good, bad, limited, tokens_in, tokens_out = self._counts[place]
        return HealthBucket(
            self._minute, good, bad, 0, 0, limited, tokens_in, tokens_out, dict(self._latency[place]),
            dict(self._first[place]),
        )  # fmt: skip

    def health(self) -> Mapping[str, HealthState]:
        """By deployment; those unchanged since the last call are the same objects."""
        for place in self._changed:
            self._health[self._names[place]] = HealthState((*self._past[place], self._bucket(place)))
        self._changed.clear()
        return dict(self._health)

    def tokens_out(self) -> Mapping[tuple[str, str], float]:
        """Mean length of answers by (task, model)."""
        found = {}
        for t, task in enumerate(TASKS):
            for model, good, tokens in zip(
                self._models, self._good[t].tolist(), self._sums[3, t].tolist(), strict=True
            ):
                if good >= 1:
                    found[task, model] = tokens / good
        return found

    def utilities(self) -> Mapping[tuple[str, str], Posterior]:
        """By (task, deployment), of those with a success to go by."""
        good, bad = self._good, self._bad
        enough = np.maximum(good, 1e-9)
        success = (PRIOR_GOOD + good) / (PRIOR_GOOD + PRIOR_BAD + good + bad)
        cost, speed, quality = self._sums[:3] / enough
        mean, calls = utility_of(cost, speed, quality, success), good + bad
        # Calls of a task spread alike at every deployment; failures add what a success is worth.
        within = self._sums[4] - good * utility_of(cost, speed, quality, 1.0) ** 2
        freedom = np.maximum(good - 1, 0).sum(axis=1)
        alike = (USUAL_CALLS * USUAL_SPREAD**2 + within.sum(axis=1)) / (USUAL_CALLS + freedom)
        spread = np.sqrt(np.maximum(alike, 1e-6)[:, None] + success * (1 - success) * WEIGHTS["reliability"] ** 2)
        found = {}
        for t, task in enumerate(TASKS):
            columns = good[t].tolist(), mean[t].tolist(), calls[t].tolist(), spread[t].tolist()
            for name, some, value, seen, wide in zip(self._names, *columns, strict=True):
                if some >= 0.5:
                    found[task, name] = Posterior(value, seen, wide)
        return found
