"""States and counts by name, and lists by place."""

from __future__ import annotations

from typing import Any

import cython
import numpy as np

COMPILED: bool = cython.compiled
"""Whether this runs compiled; all of the kernel is compiled or nothing."""


def replaced(states: dict[str, Any], names: list[str], known: list[Any]) -> list[int]:
    """Which places hold a name whose state is another object than the one that `known` has there."""
    k: cython.Py_ssize_t
    found: list[int] = []
    for k in range(len(names)):
        if states.get(names[k]) is not known[k]:
            found.append(k)
    return found


def counts_of(counted: dict[str, int], names: list[str]) -> list[int]:
    """The count of each name, 0 without one."""
    return [counted.get(name, 0) for name in names]


def any_reached(counts: list[int], rooms: cython.double[::1]) -> bool:
    """Whether any count is at or above its room."""
    k: cython.Py_ssize_t
    count: cython.Py_ssize_t
    for k in range(len(counts)):
        count = counts[k]
        if count >= rooms[k]:
            return True
    return False


def gathered(counts: list[int], at: list[int]) -> Any:
    """A column of the counts at these positions."""
    k: cython.Py_ssize_t
    position: cython.Py_ssize_t
    count: cython.Py_ssize_t
    found = np.empty(len(at))
    column: cython.double[::1] = found
    for k in range(len(at)):
        position = at[k]
        count = counts[position]
        column[k] = count
    return found


def picked(values: list[Any], places: list[int]) -> list[Any]:
    """The values at these places."""
    k: cython.Py_ssize_t
    at: cython.Py_ssize_t
    found: list[Any] = []
    for at in range(len(places)):
        k = places[at]
        found.append(values[k])
    return found
