"""What calls came to, by task: lengths of answers by model, success, time and length by deployment; kept while it holds."""

from array import array
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from agents.routing.estimates import MEAN_TOKENS_OUT, P99_TOKENS_OUT, Column
from schemas.histogram import coarse_top
from schemas.spans import CALLS_KEPT, CALLS_SPAN, LENGTHS_KEPT, LENGTHS_SPAN
from schemas.state import LearnedState, LengthsBucket

# Evidence of calls halves every five minutes, as health does, that of lengths every eight hours.
CALLS_DECAY = tuple(0.5**age for age in range(CALLS_KEPT))
LENGTHS_DECAY = tuple(0.5 ** (age / 2) for age in range(LENGTHS_KEPT))
PRIOR_ANSWERS = 4.0
"""The usual length counts like four answers."""
LENGTH_SPREAD = 0.2
"""How far the length of a model's answers lies from the usual one: one standard deviation, relative."""
ENOUGH_FOR_P99 = 100.0
# Nine in ten of one call: a deployment that never answered is bad, not impossible.
PRIOR_CALLS, PRIOR_SUCCESSES = 1.0, 0.9


class Realised(NamedTuple):
    """By position, of one task. `calls`: decayed. `ms`, `tokens_out`: means of calls that succeeded, 0 without one."""

    calls: Column
    success: Column
    ms: Column
    tokens_out: Column


class Lengths(NamedTuple):
    """By position, tokens of an answer to one task. `mean` is float32 before it is used; `longest`: the largest mean.

    `p99`: the 99th percentile, the prior's where there is too little data. `spread`: how unsure the mean is, one
    standard deviation, relative.
    """

    mean: Column
    longest: float
    p99: list[int]
    spread: Column


class Counted(NamedTuple):
    """Decayed answers, their tokens, and answers by coarse bucket of length."""

    answers: float = 0.0
    tokens: float = 0.0
    counts: Mapping[int, float] = MappingProxyType({})


NOTHING = Counted()


class Experience:
    """Owns what was learned for all positions of a catalog. `refresh` reads it only when it is another object.

    `version` counts the changes. Tables are made at the first question about a task.
    """

    def __init__(self, models: Sequence[str]) -> None:
        self._models = models
        self._seen: list[LearnedState | None] = [None] * len(models)
        # Within a span only the last bucket changes: (span, buckets before it, their sums) by (position, task).
        self._past: dict[tuple[int, str], tuple[int, tuple[LengthsBucket, ...], Counted]] = {}
        self._span = -1
        self.version = 0
        self._asked: list[str] = []
        self._lengths: dict[str, Lengths | None] = {}
        self._realised: dict[str, Realised | None] = {}

    def refresh(self, states: list[LearnedState | None], now: int) -> None:
        """Bring the tables up to `now` (microseconds). `states`: by position."""
        span = now // CALLS_SPAN
        # Lists compare by identity first, so what did not change costs one comparison each.
        if span == self._span and (states is self._seen or states == self._seen):
            return
        self._seen, self._span = states, span
        self.version += 1
        self._asked = list(self._lengths) or self._asked
        self._lengths.clear()
        self._realised.clear()

    def renew(self) -> None:
        """Make the tables of the tasks that were asked about before the last change."""
        for task in self._asked:
            self.lengths(task)
            self.realised(task)

    def lengths(self, task: str) -> Lengths | None:
        """None where nothing was learned about the task."""
        if task not in self._lengths:
            self._lengths[task] = self._lengths_of(task)
        return self._lengths[task]

    def realised(self, task: str) -> Realised | None:
        """None where nothing was learned about the task."""
        if task not in self._realised:
            self._realised[task] = self._realised_of(task)
        return self._realised[task]

    def _served(self) -> list[LearnedState | None]:
        """States by position; None too where they are of another model than the catalog's."""
        return [
            state if state is not None and state.model == model else None
            for state, model in zip(self._seen, self._models, strict=True)
        ]

    def _lengths_of(self, task: str) -> Lengths | None:
        span = self._span * CALLS_SPAN // LENGTHS_SPAN
        sums: dict[str, Counted] = {}
        for position, state in enumerate(self._served()):
            buckets = state.lengths.get(task, ()) if state else ()
            if state is None or not buckets:
                continue
            known = self._past.get((position, task))
            if known is None or known[:2] != (span, buckets[:-1]):
                known = self._past[position, task] = span, buckets[:-1], _counted(NOTHING, buckets[:-1], span)
            sums[state.model] = _counted(_merged(sums.get(state.model, NOTHING), known[2]), buckets[-1:], span)
        sums = {model: counted for model, counted in sums.items() if counted.counts}
        if not sums:
            return None
        means = {
            model: (PRIOR_ANSWERS * MEAN_TOKENS_OUT + tokens) / (PRIOR_ANSWERS + answers)
            for model, (answers, tokens, _) in sums.items()
        }
        p99 = {
            model: _p99(counts, answers) for model, (answers, _, counts) in sums.items() if answers >= ENOUGH_FOR_P99
        }
        mean = array("f", (means.get(model, MEAN_TOKENS_OUT) for model in self._models))
        answers = np.array([sums.get(model, NOTHING).answers for model in self._models])
        return Lengths(
            np.array(mean, dtype=np.float64),
            max(mean),
            [p99.get(model, P99_TOKENS_OUT) for model in self._models],
            LENGTH_SPREAD / np.sqrt(1 + answers / PRIOR_ANSWERS),
        )

    def _realised_of(self, task: str) -> Realised | None:
        rows = [_realised(state, task, self._span) if state else (0.0, 0.0, 0.0, 0.0) for state in self._served()]
        if not any(row[0] for row in rows):
            return None
        columns: Any = np.array(rows).T
        return Realised(*columns)


def _counted(sums: Counted, buckets: Sequence[LengthsBucket], span: int) -> Counted:
    answers, tokens, counts = sums.answers, sums.tokens, dict(sums.counts)
    for bucket in buckets:
        age = max(0, span - bucket.span)
        if age < LENGTHS_KEPT:
            keep = LENGTHS_DECAY[age]
            for index, count in bucket.lengths.items():
                counts[index] = counts.get(index, 0.0) + keep * count
                answers += keep * count
            tokens += keep * bucket.tokens_out
    return Counted(answers, tokens, counts)


def _merged(one: Counted, other: Counted) -> Counted:
    counts = dict(one.counts)
    for index, count in other.counts.items():
        counts[index] = counts.get(index, 0.0) + count
    return Counted(one.answers + other.answers, one.tokens + other.tokens, counts)


def _realised(state: LearnedState, task: str, span: int) -> tuple[float, float, float, float]:
    good = bad = us = tokens = 0.0
    for bucket in state.calls.get(task, ()):
        # A worker's clock may lag the broker's by a span.
        age = max(0, span - bucket.span)
        if age < CALLS_KEPT:
            keep = CALLS_DECAY[age]
            good += keep * bucket.succeeded
            bad += keep * bucket.failed
            us += keep * bucket.latency_us
            tokens += keep * bucket.tokens_out
    calls = good + bad
    success = (PRIOR_SUCCESSES + good) / (PRIOR_CALLS + calls)
    return calls, success, us / good / 1000 if good else 0.0, tokens / good if good else 0.0


def _p99(counts: Mapping[int, float], total: float) -> int:
    """Tokens that 99 of 100 answers stay below: the upper end of the bucket, so that it is not told too low."""
    seen, index = 0.0, 0
    for index in sorted(counts):
        seen += counts[index]
        if seen >= 0.99 * total:
            break
    return int(coarse_top(index))
