"""Per-model ridge on text features, fitted for every subset of folds from one pass over the rows.

The normal equations of a union of folds are the sum of the folds' own, so inner and outer folds cost one solve each.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from agents.routing.text.features import BUCKETS, SHAPE, features

Floats = NDArray[np.float64]
Rows = NDArray[np.float32]
Mask = NDArray[np.bool_]
FOLDS = 5
SHAPE_RIDGE = 1.0
STRENGTHS = (5.0, 30.0, 180.0)
"""Ridge of the hashed words, in rows; the best on inner folds of the training data is used."""


def fold_of(group: str) -> int:
    """The fold of a leakage group: the whole group stands in one fold."""
    return crc32(group.encode()) % FOLDS


def design(prompts: Sequence[str]) -> Rows:
    """(prompts, SHAPE + words + 1): levels / 32, presence of the commoner words / sqrt(words), and a constant."""
    rows = np.zeros((len(prompts), SHAPE + BUCKETS + 1), dtype=np.float32)
    for row, prompt in zip(rows, prompts, strict=True):
        seen = features(prompt)
        row[:SHAPE] = seen.shape / 32
        row[SHAPE + seen.buckets] = 1 / np.sqrt(max(len(seen.buckets), 1))
    rows[:, -1] = 1
    # A word that fewer than four prompts hold teaches nothing and costs time.
    kept = (rows > 0).sum(axis=0) >= 4
    kept[:SHAPE] = True
    return np.ascontiguousarray(rows[:, kept])


@dataclass(frozen=True, slots=True)
class Moments:
    """`gram`: (features, features). `cross`: (features, targets). `hits`: rows where a feature is present. `rows`: all."""

    gram: Rows
    cross: Rows
    hits: NDArray[np.int64]
    rows: int


def moments(x: Rows, y: Floats, folds: NDArray[np.int64]) -> list[Moments]:
    """One Moments for each fold."""
    out = []
    for fold in range(FOLDS):
        part = x[folds == fold]
        cross = part.T @ y[folds == fold].astype(np.float32)
        out.append(Moments(part.T @ part, cross, (part > 0).sum(axis=0), len(part)))
    return out


class Solver:
    """Owns the weights solved so far: two outer folds that leave out the same pair of folds share them."""

    def __init__(self, parts: Sequence[Moments]) -> None:
        self._parts = parts
        self._solved: dict[frozenset[int], list[Rows]] = {}

    def weights(self, use: Sequence[int]) -> list[Rows]:
        """Weights (features, targets) fitted on these folds, one for each of STRENGTHS."""
        key = frozenset(use)
        if key not in self._solved:
            self._solved[key] = _solve([self._parts[fold] for fold in use])
        return self._solved[key]


def _solve(parts: Sequence[Moments]) -> list[Rows]:
    """A word in many rows is penalised more: its inverse document frequency."""
    rows = max(sum(part.rows for part in parts), 1)
    hits = np.sum([part.hits for part in parts], axis=0)
    gram = np.sum([part.gram for part in parts], axis=0)
    cross = np.sum([part.cross for part in parts], axis=0)
    base = 1 / np.maximum(np.log((1 + rows) / (1 + hits)), 0.1) ** 2
    base[:SHAPE] = SHAPE_RIDGE
    out = []
    for strength in STRENGTHS:
        penalty = base * strength
        penalty[-1] = 1e-3
        out.append(np.linalg.solve(gram + np.diag(penalty).astype(np.float32), cross))
    return out


@dataclass(frozen=True, slots=True)
class Predicted:
    """Out-of-sample predictions, (rows, targets): `test` for the rows under test, `inner` for the training rows."""

    train_rows: NDArray[np.int64]
    test_rows: NDArray[np.int64]
    inner: Floats
    test: Floats


def cross_fit(x: Rows, y: Floats, group: NDArray[np.str_], train: Mask, test: Mask) -> list[Predicted]:
    """Predictions that never saw a row of the same group.

    Where train and test are the same rows: one entry for each of five outer folds. Else one entry: training rows whose
    group is under test are left out.
    """
    folds = np.array([fold_of(name) for name in group], dtype=np.int64)
    every = list(range(FOLDS))
    if bool((train & test).any()):
        solver = Solver(moments(x[train], y[train], folds[train]))
        out = []
        for fold in every:
            use = [other for other in every if other != fold]
            out.append(_predict(solver, x, y, folds, train & (folds != fold), test & (folds == fold), use))
        return out
    clean = train & ~np.isin(group, group[test])
    return [_predict(Solver(moments(x[clean], y[clean], folds[clean])), x, y, folds, clean, test, every)]


def _predict(
    solver: Solver, x: Rows, y: Floats, folds: NDArray[np.int64], train: Mask, test: Mask, use: list[int]
) -> Predicted:
    train_rows, test_rows = np.flatnonzero(train), np.flatnonzero(test)
    inner = np.zeros((len(STRENGTHS), len(train_rows), y.shape[1]))
    for held in use:
        at = folds[train_rows] == held
        if at.any():
            for index, weights in enumerate(solver.weights([fold for fold in use if fold != held])):
                inner[index, at] = x[train_rows[at]] @ weights
    # Each target has its own strength; the scores' noise asks for more than the costs'.
    best = ((inner - y[train_rows]) ** 2).mean(axis=1).argmin(axis=0)
    outer = solver.weights(use)
    columns = range(y.shape[1])
    return Predicted(
        train_rows,
        test_rows,
        np.stack([inner[best[column], :, column] for column in columns], axis=1),
        np.stack([x[test_rows] @ outer[best[column]][:, column] for column in columns], axis=1).astype(np.float64),
    )
