"""What must hold at the end of every world, read from its logs alone."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from simulation.broker import Record

from projections.fold import LogRecord
from projections.partition import FOLDS, PartitionProjection
from schemas.events import (
    AssignmentStarted,
    AttemptStarted,
    BudgetPeriodStarted,
    BudgetThresholdCrossed,
    ClockTicked,
    CostIncurred,
    CostReserved,
    DerivedEvent,
    RequestCompleted,
    RequestDeduplicated,
)
from schemas.inforce import InForce, apply_control
from schemas.snapshots import Snapshot, encode_value

JUDGED = (BudgetPeriodStarted, BudgetThresholdCrossed)


@dataclass(frozen=True, slots=True)
class Told:
    """An answer in the log."""

    source: str
    identity: tuple[str, str]
    run: int
    status: str
    retryable: bool
    record: Record


class Logs:
    """The logs of a world, decoded once."""

    def __init__(self, world: Any) -> None:
        self.world = world
        self.events: dict[str, list[tuple[Record, Any]]] = {}
        for kind in ("decisions", "attempts", "costs", "transitions", "feedback", "state", "control"):
            self.events[kind] = [
                (record, world.codec.decode(record.value))
                for (topic, _), log in sorted(world.broker.logs.items())
                if topic == world.topics.name(kind)
                for record in log
                if record is not None
            ]
        self.answers = sorted(self._answers(), key=lambda told: told.record.number)
        self.by_source: dict[str, list[Told]] = defaultdict(list)
        for told in self.answers:
            self.by_source[told.source].append(told)

    def _answers(self) -> Iterator[Told]:
        for record in self._of("responses"):
            headers = {name: value.decode() for name, value in record.headers}
            yield Told(
                headers["turnout-source"], (headers["turnout-tenant"], headers["request-id"]),
                int(headers["turnout-run"]), headers["turnout-status"], headers["turnout-retryable"] == "true", record,
            )  # fmt: skip

    def _of(self, kind: str) -> Iterator[Record]:
        for (topic, _), log in sorted(self.world.broker.logs.items()):
            if topic == self.world.topics.name(kind):
                yield from log

    def of(self, kind: str, *shapes: type) -> Iterator[tuple[Record, Any]]:
        return ((record, event) for record, event in self.events[kind] if isinstance(event, shapes))


def violations(world: Any) -> list[str]:
    """One sentence for each broken promise."""
    logs = Logs(world)
    found: list[str] = []
    for check in (_answered, _once, _write_order, _costs, _owners, _leases, _replay):
        found.extend(check(logs))
    return found


def _answered(logs: Logs) -> Iterator[str]:
    """Every request has a final answer, its own or that of the record it repeats."""
    repeats = {str(event.source): str(event.first_source) for _, event in logs.of("decisions", RequestDeduplicated)}
    for record in logs._of("requests"):
        source = f"{record.topic}-{record.partition}-{record.offset}"
        if source not in logs.by_source and repeats.get(source) not in logs.by_source:
            yield f"lost: {source} has no answer"


def _once(logs: Logs) -> Iterator[str]:
    """No source is answered twice, and no id again after an answer that is no retryable error."""
    for source, answers in logs.by_source.items():
        if len(answers) > 1:
            runs = [(told.run, told.record.writer, told.record.offset) for told in answers]
            yield f"twice: {source} has {len(answers)} answers (run, worker, offset): {runs}"
    final: dict[tuple[str, str], str] = {}
    for told in logs.answers:
        first = final.get(told.identity)
        if first is not None and first != told.source:
            yield f"twice: id {told.identity} was answered by {first} and again by {told.source}"
        if not told.retryable:
            final.setdefault(told.identity, told.source)


def _write_order(logs: Logs) -> Iterator[str]:
    """Before a call its start and reservation; before an answer the end and the costs of its run."""
    started = {e.event_id.replace("AttemptStarted/", ""): r.number for r, e in logs.of("attempts", AttemptStarted)}
    reserved: dict[str, int] = {}
    for record, event in logs.of("costs", CostReserved):
        reserved.setdefault(event.cost_id, record.number)
    settled: dict[str, int] = {}
    for record, event in sorted(logs.of("costs", CostIncurred), key=lambda pair: pair[0].number):
        settled.setdefault(event.cost_id, record.number)
    of_run: dict[tuple[str, int], list[str]] = defaultdict(list)
    for call in logs.world.providers.calls:
        for name, places in (("AttemptStarted", started), ("CostReserved", reserved)):
            if places.get(call.attempt_id, call.number + 1) > call.number:
                yield f"order: {call.attempt_id} was called before its {name} stood in the log"
        if call.attempt_id not in settled:
            yield f"cost: {call.attempt_id} was called and nothing was ever charged"
        source, _, rest = call.attempt_id.rpartition("@")
        of_run[source, int(rest.split("/")[0])].append(call.attempt_id)
    completed: dict[tuple[str, int], int] = {}
    for record, event in logs.of("decisions", RequestCompleted):
        completed.setdefault((str(event.source), event.run), record.number)
    for told in logs.answers:
        run = told.source, told.run
        if completed.get(run, told.record.number) >= told.record.number:
            yield f"order: {told.source} run {told.run} was answered before its RequestCompleted stood in the log"
        for attempt in of_run[run]:
            if settled.get(attempt, told.record.number) >= told.record.number:
                yield f"order: {told.source} run {told.run} was answered before the cost of {attempt} stood in the log"


def _costs(logs: Logs) -> Iterator[str]:
    """The sum of a replay is the sum of every cost id's charge, once; nothing stays reserved."""
    owed: dict[str, dict[str, tuple[int, bool]]] = defaultdict(dict)
    known: set[str] = set()
    for _, event in logs.of("costs", CostReserved, CostIncurred):
        if isinstance(event, CostReserved):
            known.add(event.cost_id)
            continue
        charged = owed[event.tenant].get(event.cost_id)
        certain = event.certainty == "certain"
        if event.cost_id in known and (charged is None or (certain and not charged[1])):
            owed[event.tenant][event.cost_id] = event.nano_usd, certain
    for tenant, spend in _replayed_spend(logs).items():
        total = spend.periods("tenant").get("day")
        expected = sum(amount for amount, _ in owed[tenant].values())
        if (total.spent if total else 0) != expected:
            yield f"cost: {tenant} is charged {total.spent if total else 0} and its cost ids add up to {expected}"
        for cost_id in spend.open:
            yield f"reserved: {cost_id} was neither settled nor charged as estimated"


