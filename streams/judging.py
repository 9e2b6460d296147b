"""Judges what spans partitions, by the view of all state: budgets, targets, anomalies, partitions that stand still."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from projections.alert import judge_partitions
from projections.anomaly import judge_anomalies
from projections.breach import Evidence, Promise, judge_sla, promises
from projections.fold import LogRecord
from projections.judge import Pledge, judge_budgets, judge_spend, pledges
from projections.partition import PartitionProjection
from schemas.events import Event
from schemas.inforce import InForce
from schemas.periods import QUARTER
from streams.partitioner import partition_of
from streams.view import StateView


@dataclass(frozen=True, slots=True)
class _Asked:
    """What a partition has to judge under a configuration, with these tenants."""

    inforce: InForce
    tenants: list[str]
    pledges: dict[str, Pledge]
    promises: dict[str, Promise]


@dataclass(frozen=True, slots=True)
class _Look:
    """When a partition's budgets last had no news. `quarter`: hours since 1970 by four; `moves`: of the totals."""

    pledges: dict[str, Pledge]
    quarter: int
    moves: int


class Judge:
    """Judgements on the subjects of one partition of llm.transitions, by what its own folds say was judged before."""

    def __init__(self, view: StateView, partitions: int) -> None:
        self._view = view
        self._partitions = partitions
        self._known: dict[int, _Asked] = {}
        self._looks: dict[int, _Look] = {}

    def judge(self, projection: PartitionProjection, tick: LogRecord) -> list[Event]:
        """All that is new at a tick."""
        now, position, view = tick.logged_at, tick.position, self._view
        owns, inforce = self._owner_of(projection.partition), projection.inforce
        evidence, promised = Evidence(view.requests, view.health, view.quality), self._asked(projection).promises
        return [
            *self._judge_budgets(projection, now, position),
            *judge_sla(promised, inforce, evidence, _judged(projection, "sla"), now, owns, position),
            *judge_anomalies(view.health, _judged(projection, "anomaly"), now, owns, position),
            *judge_partitions(_judged(projection, "alert"), self._covered, now, position),
        ]

    def budget_news(self, projection: PartitionProjection, now: int) -> bool:
        """Whether a tick would say something of budgets. Asked every second, so it looks at those alone whose spend moved since,
        until a period may have begun or other budgets are in force.
        """
        pledged, totals = self._asked(projection).pledges, self._view.spend
        look = _Look(pledged, now // QUARTER, totals.moves)
        before = self._looks.get(projection.partition)
        if before is None or before.pledges is not pledged or before.quarter != look.quarter:
            news = self._judge_budgets(projection, now, "")
        else:
            moved = [pledge for pledge in pledged.values() if totals.moved_since(pledge.budget.scope, before.moves)]
            news = judge_spend(moved, totals, _judged(projection, "budget"), now, "") if moved else []
        if not news:
            self._looks[projection.partition] = look
        return bool(news)

    def _judge_budgets(self, projection: PartitionProjection, now: int, position: str) -> list[Event]:
        judged, owns = _judged(projection, "budget"), self._owner_of(projection.partition)
        return judge_budgets(self._asked(projection).pledges, self._view.spend, judged, now, owns, position)

    def _asked(self, projection: PartitionProjection) -> "_Asked":
        """Made again only where it may have changed: with thousands of tenants that takes longer than to judge them."""
        partition, inforce, tenants = projection.partition, projection.inforce, self._view.requests.tenants
        known = self._known.get(partition)
        if known is None or known.inforce is not inforce or known.tenants != tenants:
            owns = self._owner_of(partition)
            pledged = known.pledges if known is not None and known.inforce is inforce else pledges(inforce, owns)
            known = self._known[partition] = _Asked(inforce, tenants, pledged, promises(inforce, tenants, owns))
        return known

    def _owner_of(self, partition: int) -> Callable[[str], bool]:
        return lambda subject: bool(partition_of(subject.encode(), self._partitions) == partition)

    def _covered(self, source: str) -> int:
        """The offset of the newest cursor of a source partition, topic-number; -1 without one."""
        named = (s.offset for s in self._view.snapshots.values()
                 if s.kind == "cursor" and f"{s.topic}-{s.partition}" == source)  # fmt: skip
        return max(named, default=-1)


def _judged(projection: PartitionProjection, kind: str) -> dict[str, Any]:
    return {each: projection.snapshot(kind, each) for each in projection.subjects(kind)}
