"""What was known at a moment: a fold of the log up to it, from the newest published state before it where that is sure.

Records count by the broker's time. A partition is cut before its first record that is logged later, so that what is folded
is a prefix of its log, as a projector that stood still at that moment had it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from projections.partition import FOLDS, PartitionProjection
from schemas.errors import UnreadableRecord
from schemas.inforce import InForce
from schemas.merge import SpendTotals
from schemas.snapshots import Snapshot
from schemas.state import BudgetState, CircuitState, HealthState, SpendState
from streams.codecs import codec_of
from streams.control import ControlLog
from streams.logs import control_log, log_record, published_states
from streams.reader import group_less, partitions_of, read_to_end
from streams.settings import Settings


@dataclass(frozen=True, slots=True)
class PastState:
    """Everything that was known at `at` (microseconds). `records`: how many were folded for it.

    `incomplete`: a sentence for each partition whose log no longer reaches back far enough.
    """

    at: int
    inforce: InForce
    circuits: dict[str, CircuitState]
    health: dict[str, HealthState]
    tenants: dict[str, SpendState]
    budgets: dict[str, BudgetState]
    spend: SpendTotals
    records: int
    incomplete: tuple[str, ...]


def starting_point(kind: str, published: Sequence[Snapshot], at: int) -> list[Snapshot] | None:
    """The newest set of snapshots of one partition that was whole by `at`, or None for the beginning of the log.

    `published`: that partition's, in the order of llm.state, as compaction left them. A cursor counts if every subject
    that was written after it was also written before it: else compaction may have taken the state it stands on.
    """
    versions = {fold.kind: fold.version for fold in FOLDS[kind]}
    versions["cursor"] = sum(versions.values())
    known = [snapshot for snapshot in published if versions.get(snapshot.kind) == snapshot.fold_version]
    for place in range(len(known) - 1, -1, -1):
        cursor = known[place]
        if cursor.kind != "cursor" or cursor.logged_at > at:
            continue
        before: dict[tuple[str, str], Snapshot] = {}
        for snapshot in known[:place]:
            key = snapshot.kind, snapshot.subject
            held = before.get(key)
            if held is None or (held.epoch, held.offset) <= (snapshot.epoch, snapshot.offset):
                before[key] = snapshot
        before.pop(("cursor", ""), None)
        after = {(snapshot.kind, snapshot.subject) for snapshot in known[place:] if snapshot.kind != "cursor"}
        if after <= before.keys() and all(snapshot.offset <= cursor.offset for snapshot in before.values()):
            return [*before.values(), cursor]
    return None


async def state_at(settings: Settings, at: int) -> PastState:
    """Fold every event partition up to `at`, broker time in microseconds. Raises OperationError without topics."""
    codec, prefix = await codec_of(settings.kafka), settings.kafka.topic_prefix
    async with group_less(settings.kafka.access) as consumer:
        published = await published_states(consumer, f"{prefix}state", codec)
        control, placed = await control_log(consumer, f"{prefix}control", codec)
        projections, records, incomplete = [], 0, []
        for kind in FOLDS:
            for tp in await partitions_of(consumer, f"{prefix}{kind}"):
                start = starting_point(kind, published.get((tp.topic, tp.partition), []), at)
                first = start[-1].offset + 1 if start else 0
                begin = (await consumer.beginning_offsets([tp]))[tp]
                if begin > first:
                    incomplete.append(
                        f"{tp.topic}-{tp.partition}: its log begins at offset {begin} and no published state of that "
                        "time reaches it; ask for a later moment"
                    )
                    continue
                projection = PartitionProjection(tp.topic, tp.partition, FOLDS[kind], control.upto)
                projection.restore(start or ())
                async for record in read_to_end(consumer, [tp], {tp: first}):
                    if record.timestamp * 1000 > at:
                        break
                    try:
                        projection.apply(log_record(record, codec, kind))
                    except UnreadableRecord:
                        projection.pass_over(record.offset, record.timestamp * 1000)
                    records += 1
                projections.append((kind, projection))
    return merged(at, _in_force(control, placed, at), projections, records, tuple(incomplete))


def _in_force(control: ControlLog, placed: Sequence[tuple[int, int]], at: int) -> InForce:
    return control.upto(max((offset for logged_at, offset in placed if logged_at <= at), default=-1))


def merged(
    at: int, inforce: InForce, projections: Sequence[tuple[str, PartitionProjection]], records: int,
    incomplete: tuple[str, ...],
) -> PastState:  # fmt: skip
    """The states of all partitions in one, each with its kind of topic: a subject stands on one, money adds up over all."""
    found: dict[str, dict[str, Any]] = {}
    spend = SpendTotals()
    for topic_kind, projection in projections:
        for kind in (fold.kind for fold in FOLDS[topic_kind]):
            for subject in projection.subjects(kind):
                state = projection.snapshot(kind, subject)
                found.setdefault(kind, {})[subject] = state
                if isinstance(state, SpendState):
                    spend.put(subject, projection.partition, state)
    return PastState(
        at=at, inforce=inforce, circuits=found.get("circuit", {}), health=found.get("health", {}),
        tenants=found.get("spend", {}), budgets=found.get("budget", {}), spend=spend, records=records,
        incomplete=incomplete,
    )  # fmt: skip
