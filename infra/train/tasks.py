"""Trains the task model that the package ships: `python -m infra.train.tasks DATA [--out FILE]`."""

import argparse
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from agents.routing.text.model import TASKS, WEIGHTS, TaskModel
from infra.train.corpus import Corpus, balanced, capped, read_corpus
from infra.train.softmax import Penalty, fit, matrix, quantised

SHIPPED = Path(__file__).parents[2] / "agents" / "routing" / "text" / WEIGHTS


def main(arguments: list[str] | None = None) -> int:
    """Train on the whole split and write the weights; exit code 2 where there is no data."""
    parser = argparse.ArgumentParser(prog="python -m infra.train.tasks", description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, default=SHIPPED)
    parser.add_argument("--split", default="dev")
    options = parser.parse_args(arguments)
    try:
        corpus = read_corpus(options.data, options.split)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    usable = capped(corpus, np.isin(corpus.splits, [options.split, "borrowed", "seeds"]))
    model = train(corpus, usable, matrix(corpus.prompts))
    save(model, options.out)
    sources = len(set(corpus.sources[usable]))
    print(f"Trained on {int(usable.sum())} prompts of {sources} sources for {len(TASKS)} tasks: {options.out}")
    return 0


def train(corpus: Corpus, rows: NDArray[np.bool_], x: NDArray[np.float32]) -> TaskModel:
    """The model of these rows of the corpus. `x`: the whole corpus's matrix."""
    return quantised(*fit(x[rows], corpus.labels[rows], balanced(corpus, rows)[rows], Penalty()))


def save(model: TaskModel, path: Path) -> None:
    """Write the weights, compressed; int32 holds every weight."""
    np.savez_compressed(
        path,
        shape=model.shape.astype(np.int32),
        buckets=model.buckets.astype(np.int32),
        bias=model.bias.astype(np.int32),
    )


if __name__ == "__main__":
    raise SystemExit(main())
