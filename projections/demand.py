"""Calls to deployments with a limit of requests a minute, hour by hour for five weeks: what `predictive` foresees from."""

from projections.fold import LogRecord
from schemas.demand import SLOTS
from schemas.events import AttemptFailed, AttemptSucceeded, Event
from schemas.inforce import InForce
from schemas.periods import HOUR
from schemas.state import HourCalls

OUTCOMES = (AttemptSucceeded, AttemptFailed)
NOTHING = HourCalls()
Stepped = tuple[HourCalls, tuple[Event, ...]]


class DemandFold:
    """kind `demand`: `slot/deployment` -> HourCalls. An hour is a subject of its own in a ring of slots, so that a call
    rewrites one small snapshot."""

    kind: str = "demand"
    version: int = 1
    reads: tuple[type[Event], ...] = OUTCOMES

    def initial(self) -> HourCalls:
        return NOTHING

    def subject(self, event: Event) -> str | None:
        raise AssertionError("the subject depends on the time")

    def subject_at(self, event: Event, logged_at: int) -> str | None:
        return f"{logged_at // HOUR % SLOTS}/{event.deployment}" if isinstance(event, OUTCOMES) else None

    def step(self, state: HourCalls, record: LogRecord, inforce: InForce) -> Stepped:
        event = record.event
        assert isinstance(event, OUTCOMES)
        deployment = inforce.configuration.catalog.deployment_by_id.get(event.deployment)
        if deployment is None or deployment.limits.requests_per_minute is None:
            return state, ()
        start = record.logged_at // HOUR
        # The ring came round: what the slot held is five weeks old.
        return HourCalls(start, state.calls + 1 if state.start == start else 1), ()

    def tick(self, state: HourCalls, subject: str, record: LogRecord, inforce: InForce) -> Stepped:
        return state, ()
