"""Labelled prompts for the task model: the task data, questions borrowed from the outcome data, and our own seeds."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from agents.routing.text.model import TASKS
from infra.train.seeds import SEEDS

PER_SOURCE = 150
"""Prompts used of a source at most: a large source shall not set the style."""
BORROWED = {
    ("mmlu_pro", "math"): "math",
    ("mmlu_pro", "economics"): "analysis",
    ("mmlu_pro", "business"): "analysis",
    ("mmlu_pro", "law"): "analysis",
    ("routerbench_winogrande", "winograde"): "reasoning",
    ("routerbench_arc_challenge", "arc_challenge"): "reasoning",
    ("llmrouter", "openbook_qa"): "reasoning",
}
SEED = "seeds"


@dataclass(frozen=True, slots=True)
class Corpus:
    """`labels`: indices into TASKS. `sources`, `splits`: of each prompt."""

    prompts: list[str]
    labels: NDArray[np.int64]
    sources: NDArray[np.str_]
    splits: NDArray[np.str_]


def family(source: str) -> str:
    """The benchmark a source was taken from: sources of one family share questions or their format."""
    if source.startswith(("mmlu-", "mmlu_pro")):
        return "mmlu"
    return "math" if source in {"math-l5", "llmrouter-math"} else source


def related(source: str, left_out: str) -> bool:
    """Whether a source may not teach about `left_out`: itself, and MMLU-Pro, which was built from MMLU, about MMLU."""
    return source == left_out or (source.startswith("mmlu_pro") and left_out.startswith("mmlu-"))


def read_corpus(folder: Path, split: str = "dev") -> Corpus:
    """The corpus of DATA; a file `task_types_NAME.parquet` is the split NAME. Function calling is left to the structure.

    Raises ValueError where the folder holds no task data.
    """
    paths = sorted(folder.glob("task_types_*.parquet"))
    if not paths:
        raise ValueError(f"{folder} holds no task_types_*.parquet; give the folder of the training data.")
    frames = [pd.read_parquet(path).assign(split=path.stem.removeprefix("task_types_")) for path in paths]
    queries = sorted((folder / "routing_outcomes").glob("queries_*.parquet"))
    if queries:
        asked = pd.concat([pd.read_parquet(path) for path in queries])
        asked = asked[asked["split"] == split]
        for (dataset, category), label in BORROWED.items():
            some = asked[(asked["dataset"] == dataset) & (asked["category"] == category)].head(PER_SOURCE)
            frames.append(_frame(list(some["prompt"]), label, f"{dataset}:{category}", "borrowed"))
    for label, prompts in SEEDS.items():
        frames.append(_frame(list(prompts), label, f"{SEED}:{label}", SEED))
    rows = pd.concat(frames, ignore_index=True)
    rows = rows[rows["label"].isin(TASKS)]
    return Corpus(
        prompts=list(rows["prompt"]),
        labels=np.array([TASKS.index(label) for label in rows["label"]], dtype=np.int64),
        sources=rows["source"].to_numpy(dtype=np.str_),
        splits=rows["split"].to_numpy(dtype=np.str_),
    )


def _frame(prompts: list[str], label: str, source: str, split: str) -> pd.DataFrame:
    return pd.DataFrame({"prompt": prompts, "label": label, "source": source, "split": split})


def capped(corpus: Corpus, rows: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """At most PER_SOURCE rows of each source, the first ones."""
    keep = np.zeros(len(rows), dtype=bool)
    for source in np.unique(corpus.sources[rows]):
        keep[np.flatnonzero(rows & (corpus.sources == source))[:PER_SOURCE]] = True
    return keep


def balanced(corpus: Corpus, rows: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Weights of the rows (0 outside): sources equal within a task, tasks equal."""
    weights = np.zeros(len(rows))
    for source in np.unique(corpus.sources[rows]):
        at = rows & (corpus.sources == source)
        weights[at] = 1 / at.sum()
    for label in np.unique(corpus.labels[rows]):
        at = rows & (corpus.labels == label)
        weights[at] /= weights[at].sum()
    return weights
