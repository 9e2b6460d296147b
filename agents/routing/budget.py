"""The gate of budgets: at spent + reserved >= limit a request is rejected, or only local deployments may take it."""

from collections.abc import Sequence
from dataclasses import dataclass

from agents.routing.compiled import LOCAL, Compiled
from agents.routing.memo import by_identity
from agents.routing.view import Spend
from schemas.errors import RequestError
from schemas.merge import DAY, HOUR, period_start
from schemas.policy import Budget, Period
from schemas.units import MICROS_PER_MS, clock_text, nano_to_usd


@dataclass(frozen=True, slots=True)
class Priced:
    """A budget with its limit in nano-USD."""

    budget: Budget
    limit: int


@dataclass(frozen=True, slots=True)
class Gate:
    """`closed`: position -> until (microseconds) of deployments that no budget pays for. `reasons`: why."""

    closed: dict[int, int]
    reasons: tuple[str, ...]


OPEN = Gate({}, ())


class Budgets:
    """Budgets by whom they bind: a tenant (or all), and those of providers and deployments."""

    def __init__(self, budgets: Sequence[Budget]) -> None:
        self.callers: dict[str, list[Priced]] = {}
        self.targets: list[Priced] = []
        for budget in budgets:
            priced = Priced(budget, budget.limit_nano_usd)
            if budget.scope.startswith(("provider:", "deployment:")):
                self.targets.append(priced)
            else:
                self.callers.setdefault(budget.scope, []).append(priced)


budgets_of = by_identity(Budgets)


def period_end(period: Period, now: int) -> int:
    """End of the UTC period that `now` is in; both in microseconds."""
    start = period_start(period, now)
    match period:
        case "hour":
            return start + HOUR
        case "day":
            return start + DAY
        case "week":
            return start + 7 * DAY
        case "month":
            return period_start("month", start + 32 * DAY)


def gate(budgets: Budgets, compiled: Compiled, tenant: str, spend: Spend, now: int) -> Gate:
    """What budgets leave open. Raises RequestError `budget_exhausted` where one of the caller's says reject."""
    if not budgets.callers and not budgets.targets:
        return OPEN
    closed: dict[int, int] = {}
    reasons: list[str] = []
    for scope in ("global", f"tenant:{tenant}"):
        for priced in budgets.callers.get(scope, ()):
            if not _exhausted(priced, spend, now):
                continue
            until = period_end(priced.budget.period, now)
            if priced.budget.at_limit == "reject":
                raise exhausted(f"The {_name(priced)} is used up", until, now)
            reasons.append(f"only local deployments until {clock_text(until)}: the {_name(priced)} is used up")
            for position, tier in enumerate(compiled.tier):
                if tier != LOCAL:
                    closed[position] = max(until, closed.get(position, 0))
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
    return Gate(closed, tuple(reasons))


def exhausted(cause: str, until: int, now: int) -> RequestError:
    """The final error; `cause` is a clause such as "The budget ... is used up"."""
    message = f"{cause}; try again after {clock_text(until)} or raise it with `turnout set budget`."
    return RequestError("budget_exhausted", message, retry_after_ms=max(1, (until - now) // MICROS_PER_MS))


def _exhausted(priced: Priced, spend: Spend, now: int) -> bool:
    budget = priced.budget
    return spend.spent(budget.scope, budget.period, now) + spend.reserved(budget.scope) >= priced.limit


def _name(priced: Priced) -> str:
    budget = priced.budget
    return f"budget {budget.scope} of {nano_to_usd(priced.limit):g} USD a {budget.period}"
