"""The decision simulator: `python -m infra.bench.simulator [--json FILE] [--seeds 20]`.

It knows the truth, drives the real `decide` with what simulated outcomes taught, and says how good decisions are. Every
figure is a mean over seeds with its 95 % interval (bootstrap over seeds: `_low`, `_high`).
"""

import argparse
from collections.abc import Callable, Sequence
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
Summary = Callable[[np.ndarray], float]
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


def measure(seeds: int) -> dict[str, float]:
    """Every figure with its interval."""
    figures: dict[str, float] = {}
    everyone = np.arange(seeds)

    def put(key: str, of: Callable[[np.ndarray], float]) -> None:
        figures[key] = of(everyone)
        figures[f"{key}_low"], figures[f"{key}_high"] = interval(of, seeds)

    def mean_of(key: str, values: Sequence[float]) -> None:
        array = np.array(values)
        put(key, lambda chosen: float(array[chosen].mean()))

    mean_of("optimal_share", [stationary(seed, "adaptive", KNOWN, REQUESTS).optimal for seed in range(seeds)])
    runs = {name: [drifting(seed, name, DRIFTING, SECONDS) for seed in range(seeds)] for name in (*STATIC, "adaptive")}
    regret = {name: np.array([run.regret for run in of]) for name, of in runs.items()}
    utility = {name: np.array([run.utility.mean() for run in of]) for name, of in runs.items()}
    for name in runs:
        figures[f"drift_regret_{name}"] = float(regret[name].mean())
        figures[f"drift_utility_{name}"] = float(utility[name].mean())
    # One strategy for all seeds: whoever fixes one does not know which world comes.
    best = min(STATIC, key=lambda name: regret[name].mean())
    richest = max(STATIC, key=lambda name: utility[name].mean())
    put(
        "adaptive_regret_over_best_static",
        lambda chosen: float(regret["adaptive"][chosen].mean() / regret[best][chosen].mean()),
    )
    put(
        "adaptive_gain_over_best_static",
        lambda chosen: float(utility["adaptive"][chosen].mean() / utility[richest][chosen].mean() - 1),
    )
    sure = [calibrating(seed, WORLDS) for seed in range(seeds)]
    put("calibration_error", lambda chosen: _calibration([sure[seed] for seed in chosen]))
    for balancer in BALANCERS:
        for workers in (1, WORKERS):
            errors = [share_error(balancer, workers, seed) for seed in range(seeds)]
            mean_of(f"share_error_{balancer}_{workers}", errors)
        # The worse of one worker and four.
        worse = max((1, WORKERS), key=lambda workers: figures[f"share_error_{balancer}_{workers}"])
        for end in ("", "_low", "_high"):
            figures[f"share_error_{balancer}{end}"] = figures[f"share_error_{balancer}_{worse}{end}"]
    mean_of("load_p95_degradation", [degradation("least_connections", seed, LOADED) for seed in range(seeds)])
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
    options = parser.parse_args(arguments)
    if options.seeds < 2:
        parser.error("--seeds must be 2 or more: an interval needs them")
    figures = measure(options.seeds)
    for key, figure in figures.items():
        if f"{key}_low" in figures:
            target = f"  target {TARGETS[key]}" if key in TARGETS else ""
            print(f"{key:40} {figure:8.4f}  [{figures[f'{key}_low']:.4f}, {figures[f'{key}_high']:.4f}]{target}")
    print("\nUnder drift, by strategy             regret   utility")
    for name in (*STATIC, "adaptive"):
        print(f"{name:35} {figures[f'drift_regret_{name}']:8.4f}  {figures[f'drift_utility_{name}']:8.4f}")
    if options.json:
        rounded = {key: round(figure, 6) for key, figure in figures.items()}
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_bytes(orjson.dumps(rounded, option=orjson.OPT_INDENT_2) + b"\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
