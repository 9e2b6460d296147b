"""Which strategy, cost strategy and balancer decide: the request's, else the tenant's, else the default."""

from dataclasses import dataclass

from agents.routing.balancers import BALANCERS
from agents.routing.strategies import COST_STRATEGIES, PRICED, STRATEGIES
from schemas.inforce import InForce
from schemas.requests import Routing


@dataclass(frozen=True, slots=True)
class Choice:
    """Names of the tables' functions. `reasons`: names that have no function, and what stands in for them."""

    strategy: str
    cost_strategy: str
    balancer: str
    reasons: tuple[str, ...]


def choice(inforce: InForce, tenant: str, routing: Routing) -> Choice:
    """The three names in force for a request of a tenant."""
    policy = inforce.configuration.routing
    strategy: str | None = routing.strategy or inforce.strategies.get(tenant)
    balancer: str | None = routing.balancer
    if not strategy or not balancer:
        for known in inforce.configuration.tenants:
            if known.id == tenant:
                strategy, balancer = strategy or known.strategy, balancer or known.balancer
                break
    strategy = strategy or inforce.strategies.get("") or policy.strategy
    balancer = balancer or policy.balancer
    cost_strategy: str = policy.cost_strategy
    if strategy in STRATEGIES and balancer in BALANCERS and cost_strategy in COST_STRATEGIES:
        return Choice(strategy, cost_strategy, balancer, ())
    reasons = []
    if strategy not in STRATEGIES:
        reasons.append(f"strategy {strategy} is not available here: cost used")
        strategy = "cost"
    if cost_strategy not in COST_STRATEGIES:
        if strategy in PRICED:
            reasons.append(f"cost strategy {cost_strategy} is not available here: minimize used")
        cost_strategy = "minimize"
    if balancer not in BALANCERS:
        reasons.append(f"balancer {balancer} is not available here: round_robin used")
        balancer = "round_robin"
    return Choice(strategy, cost_strategy, balancer, tuple(reasons))
