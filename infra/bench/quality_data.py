"""Outcome data by pool: which models answered which prompts, how well and at what cost."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Floats = NDArray[np.float64]

JOINT = {
    # In three benchmarks the same model has three names: (gsm, math, bfcl).
    "claude-3-5-sonnet": ("claude-3-5-sonnet-20240620", "claude-3-5-sonnet-20240620", "claude-3-5-sonnet-20240620"),
    "claude-3-haiku": ("claude-3-haiku-20240307", "claude-3-haiku-20240307", "claude-3-haiku-20240307"),
    "claude-3-opus": ("claude-3-opus-20240229", "claude-3-opus-20240229", "claude-3-opus-20240229"),
    "gpt-3.5-turbo": ("gpt-3.5-turbo-0125", "gpt-3.5-turbo-0125", "gpt-3.5-turbo-0125"),
    "gpt-4o-2024-05-13": ("gpt-4o-2024-05-13", "gpt-4o-2024-05-13", "gpt-4o-2024-05-13-FC"),
    "gpt-4o-2024-08-06": ("gpt-4o-2024-08-06", "gpt-4o-2024-08-06", "gpt-4o-2024-08-06-FC"),
    "gpt-4o-mini": ("gpt-4o-mini-2024-07-18", "gpt-4o-mini-2024-07-18", "gpt-4o-mini-2024-07-18"),
    "gemini-1.5-flash": ("gemini-1.5-flash", "gemini-1.5-flash", "gemini-1.5-flash-preview-0514"),
    "mistral-large-2": ("Mistral-Large-2", "Mistral-Large-2", "mistral-large-2407-FC-Any"),
}
JOINT_DATASETS = ("zeroeval_gsm", "zeroeval_mathl5", "bfcl")
ROUTERBENCH = ("routerbench_arc_challenge", "routerbench_mbpp", "routerbench_winogrande")
STRONG, WEAK = "gpt-4-1106-preview", "mixtral-8x7b-instruct"


@dataclass(frozen=True, slots=True)
class Pool:
    """`score` and `cost` (USD): (queries, models). `group`, `split`, `dataset`: (queries,)."""

    name: str
    models: tuple[str, ...]
    prompts: list[str]
    score: Floats
    cost: Floats
    group: NDArray[np.str_]
    split: NDArray[np.str_]
    dataset: NDArray[np.str_]


@dataclass(frozen=True, slots=True)
class Outcomes:
    """Queries and outcomes as they are stored."""

    queries: pd.DataFrame
    outcomes: pd.DataFrame


def present(folder: Path) -> bool:
    """Whether the folder holds outcome data."""
    return any((folder / "routing_outcomes").glob("queries_*.parquet"))


def read(folder: Path) -> Outcomes:
    """Every `queries_*.parquet` and `outcomes_*.parquet` of the folder."""
    base = folder / "routing_outcomes"
    queries = pd.concat([pd.read_parquet(path) for path in sorted(base.glob("queries_*.parquet"))])
    outcomes = pd.concat([pd.read_parquet(path) for path in sorted(base.glob("outcomes_*.parquet"))])
    outcomes["model"] = outcomes["model"].astype(str)
    outcomes["id"] = outcomes["id"].astype(str)
    joined = outcomes.merge(queries[["id", "dataset"]], on="id")
    return Outcomes(queries.drop_duplicates("id").set_index("id"), joined)


def pools(data: Outcomes) -> list[Pool]:
    """MMLU-Pro, RouterBench, LLMRouter, and gsm + math + bfcl, with the models that carry a cost."""
    renamed = []
    for model, names in JOINT.items():
        for dataset, name in zip(JOINT_DATASETS, names, strict=True):
            rows = data.outcomes[(data.outcomes["dataset"] == dataset) & (data.outcomes["model"] == name)]
            renamed.append(rows.assign(model=model))
    return [
        _pool("mmlu_pro", data, data.outcomes[data.outcomes["dataset"] == "mmlu_pro"]),
        _pool("routerbench", data, data.outcomes[data.outcomes["dataset"].isin(ROUTERBENCH)]),
        _pool("llmrouter", data, data.outcomes[data.outcomes["dataset"] == "llmrouter"]),
        _pool("gsm_math_bfcl", data, pd.concat(renamed)),
    ]


def pair(data: Outcomes, dataset: str) -> Pool:
    """The RouteLLM pair on one benchmark: column 0 is the weak model, column 1 the strong one; costs are 0 and 1."""
    rows = data.outcomes[data.outcomes["dataset"] == dataset].assign(cost=0.0)
    return _pool(dataset, data, rows, (WEAK, STRONG))


def _pool(name: str, data: Outcomes, rows: pd.DataFrame, models: tuple[str, ...] | None = None) -> Pool:
    priced = rows[rows["cost"].notna()]
    scores = priced.pivot_table(index="id", columns="model", values="score", observed=True)
    costs = priced.pivot_table(index="id", columns="model", values="cost", observed=True)
    if models is None:
        # A model that answered a part of the queries only would shrink the pool; 0.9: two have a handful missing.
        models = tuple(str(model) for model in scores.columns[scores.notna().mean() > 0.9])
    whole = scores[list(models)].dropna().index
    queries = data.queries.loc[whole]
    return Pool(
        name=name,
        models=models,
        prompts=list(queries["prompt"]),
        score=scores.loc[whole, list(models)].to_numpy(dtype=np.float64),
        cost=costs.loc[whole, list(models)].to_numpy(dtype=np.float64),
        group=queries["group"].to_numpy(dtype=np.str_),
        split=queries["split"].to_numpy(dtype=np.str_),
        dataset=queries["dataset"].to_numpy(dtype=np.str_),
    )


def gather(folder: Path, train: str, test: str) -> tuple[Outcomes, str, str]:
    """The outcomes of the folder and of any folder that `train` or `test` names, and the two as names of splits."""
    base = read(folder)
    names = []
    for name in (train, test):
        other = Path(name)
        if present(other):
            extra = read(other)
            extra.queries["split"] = name
            # An id that both sides hold stands under test.
            old = base.queries.drop(index=extra.queries.index, errors="ignore")
            kept = base.outcomes[~base.outcomes["id"].isin(extra.queries.index)]
            base = Outcomes(pd.concat([old, extra.queries]), pd.concat([kept, extra.outcomes]))
        names.append(name)
    return base, names[0], names[1]
