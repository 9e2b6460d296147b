"""What a strategy or balancer sees: the field with the numbers of one request."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from agents.routing.compiled import Compiled
from agents.routing.estimates import MEAN_TOKENS_OUT, Column, Table
from agents.routing.experience import LENGTH_SPREAD
from agents.routing.field import Field
from agents.routing.kernel.columns import crowding
from agents.routing.kernel.lookup import gathered, picked
from agents.routing.pace import Pace
from agents.routing.view import RoutingView
from schemas.requests import ChatRequest

PACES_KEPT = 8


@dataclass(slots=True)
class Setting:
    """`table`: float32 (places, ESTIMATE_FIELDS); `cost`, `ms`: its columns as float64. `busy`: calls under way by position;
    `flying`: by place, `loads` the same as an array; neither before one is asked for.

    `target_ms`: the promise that times are measured by. `weights`: of the utilities, they sum to 1. `size_in`: tokens.
    `key`: what consistent hashing hashes. `belief`: memo of adaptive.py.
    """

    compiled: Compiled
    field: Field
    pace: Pace
    table: Table
    cost: Column
    ms: Column
    busy: list[int] | None
    view: RoutingView
    request: ChatRequest
    task: str
    size_in: int
    seed: int
    target_ms: float
    weights: Mapping[str, float]
    key: int
    flying: list[int] | None = None
    loads: Column | None = None
    crowded: Column | None = None
    belief: tuple[Column, Table] | None = None

    def in_flight(self) -> list[int]:
        """Calls under way by place."""
        if self.flying is None:
            busy = self.busy
            self.flying = picked(busy, self.field.members) if busy else [0] * len(self.field.members)
        return self.flying

    def free(self) -> Column:
        """Free share of the tightest of concurrency, requests and tokens a minute, by place; 1 without limits."""
        free: Column = self.pace.rates.free_share(self.crowd())
        return free

    def crowding(self) -> Column:
        """Calls under way for its weight by place, this one included."""
        if self.crowded is None:
            self.crowded = crowding(self.crowd(), self.pace.weights)
        return self.crowded

    def crowd(self) -> Column:
        """`in_flight` as an array."""
        if self.loads is None:
            self.loads = gathered(self.busy, self.field.members) if self.busy else np.zeros(len(self.field.members))
        return self.loads


def setting_of(
    compiled: Compiled, field: Field, view: RoutingView, request: ChatRequest, task: str, size_in: int, seed: int,
    factors: Mapping[str, float] | None, target_ms: float, weights: Mapping[str, float], busy: list[int] | None,
    session: int = 0,
) -> Setting:  # fmt: skip
    """The estimates of a request over a field. `factors`: current price over list price, by deployment id.

    `busy`: calls under way by position, None where there are none. `session`: a digest of the caller's, 0 without.
    """
    most = request.max_tokens
    told = compiled.experience.lengths(task)
    longest = told.longest if told else MEAN_TOKENS_OUT
    versions = compiled.learned.version, compiled.experience.version
    key: tuple[object, ...] = (*versions, most if most and most < longest else 0)
    priced = None
    if factors:
        priced = [factors.get(name, 1.0) for name in field.names]
        key += ("factors", *priced)
    pace = field.paces.get(key)
    if pace is None:
        if len(field.paces) >= PACES_KEPT:
            field.paces.clear()
        wanted: object = min(most, MEAN_TOKENS_OUT) if most else MEAN_TOKENS_OUT
        length_sd: object = LENGTH_SPREAD
        if told is not None:
            length_sd = told.spread[field.at]
            wanted = np.minimum(told.mean[field.at], most or np.inf)
        factor = 1.0 if priced is None else np.array(priced)
        realised = compiled.experience.realised(task)
        health = compiled.learned.at(field.at)
        pace = Pace(health, field.offer, field.at, field.quality, field.quality_sd, wanted, length_sd, factor, realised)
        field.paces[key] = pace
    loads = gathered(busy, field.members) if busy and field.limited else None
    table, cost, ms = pace.estimates(size_in, loads)
    return Setting(
        compiled, field, pace, table, cost, ms, busy, view, request, task, size_in, seed,
        target_ms, weights, session or seed, loads=loads,
    )  # fmt: skip
