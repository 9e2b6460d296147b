"""Which strategy, cost strategy and balancer decide: the request's, else the tenant's, else the default."""

from typing import NamedTuple

from agents.routing.budget import CHEAPER_FROM
from agents.routing.memo import by_identity
from schemas.inforce import InForce
from schemas.policy import Configuration, Tenant
from schemas.requests import Routing


class Choice(NamedTuple):
    """Names of the tables' functions. `reasons`: what a budget forced."""

    strategy: str
    cost_strategy: str
    balancer: str
    reasons: tuple[str, ...]


class Defaults:
    """What a configuration says once: its tenants by id, the time promised to all."""

    def __init__(self, configuration: Configuration) -> None:
        self.tenants: dict[str, Tenant] = {}
        for tenant in configuration.tenants:
            self.tenants.setdefault(tenant.id, tenant)
        self.target_ms: float | None = None
        for promised in configuration.sla:
            if promised.metric == "latency_p95_ms" and promised.scope == "global" and promised.target > 0:
                self.target_ms = promised.target


defaults_of = by_identity(Defaults)


def priority_of(defaults: Defaults, tenant: str, routing: Routing) -> str:
    """interactive | standard | batch."""
    if routing.priority:
        return routing.priority
    known = defaults.tenants.get(tenant)
    return known.priority if known else "standard"


def choice(inforce: InForce, defaults: Defaults, tenant: str, routing: Routing, used: float) -> Choice:
    """The three names in force for a request of a tenant. `used`: spent share of the tightest budget."""
    policy, known = inforce.configuration.routing, defaults.tenants.get(tenant)
    strategies = inforce.strategies
    strategy: str = (
        routing.strategy
        or strategies.get(tenant)
        or (known.strategy if known else None)
        or strategies.get("")
        or policy.strategy
    )
    balancer: str = routing.balancer or (known.balancer if known else None) or policy.balancer
    if used >= CHEAPER_FROM and (strategy != "cost" or policy.cost_strategy != "minimize"):
        reason = f"cost and minimize instead of {strategy} and {policy.cost_strategy}: a budget is used to {used:.0%}"
        return Choice("cost", "minimize", balancer, (reason,))
    return Choice(strategy, policy.cost_strategy, balancer, ())
