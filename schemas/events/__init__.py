"""Every event, by name. A reader greps one table."""

from schemas.events.attempts import (
    AttemptAbandoned,
    AttemptEvent,
    AttemptFailed,
    AttemptStarted,
    AttemptSucceeded,
    ProbeEvent,
    ProbeFailed,
    ProbeSucceeded,
)
from schemas.events.base import AssignmentStarted, ClockTicked, Event, RequestEvent
from schemas.events.control import (
    AlertSilenced,
    BudgetSet,
    CircuitForced,
    ConfigurationApplied,
    CredentialReleased,
    DeploymentSwitched,
    StrategySet,
    TopicsCreated,
    WeightsSet,
)
from schemas.events.costs import CostEvent, CostIncurred, CostReserved
from schemas.events.feedback import FeedbackGiven
from schemas.events.requests import (
    Block,
    Exclusion,
    PlanStep,
    RequestAccepted,
    RequestCompleted,
    RequestDeduplicated,
    RequestRejected,
    RouteDecided,
)
from schemas.events.transitions import (
    AlertDelivered,
    AlertEscalated,
    AlertEvent,
    AlertRaised,
    AlertResolved,
    AnomalyDetected,
    BudgetLimitChanged,
    BudgetPeriodStarted,
    BudgetThresholdCrossed,
    CircuitClosed,
    CircuitEvent,
    CircuitHalfOpened,
    CircuitOpened,
    DerivedEvent,
    PartitionPaused,
    PartitionResumed,
    SlaBreached,
    SlaEvent,
    SlaMeasured,
    SlaRestored,
)

EVENTS: tuple[type[Event], ...] = (
    AssignmentStarted, ClockTicked,
    RequestAccepted, RequestRejected, RequestDeduplicated, RouteDecided, RequestCompleted,
    AttemptStarted, AttemptSucceeded, AttemptFailed, AttemptAbandoned, ProbeSucceeded, ProbeFailed,
    CostReserved, CostIncurred,
    CircuitOpened, CircuitHalfOpened, CircuitClosed, BudgetLimitChanged, BudgetPeriodStarted, BudgetThresholdCrossed,
    FeedbackGiven,
    SlaMeasured, SlaBreached, SlaRestored, AnomalyDetected, PartitionPaused, PartitionResumed,
    AlertRaised, AlertEscalated, AlertResolved, AlertDelivered,
    TopicsCreated, ConfigurationApplied, BudgetSet, StrategySet, CircuitForced, CredentialReleased,
    DeploymentSwitched, AlertSilenced, WeightsSet,
)  # fmt: skip
EVENT_TYPES: dict[str, type[Event]] = {event.__name__: event for event in EVENTS}

__all__ = [
    "EVENTS", "EVENT_TYPES", "AlertDelivered", "AlertEscalated", "AlertEvent", "AlertRaised", "AlertResolved",
    "AlertSilenced", "AnomalyDetected", "AssignmentStarted", "AttemptAbandoned", "AttemptEvent", "AttemptFailed",
    "AttemptStarted", "AttemptSucceeded", "Block", "BudgetLimitChanged", "BudgetPeriodStarted", "BudgetSet",
    "BudgetThresholdCrossed", "CircuitClosed", "CircuitEvent", "CircuitForced", "CircuitHalfOpened", "CircuitOpened",
    "ClockTicked", "ConfigurationApplied", "CostEvent", "CostIncurred", "CostReserved", "CredentialReleased",
    "DeploymentSwitched", "DerivedEvent", "Event",
    "Exclusion", "FeedbackGiven", "PartitionPaused", "PartitionResumed", "PlanStep", "ProbeEvent", "ProbeFailed",
    "ProbeSucceeded", "RequestAccepted", "RequestCompleted", "RequestDeduplicated", "RequestEvent", "RequestRejected",
    "RouteDecided", "SlaBreached", "SlaEvent", "SlaMeasured", "SlaRestored", "StrategySet", "TopicsCreated",
    "WeightsSet",
]  # fmt: skip
