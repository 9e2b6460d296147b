"""Trains the difficulty model that the package ships: `python -m infra.train.difficulty DATA [--out FILE]`."""

import argparse
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from agents.routing.text.difficulty import QUANTUM, TIERS, WEIGHTS, Difficulty
from agents.routing.text.features import SHAPE, features
from agents.routing.text.model import TASKS, task_of_text
from infra.bench.quality_data import Pool, pools, present, read
from infra.bench.quality_ridge import fold_of
from infra.train.softmax import matrix

SHIPPED = Path(__file__).parents[2] / "agents" / "routing" / "text" / WEIGHTS
STRENGTH = 60.0
FEWEST = 100
"""Prompts of a task below which its average is that of all prompts."""
Floats = NDArray[np.float64]


def main(arguments: list[str] | None = None) -> int:
    """Train on the split and write the weights; exit code 2 where there is no data."""
    parser = argparse.ArgumentParser(prog="python -m infra.train.difficulty", description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, default=SHIPPED)
    parser.add_argument("--split", default="dev")
    options = parser.parse_args(arguments)
    if not present(options.data):
        print(
            f"{options.data} holds no routing_outcomes/queries_*.parquet; give the folder of outcome data.",
            file=sys.stderr,
        )
        return 2
    prompts: list[str] = []
    targets, folds = [], []
    for pool in pools(read(options.data)):
        use = pool.split == options.split
        prompts += [prompt for prompt, used in zip(pool.prompts, use, strict=True) if used]
        targets.append(by_tier(pool)[use])
        folds += [fold_of(group) for group, used in zip(pool.group, use, strict=True) if used]
    x, y = matrix(prompts), np.concatenate(targets)
    held = np.array(folds) == 0
    centre = x[~held].mean(axis=0)
    weights = ridge(x[~held] - centre, y[~held])
    error = y[held] - (x[held] - centre) @ weights
    explained = 1 - error.var(axis=0) / y[held].var(axis=0)
    model = _model(prompts, x, y, ridge(x - x.mean(axis=0), y))
    np.savez_compressed(
        options.out,
        shape=model.shape.astype(np.int32),
        buckets=model.buckets.astype(np.int32),
        offset=model.offset.astype(np.int32),
        spread=model.spread.astype(np.int32),
    )
    told = ", ".join(f"{tier} {share:.3f}" for tier, share in zip(TIERS, explained, strict=True))
    print(f"Trained on {len(prompts)} prompts; share of variance explained in unseen groups: {told}: {options.out}")
    return 0


def by_tier(pool: Pool) -> Floats:
    """(queries, tiers): mean score of the best, middle and last third of the pool's models, less their mean on the benchmark."""
    out = np.zeros((len(pool.prompts), len(TIERS)))
    for dataset in np.unique(pool.dataset):
        at = pool.dataset == dataset
        order = np.argsort(-pool.score[at].mean(axis=0), kind="stable")
        for tier, members in enumerate(np.array_split(order, len(TIERS))):
            mean = pool.score[at][:, members].mean(axis=1)
            out[at, tier] = mean - mean.mean()
    return out


def ridge(x: NDArray[np.float32], y: Floats) -> Floats:
    """Weights (features, tiers)."""
    gram = x.T @ x
    gram[np.diag_indices_from(gram)] += STRENGTH
    return np.asarray(np.linalg.solve(gram, x.T @ y.astype(np.float32)), dtype=np.float64)


def _model(prompts: list[str], x: NDArray[np.float32], y: Floats, weights: Floats) -> Difficulty:
    whole = np.round(weights * QUANTUM).astype(np.int64)
    bare = np.zeros((len(TIERS), len(TASKS)), dtype=np.int64)
    model = Difficulty(whole[:SHAPE], whole[SHAPE:], bare, bare.copy())
    raw = np.array([model.raw(features(prompt)) for prompt in prompts])
    tasks = np.array([task_of_text(prompt) for prompt in prompts])
    for column, task in enumerate(TASKS):
        at = tasks == task
        if at.sum() < FEWEST:
            at = np.ones(len(tasks), dtype=bool)
        model.offset[:, column] = raw[at].mean(axis=0).round()
        error = y[at] - (raw[at] - raw[at].mean(axis=0)) / QUANTUM
        model.spread[:, column] = (error.std(axis=0) * QUANTUM).round()
    return model


if __name__ == "__main__":
    raise SystemExit(main())
