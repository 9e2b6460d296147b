"""The circuit of a deployment: closed, open, half-open. A pure fold of attempts, probes and ticks.

A closed circuit opens after consecutive counted failures, or by the ratio of failed or slow calls in a window. Only a
probe half-opens it (or, where probing is off, time), and successes in a row of probes and trial calls close it.
"""

from dataclasses import replace

from projections.fold import LogRecord
from schemas.events import (
    AttemptFailed,
    AttemptSucceeded,
    CircuitClosed,
    CircuitEvent,
    CircuitHalfOpened,
    CircuitOpened,
    Event,
    ProbeFailed,
    ProbeSucceeded,
)
from schemas.failures import BEHAVIOUR, Failure
from schemas.inforce import InForce
from schemas.policy import CircuitPolicy
from schemas.state import CircuitState
from schemas.units import MICROS_PER_S

Outcome = AttemptSucceeded | AttemptFailed | ProbeSucceeded | ProbeFailed
Window = tuple[tuple[int, int, int, int], ...]
Stepped = tuple[CircuitState, tuple[Event, ...]]

# Tuples, because a union of types is built anew at every isinstance.
ATTEMPTS = (AttemptSucceeded, AttemptFailed)
FAILURES = (AttemptFailed, ProbeFailed)
OUTCOMES = (AttemptSucceeded, AttemptFailed, ProbeSucceeded, ProbeFailed)
JITTER = 0.1
MOST_DOUBLINGS = 30
UNCOUNTED = frozenset(failure.value for failure in Failure if not BEHAVIOUR[failure].counts)
CLOSED = CircuitState()


class CircuitFold:
    """kind `circuit`: deployment -> CircuitState. `open_until` is 0 while a command holds a circuit open."""

    kind: str = "circuit"
    version: int = 1
    reads: tuple[type[Event], ...] = OUTCOMES

    def initial(self) -> CircuitState:
        return CLOSED

    def subject(self, event: Event) -> str | None:
        return event.deployment if isinstance(event, OUTCOMES) else None

    def step(self, state: CircuitState, record: LogRecord, inforce: InForce) -> Stepped:
        event = record.event
        assert isinstance(event, OUTCOMES)
        if state.forced or event.circuit_epoch < state.epoch or not _counts(event):
            return state, ()
        policy = inforce.configuration.circuit
        if state.status == "closed":
            return _while_closed(state, event, record, policy)
        if state.status == "open":
            return _while_open(state, event, record, policy)
        return _while_half_open(state, event, record, policy)

    def tick(self, state: CircuitState, subject: str, record: LogRecord, inforce: InForce) -> Stepped:
        position = inforce.forced.get(subject, "")
        if position != state.forced:
            if position == "open":
                held = replace(_opened(state, state.trips, record.logged_at, 0, "forced open"), forced="open")
                return held, (_opened_event(held, subject, record),)
            if position == "closed":
                held = replace(_closed(state, "forced closed"), forced="closed")
                return held, (_event(CircuitClosed, held, subject, record),)
            # Released: an open circuit waits for a probe like any other, a closed one simply goes on.
            state = replace(state, forced="", reason="released from a command")
        probing = inforce.configuration.circuit.probe_interval_s > 0
        if state.status == "open" and not state.forced and not probing and state.open_until <= record.logged_at:
            trying = _half_opened(state, "the open time ended and probing is off")
            return trying, (_event(CircuitHalfOpened, trying, subject, record),)
        return state, ()


def _counts(event: Outcome) -> bool:
    """Whether the outcome says anything about the deployment: a 429, for one, does not."""
    if isinstance(event, AttemptFailed):
        return event.counts_toward_circuit
    return not isinstance(event, ProbeFailed) or event.failure not in UNCOUNTED


