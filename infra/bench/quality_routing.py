"""Saving at a loss, the static mix, APGR: how well estimates route, with the trade-off chosen on training data alone."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from infra.bench.quality_data import Pool
from infra.bench.quality_ridge import Predicted

Floats = NDArray[np.float64]
TRADES = np.concatenate(([0.0], np.geomspace(1e-3, 3.0, 100)))
"""Quality points given up for the cost of one call to the best model."""
TRUSTS = (0.3, 0.6, 1.0)
GUARD = 0.5
"""Standard errors that a rule's loss on the training rows is taken to be worse: the best of many rules looks too good."""
BUDGETS = (0.01, 0.03)
ALLOWANCE = 0.005
"""How far a realised loss may pass its budget."""


@dataclass(frozen=True, slots=True)
class Realised:
    """Per query under test: `score` and `cost` of what was chosen, and of the best single model of the training data."""

    score: Floats
    cost: Floats
    best_score: Floats
    best_cost: Floats

    @property
    def loss(self) -> float:
        """Relative quality lost against the best single model."""
        return float(1 - self.score.sum() / self.best_score.sum())

    @property
    def saving(self) -> float:
        """Cost saved against the best single model."""
        return float(1 - self.cost.sum() / self.best_cost.sum())


def merge(parts: list[Realised]) -> Realised:
    """The folds' queries together."""
    names = ("score", "cost", "best_score", "best_cost")
    return Realised(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def chosen(quality: Floats, cost: Floats, trade: float) -> NDArray[np.int64]:
    """The model of each query: most quality less `trade` x cost. Shapes (queries, models); the first of equals."""
    picks: NDArray[np.int64] = (quality - trade * cost).argmax(axis=1)
    return picks


@dataclass(frozen=True, slots=True)
class Rule:
    """How to choose: predictions drawn `trust` of the way from a model's mean, and the trade-off; or always one model."""

    trust: float
    trade: float
    always: int | None = None

    def picks(self, predicted: Floats, means: Floats) -> NDArray[np.int64]:
        """The model of each query. `predicted`: (queries, 2 x models), scores then costs; `means`: (2 x models,)."""
        if self.always is not None:
            return np.full(len(predicted), self.always, dtype=np.int64)
        n = predicted.shape[1] // 2
        drawn = means + self.trust * (predicted - means)
        return chosen(drawn[:, :n], np.maximum(drawn[:, n:], 0), self.trade)


@dataclass(frozen=True, slots=True)
class Mix:
    """`first` for a share of the queries, drawn at random, `second` for the others."""

    first: Rule
    second: Rule
    share: float


@dataclass(frozen=True, slots=True)
class Points:
    """What each rule does on a set of rows: relative `loss` and `saving` of each of `rules`, and the loss's standard error."""

    rules: list[Rule]
    loss: Floats
    saving: Floats
    error: Floats


def learned(pool: Pool, part: Predicted, budget: float) -> Realised:
    """Routing by predictions, with the rules chosen on the training rows."""
    points = points_of(pool, part, training=True)
    mix = best_mix(points, budget)
    rows, best = part.test_rows, _best(pool, part)
    first, second = (
        _realised(pool, rows, rule.picks(part.test, _means(part)), best) for rule in (mix.first, mix.second)
    )
    return Realised(
        score=mix.share * first.score + (1 - mix.share) * second.score,
        cost=mix.share * first.cost + (1 - mix.share) * second.cost,
        best_score=first.best_score,
        best_cost=first.best_cost,
    )


def rules_of(models: int) -> list[Rule]:
    """Every rule that is tried: the trade-offs at three degrees of trust, and each model alone."""
    return [Rule(trust, float(trade)) for trust in TRUSTS for trade in TRADES] + [Rule(0, 0, m) for m in range(models)]


def points_of(pool: Pool, part: Predicted, *, training: bool) -> Points:
    """Every rule's loss and saving on the training rows (predictions of inner folds) or on those under test."""
    rows, predicted = (part.train_rows, part.inner) if training else (part.test_rows, part.test)
    means, best = _means(part), _best(pool, part)
    rules = rules_of(len(pool.models))
    found = []
    for rule in rules:
        run = _realised(pool, rows, rule.picks(predicted, means), best)
        error = (run.best_score - run.score).std() / np.sqrt(len(rows)) / run.best_score.mean()
        found.append((run.loss, run.saving, float(error)))
    loss, saving, error = np.array(found).T
    return Points(rules, loss, saving, error)


def best_mix(points: Points, budget: float) -> Mix:
    """Two rules and their share that save most at a guarded loss within the budget: the best point of the upper hull."""
    guarded = points.loss + GUARD * points.error
    inside, outside = np.flatnonzero(guarded <= budget), np.flatnonzero(guarded > budget)
    # The best model alone loses nothing, so some rule is always inside.
    low = inside[points.saving[inside].argmax()]
    best, saved = Mix(points.rules[low], points.rules[low], 1.0), points.saving[low]
    if len(outside):
        share = (guarded[outside][None] - budget) / (guarded[outside][None] - guarded[inside][:, None])
        gain = share * points.saving[inside][:, None] + (1 - share) * points.saving[outside][None]
        row, column = np.unravel_index(gain.argmax(), gain.shape)
        if gain[row, column] > saved:
            best = Mix(points.rules[inside[row]], points.rules[outside[column]], float(share[row, column]))
    return best


def hindsight(pool: Pool, parts: list[Predicted], budget: float) -> float:
    """The saving where one rule is chosen on the rows under test themselves: what the published rows report."""
    found = [points_of(pool, part, training=False) for part in parts]
    scores = np.array([pool.score[part.test_rows, _best(pool, part)].sum() for part in parts])
    costs = np.array([pool.cost[part.test_rows, _best(pool, part)].sum() for part in parts])
    loss = np.sum([points.loss * score for points, score in zip(found, scores, strict=True)], axis=0) / scores.sum()
    saving = np.sum([points.saving * cost for points, cost in zip(found, costs, strict=True)], axis=0) / costs.sum()
    return float(saving[loss <= budget].max(initial=0.0))


def _best(pool: Pool, part: Predicted) -> int:
    return int(pool.score[part.train_rows].mean(axis=0).argmax())


def _means(part: Predicted) -> Floats:
    """Means of the predictions' targets on the training rows."""
    means: Floats = part.inner.mean(axis=0)
    return means


def static_mix(pool: Pool, part: Predicted, budget: float) -> Realised:
    """One fixed mix of the best model and one other, blind to the query: the cheapest within the budget in training."""
    score, cost = pool.score[part.train_rows].mean(axis=0), pool.cost[part.train_rows].mean(axis=0)
    best = int(score.argmax())
    other, share, saved = best, 0.0, 0.0
    for model in range(len(pool.models)):
        drop = (score[best] - score[model]) / score[best]
        part_of = 1.0 if drop <= budget else budget / drop
        gain = part_of * (cost[best] - cost[model])
        if gain > saved:
            other, share, saved = model, float(part_of), float(gain)
    rows = part.test_rows
    return Realised(
        score=share * pool.score[rows, other] + (1 - share) * pool.score[rows, best],
        cost=share * pool.cost[rows, other] + (1 - share) * pool.cost[rows, best],
        best_score=pool.score[rows, best],
        best_cost=pool.cost[rows, best],
    )


def _realised(pool: Pool, rows: NDArray[np.int64], picks: NDArray[np.int64], best: int) -> Realised:
    return Realised(pool.score[rows, picks], pool.cost[rows, picks], pool.score[rows, best], pool.cost[rows, best])


def apgr(gain: Floats, weak: Floats, strong: Floats, seed: int = 0) -> float:
    """Mean share of the weak-strong gap recovered while strong calls go from none to all, those with most `gain` first.

    Ties stand in a seeded order. RouteLLM, section 2.2.
    """
    order = np.random.default_rng(seed).permutation(len(gain))
    order = order[np.argsort(-gain[order], kind="stable")]
    steps = np.concatenate([[0.0], np.cumsum((strong - weak)[order])]) / len(gain)
    area = np.trapezoid(steps, np.linspace(0, 1, len(gain) + 1))
    return float(area / (strong.mean() - weak.mean()))
