"""What a strategy or balancer sees: the field with the numbers of one request."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import repeat

import numpy as np

from agents.routing.compiled import Compiled
from agents.routing.estimates import COST, MEAN_TOKENS_OUT, MS, Column, Table
from agents.routing.field import Field
from agents.routing.pace import Pace
from agents.routing.view import RoutingView
from schemas.requests import ChatRequest

PACES_KEPT = 8


@dataclass(slots=True)
class Setting:
    """`table`: float32 (places, ESTIMATE_FIELDS); `cost`, `ms`: its columns. `flying`: calls under way by place.

    `target_ms`: the promise that times are measured by. `weights`: of the utilities, they sum to 1.
    `belief`: memo of adaptive.py.
    """

    compiled: Compiled
    field: Field
    pace: Pace
    table: Table
    cost: Table
    ms: Table
    flying: list[int] | None
    view: RoutingView
    request: ChatRequest
    task: str
    seed: int
    target_ms: float
    weights: Mapping[str, float]
    belief: tuple[Table, Table] | None = None

    def in_flight(self) -> list[int]:
        """Calls under way by place."""
        if self.flying is None:
            self.flying = list(map(self.view.in_flight.get, self.field.names, repeat(0)))
        return self.flying

    def free(self) -> Column:
        """Free share of the tightest of concurrency, requests and tokens a minute, by place; 1 without limits."""
        flying = np.array(self.in_flight(), dtype=np.float64)
        pace = self.pace
        free = np.minimum(1 - flying * self.field.per_call, pace.tokens_free)
        least: Column = np.minimum(free, 1 - (pace.requests + flying) * pace.per_request)
        return least


def setting_of(
    compiled: Compiled, field: Field, view: RoutingView, request: ChatRequest, task: str, size_in: int, seed: int,
    factors: Mapping[str, float] | None, target_ms: float, weights: Mapping[str, float],
) -> Setting:  # fmt: skip
    """The estimates of a request over a field. `factors`: current price over list price, by deployment id."""
    most = request.max_tokens
    key: tuple[object, ...] = (compiled.learned.version, most if most and most < MEAN_TOKENS_OUT else 0)
    wanted: object = min(most, MEAN_TOKENS_OUT) if most else MEAN_TOKENS_OUT
    if view.tokens_out:
        lengths = [view.tokens_out.get((task, group[0]), MEAN_TOKENS_OUT) for group in field.group]
        wanted = np.minimum(np.array(lengths), most or np.inf)
        key += (most, *lengths)
    priced = None
    if factors:
        priced = [factors.get(name, 1.0) for name in field.names]
        key += ("factors", *priced)
    pace = field.paces.get(key)
    if pace is None:
        if len(field.paces) >= PACES_KEPT:
            field.paces.clear()
        pace = Pace(compiled, field.at, field.quality, wanted, 1.0 if priced is None else np.array(priced))
        field.paces[key] = pace
    flying = busy = None
    if field.limited and view.in_flight:
        flying = list(map(view.in_flight.get, field.names, repeat(0)))
        busy = np.array(flying) * field.per_call
    table = pace.estimates(size_in, busy)
    return Setting(
        compiled, field, pace, table, table[:, COST], table[:, MS], flying, view, request, task, seed, target_ms,
        weights,
    )  # fmt: skip
