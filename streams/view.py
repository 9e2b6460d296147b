"""The state view: what every worker knows of circuits, health, money, what was learned, and the other workers' loads.

Fed by llm.state, which every process reads whole, without a group. The mappings are live: agents read them in place.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition

from projections.partition import fold_versions
from schemas.codec import Codec
from schemas.demand import Demand
from schemas.errors import UnreadableRecord
from schemas.merge import RequestTotals, SpendTotals, merge_health, merge_quality
from schemas.snapshots import Snapshot, decode_value
from schemas.state import (
    AlertState,
    BudgetState,
    CircuitState,
    HealthState,
    LearnedState,
    QualityState,
    SlaState,
    WorkerLoad,
)
from streams.reader import partitions_of

log = structlog.get_logger()
LOAD_LIFE_US = 3_000_000
DECIDED_BY = frozenset({"circuit", "health", "learned", "demand", "quality", "spend", "load"})
"""Kinds that a decision reads: whoever only decides needs to read no others."""


@dataclass
class StateView:
    """`snapshots`: the newest by key, by (epoch, offset). `kinds`: those that are kept; None keeps all.

    `versions`: of the folds of this release. An older version's state serves until the new one has its own.
    """

    snapshots: dict[str, Snapshot] = field(default_factory=dict)
    circuits: dict[str, CircuitState] = field(default_factory=dict)
    health: dict[str, HealthState] = field(default_factory=dict)
    learned: dict[str, LearnedState] = field(default_factory=dict)
    demand: Demand = field(default_factory=Demand)
    quality: dict[str, QualityState] = field(default_factory=dict)
    spend: SpendTotals = field(default_factory=SpendTotals)
    budgets: dict[str, BudgetState] = field(default_factory=dict)
    requests: RequestTotals = field(default_factory=RequestTotals)
    sla: dict[str, SlaState] = field(default_factory=dict)
    alerts: dict[str, AlertState] = field(default_factory=dict)
    loads: dict[str, WorkerLoad] = field(default_factory=dict)
    on_stale: Callable[[Snapshot], None] | None = None
    kinds: frozenset[str] | None = None
    versions: Mapping[str, int] = field(default_factory=fold_versions)
    _health_parts: dict[str, dict[int, HealthState]] = field(default_factory=dict)
    _quality_parts: dict[str, dict[int, QualityState]] = field(default_factory=dict)

    def put(self, snapshot: Snapshot) -> None:
        """The next snapshot. One of a lower (epoch, offset) than what is known is a zombie's: its owner rewrites it."""
        known = self.snapshots.get(snapshot.key)
        if known is not None and (snapshot.epoch, snapshot.offset) < (known.epoch, known.offset):
            if self.on_stale is not None:
                self.on_stale(snapshot)
            return
        self.snapshots[snapshot.key] = snapshot
        newest = self.versions.get(snapshot.kind, snapshot.fold_version)
        if snapshot.fold_version == newest:
            self._take(snapshot)
        elif snapshot.fold_version < newest and not self._replaced(snapshot, newest):
            try:
                self._take(snapshot)
            except (ValueError, TypeError, KeyError):
                # A shape that this release no longer knows: the log is folded anew, and until then nothing is known.
                log.warning("state of an older version unreadable", key=snapshot.key)

    def _replaced(self, snapshot: Snapshot, newest: int) -> bool:
        """Whether a newer version of the fold has said what the subject's state is."""
        later = range(snapshot.fold_version + 1, newest + 1)
        return any(replace(snapshot, fold_version=version).key in self.snapshots for version in later)

    def _take(self, snapshot: Snapshot) -> None:
        subject = snapshot.subject
        match snapshot.kind:
            case "circuit":
                self.circuits[subject] = decode_value("circuit", snapshot.value)
            case "health":
                parts = self._health_parts.setdefault(subject, {})
                parts[snapshot.partition] = decode_value("health", snapshot.value)
                self.health[subject] = merge_health(parts.values()) if len(parts) > 1 else next(iter(parts.values()))
            case "learned":
                # Keyed by deployment, so it stands in one partition.
                self.learned[subject] = decode_value("learned", snapshot.value)
            case "demand":
                self.demand.put(subject, decode_value("demand", snapshot.value))
            case "quality":
                scores = self._quality_parts.setdefault(subject, {})
                scores[snapshot.partition] = decode_value("quality", snapshot.value)
                self.quality[subject] = merge_quality(scores.values())
            case "spend":
                self.spend.put(subject, snapshot.partition, decode_value("spend", snapshot.value))
            case "budget":
                self.budgets[subject] = decode_value("budget", snapshot.value)
            case "requests_minute" | "requests_hour" | "requests_day" as kind:
                self.requests.put(kind, subject, snapshot.partition, decode_value(kind, snapshot.value))
            case "sla":
                self.sla[subject] = decode_value("sla", snapshot.value)
            case "alert":
                self.alerts[subject] = decode_value("alert", snapshot.value)
            case "load":
                self.loads[subject] = decode_value("load", snapshot.value)

    def take(self, key: bytes | None, value: bytes | None, codec: Codec) -> None:
        """A record of the topic, tombstones included. What is neither changes nothing: it is somebody else's."""
        name = (key or b"").decode("utf-8", "replace")
        if value is None:
            self.forget(name)
            return
        if self.kinds is not None and name.partition(":")[2].partition(":")[0] not in self.kinds:
            return
        if (snapshot := snapshot_of(key, value, codec)) is not None:
            self.put(snapshot)

    def forget(self, key: str) -> None:
        """A tombstone."""
        gone = self.snapshots.pop(key, None)
        if gone is not None and gone.kind == "load":
            self.loads.pop(gone.subject, None)

    def other_workers(self, worker: str, now: int) -> list[WorkerLoad]:
        """Loads of the other workers that published one in the last three seconds."""
        return [load for load in self.loads.values() if load.worker != worker and now - load.sent_at < LOAD_LIFE_US]

    def of_source(self, topic: str, partition: int) -> list[Snapshot]:
        """Every snapshot made from one source partition."""
        return [s for s in self.snapshots.values() if s.topic == topic and s.partition == partition]


