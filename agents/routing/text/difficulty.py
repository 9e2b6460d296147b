"""How much better or worse a model of a tier answers this prompt than prompts of its task on average.

Trained by `python -m infra.train.difficulty` on graded answers; a shift of the quality's mean, with the spread of its error.
"""

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from math import isqrt

import numpy as np
from numpy.typing import NDArray

from agents.routing.text.features import Features
from agents.routing.text.model import TASKS

TIERS = ("flagship", "balanced", "efficient")
QUANTUM = 1 << 20
"""Integer steps of one point of quality, where quality runs from 0 to 1."""
WEIGHTS = "difficulty.npz"
LIMIT = 0.4
"""A shift never passes this: beyond it the text is unlike anything that was graded."""


@dataclass(frozen=True, slots=True)
class Shift:
    """In points of quality (0 to 1): added to a model's mean quality for the task; one standard deviation of its error."""

    mean: float
    spread: float


NO_SHIFT = Shift(0.0, 0.0)


@dataclass(frozen=True, slots=True)
class Difficulty:
    """`shape`: int64 (SHAPE, tiers), per level. `buckets`: int64 (BUCKETS, tiers). `offset`, `spread`: int64 (tiers, tasks)."""

    shape: NDArray[np.int64]
    buckets: NDArray[np.int64]
    offset: NDArray[np.int64]
    spread: NDArray[np.int64]

    def raw(self, seen: Features) -> NDArray[np.int64]:
        """The shift of each tier before the task's average is taken off, in 1/QUANTUM; (tiers,)."""
        hashed = (
            np.add.reduce(self.buckets.take(seen.buckets, axis=0)) * 256 // isqrt(65536 * max(len(seen.buckets), 1))
        )
        raw: NDArray[np.int64] = (seen.shape @ self.shape) // 16 + hashed
        return raw


@cache
def shipped() -> Difficulty:
    """The model that the package brings along."""
    with files(__package__).joinpath(WEIGHTS).open("rb") as source, np.load(source) as arrays:
        return Difficulty(*(arrays[name].astype(np.int64) for name in ("shape", "buckets", "offset", "spread")))


def predict(seen: Features, task: str) -> dict[str, Shift]:
    """The shift by tier. A task that text cannot tell (function calling, multimodal) has none; a specialized model neither."""
    if task not in TASKS:
        return dict.fromkeys(TIERS, NO_SHIFT)
    model, column = shipped(), TASKS.index(task)
    means = (model.raw(seen) - model.offset[:, column]).tolist()
    spreads = model.spread[:, column].tolist()
    return {
        tier: Shift(min(max(mean / QUANTUM, -LIMIT), LIMIT), spread / QUANTUM)
        for tier, mean, spread in zip(TIERS, means, spreads, strict=True)
    }
