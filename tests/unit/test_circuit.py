"""The rules of circuits, one by one."""

from typing import Any

import pytest
from fold_events import SECOND, START, failed, probe_failed, probe_succeeded, succeeded, ticked
from fold_world import in_force

from projections.circuit import CircuitFold
from projections.fold import LogRecord
from schemas.events import CircuitClosed, CircuitHalfOpened, CircuitOpened, Event
from schemas.inforce import InForce
from schemas.state import CircuitState


class Circuit:
    """One circuit and the records it was given, a second apart by default."""

    def __init__(self, inforce: InForce | None = None) -> None:
        self.fold, self.inforce = CircuitFold(), inforce or in_force()
        self.state, self.now, self.offset = self.fold.initial(), START, 0
        self.derived: list[Event] = []

    def give(self, make: Any, times: int = 1, after_s: float = 1.0, **change: Any) -> CircuitState:
        for _ in range(times):
            self.now += round(after_s * SECOND)
            self.offset += 1
            event = make(**{"circuit_epoch": self.state.epoch} | change)
            record = LogRecord("llm.attempts", 3, self.offset, self.now, event)
            self._take(self.fold.step(self.state, record, self.inforce))
        return self.state

    def tick(self, after_s: float = 5.0, inforce: InForce | None = None) -> CircuitState:
        self.now += round(after_s * SECOND)
        self.offset += 1
        self.inforce = inforce or self.inforce
        record = LogRecord("llm.attempts", 3, self.offset, self.now, ticked())
        self._take(self.fold.tick(self.state, "d1", record, self.inforce))
        return self.state

    def _take(self, stepped: tuple[CircuitState, tuple[Event, ...]]) -> None:
        self.state = stepped[0]
        self.derived += stepped[1]

    def kinds(self) -> list[type[Event]]:
        return [type(event) for event in self.derived]


def opened() -> Circuit:
    circuit = Circuit()
    circuit.give(failed, 5)
    return circuit


def half_open() -> Circuit:
    circuit = opened()
    circuit.give(probe_succeeded)
    return circuit


def test_five_counted_failures_in_a_row_open() -> None:
    circuit = Circuit()
    assert circuit.give(failed, 4).status == "closed"
    state = circuit.give(failed)
    assert (state.status, state.epoch, state.trips) == ("open", 1, 1)
    assert state.open_until == circuit.now + 60 * SECOND
    assert state.last_failed_at == state.opened_at == circuit.now
    assert circuit.derived == [
        CircuitOpened(
            event_id="llm.attempts-3-5/CircuitOpened/d1", occurred_at=circuit.now, worker="", subject="d1",
            derived_from="llm.attempts-3-5", logged_at=circuit.now, deployment="d1", epoch=1,
            reason="5 failures in a row: server_error", open_until=state.open_until, trips=1,
        )
    ]  # fmt: skip


def test_a_success_breaks_the_row() -> None:
    circuit = Circuit()
    circuit.give(failed, 4)
    circuit.give(succeeded)
    assert circuit.give(failed, 4).status == "closed"


def test_a_failure_that_does_not_count_neither_counts_nor_breaks_the_row() -> None:
    circuit = Circuit()
    circuit.give(failed, 4)
    before = circuit.state
    assert circuit.give(failed, 9, counts_toward_circuit=False, failure="rate_limited") is before
    assert circuit.give(failed).status == "open"


def test_half_of_twenty_calls_failing_opens() -> None:
    circuit = Circuit()
    for _ in range(9):
        circuit.give(failed, after_s=0.5)
        circuit.give(succeeded, after_s=0.5)
    circuit.give(succeeded, after_s=0.5)
    assert circuit.state.status == "closed", "9 of 19"
    assert circuit.give(failed, after_s=0.5).reason == "10 of 20 calls failed within 30 s"


