"""What decides: the request's word, else the tenant's policy, else the task's, else the default (infra/adr/0011)."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from agents.routing.budget import CHEAPER_FROM
from agents.routing.cost_strategies import PRICED
from agents.routing.memo import by_identity
from schemas.inforce import InForce
from schemas.policy import TaskPolicy, Tenant
from schemas.requests import ChatRequest, Routing

WEIGHED = frozenset(("weighted", "adaptive"))
"""The strategies that weights change."""
BY_COMMAND = ", set by a command"
SETTINGS = ("strategy", "cost_strategy", "balancer", "min_quality")


class Choice(NamedTuple):
    """Names of the tables' functions. `weights`: sum to 1, None for those of the cost strategy.

    `reasons`: whose policy chose, and what a budget forced.
    """

    strategy: str
    cost_strategy: str
    balancer: str
    weights: Mapping[str, float] | None
    reasons: tuple[str, ...]


class Level(NamedTuple):
    """What one level of precedence says; None where it says nothing. `source`: what reasons call it."""

    source: str
    strategy: str | None = None
    cost_strategy: str | None = None
    balancer: str | None = None
    weights: Mapping[Any, float] | None = None
    min_quality: float | None = None


class Policy(NamedTuple):
    """What is in force for a tenant's requests of a task, before a request has its say.

    `sources`: setting -> the level that chose it, without what is the plain default. `choices`: memo of `choice`.
    """

    strategy: str
    cost_strategy: str
    balancer: str
    weights: Mapping[str, float] | None
    min_quality: float | None
    sources: Mapping[str, str]
    choices: dict[tuple[str | None, str | None, bool], Choice]


class Policies:
    """What is in force says once: tenants by id, the time promised to all; policies are made as they are asked for."""

    def __init__(self, inforce: InForce) -> None:
        self._inforce = inforce
        self.tenants: dict[str, Tenant] = {}
        for tenant in inforce.configuration.tenants:
            self.tenants.setdefault(tenant.id, tenant)
        self._named = self.tenants.keys() | inforce.strategies.keys() | inforce.weights.keys()
        self._made: dict[tuple[str, str], Policy] = {}
        self.target_ms: float | None = None
        for promised in inforce.configuration.sla:
            if promised.metric == "latency_p95_ms" and promised.scope == "global" and promised.target > 0:
                self.target_ms = promised.target

    def of(self, tenant: str, task: str) -> Policy:
        """The policy for a task of a tenant. Tenants that nothing is said of share one."""
        key = (tenant if tenant in self._named else "", task)
        made = self._made.get(key)
        if made is None:
            made = self._made[key] = _policy(self._inforce, self.tenants.get(key[0]), *key)
        return made


policies_of = by_identity(Policies)


def priority_of(policies: Policies, tenant: str, routing: Routing) -> str:
    """interactive | standard | batch."""
    if routing.priority:
        return routing.priority
    known = policies.tenants.get(tenant)
    return known.priority if known else "standard"


def min_quality_of(policy: Policy, request: ChatRequest) -> tuple[float | None, tuple[str, ...]]:
    """The least quality to serve with, and whose word that is. A model that the request names needs no policy's leave."""
    if request.routing.min_quality is not None or policy.min_quality is None or request.model != "auto":
        return request.routing.min_quality, ()
    return policy.min_quality, (f"min_quality {policy.min_quality:.2f}: {policy.sources['min_quality']}",)


def choice(policy: Policy, routing: Routing, used: float) -> Choice:
    """What is in force for a request. `used`: spent share of the tightest budget."""
    weights = normal(routing.weights.items()) if routing.weights else None
    named = routing.strategy, routing.balancer, weights is not None
    chosen = policy.choices.get(named)
    if chosen is None:
        chosen = policy.choices[named] = _choice(policy, *named)
    strategy, cost_strategy = chosen.strategy, chosen.cost_strategy
    if used >= CHEAPER_FROM and (strategy != "cost" or cost_strategy != "minimize"):
        reason = f"cost and minimize instead of {strategy} and {cost_strategy}: a budget is used to {used:.0%}"
        return Choice("cost", "minimize", chosen.balancer, None, (reason,))
    return chosen._replace(weights=weights) if weights else chosen


def normal(weights: Iterable[tuple[str, float]]) -> dict[str, float] | None:
    """Weights that sum to 1; None where nothing weighs."""
    heavy = {name: weight for name, weight in weights if weight > 0}
    total = sum(heavy.values())
    return {name: weight / total for name, weight in heavy.items()} or None


def _choice(policy: Policy, strategy: str | None, balancer: str | None, weighed: bool) -> Choice:
    """`weighed`: the request brings weights of its own."""
    sources, ranks = policy.sources, strategy or policy.strategy
    reasons = []
    if "strategy" in sources and not strategy:
        reasons.append(f"strategy {ranks}: {sources['strategy']}")
    if "cost_strategy" in sources and ranks in PRICED:
        reasons.append(f"cost strategy {policy.cost_strategy}: {sources['cost_strategy']}")
    if policy.weights and ranks in WEIGHED and not weighed:
        shares = ", ".join(f"{name} {weight:.2f}" for name, weight in policy.weights.items())
        reasons.append(f"weights {shares}: {sources['weights']}")
    if "balancer" in sources and not balancer:
        reasons.append(f"balancer {policy.balancer}: {sources['balancer']}")
    return Choice(ranks, policy.cost_strategy, balancer or policy.balancer, policy.weights, tuple(reasons))


def _policy(inforce: InForce, known: Tenant | None, tenant: str, task: str) -> Policy:
    default = inforce.configuration.routing
    commands, weights = inforce.strategies, inforce.weights
    levels = []
    if tenant:
        source = "the tenant's policy"
        levels += [
            Level(source + BY_COMMAND, commands.get(tenant), weights=weights.get(tenant)),
            _level(source, known),
        ]
    by_task: dict[Any, TaskPolicy] = default.by_task
    levels.append(_level(f"the policy of task {task}", by_task.get(task)))
    own = len(levels)
    levels += [
        Level("the default" + BY_COMMAND, commands.get(""), weights=weights.get("")),
        Level("the default", default.strategy, default.cost_strategy, default.balancer, default.weights),
    ]
    settled: dict[str, Any] = dict.fromkeys(SETTINGS)
    sources: dict[str, str] = {}
    for place, level in reversed(list(enumerate(levels))):
        for name in SETTINGS:
            said = getattr(level, name)
            if said is not None:
                settled[name] = said
                if place < own:
                    sources[name] = level.source
    weighing = _weighing(levels)
    if weighing:
        # Said where it is the default too: no other field of a decision holds the weights.
        sources["weights"] = weighing.source
    heavy = normal(weighing.weights.items()) if weighing and weighing.weights else None
    return Policy(**settled, weights=heavy, sources=sources, choices={})


def _level(source: str, said: Tenant | TaskPolicy | None) -> Level:
    if said is None:
        return Level(source)
    least = said.min_quality if isinstance(said, TaskPolicy) else None
    return Level(source, said.strategy, said.cost_strategy, said.balancer, said.weights, least)


def _weighing(levels: Iterable[Level]) -> Level | None:
    """The level whose weights count: none below one that names a cost strategy, which brings weights of its own."""
    for level in levels:
        if level.weights:
            return level
        if level.cost_strategy:
            return None
    return None
