"""Estimates and scores by place."""

from __future__ import annotations

from typing import Any

import cython
import numpy as np
from cython.cimports.libc.math import log10

from agents.routing.estimates import COST, MS, SCORE, TOKENS_IN

FLOAT32 = np.dtype("<f4")


@cython.cclass
class Rates:
    """What the estimates of any request are reckoned from.

    A request costs `cost_in` x tokens in + `cost_out`, nano-USD a success; `ms` to the last token at p75 without a queue,
    and `ms_busy` what a call under way adds. `per_call`, `per_request`: the share of a limit that one takes;
    `requests_free`, `tokens_free`: the share left of this minute's limits.
    """

    cost_in: cython.double[::1]
    cost_out: cython.double[::1]
    ms: cython.double[::1]
    ms_busy: cython.double[::1]
    per_call: cython.double[::1]
    per_request: cython.double[::1]
    requests_free: cython.double[::1]
    tokens_free: cython.double[::1]

    def __init__(
        self, cost_in: Any, cost_out: Any, ms: Any, ms_busy: Any, per_call: Any, per_request: Any, requests_free: Any,
        tokens_free: Any,
    ) -> None:  # fmt: skip
        self.cost_in, self.cost_out, self.ms, self.ms_busy = cost_in, cost_out, ms, ms_busy
        self.per_call, self.per_request = per_call, per_request
        self.requests_free, self.tokens_free = requests_free, tokens_free

    def estimate(self, table: cython.float[:, ::1], size_in: int, loads: cython.double[::1] | None) -> tuple[Any, Any]:
        """Write what a request changes into a table of estimates: its size, costs, and times where calls are under way.

        Returns cost and time as columns, rounded as the table has them.
        """
        k: cython.Py_ssize_t
        size_at: cython.Py_ssize_t = TOKENS_IN
        cost_at: cython.Py_ssize_t = COST
        ms_at: cython.Py_ssize_t = MS
        size: cython.double = size_in
        costs, times = np.empty(table.shape[0]), np.empty(table.shape[0])
        cost: cython.double[::1] = costs
        time: cython.double[::1] = times
        for k in range(table.shape[0]):
            table[k, size_at] = size
            table[k, cost_at] = self.cost_in[k] * size + self.cost_out[k]
            if loads is not None:
                table[k, ms_at] = self.ms[k] + self.ms_busy[k] * loads[k]
            cost[k], time[k] = table[k, cost_at], table[k, ms_at]
        return costs, times

    def free_share(self, loads: cython.double[::1]) -> Any:
        """A column, rounded to float32, of the free share of the tightest limit: calls at once, requests and tokens a
        minute."""
        k: cython.Py_ssize_t
        found, rounded = np.empty(loads.shape[0]), np.empty(loads.shape[0], dtype=FLOAT32)
        column: cython.double[::1] = found
        coarse: cython.float[::1] = rounded
        for k in range(loads.shape[0]):
            least: cython.double = 1 - loads[k] * self.per_call[k]
            least = min(least, self.tokens_free[k], self.requests_free[k] - loads[k] * self.per_request[k])
            coarse[k] = least
            column[k] = coarse[k]
        return found


def crowding(loads: cython.double[::1], weights: cython.double[::1]) -> Any:
    """A column of the calls under way for its weight, one more included."""
    k: cython.Py_ssize_t
    found = np.empty(len(loads))
    column: cython.double[::1] = found
    for k in range(loads.shape[0]):
        column[k] = (loads[k] + 1) / weights[k]
    return found


def utilities(
    constant: cython.double[::1], cost: cython.double[::1], ms: cython.double[::1], free: cython.double[::1] | None,
    decade: float, speed: float, load: float, target_ms: float,
) -> Any:  # fmt: skip
    """A column, rounded to float32: `constant`, less `decade` for each decade of cost (nano-USD), plus `speed` x the utility
    of the time against its target, plus `load` x the free share, which is None where that weighs nothing."""
    k: cython.Py_ssize_t
    by_decade: cython.double = decade
    by_speed: cython.double = speed
    by_load: cython.double = load
    target: cython.double = target_ms
    found, rounded = np.empty(len(constant)), np.empty(len(constant), dtype=FLOAT32)
    column: cython.double[::1] = found
    coarse: cython.float[::1] = rounded
    for k in range(constant.shape[0]):
        value: cython.double = constant[k]
        if by_decade:
            # Nothing is cheaper than a nano-USD: what is free has a utility too.
            value -= log10(max(cost[k], 1.0)) * by_decade
        if by_speed:
            value += by_speed / (1 + ms[k] / target)
        if free is not None:
            value += by_load * free[k]
        coarse[k] = value
        column[k] = coarse[k]
    return found


def values_at(column: cython.double[::1], places: list[int]) -> list[float]:
    """The numbers of a column at these places."""
    k: cython.Py_ssize_t
    at: cython.Py_ssize_t
    found: list[float] = []
    for at in range(len(places)):
        k = places[at]
        found.append(float(column[k]))
    return found


def speeds(success: cython.double[::1], ms: list[float], places: list[int]) -> list[float]:
    """Success by time of the places, whose times are `ms`."""
    k: cython.Py_ssize_t
    at: cython.Py_ssize_t
    found: list[float] = []
    for at in range(len(places)):
        k = places[at]
        time: cython.double = ms[at]
        found.append(float(success[k] / max(time, 1e-9)))
    return found


def record(table: cython.float[:, ::1], scores: cython.double[::1], places: list[int]) -> bytes:
    """The rows of a table of estimates at these places, their scores filled in, as little-endian float32."""
    row: cython.Py_ssize_t
    place: cython.Py_ssize_t
    field: cython.Py_ssize_t
    score_at: cython.Py_ssize_t = SCORE
    found = np.empty((len(places), table.shape[1]), dtype=FLOAT32)
    rows: cython.float[:, ::1] = found
    for row in range(len(places)):
        place = places[row]
        for field in range(table.shape[1]):
            rows[row, field] = table[place, field]
        rows[row, score_at] = scores[place]
    content: bytes = found.tobytes()
    return content
