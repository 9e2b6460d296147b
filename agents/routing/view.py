"""What a decision sees of the world: live tables, read and never changed."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from schemas.inforce import InForce
from schemas.policy import Period
from schemas.state import CircuitState, HealthState, LearnedState, QualityState


class Spend(Protocol):
    """Money by scope (global | tenant:T | provider:P | deployment:D), in nano-USD."""

    def spent(self, scope: str, period: Period, now: int) -> int: ...
    def reserved(self, scope: str) -> int: ...


@dataclass(frozen=True, slots=True)
class RoutingView:
    """Every mapping is keyed by deployment id, unless it says otherwise.

    `in_flight`: calls under way, those of the other workers included. `cooling`: kept off after a 429, until when (us).
    `out_of_service`: why, such as "credential missing". `turn`: decisions this worker has made.
    `tried`: what this request has tried already. `trials`: half-open deployments with a trial of this worker under way.

    Without one of the rest, decisions go by its prior. `turns`: by Decision.turn_key, decisions so far with that key
    (prior: `turn`). `workers`: alive, this one included. `learned`: what calls came to (prior: the estimates).
    `quality`: feedback, all partitions merged (prior: the profile). `tokens_in_flight`: estimated, of the calls under way
    (none). `response_ms`: peak EWMA (health's time). `price_factors`: price now over list price (1).
    `forecast`: calls a minute expected in this hour (none). `explore`: whether the policy lets `adaptive` explore.
    `full`: deployments whose rate limit leaves no further call, until when (none).
    """

    inforce: InForce
    circuits: dict[str, CircuitState]
    health: dict[str, HealthState]
    spend: Spend
    in_flight: dict[str, int]
    cooling: Mapping[str, int]
    out_of_service: Mapping[str, str]
    turn: int
    tried: frozenset[str] = frozenset()
    trials: frozenset[str] | set[str] = frozenset()
    turns: Mapping[str, int] | None = None
    workers: int = 1
    learned: dict[str, LearnedState] | None = None
    quality: Mapping[str, QualityState] | None = None
    tokens_in_flight: Mapping[str, int] | None = None
    response_ms: Mapping[str, float] | None = None
    price_factors: Mapping[str, float] | None = None
    forecast: Mapping[str, float] | None = None
    explore: bool = True
    full: Mapping[str, int] | None = None
