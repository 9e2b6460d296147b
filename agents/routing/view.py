"""What a decision sees of the world: live tables, read and never changed."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from schemas.inforce import InForce
from schemas.policy import Period
from schemas.state import CircuitState, HealthState


class Spend(Protocol):
    """Money by scope (global | tenant:T | provider:P | deployment:D), in nano-USD."""

    def spent(self, scope: str, period: Period, now: int) -> int: ...
    def reserved(self, scope: str) -> int: ...


@dataclass(frozen=True, slots=True)
class RoutingView:
    """Every mapping is keyed by deployment id.

    `in_flight`: calls under way, those of the other workers included. `cooling`: kept off after a 429, until when (us).
    `out_of_service`: why, such as "credential missing". `turn`: decisions this worker has made, for round robin.
    `tried`: what this request has tried already. `trials`: half-open deployments with a trial of this worker under way.
    """

    inforce: InForce
    circuits: Mapping[str, CircuitState]
    health: Mapping[str, HealthState]
    spend: Spend
    in_flight: Mapping[str, int]
    cooling: Mapping[str, int]
    out_of_service: Mapping[str, str]
    turn: int
    tried: frozenset[str] = frozenset()
    trials: frozenset[str] | set[str] = frozenset()
