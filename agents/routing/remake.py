"""What a decision looked at beyond its estimates, as events keep it, and the decision made again from an event alone."""

from array import array
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import Any, cast

import numpy as np

from agents.routing.balancers import response_ms
from agents.routing.choice import Choice
from agents.routing.compiled import Compiled, compiled
from agents.routing.estimates import COST, ESTIMATE_FIELDS, LOWER, MS, QUALITY, SCORE, SUCCESS, TOKENS_IN
from agents.routing.field import Field
from agents.routing.kernel.kin import Kin
from agents.routing.kernel.lookup import picked
from agents.routing.order import Ordered, ordered, plan_of
from agents.routing.pace import Pace, latest_ms
from agents.routing.setting import Setting
from agents.routing.strategies import STRATEGIES
from agents.routing.view import RoutingView, Spend
from schemas.events import Block, PlanStep, RouteDecided
from schemas.inforce import InForce
from schemas.requests import ChatRequest, Routing

P99_MS, BELIEF_SD, RESPONSE_MS, TOKENS_MINUTE, TOKENS_IN_FLIGHT = (
    "p99_ms", "belief_sd", "response_ms", "tokens_this_minute", "tokens_in_flight",
)  # fmt: skip
INPUTS: Mapping[str, tuple[str, ...]] = {
    "reliability": (P99_MS,),
    "adaptive": (BELIEF_SD,),
    "least_response_time": (RESPONSE_MS,),
    "adaptive_weighted": (RESPONSE_MS,),
    "performance_based": (RESPONSE_MS,),
    "token_aware": (TOKENS_MINUTE, TOKENS_IN_FLIGHT),
}
"""Strategy or balancer -> the columns of `RouteDecided.inputs` that it adds, the strategy's first."""
FROM_ESTIMATES = frozenset(("cost", "speed", "quality", "reliability"))
"""Strategies whose scores follow from the estimates; the others' scores are recorded as they were."""


@lru_cache(maxsize=1024)
def session_digest(session: str) -> int:
    """What events and hashing keep of a caller's session, never 0."""
    return 1 + int.from_bytes(blake2b(session.encode(), digest_size=7).digest(), "big")


def inputs_of(setting: Setting, choice: Choice, result: Ordered, places: list[int]) -> bytes:
    """The columns of INPUTS for these places; a balancer that had nothing to choose looked at nothing."""
    names = INPUTS.get(choice.strategy, ())
    if result.replicas > 1:
        names += INPUTS.get(choice.balancer, ())
    return b"".join([array("d", COLUMNS[name](places, setting)).tobytes() for name in names])


def _belief_sd(places: list[int], setting: Setting) -> list[float]:
    return [0.0] * len(places) if setting.belief is None else picked(setting.belief[1].tolist(), places)


def _tokens_in_flight(places: list[int], setting: Setting) -> list[float]:
    tokens, names = setting.view.tokens_in_flight or {}, setting.field.names
    return [tokens.get(names[k], 0) for k in places]


COLUMNS: Mapping[str, Callable[[list[int], Setting], list[float]]] = {
    P99_MS: lambda places, setting: picked(setting.pace.p99_ms, places),
    BELIEF_SD: _belief_sd,
    RESPONSE_MS: response_ms,
    TOKENS_MINUTE: lambda places, setting: picked(setting.pace.tokens, places),
    TOKENS_IN_FLIGHT: _tokens_in_flight,
}
"""What stands in each column of INPUTS, by place."""


def remade(decided: RouteDecided, inforce: InForce) -> tuple[PlanStep, ...] | None:
    """The plan from the event and the configuration that it names. None where it does not say all: it was written before
    version 2, or more candidates than are recorded took part."""
    if not decided.blocks or decided.cut:
        return None
    catalog = compiled(inforce.configuration.catalog)
    most = inforce.configuration.routing.max_attempts
    setting, scores = _setting(decided, catalog, inforce)
    choice = Choice(decided.strategy, decided.cost_strategy, decided.balancer, None, ())
    if decided.strategy in FROM_ESTIMATES:
        scores = STRATEGIES[decided.strategy].scores(setting)
    result = ordered(setting, choice, most, scores)
    return plan_of(setting.field, result.places, decided.fallback, most)


