"""`python -m infra.bench.seed_table DATA [--json FILE] [--train SPLIT --test SPLIT]`: what cost strategies save.

Cost reduction and quality change of minimize, cost_quality, arbitrage and budget_aware against the best single model, on
the four pools of outcomes, with predictions from training rows alone. DATA and SPLIT as for infra.bench.quality.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import orjson

from infra.bench import quality_data as data
from infra.bench.quality import fit
from infra.bench.quality_report import POOLS
from infra.bench.quality_routing import seed_rows

ROWS = {
    "minimize": "minimise", "cost_quality": "cost-quality", "arbitrage": "arbitrage", "budget_aware": "budget-aware",
}  # fmt: skip
"""Cost strategy -> its row in seed_rows."""


def measure(folder: Path, train: str, test: str) -> dict[str, float]:
    """`NAME_saving_POOL` and `NAME_quality_POOL` (relative changes), and their means. Raises ValueError on empty splits."""
    outcomes, train, test = data.gather(folder, train, test)
    figures: dict[str, float] = {}
    for pool in data.pools(outcomes):
        rows = seed_rows(pool, fit(pool, train, test))
        for name, row in ROWS.items():
            figures[f"{name}_saving_{pool.name}"], figures[f"{name}_quality_{pool.name}"] = rows[row]
    for name in ROWS:
        for kind in ("saving", "quality"):
            figures[f"{name}_{kind}"] = float(np.mean([figures[f"{name}_{kind}_{pool}"] for pool in POOLS]))
    return figures


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; exit code 0 also where there is no data, with the reason printed, 2 where a split is empty."""
    parser = argparse.ArgumentParser(prog="python -m infra.bench.seed_table", description="What cost strategies save.")
    parser.add_argument("data", type=Path)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to FILE")
    parser.add_argument("--train", default="dev", help="a split, or a folder laid out like DATA")
    parser.add_argument("--test", default=None, help="the same; without it: the training split, in folds")
    options = parser.parse_args(arguments)
    if not data.present(options.data):
        print(f"Skipped: {options.data} holds no routing_outcomes/queries_*.parquet; give the folder of outcome data.")
        return 0
    try:
        figures = measure(options.data, options.train, options.test or options.train)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    print("Against the best single model: cost reduction % / quality change %")
    print(" " * 14 + "".join(f"{name:>18}" for name in (*POOLS, "mean")))
    for name in ROWS:
        cells = [
            (figures[f"{name}_saving{end}"], figures[f"{name}_quality{end}"]) for end in (*(f"_{p}" for p in POOLS), "")
        ]
        print(f"{name:<14}" + "".join(f"{100 * saved:>9.1f} /{100 * change:>6.1f} " for saved, change in cells))
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_bytes(orjson.dumps(figures, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS) + b"\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