def test_calls_outside_the_window_are_forgotten() -> None:
    circuit = Circuit()
    for _ in range(9):
        circuit.give(failed, after_s=0.5)
        circuit.give(succeeded, after_s=0.5)
    circuit.give(succeeded, after_s=40)
    assert circuit.state.window == ((circuit.now // SECOND, 1, 0, 0),)
    assert circuit.give(failed).status == "closed"


def test_the_first_second_of_a_window_counts_and_the_one_before_does_not() -> None:
    circuit = Circuit(in_force(window_s=10))
    circuit.give(succeeded)
    circuit.give(succeeded, after_s=9)
    assert len(circuit.state.window) == 2
    assert len(circuit.give(succeeded, after_s=1).window) == 2


def test_slow_calls_open() -> None:
    circuit = Circuit()
    circuit.give(succeeded, 4)
    assert circuit.give(succeeded, 15, latency_ms=30_001.0).status == "closed"
    assert circuit.give(succeeded, latency_ms=30_001.0).reason == "16 of 20 calls took over 30 s within 30 s"
    assert circuit.state.open_until == circuit.now + 60 * SECOND


@pytest.mark.parametrize(("jitter", "seconds"), [(1.0, 66), (-1.0, 54), (0.5, 63)])
def test_jitter_moves_the_deadline_by_a_tenth_at_most(jitter: float, seconds: int) -> None:
    circuit = Circuit()
    assert circuit.give(failed, 5, jitter=jitter).open_until == circuit.now + seconds * SECOND


def test_open_time_doubles_with_each_trip_up_to_its_bound() -> None:
    circuit, spans = opened(), []
    for _ in range(5):
        spans.append((circuit.state.open_until - circuit.state.opened_at) // SECOND)
        circuit.give(probe_succeeded)
        circuit.give(probe_failed)
    assert spans == [60, 120, 240, 300, 300]
    assert circuit.state.trips == 6


def test_while_open_only_a_probe_half_opens() -> None:
    circuit = opened()
    before = circuit.state
    assert circuit.give(succeeded, 5, trial=True) is before
    assert circuit.tick(after_s=1_000) is before
    assert circuit.give(probe_succeeded).status == "half_open"
    assert circuit.state.epoch == 2


def test_a_failure_while_open_moves_the_deadline_to_the_newer_one() -> None:
    circuit = opened()
    until = circuit.state.open_until
    assert circuit.give(probe_failed, after_s=5).open_until == until + 5 * SECOND
    assert circuit.give(probe_failed, after_s=1, jitter=-1.0).open_until == until + 5 * SECOND
    assert (circuit.state.epoch, circuit.state.trips, len(circuit.derived)) == (1, 1, 1)
    assert circuit.state.last_failed_at == circuit.now


def test_three_successes_of_probes_and_trials_close_and_forget_the_trips() -> None:
    circuit = half_open()
    circuit.give(probe_succeeded)
    circuit.give(succeeded, trial=True)
    assert circuit.state.status == "half_open"
    state = circuit.give(probe_succeeded)
    assert (state.status, state.epoch, state.trips, state.failures, state.window) == ("closed", 3, 0, 0, ())
    assert state.last_failed_at > 0
    assert circuit.kinds() == [CircuitOpened, CircuitHalfOpened, CircuitClosed]


def test_in_half_open_calls_that_are_no_trial_say_nothing() -> None:
    circuit = half_open()
    before = circuit.state
    assert circuit.give(succeeded, 5) is before
    assert circuit.give(failed, 5) is before


@pytest.mark.parametrize(("make", "change"), [(failed, {"trial": True}), (probe_failed, {})])
def test_one_counted_failure_in_half_open_re_opens(make: Any, change: dict[str, Any]) -> None:
    circuit = half_open()
    circuit.give(probe_succeeded, 2)
    state = circuit.give(make, **change)
    assert (state.status, state.epoch, state.trips, state.successes) == ("open", 3, 2, 0)
    assert state.open_until == circuit.now + 120 * SECOND


@pytest.mark.parametrize(
    ("make", "change"),
    [(failed, {"trial": True, "counts_toward_circuit": False}), (probe_failed, {"failure": "rate_limited"})],
)
def test_an_uncounted_failure_in_half_open_changes_nothing(make: Any, change: dict[str, Any]) -> None:
    circuit = half_open()
    before = circuit.state
    assert circuit.give(make, **change) is before


def test_outcomes_of_an_older_epoch_are_ignored() -> None:
    circuit = half_open()
    before = circuit.state
    for make in (succeeded, failed, probe_succeeded, probe_failed):
        change = {"trial": True} if make in (succeeded, failed) else {}
        assert circuit.give(make, 5, circuit_epoch=before.epoch - 1, **change) is before


def test_with_probing_off_time_half_opens() -> None:
    circuit = Circuit(in_force(probe_interval_s=0))
    circuit.give(failed, 5)
    assert circuit.tick(after_s=59).status == "open"
    assert circuit.tick(after_s=1).status == "half_open"
    assert circuit.give(succeeded, 3, trial=True).status == "closed"


def test_forced_open_holds_until_it_is_released_and_a_probe_succeeds() -> None:
    circuit = Circuit()
    state = circuit.tick(inforce=in_force({"d1": "open"}))
    assert (state.status, state.epoch, state.open_until, state.reason) == ("open", 1, 0, "forced open")
    assert circuit.tick() is state
    assert circuit.give(probe_succeeded, 9) is state
    assert circuit.tick(inforce=in_force()).status == "open"
    assert circuit.give(probe_succeeded).status == "half_open"
    assert circuit.kinds() == [CircuitOpened, CircuitHalfOpened]


def test_forced_closed_holds_and_stays_closed_when_released() -> None:
    circuit = opened()
    state = circuit.tick(inforce=in_force({"d1": "closed"}))
    assert (state.status, state.epoch, state.trips, state.reason) == ("closed", 2, 0, "forced closed")
    assert circuit.give(failed, 9) is state
    assert circuit.tick(inforce=in_force()).status == "closed"
    assert circuit.give(failed, 4).status == "closed"
    assert circuit.give(failed).status == "open"


def test_one_command_may_follow_another() -> None:
    circuit = Circuit()
    circuit.tick(inforce=in_force({"d1": "open"}))
    circuit.tick(inforce=in_force({"d1": "closed"}))
    assert (circuit.state.status, circuit.state.epoch) == ("closed", 2)


def test_a_command_for_another_deployment_changes_nothing() -> None:
    circuit = Circuit()
    before = circuit.state
    assert circuit.tick(inforce=in_force({"d2": "open"})) is before
