"""The decision simulator: `python -m infra.bench.simulator [--seeds 20] [--first 100] [--jobs N] [--json FILE]`.

It knows the truth, drives the real `decide` with what the real folds make of simulated outcomes, and says how good
decisions are. Every figure is a mean over seeds with its 95 % interval (bootstrap over seeds: `_low`, `_high`).
Constants were tuned on seeds below 100, so those say too much.
"""

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import orjson

from infra.bench.simulator_balance import BALANCERS, WORKERS, degradation, share_error
from infra.bench.simulator_runs import STATIC, Judged, calibrating, drifting, stationary

KNOWN, REQUESTS = 1_000, 300
DRIFTING, SECONDS = 1_200, 1_200
WORLDS = 20
LOADED = 2_000
BINS = 10
RESAMPLES = 1_000
FIRST = 100
TARGETS = {
    "optimal_share": "> 0.90", "adaptive_regret_over_best_static": "<= 0.75", "calibration_error": "<= 0.05",
    "share_error_round_robin": "<= 0.05", "share_error_weighted_round_robin": "<= 0.05",
    "share_error_least_connections": "<= 0.05", "load_p95_degradation": "< 0.10",
}  # fmt: skip


def calibration_error(confidence: np.ndarray, right: np.ndarray) -> float:
    """Expected calibration error: |mean confidence - share right| over ten bins of confidence, by their size."""
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    gaps = np.bincount(bins, weights=confidence - right, minlength=BINS)
    return float(np.abs(gaps).sum() / len(confidence))


def interval(of: Callable[[np.ndarray], float], seeds: int) -> tuple[float, float]:
    """95 % interval of a figure made from a choice of seeds (indices), by bootstrap over the seeds."""
    rng = np.random.default_rng(0)
    found = [of(rng.integers(seeds, size=seeds)) for _ in range(RESAMPLES)]
    low, high = np.percentile(found, (2.5, 97.5))
    return float(low), float(high)


@dataclass(frozen=True, slots=True)
class Measured:
    """What one seed showed. `regret`, `utility` under drift by strategy; `sure`: decisions to calibrate by; `numbers`:
    those that are averaged as they are.
    """

    regret: Mapping[str, float]
    utility: Mapping[str, float]
    sure: Judged
    numbers: Mapping[str, float]


def measured(seed: int) -> Measured:
    """Every run of a seed."""
    runs = {name: drifting(seed, name, DRIFTING, SECONDS) for name in (*STATIC, "adaptive")}
    numbers = {
        "optimal_share": stationary(seed, "adaptive", KNOWN, REQUESTS).optimal,
        "load_p95_degradation": degradation("least_connections", seed, LOADED),
    }
    for balancer in BALANCERS:
        for workers in (1, WORKERS):
            numbers[f"share_error_{balancer}_{workers}"] = share_error(balancer, workers, seed)
    return Measured(
        {name: run.regret for name, run in runs.items()},
        {name: float(run.utility.mean()) for name, run in runs.items()},
        calibrating(seed, WORLDS),
        numbers,
    )


def measure(first: int, seeds: int, jobs: int) -> dict[str, float]:
    """Every figure with its interval. `jobs`: processes."""
    every = range(first, first + seeds)
    if jobs > 1:
        with ProcessPoolExecutor(jobs) as processes:
            return summary(list(processes.map(measured, every)))
    return summary([measured(seed) for seed in every])


def summary(found: Sequence[Measured]) -> dict[str, float]:
    """The figures of what the seeds showed."""
    figures: dict[str, float] = {}

    def put(key: str, of: Callable[[np.ndarray], float]) -> None:
        figures[key] = of(np.arange(len(found)))
        figures[f"{key}_low"], figures[f"{key}_high"] = interval(of, len(found))

    regret = {name: np.array([one.regret[name] for one in found]) for name in (*STATIC, "adaptive")}
    utility = {name: np.array([one.utility[name] for one in found]) for name in (*STATIC, "adaptive")}
    for name in regret:
        figures[f"drift_regret_{name}"] = float(regret[name].mean())
        figures[f"drift_utility_{name}"] = float(utility[name].mean())
    # One strategy for all seeds: whoever fixes one does not know which world comes.
    best = min(STATIC, key=lambda name: figures[f"drift_regret_{name}"])
    richest = max(STATIC, key=lambda name: figures[f"drift_utility_{name}"])
    put(
        "adaptive_regret_over_best_static",
        lambda chosen: float(regret["adaptive"][chosen].mean() / regret[best][chosen].mean()),
    )
    put(
        "adaptive_gain_over_best_static",
        lambda chosen: float(utility["adaptive"][chosen].mean() / utility[richest][chosen].mean() - 1),
    )
    put("calibration_error", lambda chosen: _calibration([found[seed].sure for seed in chosen]))
    for key in found[0].numbers:
        array = np.array([one.numbers[key] for one in found])
        put(key, lambda chosen, array=array: float(array[chosen].mean()))  # type: ignore[misc]
    for balancer in BALANCERS:
        # The worse of one worker and four.
        worse = max((1, WORKERS), key=lambda workers: figures[f"share_error_{balancer}_{workers}"])
        for end in ("", "_low", "_high"):
            figures[f"share_error_{balancer}{end}"] = figures[f"share_error_{balancer}_{worse}{end}"]
    return figures


def _calibration(runs: Sequence[Judged]) -> float:
    return calibration_error(
        np.concatenate([run.confidence for run in runs]), np.concatenate([run.right for run in runs])
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the figures beside their targets."""
    parser = argparse.ArgumentParser(prog="python -m infra.bench.simulator", description="How good decisions are.")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to FILE")
    parser.add_argument("--seeds", type=int, default=20, help="worlds drawn (default 20)")
    parser.add_argument("--first", type=int, default=FIRST, metavar="N", help=f"the first seed (default {FIRST})")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes (default: one a core)")
    options = parser.parse_args(arguments)
    if options.seeds < 2:
        parser.error("--seeds must be 2 or more: an interval needs them")
    figures = measure(options.first, options.seeds, options.jobs)
    for key, figure in figures.items():
        if f"{key}_low" in figures:
            target = f"  target {TARGETS[key]}" if key in TARGETS else ""
            print(f"{key:40} {figure:8.4f}  [{figures[f'{key}_low']:.4f}, {figures[f'{key}_high']:.4f}]{target}")
    print("\nUnder drift, by strategy             regret   utility")
    for name in (*STATIC, "adaptive"):
        print(f"{name:35} {figures[f'drift_regret_{name}']:8.4f}  {figures[f'drift_utility_{name}']:8.4f}")
    if options.json:
        command = " ".join(["python -m infra.bench.simulator", *(sys.argv[1:] if arguments is None else arguments)])
        rounded = {"command": command} | {key: round(figure, 6) for key, figure in figures.items()}
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_bytes(orjson.dumps(rounded, option=orjson.OPT_INDENT_2) + b"\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
