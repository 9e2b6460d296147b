"""Views of a decision for tests: budgets a third spent, health and what calls came to as small histories."""

from typing import Any

from agents.routing.view import RoutingView
from schemas.inforce import InForce
from schemas.policy import Configuration
from schemas.spans import CALLS_SPAN
from schemas.state import CallsBucket, HealthBucket, HealthState, LearnedState
from schemas.units import MICROS_PER_S

NOW = 1_790_000_000_000_000
NO_INPUTS: dict[str, Any] = {
    "blocks": (), "in_flight": (), "inputs": b"", "turn": 0, "workers": 1, "session": 0, "fallback": True,
}  # fmt: skip
"""Of a RouteDecided that is not to be made again."""
MINUTE = NOW // (60 * MICROS_PER_S)


class Spent:
    """A third of every budget."""

    def spent(self, scope: str, period: str, now: int) -> int:
        return 333_000_000

    def reserved(self, scope: str) -> int:
        return 0


def health(good: int, bad: int, ms_index: int) -> HealthState:
    bucket = HealthBucket(MINUTE, good, bad, tokens_out=good * 300, latency={ms_index: good} if good else {})
    return HealthState((bucket,))


def called(model: str, good: int, bad: int, ms: int) -> LearnedState:
    """What calls of a conversation came to in NOW's span; answers of the usual length."""
    bucket = CallsBucket(NOW // CALLS_SPAN, good, bad, 0, 300 * good, 1_000 * ms * good)
    return LearnedState(model, {"conversation": (bucket,)})


def view_of(document: dict[str, Any], **tables: Any) -> RoutingView:
    configuration = Configuration.model_validate(document)
    inforce = InForce(offset=1, configuration=configuration, budgets=configuration.budgets)
    empty: dict[str, Any] = {name: {} for name in ("circuits", "health", "in_flight", "cooling", "out_of_service")}
    return RoutingView(**{"inforce": inforce, "spend": Spent(), "turn": 0, **empty, **tables})
