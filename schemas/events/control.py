"""The audit log of llm.control: what is in force, and who changed it. Never compacted, kept for ever."""

from dataclasses import dataclass

from schemas.events.base import Event


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicsCreated(Event):
    """The number of partitions is fixed at creation and verified at every start."""

    topic_prefix: str
    partitions: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigurationApplied(Event):
    """A whole configuration: `document` is its JSON with sorted keys; `digest` is the SHA-256 of that."""

    document: str
    digest: str
    author: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetSet(Event):
    """`at_limit`: reject | local_only; empty keeps what is in force."""

    scope: str
    period: str
    limit_nano_usd: int
    at_limit: str
    author: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StrategySet(Event):
    """`tenant` is empty for the default of all."""

    strategy: str
    tenant: str
    author: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsSet(Event):
    """Weights by utility, as they were given; empty ends an earlier command. `tenant` is empty for the default of all."""

    weights: dict[str, float]
    tenant: str
    author: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CircuitForced(Event):
    """`position`: open | closed | auto."""

    deployment: str
    position: str
    author: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CredentialReleased(Event):
    """The credentials of a deployment that its provider refused are used again, and a missing model is asked for again."""

    deployment: str
    author: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentSwitched(Event):
    """A deployment taken out of service, or put back."""

    deployment: str
    on: bool
    author: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertSilenced(Event):
    """Nobody is told of the alerts of `subject` (kind:subject, may end in `*`) until `until_at`; 0 ends the silence."""

    subject: str
    until_at: int
    author: str
