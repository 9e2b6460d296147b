"""All folds of one partition of a topic: apply records, flush snapshots, restore from them at any point."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

from projections.alert import AlertFold
from projections.anomaly import AnomalyFold
from projections.breach import SlaFold
from projections.circuit import CircuitFold
from projections.demand import DemandFold
from projections.fold import DraftedFold, LogRecord, SlottedFold, SubjectFold
from projections.health import HealthFold
from projections.judge import BudgetFold
from projections.learning import LearnedFold
from projections.quality import QualityFold
from projections.sla import SLA_FOLDS
from projections.spend import SpendFold
from schemas.events import ClockTicked, Event
from schemas.inforce import InForce
from schemas.snapshots import Snapshot, decode_value, encode_value
from schemas.state import Cursor

Fold = SubjectFold[Any]

FOLDS: dict[str, tuple[Fold, ...]] = {
    "decisions": SLA_FOLDS,
    "attempts": (CircuitFold(), HealthFold(), LearnedFold(), DemandFold()),
    "costs": (SpendFold(),),
    "transitions": (BudgetFold(), SlaFold(), AnomalyFold(), AlertFold()),
    "feedback": (QualityFold(),),
}
"""Kind of topic -> the folds of each of its partitions."""


def fold_versions() -> dict[str, int]:
    """Kind of state -> the version that this release folds and reads."""
    return {fold.kind: fold.version for folds in FOLDS.values() for fold in folds}


class PartitionProjection:
    """Owns the states of one partition. `control`: what is in force at an offset of llm.control, -1 for nothing.

    `clock` is the highest broker time seen; a record that is logged earlier counts as logged then.
    """

    def __init__(self, topic: str, partition: int, folds: Sequence[Fold], control: Callable[[int], InForce]) -> None:
        self.topic, self.partition = topic, partition
        self._folds, self._control = tuple(folds), control
        self._slotted: dict[str, SlottedFold] = {fold.kind: fold for fold in folds if isinstance(fold, SlottedFold)}
        # States of these are drafts in `_states`, and are fixed where they leave it.
        self._drafted: dict[str, DraftedFold] = {fold.kind: fold for fold in folds if isinstance(fold, DraftedFold)}
        # A fold that is new or has a new version must see the log from its start, so it must not find the old cursor;
        # versions only grow, so their sum never names the same set twice.
        self._cursor_version = sum(fold.version for fold in self._folds)
        self._reads = tuple(event for fold in self._folds for event in fold.reads)
        self._reset(-1, Cursor(clock=0, control_offset=-1))

    def _reset(self, covered: int, cursor: Cursor) -> None:
        self.covered, self.clock, self.control_offset = covered, cursor.clock, cursor.control_offset
        self.inforce = self._control(cursor.control_offset)
        self._states: dict[str, dict[str, Any]] = {fold.kind: {} for fold in self._folds}
        self._changed: dict[str, set[str]] = {fold.kind: set() for fold in self._folds}
        # Subjects whose snapshot is ahead of the cursor, after a crash between the two: kind, subject -> offset.
        self._ahead: dict[tuple[str, str], int] = {}

    def restore(self, snapshots: Iterable[Snapshot]) -> None:
        """Start anew from snapshots of any topic, kind and epoch; those that are not of these folds are passed over."""
        versions = {fold.kind: fold.version for fold in self._folds} | {"cursor": self._cursor_version}
        best: dict[tuple[str, str], Snapshot] = {}
        for snapshot in snapshots:
            if (snapshot.topic, snapshot.partition) != (self.topic, self.partition):
                continue
            if versions.get(snapshot.kind) != snapshot.fold_version:
                continue
            key = snapshot.kind, snapshot.subject
            known = best.get(key)
            if known is None or (known.epoch, known.offset) < (snapshot.epoch, snapshot.offset):
                best[key] = snapshot
        cursor = best.pop(("cursor", ""), None)
        if cursor is None:
            self._reset(-1, Cursor(clock=0, control_offset=-1))
        else:
            self._reset(cursor.offset, decode_value("cursor", cursor.value))
        for (kind, subject), snapshot in best.items():
            state, drafted = decode_value(kind, snapshot.value), self._drafted.get(kind)
            self._states[kind][subject] = state if drafted is None else drafted.draft(state)
            if snapshot.offset > self.covered:
                self._ahead[kind, subject] = snapshot.offset

    def apply(self, record: LogRecord) -> list[Event]:
        """Events derived from the record; none for one that is covered already. Records come in order of offset."""
        assert (record.topic, record.partition) == (self.topic, self.partition)
        if record.offset <= self.covered:
            return []
        if record.logged_at < self.clock:
            record = replace(record, logged_at=self.clock)
        self.clock = record.logged_at
        event = record.event
        derived: list[Event] = []
        if type(event) is ClockTicked:
            # A former owner may still tick with an older offset; what is in force never goes back.
            if event.control_offset > self.control_offset:
                self.control_offset = event.control_offset
                self.inforce = self._control(event.control_offset)
            for fold in self._folds:
                if fold.kind in self._slotted:
                    continue
                for subject in sorted(self._states[fold.kind]):
                    self._advance(fold, subject, record, True, derived)
        else:
            for fold in self._folds:
                slotted = self._slotted.get(fold.kind)
                touched = fold.subject(event) if slotted is None else slotted.subject_at(event, record.logged_at)
                if touched is not None:
                    self._advance(fold, touched, record, False, derived)
        self.covered = record.offset
        return derived

    def concerns(self, event: type[Event]) -> bool:
        """Whether an event of this class can change anything here."""
        return event is ClockTicked or issubclass(event, self._reads)

    def pass_over(self, offset: int, logged_at: int) -> None:
        """As `apply` for an event that concerns nothing here, without the event. `logged_at`: microseconds."""
        if offset > self.covered:
            self.clock = max(self.clock, logged_at)
            self.covered = offset

    def _advance(self, fold: Fold, subject: str, record: LogRecord, ticked: bool, derived: list[Event]) -> None:
        if self._ahead and self._ahead.get((fold.kind, subject), -1) >= record.offset:
            return
        states = self._states[fold.kind]
        state = states.get(subject)
        drafted = self._drafted.get(fold.kind)
        if drafted is not None:
            draft = drafted.draft(fold.initial()) if state is None else state
            if ticked:
                moved, events = drafted.ticked(draft, subject, record, self.inforce)
            else:
                moved, events = drafted.stepped(draft, record, self.inforce)
            following = draft
        else:
            if ticked:
                following, events = fold.tick(state, subject, record, self.inforce)
            else:
                if state is None:
                    state = fold.initial()
                following, events = fold.step(state, record, self.inforce)
            moved = following is not state
        if moved:
            states[subject] = following
            self._changed[fold.kind].add(subject)
        if events:
            derived.extend(events)

    def flush(self, epoch: int) -> list[Snapshot]:
        """Snapshots of what changed since the last flush, then the cursor; write them in this order.

        They count as written from here on: an owner whose write fails gives the partition up and restores.
        """
        flushed = []
        for fold in self._folds:
            changed = self._changed[fold.kind]
            for subject in sorted(changed):
                value = self.snapshot(fold.kind, subject)
                flushed.append(self._written(fold.kind, fold.version, subject, epoch, value))
            changed.clear()
        cursor = Cursor(clock=self.clock, control_offset=self.control_offset)
        return [*flushed, self._written("cursor", self._cursor_version, "", epoch, cursor)]

    def _written(self, kind: str, version: int, subject: str, epoch: int, value: object) -> Snapshot:
        return Snapshot(
            kind=kind, fold_version=version, subject=subject, topic=self.topic, partition=self.partition, epoch=epoch,
            offset=self.covered, logged_at=self.clock, value=encode_value(value),
        )  # fmt: skip

    def snapshot(self, kind: str, subject: str) -> Any:
        """The state of a subject as a value of schemas.state, or None."""
        state, drafted = self._states[kind].get(subject), self._drafted.get(kind)
        return state if drafted is None or state is None else drafted.fixed(state)

    def touch(self, kind: str, subject: str) -> None:
        """Write the subject's snapshot again at the next flush."""
        if subject in self._states.get(kind, {}):
            self._changed[kind].add(subject)

    def subjects(self, kind: str) -> list[str]:
        """Subjects of a fold, sorted."""
        return sorted(self._states[kind])
