"""Routing quality on real outcomes: `python -m infra.bench.quality DATA [--json FILE] [--train SPLIT --test SPLIT]`.

DATA is a folder with `routing_outcomes/` and `task_types_*.parquet`. SPLIT is a value of the column `split`, or another such
folder. With the same rows on both sides five folds of whole leakage groups are used.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import orjson
from numpy.typing import NDArray

from infra.bench import quality_data as data
from infra.bench import quality_routing as routing
from infra.bench.quality_data import Pool
from infra.bench.quality_report import print_tables
from infra.bench.quality_ridge import Predicted, cross_fit, design
from infra.bench.quality_tasks import task_figures

Mask = NDArray[np.bool_]


def main(arguments: list[str] | None = None) -> int:
    """Print the tables; exit code 0 also where there is no data, with the reason printed, 2 where a split is empty."""
    parser = argparse.ArgumentParser(prog="python -m infra.bench.quality", description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--train", default="dev", help="a split, or a folder laid out like DATA")
    parser.add_argument("--test", default=None, help="the same; without it: the training split, in folds")
    options = parser.parse_args(arguments)
    test_name = options.test or options.train
    if not data.present(options.data):
        print(f"Skipped: {options.data} holds no routing_outcomes/queries_*.parquet; give the folder of outcome data.")
        return 0
    try:
        figures = measure(options.data, options.train, test_name)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    print_tables(figures)
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_bytes(orjson.dumps(figures, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS) + b"\n")
    return 0


def measure(folder: Path, train: str, test: str) -> dict[str, float]:
    """Every figure by its flat key. Raises ValueError where a split has no rows."""
    outcomes, train, test = data.gather(folder, train, test)
    figures: dict[str, float] = {}
    compliant: dict[str, list[bool]] = {"1pct": [], "3pct": []}
    found = data.pools(outcomes)
    names = [pool.name for pool in found]
    for pool in found:
        parts = fit(pool, train, test)
        figures[f"models_{pool.name}"] = len(pool.models)
        figures[f"queries_{pool.name}"] = sum(len(part.test_rows) for part in parts)
        for budget, tag in zip(routing.BUDGETS, compliant, strict=True):
            ours = routing.merge([routing.learned(pool, part, budget) for part in parts])
            mix = routing.merge([routing.static_mix(pool, part, budget) for part in parts])
            figures[f"saving_at_{tag}_{pool.name}"] = ours.saving
            figures[f"loss_at_{tag}_{pool.name}"] = ours.loss
            figures[f"static_saving_at_{tag}_{pool.name}"] = mix.saving
            figures[f"static_loss_at_{tag}_{pool.name}"] = mix.loss
            figures[f"hindsight_saving_at_{tag}_{pool.name}"] = routing.hindsight(pool, parts, budget)
            compliant[tag].append(ours.loss <= budget + routing.ALLOWANCE)
    for tag, kept in compliant.items():
        figures[f"compliance_{tag}"] = sum(kept) / len(kept)
        for prefix in ("saving_at", "static_saving_at", "hindsight_saving_at"):
            figures[f"{prefix}_{tag}"] = float(np.mean([figures[f"{prefix}_{tag}_{name}"] for name in names]))
    for key, dataset in (("mmlu", "routellm_mmlu"), ("gsm8k", "routellm_gsm8k")):
        figures[f"apgr_{key}"] = _apgr(data.pair(outcomes, dataset), train, test)
    figures.update(task_figures(folder, train, test))
    return figures


def _apgr(pool: Pool, train: str, test: str) -> float:
    gains, rows = [], []
    gap = (pool.score[:, 1] - pool.score[:, 0])[:, None]
    for part in fit(pool, train, test, gap):
        gains.append(part.test[:, 0])
        rows.append(part.test_rows)
    at = np.concatenate(rows)
    return routing.apgr(np.concatenate(gains), pool.score[at, 0], pool.score[at, 1])


def fit(pool: Pool, train: str, test: str, targets: NDArray[np.float64] | None = None) -> list[Predicted]:
    """Predictions of `targets`, or of every model's score and of its cost in units of the best model's mean cost."""
    on, under = pool.split == train, pool.split == test
    for name, mask in ((train, on), (test, under)):
        if not mask.any():
            raise ValueError(f"The split '{name}' has no rows in {pool.name}; name one of {sorted(set(pool.split))}.")
    if targets is None:
        best = int(pool.score[on].mean(axis=0).argmax())
        targets = np.concatenate((pool.score, pool.cost / pool.cost[on, best].mean()), axis=1)
    return cross_fit(design(pool.prompts), targets, pool.group, on, under)


if __name__ == "__main__":
    raise SystemExit(main())