def _while_closed(state: CircuitState, event: Outcome, record: LogRecord, policy: CircuitPolicy) -> Stepped:
    if not isinstance(event, ATTEMPTS):
        return state, ()
    now = record.logged_at
    failed = isinstance(event, AttemptFailed)
    slow = event.latency_ms > policy.slow_call_s * 1_000
    window, calls, failures, slow_calls = _counted(state.window, now // MICROS_PER_S, failed, slow, policy.window_s)
    in_a_row = state.failures + 1 if failed else 0
    counted = CircuitState(
        "closed", state.epoch, in_a_row, 0, state.trips, state.opened_at, state.open_until,
        now if failed else state.last_failed_at, "", state.reason, window,
    )  # fmt: skip
    if in_a_row >= policy.failure_threshold:
        reason = f"{in_a_row} failures in a row: {_failure(event)}"
    elif calls < policy.minimum_calls:
        return counted, ()
    elif failures >= policy.failure_ratio * calls:
        reason = f"{failures} of {calls} calls failed within {policy.window_s} s"
    elif slow_calls >= policy.slow_ratio * calls:
        reason = f"{slow_calls} of {calls} calls took over {policy.slow_call_s:g} s within {policy.window_s} s"
    else:
        return counted, ()
    return _open(counted, event, record, policy, reason)


def _while_open(state: CircuitState, event: Outcome, record: LogRecord, policy: CircuitPolicy) -> Stepped:
    if isinstance(event, ProbeSucceeded):
        trying = _half_opened(state, "a probe succeeded")
        return trying, (_event(CircuitHalfOpened, trying, event.deployment, record),)
    if isinstance(event, AttemptSucceeded):
        return state, ()
    # A failure while open says that it is still down: the newer deadline wins.
    now = record.logged_at
    deadline = max(state.open_until, now + _open_for(state.trips - 1, event.jitter, policy))
    if deadline == state.open_until and now == state.last_failed_at:
        return state, ()
    return replace(state, open_until=deadline, last_failed_at=now), ()


def _while_half_open(state: CircuitState, event: Outcome, record: LogRecord, policy: CircuitPolicy) -> Stepped:
    if isinstance(event, ATTEMPTS) and not event.trial:
        return state, ()
    if isinstance(event, FAILURES):
        failed = replace(state, last_failed_at=record.logged_at)
        return _open(failed, event, record, policy, f"failed again while half-open: {_failure(event)}")
    successes = state.successes + 1
    if successes < policy.success_threshold:
        return replace(state, successes=successes), ()
    closed = _closed(state, f"{successes} successes in a row")
    return closed, (_event(CircuitClosed, closed, event.deployment, record),)


def _counted(window: Window, second: int, failed: bool, slow: bool, length: int) -> tuple[Window, int, int, int]:
    """The window of the last `length` seconds with one more call, and its sums: calls, failures, slow calls."""
    since = second - length
    if window and window[0][0] <= since:
        window = tuple(bucket for bucket in window if bucket[0] > since)
    if window and window[-1][0] == second:
        _, calls, failures, slow_calls = window[-1]
        window = (*window[:-1], (second, calls + 1, failures + failed, slow_calls + slow))
    else:
        window = (*window, (second, 1, int(failed), int(slow)))
    calls = failures = slow_calls = 0
    for _, some, bad, late in window:
        calls += some
        failures += bad
        slow_calls += late
    return window, calls, failures, slow_calls


def _open_for(doublings: int, jitter: float, policy: CircuitPolicy) -> int:
    """Microseconds: open_s x 2^n, at most max_open_s, +-10 % so that circuits do not come back all at once."""
    bounded = min(policy.open_s * 2.0 ** min(max(doublings, 0), MOST_DOUBLINGS), policy.max_open_s)
    return round(bounded * (1 + JITTER * jitter) * MICROS_PER_S)


def _open(state: CircuitState, event: Outcome, record: LogRecord, policy: CircuitPolicy, reason: str) -> Stepped:
    # A slow answer is a success and carries no jitter.
    jitter = 0.0 if isinstance(event, AttemptSucceeded) else event.jitter
    now = record.logged_at
    opened = _opened(state, state.trips + 1, now, now + _open_for(state.trips, jitter, policy), reason)
    return opened, (_opened_event(opened, event.deployment, record),)


def _opened(state: CircuitState, trips: int, now: int, until: int, reason: str) -> CircuitState:
    return CircuitState(
        status="open", epoch=state.epoch + 1, trips=trips, opened_at=now, open_until=until,
        last_failed_at=state.last_failed_at, reason=reason,
    )  # fmt: skip


def _half_opened(state: CircuitState, reason: str) -> CircuitState:
    return replace(state, status="half_open", epoch=state.epoch + 1, failures=0, successes=0, reason=reason)


def _closed(state: CircuitState, reason: str) -> CircuitState:
    # Closing forgets the trips, whatever closed it, so none can outlive ten minutes of being closed.
    return CircuitState(
        epoch=state.epoch + 1, opened_at=state.opened_at, last_failed_at=state.last_failed_at, reason=reason
    )  # fmt: skip


def _failure(event: Outcome) -> str:
    return event.failure if isinstance(event, FAILURES) else ""


def _event(
    kind: type[CircuitHalfOpened] | type[CircuitClosed], state: CircuitState, deployment: str, record: LogRecord
) -> CircuitEvent:
    origin = record.position
    return kind(
        event_id=f"{origin}/{kind.__name__}/{deployment}", occurred_at=record.logged_at, worker="", subject=deployment,
        derived_from=origin, logged_at=record.logged_at, deployment=deployment, epoch=state.epoch, reason=state.reason,
    )  # fmt: skip


def _opened_event(state: CircuitState, deployment: str, record: LogRecord) -> CircuitOpened:
    origin = record.position
    return CircuitOpened(
        event_id=f"{origin}/CircuitOpened/{deployment}", occurred_at=record.logged_at, worker="", subject=deployment,
        derived_from=origin, logged_at=record.logged_at, deployment=deployment, epoch=state.epoch, reason=state.reason,
        open_until=state.open_until, trips=state.trips,
    )  # fmt: skip
