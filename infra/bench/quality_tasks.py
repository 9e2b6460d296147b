"""Task detection on sources that the model has not seen: one source left out at a time, then its whole family."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from agents.routing.text.features import features
from agents.routing.text.model import TASKS
from infra.train.corpus import SEED, Corpus, capped, family, read_corpus, related
from infra.train.softmax import matrix
from infra.train.tasks import train


def task_figures(folder: Path, train_split: str, test_split: str) -> dict[str, float]:
    """Accuracy by left-out source, by task and on average over sources. Empty where there is no task data.

    `task_accuracy_unseen_family` leaves out every source of the benchmark too; `..._without_seeds` also our own prompts.
    """
    try:
        corpus = read_corpus(folder, train_split)
    except ValueError:
        return {}
    training = np.isin(corpus.splits, [train_split, "borrowed", SEED])
    tested = capped(corpus, corpus.splits == test_split)
    if not tested.any():
        return {}
    x = matrix(corpus.prompts)
    sources = sorted(set(corpus.sources[tested]))
    own = np.array([source.startswith(SEED) for source in corpus.sources])
    hits: dict[str, list[float]] = {"source": [], "family": [], "without_seeds": []}
    figures: dict[str, float] = {}
    guesses = np.zeros(len(corpus.prompts), dtype=np.int64)
    for source in sources:
        under = tested & (corpus.sources == source)
        left = np.array([related(other, source) for other in corpus.sources])
        kin = np.array([family(other) == family(source) for other in corpus.sources])
        for name, out in (("source", left), ("family", left | kin), ("without_seeds", left | own)):
            if name == "family" and not (training & out & ~left).any():
                hits[name].append(hits["source"][-1])
                continue
            picks = _guess(corpus, capped(corpus, training & ~out), under, x)
            hits[name].append(float((picks == corpus.labels[under]).mean()))
            if name == "source":
                guesses[under] = picks
        figures[f"task_accuracy_{source}"] = hits["source"][-1]
    right = guesses == corpus.labels
    for label, task in enumerate(TASKS):
        at = tested & (corpus.labels == label)
        if at.any():
            figures[f"task_recall_{task}"] = float(right[at].mean())
    figures["task_accuracy_unseen_source"] = float(np.mean(hits["source"]))
    figures["task_accuracy_unseen_source_by_prompt"] = float(right[tested].mean())
    figures["task_accuracy_unseen_family"] = float(np.mean(hits["family"]))
    figures["task_accuracy_unseen_source_without_seeds"] = float(np.mean(hits["without_seeds"]))
    return figures


def _guess(
    corpus: Corpus, rows: NDArray[np.bool_], under: NDArray[np.bool_], x: NDArray[np.float32]
) -> NDArray[np.int64]:
    model = train(corpus, rows, x)
    asked = (corpus.prompts[row] for row in np.flatnonzero(under))
    return np.array([int(model.scores(features(prompt)).argmax()) for prompt in asked], dtype=np.int64)