class _Field(Field):
    """Candidates as an event has them, in the blocks that it says."""

    def __init__(self, catalog: Compiled, members: list[int], blocks: Sequence[Block]) -> None:
        ends = np.cumsum([block.size for block in blocks]).tolist()
        self.members = members
        self.bounds = list(zip([0, *ends], ends, strict=False))
        of_block = [number for number, block in enumerate(blocks) for _ in range(block.size)]
        self.names = [catalog.ids[p] for p in members]
        self.group = [catalog.group[p] for p in members]
        self.weight = [catalog.weight[p] for p in members]
        self.kin = Kin(self.group, [catalog.lane[p] for p in members], of_block)
        self.groups = {}
        for k in range(*self.bounds[0]):
            self.groups.setdefault(self.group[k], []).append(k)
        self.steps = [PlanStep(name, blocks[number].tier) for name, number in zip(self.names, of_block, strict=True)]


class _Pace(Pace):
    """The numbers of an event in place of those that health and prices make."""

    def __init__(
        self, catalog: Compiled, field: Field, table: Any, inputs: Mapping[str, list[float]], drew: bool
    ) -> None:
        none = [0.0] * len(field.members)
        self.p99_ms, self.tokens = inputs.get(P99_MS, none), inputs.get(TOKENS_MINUTE, none)
        self.quality, self.lower = table[:, QUALITY].astype(np.float64), table[:, LOWER].astype(np.float64)
        self.qualities, self.lacking = self.quality.tolist(), -self.quality
        self.weights = catalog.offer.weight[field.members]
        self.success = table[:, SUCCESS].astype(np.float64)
        self.times = inputs.get(RESPONSE_MS, none)
        self.latest_ms = latest_ms(np.array(self.p99_ms))
        # Whatever was learned is in the recorded scores; that something was lets the draws be made again.
        self.realised = cast(Any, drew) or None


def _setting(decided: RouteDecided, catalog: Compiled, inforce: InForce) -> tuple[Setting, Any]:
    """What the order was made from, and the recorded scores."""
    rows = _by_place(decided, catalog)
    position = {index: p for p, index in enumerate(catalog.index)}
    field = _Field(catalog, [position[decided.candidates[row]] for row in rows], decided.blocks)
    table = np.frombuffer(decided.estimates, dtype="<f4").reshape(-1, len(ESTIMATE_FIELDS))[rows]
    columns = np.frombuffer(decided.inputs, dtype="<f8").reshape(-1, len(rows))[:, rows].tolist()
    names = INPUTS.get(decided.strategy, ()) + INPUTS.get(decided.balancer, ())
    inputs: dict[str, list[float]] = dict(zip(names, columns, strict=False))
    flying = [decided.in_flight[row] for row in rows] if decided.in_flight else [0] * len(rows)
    drew, scores = bool(decided.propensities), table[:, SCORE].astype(np.float64)
    tokens = inputs.get(TOKENS_IN_FLIGHT)
    view = RoutingView(
        inforce=inforce, circuits={}, health={}, spend=cast(Spend, None), in_flight={}, cooling={}, out_of_service={},
        turn=decided.turn, workers=decided.workers, explore=drew,
        tokens_in_flight=None if tokens is None else dict(zip(field.names, map(int, tokens), strict=True)),
    )  # fmt: skip
    request = ChatRequest({}, Routing(fallback=decided.fallback), "auto", False, None, frozenset(), 0)
    belief = None
    if BELIEF_SD in inputs:
        belief = scores, np.array(inputs[BELIEF_SD], dtype="<f4")
    cost, ms = (table[:, column].astype(np.float64) for column in (COST, MS))
    return Setting(
        catalog, field, _Pace(catalog, field, table, inputs, drew), table, cost, ms, None, view, request,
        decided.task, int(table[0, TOKENS_IN]), decided.seed, 0.0, {}, decided.session or decided.seed,
        flying, np.array(flying, dtype=np.float64), None, belief,
    ), scores  # fmt: skip


def _by_place(decided: RouteDecided, catalog: Compiled) -> list[int]:
    """Rows of the event in the order of places: block by block, then by the deployments' ids."""
    names = [catalog.catalog.deployments[index].id for index in decided.candidates]
    rows: list[int] = []
    for block in decided.blocks:
        rows += sorted(range(len(rows), len(rows) + block.size), key=names.__getitem__)
    return rows
