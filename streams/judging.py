"""Judges what spans partitions, by the view of all state: budgets, targets, anomalies, partitions that stand still."""

from collections.abc import Callable
from typing import Any

from projections.alert import judge_partitions
from projections.anomaly import judge_anomalies
from projections.breach import Evidence, judge_sla
from projections.fold import LogRecord
from projections.judge import judge_budgets
from projections.partition import PartitionProjection
from schemas.events import Event
from streams.partitioner import partition_of
from streams.view import StateView


class Judge:
    """Judgements on the subjects of one partition of llm.transitions, by what its own folds say was judged before."""

    def __init__(self, view: StateView, partitions: int) -> None:
        self._view = view
        self._partitions = partitions

    def judge(self, projection: PartitionProjection, tick: LogRecord) -> list[Event]:
        """All that is new at a tick."""
        now, position, view = tick.logged_at, tick.position, self._view
        owns, inforce = self._owner_of(projection.partition), projection.inforce
        evidence = Evidence(view.requests, view.health, view.quality)
        return [
            *self.judge_budgets(projection, now, position),
            *judge_sla(inforce, evidence, _judged(projection, "sla"), now, owns, position),
            *judge_anomalies(view.health, _judged(projection, "anomaly"), now, owns, position),
            *judge_partitions(_judged(projection, "alert"), self._covered, now, position),
        ]

    def judge_budgets(self, projection: PartitionProjection, now: int, position: str) -> list[Event]:
        """What is new of budgets alone. `now`: microseconds."""
        judged, owns = _judged(projection, "budget"), self._owner_of(projection.partition)
        return judge_budgets(projection.inforce, self._view.spend, judged, now, owns, position)

    def _owner_of(self, partition: int) -> Callable[[str], bool]:
        return lambda subject: bool(partition_of(subject.encode(), self._partitions) == partition)

    def _covered(self, source: str) -> int:
        """The offset of the newest cursor of a source partition, topic-number; -1 without one."""
        named = (s.offset for s in self._view.snapshots.values()
                 if s.kind == "cursor" and f"{s.topic}-{s.partition}" == source)  # fmt: skip
        return max(named, default=-1)


def _judged(projection: PartitionProjection, kind: str) -> dict[str, Any]:
    return {each: projection.snapshot(kind, each) for each in projection.subjects(kind)}
