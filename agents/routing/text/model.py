"""The task that a prompt's words speak for: a linear model over integer features, trained by `python -m infra.train.tasks`."""

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from math import isqrt

import numpy as np
from numpy.typing import NDArray

from agents.routing.text.features import Features, features

TASKS = ("analysis", "code", "conversation", "creative_writing", "math", "reasoning")
"""What text can decide. Function calling and multimodal are read from the request's structure."""
QUANTUM = 1 << 12
"""Integer steps of one unit of log-odds."""
WEIGHTS = "task_model.npz"


@dataclass(frozen=True, slots=True)
class TaskModel:
    """`shape`: int64 (SHAPE, tasks), per level. `buckets`: int64 (BUCKETS, tasks). `bias`: int64 (tasks,)."""

    shape: NDArray[np.int64]
    buckets: NDArray[np.int64]
    bias: NDArray[np.int64]

    def scores(self, seen: Features) -> NDArray[np.int64]:
        """Log-odds of each of TASKS up to a constant, in 1/QUANTUM; (tasks,)."""
        hashed = (
            np.add.reduce(self.buckets.take(seen.buckets, axis=0)) * 256 // isqrt(65536 * max(len(seen.buckets), 1))
        )
        scores: NDArray[np.int64] = (seen.shape @ self.shape) // 16 + hashed + self.bias
        return scores


@cache
def shipped() -> TaskModel:
    """The model that the package brings along."""
    with files(__package__).joinpath(WEIGHTS).open("rb") as source, np.load(source) as arrays:
        return TaskModel(*(arrays[name].astype(np.int64) for name in ("shape", "buckets", "bias")))


def task_of_text(text: str) -> str:
    """The likeliest of TASKS for a prompt; `conversation` where there are no words."""
    if not text or text.isspace():
        return "conversation"
    return TASKS[int(shipped().scores(features(text)).argmax())]
