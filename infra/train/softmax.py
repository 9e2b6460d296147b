"""Softmax regression on the text features, full batch, in double precision: small, and the same each time."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agents.routing.text.features import BUCKETS, SHAPE, features
from agents.routing.text.model import QUANTUM, TASKS, TaskModel

Floats = NDArray[np.float64]
ROUNDS = 100
RATE = 0.08


@dataclass(frozen=True, slots=True)
class Penalty:
    """L2 on the shape's weights and on the hashed words' weights, against a mean loss of one."""

    shape: float = 3e-3
    words: float = 6e-3


def matrix(prompts: Sequence[str]) -> NDArray[np.float32]:
    """(prompts, SHAPE + BUCKETS): levels / 16, then word presence / sqrt(number of words)."""
    rows = np.zeros((len(prompts), SHAPE + BUCKETS), dtype=np.float32)
    for row, prompt in zip(rows, prompts, strict=True):
        seen = features(prompt)
        row[:SHAPE] = seen.shape / 16
        row[SHAPE + seen.buckets] = 1 / np.sqrt(max(len(seen.buckets), 1))
    return rows


def fit(
    rows: NDArray[np.float32], labels: NDArray[np.int64], weights: NDArray[np.float64], penalty: Penalty
) -> tuple[Floats, Floats]:
    """Weights (features, tasks) and bias (tasks,) by Adam. `weights`: of the rows, any scale."""
    spread = rows.std(axis=0)
    # Shape features are standardised with a floor; hashed words keep their scale, so that rare ones stay small.
    scale = np.ones(rows.shape[1], dtype=np.float32)
    scale[:SHAPE] = 1 / np.maximum(spread[:SHAPE], 0.2)
    centre = np.where(np.arange(rows.shape[1]) < SHAPE, rows.mean(axis=0), 0).astype(np.float32)
    x = (rows - centre) * scale
    x[:, SHAPE:] *= 4
    truth = np.eye(len(TASKS), dtype=np.float32)[labels]
    share = (weights / weights.sum()).astype(np.float32)[:, None]
    decay = np.where(np.arange(x.shape[1]) < SHAPE, penalty.shape, penalty.words).astype(np.float32)[:, None]
    w = np.zeros((x.shape[1], len(TASKS)), dtype=np.float32)
    bias = np.zeros(len(TASKS), dtype=np.float32)
    first, second = np.zeros_like(w), np.zeros_like(w)
    first_bias, second_bias = np.zeros_like(bias), np.zeros_like(bias)
    for step in range(1, ROUNDS + 1):
        logits = x @ w + bias
        logits -= logits.max(axis=1, keepdims=True)
        chance = np.exp(logits)
        chance /= chance.sum(axis=1, keepdims=True)
        error = (chance - truth) * share
        rate = RATE * (1 - step / (ROUNDS + 1))
        for value, slope, low, high in (
            (w, x.T @ error + decay * w, first, second),
            (bias, error.sum(axis=0), first_bias, second_bias),
        ):
            low += 0.1 * (slope - low)
            high += 0.01 * (slope * slope - high)
            value -= rate * (low / (1 - 0.9**step)) / (np.sqrt(high / (1 - 0.99**step)) + 1e-6)
    whole = np.asarray(w, dtype=np.float64) * scale[:, None]
    whole[SHAPE:] *= 4
    return whole, np.asarray(bias, dtype=np.float64) - centre @ whole


def quantised(weights: Floats, bias: Floats) -> TaskModel:
    """The model in integers, as it ships."""
    return TaskModel(
        shape=np.round(weights[:SHAPE] * QUANTUM).astype(np.int64),
        buckets=np.round(weights[SHAPE:] * QUANTUM).astype(np.int64),
        bias=np.round(bias * QUANTUM).astype(np.int64),
    )
