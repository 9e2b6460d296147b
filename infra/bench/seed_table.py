"""`python -m infra.bench.seed_table DATA [--json FILE] [--train SPLIT --test SPLIT]`: what cost strategies save.

Every query of the four pools of outcomes is decided by the engine, once for each cost strategy, and what came of the
model that stands first is looked up: cost reduction and quality change against the best single model. DATA and SPLIT as
for infra.bench.quality; predictions come from training rows alone.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from agents.routing.decide import decide
from agents.routing.estimates import MEAN_TOKENS_OUT, MILLION
from agents.routing.view import RoutingView
from infra.bench import quality_data as data
from infra.bench.quality import fit
from infra.bench.quality_report import POOLS
from infra.bench.quality_ridge import Predicted
from schemas.catalog import Catalog, Prices
from schemas.errors import RequestError
from schemas.inforce import InForce
from schemas.policy import Configuration
from schemas.requests import ChatRequest, parse_request
from schemas.units import MICROS_PER_S, usd_to_nano

ROWS = {"minimize": "cost", "cost_quality": "weighted", "arbitrage": "weighted", "budget_aware": "weighted"}
"""Cost strategy -> the strategy that it steers."""
DAY = 86_400 * MICROS_PER_S
START = 20_700 * DAY
PATIENCE = 60 * MICROS_PER_S
BUDGET = 0.5
"""What budget_aware may spend in its day, of what the best single model is expected to cost."""
LEAST = 1e-4
"""Of the best model's mean cost: no prediction is below."""


class Day:
    """Owns the money spent since START, in nano-USD."""

    def __init__(self) -> None:
        self.nano_usd = 0

    def spent(self, scope: str, period: str, now: int) -> int:
        return self.nano_usd

    def reserved(self, scope: str) -> int:
        return 0


@dataclass(frozen=True, slots=True)
class Chosen:
    """Per query under test: `score` and `cost` of the model chosen and of the best single one; 0 and 0 if `rejected`."""

    score: Any
    cost: Any
    best_score: Any
    best_cost: Any
    rejected: Any


def run(pool: data.Pool, part: Predicted, cost_strategy: str, unit: float) -> Chosen:
    """The queries of a fold, spread over a day. `unit`: USD, what predicted costs are told in."""
    rows, n = part.test_rows, len(pool.models)
    best = int(pool.score[part.train_rows].mean(axis=0).argmax())
    limit = BUDGET * float(pool.cost[part.train_rows, best].mean()) * len(rows)
    base = _configuration(pool.models, cost_strategy, limit)
    quality = np.clip(part.test[:, :n], 0, 1).tolist()
    cost = (np.maximum(part.test[:, n:], LEAST) * unit).tolist()
    spend, request = Day(), _asked(ROWS[cost_strategy])
    view = RoutingView(
        inforce=InForce(configuration=base, budgets=base.budgets), circuits={}, health={}, spend=spend, in_flight={},
        cooling={}, out_of_service={}, turn=0, turns={},
    )  # fmt: skip
    score, paid = np.zeros(len(rows)), np.zeros(len(rows))
    rejected = np.zeros(len(rows), dtype=bool)
    for number, (row, known) in enumerate(zip(rows.tolist(), _catalogs(base, quality, cost), strict=True)):
        now = START + number * DAY // len(rows)
        seen = replace(view, inforce=InForce(configuration=known, budgets=base.budgets))
        try:
            decision = decide(request, "seed", seen, now=now, deadline_at=now + PATIENCE, seed=number)
        except RequestError as error:
            if error.code not in ("budget_exhausted", "throttled"):
                raise
            rejected[number] = True
            continue
        model = pool.models.index(decision.plan[0].deployment)
        score[number], paid[number] = pool.score[row, model], pool.cost[row, model]
        spend.nano_usd += usd_to_nano(pool.cost.item(row, model))
    return Chosen(score, paid, pool.score[rows, best], pool.cost[rows, best], rejected)


def _configuration(models: Sequence[str], cost_strategy: str, limit_usd: float) -> Configuration:
    """The pool as a catalog. Only budget_aware has a budget, of the whole day."""
    budgets = [{"scope": "tenant:seed", "period": "day", "limit_usd": limit_usd}]
    return Configuration.model_validate({
        "catalog": {
            "models": [{"id": name, "quality": {"reasoning": 0.5}} for name in models],
            "deployments": [
                {"id": name, "provider": "openai_compatible", "model": name, "base_url": "http://127.0.0.1:1"}
                for name in models
            ],
        },
        "routing": {"cost_strategy": cost_strategy},
        "budgets": budgets if cost_strategy == "budget_aware" else [],
    })  # fmt: skip


def _catalogs(base: Configuration, quality: list[list[float]], cost: list[list[float]]) -> Iterator[Configuration]:
    """For each query the models with its predictions as their profile: quality, and the price at which an answer of the
    usual length costs what is predicted.
    """
    models = base.catalog.models
    for sound, dear in zip(quality, cost, strict=True):
        known = [
            model.model_copy(update={
                "quality": {"reasoning": q},
                "price_usd_per_million": Prices(output=usd * MILLION / MEAN_TOKENS_OUT),
            })
            for model, q, usd in zip(models, sound, dear, strict=True)
        ]  # fmt: skip
        yield base.model_copy(update={"catalog": Catalog(models=tuple(known), deployments=base.catalog.deployments)})


def _asked(strategy: str) -> ChatRequest:
    routing = {"strategy": strategy, "task": "reasoning", "priority": "interactive"}
    body = {"messages": [{"role": "user", "content": "?"}], "routing": routing}
    return parse_request(orjson.dumps(body), max_bytes=10_000)


def measure(folder: Path, train: str, test: str) -> dict[str, float]:
    """`NAME_saving_POOL`, `NAME_quality_POOL` (relative changes), `NAME_rejected_POOL` (share), and their means.

    Raises ValueError on empty splits.
    """
    outcomes, train, test = data.gather(folder, train, test)
    figures: dict[str, float] = {}
    for pool in data.pools(outcomes):
        parts = fit(pool, train, test)
        on = pool.split == train
        unit = float(pool.cost[on, int(pool.score[on].mean(axis=0).argmax())].mean())
        for name in ROWS:
            runs = [run(pool, part, name, unit) for part in parts]
            score, cost, best_score, best_cost = (
                sum(float(getattr(one, kind).sum()) for one in runs)
                for kind in ("score", "cost", "best_score", "best_cost")
            )
            figures[f"{name}_saving_{pool.name}"] = 1 - cost / best_cost
            figures[f"{name}_quality_{pool.name}"] = score / best_score - 1
            figures[f"{name}_rejected_{pool.name}"] = float(np.concatenate([one.rejected for one in runs]).mean())
    for name in ROWS:
        for kind in ("saving", "quality", "rejected"):
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
        ends = (*(f"_{pool}" for pool in POOLS), "")
        cells = [(figures[f"{name}_saving{end}"], figures[f"{name}_quality{end}"]) for end in ends]
        turned_away = figures[f"{name}_rejected"]
        said = f"  {turned_away:.1%} rejected by the budget" if turned_away else ""
        print(f"{name:<14}" + "".join(f"{100 * saved:>9.1f} /{100 * change:>6.1f} " for saved, change in cells) + said)
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_bytes(orjson.dumps(figures, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS) + b"\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
