"""What is in force: a pure fold of llm.control. Workers and folds read the same one, up to an offset they name."""

import hashlib
from dataclasses import dataclass, field, replace

import orjson

from schemas.events import (
    AlertSilenced,
    BudgetSet,
    CircuitForced,
    ConfigurationApplied,
    CredentialReleased,
    DeploymentSwitched,
    Event,
    StrategySet,
    TopicsCreated,
    WeightsSet,
)
from schemas.policy import Budget, Configuration, covers
from schemas.units import NANO


@dataclass(frozen=True, slots=True)
class InForce:
    """`offset`: the last control record applied, -1 for none. `forced`: circuits held open or closed by a command.

    `released`: deployment -> offset of the last command that released its credentials.
    `strategies`, `weights`: set by a command, by tenant; "" for all.
    `silenced`: alerts (kind:subject, may end in `*`) -> until when, in microseconds.
    `zones`: tenants whose budget periods follow a time zone -> its IANA name.
    """

    offset: int = -1
    applied: bool = False
    digest: str = ""
    partitions: int = 0
    configuration: Configuration = field(default_factory=Configuration)
    budgets: tuple[Budget, ...] = ()
    forced: dict[str, str] = field(default_factory=dict)
    switched_off: frozenset[str] = frozenset()
    strategies: dict[str, str] = field(default_factory=dict)
    weights: dict[str, dict[str, float]] = field(default_factory=dict)
    released: dict[str, int] = field(default_factory=dict)
    silenced: dict[str, int] = field(default_factory=dict)
    zones: dict[str, str] = field(default_factory=dict)

    def silent(self, alerts: str, now: int) -> bool:
        """Whether nobody is told of these alerts (kind:subject) at `now`, in microseconds."""
        return any(until > now and covers(pattern, alerts) for pattern, until in self.silenced.items())


def document_of(configuration: Configuration) -> str:
    """The configuration as JSON with sorted keys: equal configurations are equal texts."""
    return orjson.dumps(configuration.model_dump(mode="json"), option=orjson.OPT_SORT_KEYS, default=sorted).decode()


def digest_of(document: str) -> str:
    return hashlib.sha256(document.encode()).hexdigest()


def apply_control(state: InForce, offset: int, event: Event) -> InForce:
    """The next state. Records at or below the state's offset change nothing."""
    if offset <= state.offset:
        return state
    state = replace(state, offset=offset)
    match event:
        case TopicsCreated():
            return replace(state, partitions=event.partitions)
        case ConfigurationApplied():
            configuration = Configuration.model_validate_json(event.document)
            # A file applied anew replaces earlier commands on budgets, strategies and weights; forced circuits and switches stay.
            return replace(
                state, applied=True, digest=event.digest, configuration=configuration,
                budgets=configuration.budgets, strategies={}, weights={},
                zones={tenant.id: tenant.time_zone for tenant in configuration.tenants if tenant.time_zone != "UTC"},
            )  # fmt: skip
        case BudgetSet():
            return replace(state, budgets=_with_budget(state.budgets, event))
        case StrategySet():
            return replace(state, strategies={**state.strategies, event.tenant: event.strategy})
        case WeightsSet():
            others = {tenant: weights for tenant, weights in state.weights.items() if tenant != event.tenant}
            return replace(state, weights=others | ({event.tenant: event.weights} if event.weights else {}))
        case CircuitForced(position="auto"):
            return replace(state, forced={d: p for d, p in state.forced.items() if d != event.deployment})
        case CircuitForced():
            return replace(state, forced={**state.forced, event.deployment: event.position})
        case CredentialReleased():
            return replace(state, released={**state.released, event.deployment: offset})
        case AlertSilenced():
            loud = {alerts: until for alerts, until in state.silenced.items() if alerts != event.subject}
            return replace(state, silenced=loud | ({event.subject: event.until_at} if event.until_at else {}))
        case DeploymentSwitched(on=True):
            return replace(state, switched_off=state.switched_off - {event.deployment})
        case DeploymentSwitched():
            return replace(state, switched_off=state.switched_off | {event.deployment})
        case _:
            return state


def _with_budget(budgets: tuple[Budget, ...], event: BudgetSet) -> tuple[Budget, ...]:
    limit = event.limit_nano_usd / NANO
    for index, budget in enumerate(budgets):
        if (budget.scope, budget.period) == (event.scope, event.period):
            change = {"limit_usd": limit} | ({"at_limit": event.at_limit} if event.at_limit else {})
            return (*budgets[:index], budget.model_copy(update=change), *budgets[index + 1 :])
    fresh = Budget.model_validate(
        {"scope": event.scope, "period": event.period, "limit_usd": limit, "at_limit": event.at_limit or "reject"}
    )
    return (*budgets, fresh)
