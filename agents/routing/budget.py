"""The gate of budgets: at spent + reserved >= limit a request is rejected, or only local deployments may take it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from agents.routing.compiled import LOCAL, Compiled
from agents.routing.memo import by_identity
from agents.routing.view import Spend
from schemas.errors import RequestError
from schemas.periods import QUARTER, period_end, period_start
from schemas.policy import Budget, Period
from schemas.units import MICROS_PER_MS, clock_text, usd_text


@dataclass(frozen=True, slots=True)
class Priced:
    """A budget with its limit in nano-USD."""

    budget: Budget
    limit: int


class Gate(NamedTuple):
    """`closed`: position -> until (microseconds) of deployments that no budget pays for. `reasons`: why.

    `used`: largest spent share of a budget of the caller's; `burn`: largest spent share over elapsed share of a period.
    """

    closed: Mapping[int, int]
    reasons: tuple[str, ...]
    used: float = 0.0
    burn: float | None = None


OPEN = Gate({}, ())
GLOBAL = "global"
CHEAPER_FROM, BATCH_UNTIL, STANDARD_UNTIL = 0.85, 0.95, 0.98
"""Spent shares: from where on the cheapest deployment serves, and up to where batch and standard priority are served."""


class Budgets:
    """Budgets by whom they bind: all callers or one tenant, and those of providers and deployments (`targets`)."""

    def __init__(self, budgets: Sequence[Budget]) -> None:
        priced = [Priced(budget, budget.limit_nano_usd) for budget in budgets]
        self.targets = [one for one in priced if one.budget.scope.startswith(("provider:", "deployment:"))]
        self._all = [one for one in priced if one.budget.scope == GLOBAL]
        self._by_tenant: dict[str, list[Priced]] = {}
        for one in priced:
            kind, _, name = one.budget.scope.partition(":")
            if kind == "tenant":
                self._by_tenant.setdefault(name, [*self._all]).append(one)

    def of(self, tenant: str) -> list[Priced]:
        """Those that bind a tenant, the ones for all callers first."""
        return self._by_tenant.get(tenant, self._all)


budgets_of = by_identity(Budgets)


@lru_cache(maxsize=256)
def _bounds(period: Period, quarter: int, zone: str) -> tuple[int, int]:
    """Start and end of the period that a quarter of an hour since 1970 is in: no period begins within one."""
    return period_start(period, quarter * QUARTER, zone), period_end(period, quarter * QUARTER, zone)


def gate(
    budgets: Budgets, compiled: Compiled, tenant: str, spend: Spend, now: int, priority: str, zone: str = ""
) -> Gate:  # fmt: skip
    """What budgets leave open. Raises RequestError `budget_exhausted` or `throttled` where one of the caller's says
    reject. `zone`: the tenant's time zone, in which its own periods end; empty for UTC.
    """
    binding = budgets.of(tenant)
    if not binding and not budgets.targets:
        return OPEN
    closed: dict[int, int] = {}
    reasons: list[str] = []
    most_used, most_burn, throttling = 0.0, None, None
    for priced in binding:
        budget = priced.budget
        scope = budget.scope
        spent = spend.spent(scope, budget.period, now)
        used_up = spent + spend.reserved(scope) >= priced.limit
        start, until = _bounds(budget.period, now // QUARTER, zone if scope != GLOBAL else "")
        if not used_up:
            used = spent / priced.limit
            # The first hundredth of a period says nothing about its pace.
            burn = used / max((now - start) / (until - start), 0.01)
            most_used, most_burn = max(most_used, used), max(most_burn or 0.0, burn)
            if not _throttled(priority, used):
                continue
            if budget.at_limit == "reject":
                throttling = throttling or (priced, until)
                continue
            why = f"{priority} priority waits, the {_name(priced)} is used to {used:.0%}"
        else:
            if budget.at_limit == "reject":
                raise exhausted(f"The {_name(priced)} is used up", until, now)
            why = f"the {_name(priced)} is used up"
        reasons.append(f"only local deployments until {clock_text(until)}: {why}")
        for position, tier in enumerate(compiled.tier):
            if tier != LOCAL:
                closed[position] = max(until, closed.get(position, 0))
    if throttling:
        raise _throttle(*throttling, priority, now)
    for priced in budgets.targets:
        if not _exhausted(priced, spend, now):
            continue
        kind, _, name = priced.budget.scope.partition(":")
        until = period_end(priced.budget.period, now)
        local_stays = priced.budget.at_limit == "local_only"
        for position, deployment in enumerate(compiled.deployments):
            bound = name == (deployment.provider if kind == "provider" else deployment.id)
            if bound and not (local_stays and compiled.tier[position] == LOCAL):
                closed[position] = max(until, closed.get(position, 0))
    return Gate(closed, tuple(reasons), most_used, most_burn)


def _throttled(priority: str, used: float) -> bool:
    if used < BATCH_UNTIL or priority == "interactive":
        return False
    return priority == "batch" or used >= STANDARD_UNTIL


def _throttle(priced: Priced, until: int, priority: str, now: int) -> RequestError:
    message = (
        f"The {_name(priced)} is nearly used up and {priority} priority waits; try again after {clock_text(until)}, "
        "raise it with `turnout set budget` or the request's priority."
    )
    return RequestError("throttled", message, retry_after_ms=max(1, (until - now) // MICROS_PER_MS))


def exhausted(cause: str, until: int, now: int) -> RequestError:
    """The final error; `cause` is a clause such as "The budget ... is used up"."""
    message = f"{cause}; try again after {clock_text(until)} or raise it with `turnout set budget`."
    return RequestError("budget_exhausted", message, retry_after_ms=max(1, (until - now) // MICROS_PER_MS))


def _exhausted(priced: Priced, spend: Spend, now: int) -> bool:
    budget = priced.budget
    return spend.spent(budget.scope, budget.period, now) + spend.reserved(budget.scope) >= priced.limit


def _name(priced: Priced) -> str:
    budget = priced.budget
    return f"budget {budget.scope} of {usd_text(priced.limit)} USD a {budget.period}"
