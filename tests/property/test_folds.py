"""Laws of every fold: duplicates, snapshots at any point, interleaving, replay; invariants of circuits and money."""

from fold_events import START
from fold_logs import Log, attempts_logs, costs_logs, logs
from fold_world import Compacted, projection, values
from hypothesis import given
from hypothesis import strategies as st

from projections.partition import PartitionProjection
from schemas.events import CircuitClosed, CircuitEvent, CircuitHalfOpened, CircuitOpened, CostIncurred, Event
from schemas.snapshots import encode_value
from schemas.state import SpendState


def run(log: Log, partition: int = 0) -> PartitionProjection:
    projected = projection(log.kind, partition)
    for record in log.records:
        projected.apply(record)
    return projected


@given(logs(), st.data())
def test_redelivered_records_change_nothing(log: Log, data: st.DataObject) -> None:
    projected = projection(log.kind)
    for index, record in enumerate(log.records):
        assert tuple(projected.apply(record)) == log.derived[index]
        again = data.draw(st.integers(0, index))
        before = values(projected, log.kind)
        for earlier in log.records[again : index + 1]:
            assert projected.apply(earlier) == []
        assert values(projected, log.kind) == before


@given(logs(), st.data())
def test_a_crash_at_any_point_of_a_flush_loses_and_doubles_nothing(log: Log, data: st.DataObject) -> None:
    state, owner, derived = Compacted(), projection(log.kind), dict[int, list[Event]]()
    position = 0
    for epoch in range(data.draw(st.integers(1, 4))):
        upto = data.draw(st.integers(position, len(log.records)))
        for record in log.records[:upto]:
            written = owner.apply(record)
            assert set(map(repr, written)) <= set(map(repr, derived.get(record.offset, written)))
            derived.setdefault(record.offset, written)
            if data.draw(st.integers(0, 9)) == 0:
                state.write(owner.flush(epoch))
        flushed = owner.flush(epoch)
        state.write(flushed[: data.draw(st.integers(0, len(flushed)))])
        owner = projection(log.kind)
        owner.restore(data.draw(st.permutations(list(state.held.values()))))
        position = upto
    for record in log.records:
        derived.setdefault(record.offset, owner.apply(record))
    assert values(owner, log.kind) == values(run(log), log.kind)
    assert tuple(tuple(derived[record.offset]) for record in log.records) == log.derived


@given(logs(), st.data())
def test_a_restored_projection_equals_the_one_that_flushed(log: Log, data: st.DataObject) -> None:
    state, owner = Compacted(), projection(log.kind)
    for record in log.records:
        owner.apply(record)
        if data.draw(st.integers(0, 4)) == 0:
            state.write(owner.flush(1))
    state.write(owner.flush(1))
    restored = projection(log.kind)
    restored.restore(state.held.values())
    assert values(restored, log.kind) == values(owner, log.kind)
    assert len(owner.flush(1)) == 1, "what did not change is not written again"
    assert restored.inforce == owner.inforce


@given(logs(), st.data())
def test_the_latest_of_many_snapshots_is_restored(log: Log, data: st.DataObject) -> None:
    owner = projection(log.kind)
    every = list(owner.flush(0))
    for record in log.records:
        owner.apply(record)
        every += owner.flush(record.offset // 20)
    restored = projection(log.kind)
    restored.restore(data.draw(st.permutations(every)))
    assert values(restored, log.kind) == values(owner, log.kind)


@given(st.tuples(logs(0), logs(1)), st.data())
def test_partitions_interleave_in_any_order(pair: tuple[Log, Log], data: st.DataObject) -> None:
    alone = [values(run(log, index), log.kind) for index, log in enumerate(pair)]
    together = [projection(log.kind, index) for index, log in enumerate(pair)]
    turns = data.draw(st.permutations([0] * len(pair[0].records) + [1] * len(pair[1].records)))
    left = [iter(log.records) for log in pair]
    for turn in turns:
        together[turn].apply(next(left[turn]))
    assert [values(each, log.kind) for each, log in zip(together, pair, strict=True)] == alone


@given(logs())
def test_the_same_object_stays_where_nothing_changes(log: Log) -> None:
    projected = projection(log.kind)
    for record in log.records:
        kinds = [kind for kind, _ in values(projected, log.kind) if kind != "cursor"]
        before = {(kind, s): projected.snapshot(kind, s) for kind in kinds for s in projected.subjects(kind)}
        projected.apply(record)
        for (kind, subject), state in before.items():
            after = projected.snapshot(kind, subject)
            assert after is state or encode_value(after) != encode_value(state)


@given(attempts_logs())
def test_circuits_move_one_step_at_a_time(log: Log) -> None:
    projected = projection(log.kind)
    status: dict[str, tuple[str, int]] = {}
    for record in log.records:
        for event in projected.apply(record):
            assert isinstance(event, CircuitEvent)
            before, epoch = status.get(event.deployment, ("closed", 0))
            assert event.epoch == epoch + 1
            forced = event.reason.startswith("forced")
            match event:
                case CircuitOpened():
                    assert forced or before in ("closed", "half_open")
                    assert forced or event.open_until > record.logged_at
                    status[event.deployment] = "open", event.epoch
                case CircuitHalfOpened():
                    assert before == "open"
                    assert not forced
                    status[event.deployment] = "half_open", event.epoch
                case CircuitClosed():
                    assert forced or before == "half_open"
                    status[event.deployment] = "closed", event.epoch
            assert event.derived_from == f"llm.attempts-0-{record.offset}"
        for subject in projected.subjects("circuit"):
            circuit = projected.snapshot("circuit", subject)
            assert (circuit.status, circuit.epoch) == status.get(subject, ("closed", 0))
            assert circuit.status == "closed" or not circuit.window
            assert circuit.status != "closed" or circuit.trips == 0
            assert not circuit.forced or circuit.status == circuit.forced
            policy = projected.inforce.configuration.circuit
            assert len(circuit.window) <= max(policy.window_s, 30)


@given(costs_logs())
def test_every_charge_counts_once_and_scopes_agree(log: Log) -> None:
    projected = projection(log.kind)
    for record in log.records:
        for event in projected.apply(record):
            assert isinstance(event, CostIncurred)
            assert event.event_id == f"{event.cost_id}/expired"
            held = projected.snapshot("spend", event.tenant).open[event.cost_id]
            assert held.nano_usd == event.nano_usd
            assert held.expires_at <= projected.clock
        for tenant in projected.subjects("spend"):
            spend: SpendState = projected.snapshot("spend", tenant)
            assert not spend.open.keys() & spend.estimated.keys()
            for period, whole in spend.periods("tenant").items():
                assert START - 40 * 86_400_000_000 < whole.start <= projected.clock
                for prefix in ("provider:", "deployment:"):
                    parts = [spend.periods(scope)[period] for scope in spend.totals if scope.startswith(prefix)]
                    current = [part for part in parts if part.start == whole.start]
                    assert (sum(p.spent for p in current), sum(p.count for p in current)) == (whole.spent, whole.count)


@given(logs())
def test_passing_over_what_concerns_nothing_equals_folding_it(log: Log) -> None:
    passing = projection(log.kind)
    for index, record in enumerate(log.records):
        if passing.concerns(type(record.event)):
            assert tuple(passing.apply(record)) == log.derived[index]
        else:
            passing.pass_over(record.offset, record.logged_at)
            assert log.derived[index] == ()
        assert passing.covered == record.offset
    folded = run(log)
    assert values(passing, log.kind) == values(folded, log.kind)
    assert passing.clock == folded.clock