def snapshot_of(key: bytes | None, value: bytes | None, codec: Codec) -> Snapshot | None:
    """The snapshot that a record of the state topic holds; None for a tombstone, and for what is somebody else's."""
    if value is None:
        return None
    try:
        snapshot = codec.decode(value)
    except UnreadableRecord as error:
        log.info("state record passed over", key=repr(key)[:100], reason=str(error))
        return None
    return snapshot if isinstance(snapshot, Snapshot) else None


class StateReader:
    """Follows llm.state into a view."""

    def __init__(self, view: StateView, consumer: AIOKafkaConsumer, topic: str, codec: Codec) -> None:
        self.view = view
        self._consumer = consumer
        self._topic = topic
        self._codec = codec
        self._partitions: list[TopicPartition] = []
        self.taken: Callable[[], None] | None = None
        """Called after each batch that brought something."""
        self._moved = asyncio.Condition()
        self._positions: dict[TopicPartition, int] = {}

    async def run(self) -> None:
        """Read for ever."""
        self._partitions = await partitions_of(self._consumer, self._topic)
        self._consumer.assign(self._partitions)
        await self._consumer.seek_to_beginning(*self._partitions)
        while True:
            batch = await self._consumer.getmany(timeout_ms=100)
            for records in batch.values():
                for record in records:
                    self.view.take(record.key, record.value, self._codec)
            if batch and self.taken is not None:
                self.taken()
            async with self._moved:
                # Of all: a partition without records is read to its end as well, however busy the others are.
                for partition in self._partitions:
                    self._positions[partition] = await self._consumer.position(partition)
                self._moved.notify_all()

    async def caught_up(self, ends: dict[TopicPartition, int]) -> None:
        """Wait until all records below these end offsets are in the view."""
        async with self._moved:
            await self._moved.wait_for(
                lambda: all(self._positions.get(partition, -1) >= end for partition, end in ends.items())
            )