def _owners(logs: Logs) -> Iterator[str]:
    """A run belongs to one worker: attempts and cost ids of two are never taken for one."""
    writers: dict[str, set[str]] = defaultdict(set)
    for _, event in [*logs.of("attempts", AttemptStarted), *logs.of("costs", CostReserved)]:
        writers[f"{event.source}@{event.run}"].add(event.worker)
    for name, workers in writers.items():
        if len(workers) > 1:
            yield f"run: {name} was run by {sorted(workers)}"


def _leases(logs: Logs) -> Iterator[str]:
    """Nobody writes for a request after its lease has lapsed and a newer owner has marked the partition."""
    markers: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for record, event in logs.of("decisions", AssignmentStarted):
        markers[event.partition].append((record.offset, record.number))
    writes = [(told.record, int(told.source.split("-")[-2]), told.run) for told in logs.answers]
    for kind in ("decisions", "attempts", "costs"):
        for record, event in logs.events[kind]:
            if getattr(event, "source", None) is not None and event.worker:
                writes.append((record, event.source.partition, event.run))
    for record, partition, run in writes:
        if record.sent_at <= record.lease_end:
            continue
        if any(offset > run and number < record.number for offset, number in markers[partition]):
            yield f"lease: {record.writer} wrote {record.topic}-{record.partition}-{record.offset} for run {run} too late"


def _control(logs: Logs) -> Any:
    states = [InForce()]
    for record, event in logs.events["control"]:
        states.append(apply_control(states[-1], record.offset, event))
    return lambda offset: states[offset + 1]


def _projected(logs: Logs, kind: str, partition: int, upto: int | None = None) -> tuple[PartitionProjection, list[Any]]:
    projection = PartitionProjection(logs.world.topics.name(kind), partition, FOLDS[kind], _control(logs))
    derived = []
    for record, event in logs.events[kind]:
        if record.partition == partition and (upto is None or record.offset <= upto):
            derived += projection.apply(
                LogRecord(record.topic, partition, record.offset, record.timestamp * 1000, event)
            )
    return projection, derived


def _replayed_spend(logs: Logs) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for partition in range(logs.world.topics.partitions):
        projection, _ = _projected(logs, "costs", partition)
        for tenant in projection.subjects("spend"):
            found[tenant] = projection.snapshot("spend", tenant)
    return found


def _replay(logs: Logs) -> Iterator[str]:
    """The compacted state is what a replay of the log gives, and all that follows from the log stands in it."""
    compacted: dict[str, Snapshot] = {}
    for record, snapshot in logs.events["state"]:
        assert record.key is not None
        compacted[record.key.decode()] = snapshot
    written = {
        event.event_id
        for kind in ("transitions", "costs")
        for _, event in logs.of(kind, DerivedEvent, CostIncurred)
        if not isinstance(event, JUDGED)
    }
    for kind in FOLDS:
        topic = logs.world.topics.name(kind)
        for partition in range(logs.world.topics.partitions):
            of_place = [s for s in compacted.values() if (s.topic, s.partition) == (topic, partition)]
            cursor = next((s for s in of_place if s.kind == "cursor"), None)
            records = [record for record, _ in logs.events[kind] if record.partition == partition]
            if cursor is None:
                yield f"state: {topic}-{partition} was never covered by a cursor"
                continue
            if cursor.offset < records[-1].offset - 6:
                yield f"state: {topic}-{partition} stands still at {cursor.offset} of {records[-1].offset}"
            projection, derived = _projected(logs, kind, partition, cursor.offset)
            for event in derived:
                if event.event_id not in written:
                    yield f"derived: {event.event_id} follows from {topic}-{partition} and was never written"
            published = {(s.kind, s.subject): s for s in of_place if s.kind != "cursor"}
            for fold in FOLDS[kind]:
                for subject in projection.subjects(fold.kind):
                    snapshot = published.get((fold.kind, subject))
                    if snapshot is None:
                        yield f"state: {fold.kind} of {subject} was never published"
                    elif snapshot.offset <= cursor.offset and snapshot.value != encode_value(
                        projection.snapshot(fold.kind, subject)
                    ):
                        yield f"state: {fold.kind} of {subject} at {snapshot.offset} is not what a replay gives"
            if kind == "transitions":
                yield from _judged_once(logs, partition)


def _judged_once(logs: Logs, partition: int) -> Iterator[str]:
    """Nothing in a partition's ticks goes back: what is in force only grows."""
    offset = -1
    for record, event in logs.of("transitions", ClockTicked):
        if record.partition == partition:
            offset = max(offset, event.control_offset)
    if offset < len(logs.events["control"]) - 1:
        yield f"control: transitions-{partition} never reached the last command"
