"""Places by score."""

from __future__ import annotations

import cython
import numpy as np

from agents.routing.estimates import RECORDED

FEW = 64
"""Up to so many are sorted by insertion: a library is longer called."""


def lowest(column: cython.double[::1], places: list[int]) -> list[int]:
    """Which of the places have the least number."""
    k: cython.Py_ssize_t
    at: cython.Py_ssize_t
    found: list[int] = []
    least: cython.double = np.inf
    for at in range(len(places)):
        k = places[at]
        if column[k] < least:
            least = column[k]
            found.clear()
        if column[k] == least:
            found.append(k)
    return found


def ranked(
    scores: cython.double[::1], start: int, end: int, second: cython.double[::1] | None = None, factor: float = 1.0,
    margin: float = 0.0,
) -> list[int]:  # fmt: skip
    """The places from start to end by score, the highest first; equals in their order.

    With `second` each run of scores not below its first x factor - margin is sorted by that, the least first, and then by
    score; a run that begins after RECORDED places is left as it is.
    """
    at: cython.Py_ssize_t
    low: cython.Py_ssize_t = start
    size: cython.Py_ssize_t = end - start
    order = np.empty(size, dtype=np.intp)
    places: cython.Py_ssize_t[::1] = order
    for at in range(size):
        places[at] = low + at
    _sort(places, 0, size, None, scores)
    if second is not None and size:
        _sort_runs(places, scores, second, factor, margin)
    ranking: list[int] = order.tolist()
    return ranking


@cython.cfunc
def _sort_runs(
    places: cython.Py_ssize_t[::1], scores: cython.double[::1], second: cython.double[::1], factor: cython.double,
    margin: cython.double,
) -> cython.void:  # fmt: skip
    end: cython.Py_ssize_t
    k: cython.Py_ssize_t = places[0]
    start: cython.Py_ssize_t = 0
    size: cython.Py_ssize_t = places.shape[0]
    bound: cython.double = scores[k] * factor - margin
    lead: cython.double = second[k]
    mixed: cython.bint = False
    for end in range(size):
        k = places[end]
        if scores[k] >= bound:
            mixed = mixed or second[k] != lead
            continue
        if mixed:
            _sort(places, start, end, second, scores)
        if end >= RECORDED:
            return
        start, mixed = end, False
        bound, lead = scores[k] * factor - margin, second[k]
    if mixed:
        _sort(places, start, size, second, scores)


@cython.cfunc
def _sort(
    places: cython.Py_ssize_t[::1], start: cython.Py_ssize_t, end: cython.Py_ssize_t,
    first: cython.double[::1] | None, scores: cython.double[::1],
) -> cython.void:  # fmt: skip
    """Those from start to end: by the least of `first` if there is one, then by the highest score; stable."""
    at: cython.Py_ssize_t
    to: cython.Py_ssize_t
    k: cython.Py_ssize_t
    other: cython.Py_ssize_t
    if end - start > FEW:
        part = np.asarray(places)[start:end]
        keys = [-np.asarray(scores)[part]]
        if first is not None:
            keys.append(np.asarray(first)[part])
        part[:] = part[np.lexsort(keys)]
        return
    for at in range(start + 1, end):
        k = places[at]
        to = at
        while to > start:
            other = places[to - 1]
            if first is not None and first[other] != first[k]:
                if first[other] < first[k]:
                    break
            elif scores[other] >= scores[k]:
                break
            places[to] = other
            to -= 1
        places[to] = k
