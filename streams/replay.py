"""Replay: fold the whole log again and hold the result against every snapshot that was published.

State is a pure fold of the log, so a published snapshot must equal, byte for byte, what a fresh fold says at its offset:
from the beginning of the log, and from any earlier set of snapshots onward. What is in force comes from llm.control alone.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256

from aiokafka import AIOKafkaConsumer, TopicPartition

from projections.fold import LogRecord
from projections.partition import FOLDS, PartitionProjection
from schemas.codec import Codec
from schemas.errors import UnknownEvent, UnreadableRecord
from schemas.snapshots import Snapshot, encode_value
from schemas.state import Cursor
from streams.codecs import codec_of
from streams.control import ControlLog
from streams.logs import control_log, log_record, published_states
from streams.reader import group_less, partitions_of, read_to_end
from streams.settings import Settings

STARTS = 5
"""How many of the published cursors of a partition are taken as starting points, beside the beginning of the log."""
FROM_BEGINNING = -1


@dataclass(frozen=True, slots=True)
class Difference:
    """A snapshot that the fold contradicts. `start`: offset the fold resumed after, -1 for the beginning of the log.

    `offset`: where both were compared. `published` and `replayed` are JSON; `replayed` is empty where the fold has none.
    """

    key: str
    start: int
    offset: int
    published: str
    replayed: str


@dataclass(frozen=True, slots=True)
class ReplayReport:
    """Counts, and what differs. `starts`: starting points beside the beginning; `compared`: comparisons made.

    `unproven`: a sentence for each partition or snapshot that the log could not reach. `digest`: SHA-256 over the value of
    every subject at the end: of equal digests the states are equal, bit for bit.
    """

    records: int
    partitions: int
    snapshots: int
    starts: int
    compared: int
    differences: tuple[Difference, ...]
    unproven: tuple[str, ...]
    digest: str

    @property
    def equal(self) -> bool:
        return not self.differences


@dataclass(slots=True)
class _Fold:
    """A projection that resumed after `start`. `loaded`: what it took over -> the offset it covers."""

    start: int
    projection: PartitionProjection
    loaded: dict[tuple[str, str], int] = field(default_factory=dict)

    def value(self, kind: str, subject: str) -> bytes | None:
        if kind == "cursor":
            return encode_value(Cursor(clock=self.projection.clock, control_offset=self.projection.control_offset))
        state = self.projection.snapshot(kind, subject)
        return None if state is None else encode_value(state)


@dataclass(slots=True)
class _Partition:
    """One source partition under replay. `published`: its snapshots in the order of llm.state.

    `whole`: to the end of the log, so that every snapshot must be reached.
    """

    tp: TopicPartition
    kind: str
    published: list[Snapshot]
    control: ControlLog
    whole: bool = True
    folds: list[_Fold] = field(default_factory=list)
    compared: int = 0
    differences: list[Difference] = field(default_factory=list)
    stopped: str = ""
    _cursors: list[int] = field(init=False)
    _starting: deque[int] = field(init=False)
    _due: deque[Snapshot] = field(init=False)

    def __post_init__(self) -> None:
        versions = {fold.kind: fold.version for fold in FOLDS[self.kind]}
        versions["cursor"] = sum(versions.values())
        self.published = [s for s in self.published if versions.get(s.kind) == s.fold_version]
        self._cursors = [index for index, s in enumerate(self.published) if s.kind == "cursor"]
        self._starting = deque(self._spread())
        self._due = deque(sorted(self.published, key=lambda s: s.offset))

    @property
    def pending(self) -> int:
        """How many snapshots the log has not reached."""
        return len(self._due)

    def begin(self, first_offset: int) -> None:
        """The log starts at `first_offset`: fold from there, or resume from the oldest cursor that still reaches it."""
        if first_offset == 0:
            self.folds.append(_Fold(FROM_BEGINNING, self._projection()))
            return
        reaching = [index for index in self._cursors if self.published[index].offset + 1 >= first_offset]
        if not reaching:
            self.stopped = f"{_name(self.tp)}: its log starts at offset {first_offset} and no cursor reaches it"
            return
        self._starting = deque(index for index in self._starting if index > reaching[0])
        self._resume(reaching[0])
        start = self.folds[0].start
        self._due = deque(s for s in self._due if s.offset > start)

    def apply(self, record: LogRecord) -> None:
        """The next record of the log: fold it everywhere, compare what was published here, start where due."""
        for fold in self.folds:
            fold.projection.apply(record)
        self._reached(record.offset)

    def pass_over(self, offset: int, logged_at: int) -> None:
        """As `apply` for a record that is no event, as its projector passed it over. `logged_at`: microseconds."""
        for fold in self.folds:
            fold.projection.pass_over(offset, logged_at)
        self._reached(offset)

    def _reached(self, offset: int) -> None:
        while self._due and self._due[0].offset <= offset:
            self._compare(self._due.popleft())
        while self._starting and self.published[self._starting[0]].offset <= offset:
            self._resume(self._starting.popleft())

    def finish(self) -> None:
        """At the end of the log every fold must have come to the same, subject by subject."""
        if not self.folds:
            return
        base, *others = self.folds
        for name in (fold.kind for fold in FOLDS[self.kind]):
            for subject in base.projection.subjects(name):
                value = base.value(name, subject)
                assert value is not None, subject
                for fold in others:
                    self._check(f"{name}:{subject}:{_name(self.tp)}", fold, value, fold.value(name, subject))

    def final(self) -> Iterator[bytes]:
        """Kind, subject and value of everything that was folded, in order; the clock and the control offset last."""
        for fold in self.folds[:1]:
            for name in (each.kind for each in FOLDS[self.kind]):
                for subject in fold.projection.subjects(name):
                    yield f"{name}:{subject}:{_name(self.tp)}=".encode() + (fold.value(name, subject) or b"")
            yield f"cursor:{_name(self.tp)}=".encode() + (fold.value("cursor", "") or b"")

    def _spread(self) -> list[int]:
        """Up to STARTS of the cursors, evenly over the log, by rising offset."""
        known: dict[int, int] = {}
        for index in self._cursors:
            known.setdefault(self.published[index].offset, index)
        offsets = sorted(known)
        if len(offsets) > STARTS:
            offsets = [offsets[number * (len(offsets) - 1) // (STARTS - 1)] for number in range(STARTS)]
        return [known[offset] for offset in offsets]

    def _projection(self) -> PartitionProjection:
        return PartitionProjection(self.tp.topic, self.tp.partition, FOLDS[self.kind], self.control.upto)

    def _resume(self, index: int) -> None:
        """Add a fold that begins with the snapshots that were known when this cursor was published."""
        cursor = self.published[index]
        base = self.folds[0].projection if self.folds else None
        chosen: dict[tuple[str, str], Snapshot] = {}
        for place, snapshot in enumerate(self.published):
            if snapshot.kind == "cursor":
                continue
            key = snapshot.kind, snapshot.subject
            known = chosen.get(key)
            if place <= index:
                if known is None or (known.epoch, known.offset) <= (snapshot.epoch, snapshot.offset):
                    chosen[key] = snapshot
            elif known is None and (base is None or base.snapshot(*key) is not None):
                # Compaction took the older one: a fold may begin with a subject that is ahead of its cursor.
                chosen[key] = snapshot
        projection = self._projection()
        projection.restore([cursor, *chosen.values()])
        self.folds.append(_Fold(cursor.offset, projection, {key: s.offset for key, s in chosen.items()}))

    def _compare(self, snapshot: Snapshot) -> None:
        for fold in self.folds:
            if snapshot.offset > max(fold.start, fold.loaded.get((snapshot.kind, snapshot.subject), FROM_BEGINNING)):
                replayed = fold.value(snapshot.kind, snapshot.subject)
                self._check(snapshot.key, fold, snapshot.value, replayed)

    def _check(self, key: str, fold: _Fold, published: bytes, replayed: bytes | None) -> None:
        self.compared += 1
        if replayed != published:
            offset = fold.projection.covered
            self.differences.append(Difference(key, fold.start, offset, published.decode(), (replayed or b"").decode()))


async def replay(settings: Settings, until: int | None = None) -> ReplayReport:
    """Read state, control and the event topics, fold them anew and compare. Raises OperationError without topics.

    `until`: broker time in microseconds; records after it, and snapshots that cover them, are left out.
    """
    codec, prefix = await codec_of(settings.kafka), settings.kafka.topic_prefix
    async with group_less(settings.kafka.access) as consumer:
        # State first and control last: the log then reaches every snapshot, and control every offset a tick names.
        published = await published_states(consumer, f"{prefix}state", codec)
        sources = [(kind, tp) for kind in FOLDS for tp in await partitions_of(consumer, f"{prefix}{kind}")]
        ends = await consumer.end_offsets([tp for _, tp in sources])
        begins = await consumer.beginning_offsets([tp for _, tp in sources])
        control, _ = await control_log(consumer, f"{prefix}control", codec)
        records = 0
        partitions = []
        for kind, tp in sources:
            known = [s for s in published.get((tp.topic, tp.partition), []) if until is None or s.logged_at <= until]
            partition = _Partition(tp, kind, known, control, whole=until is None)
            partition.begin(begins[tp])
            if not partition.stopped:
                records += await _fold(consumer, partition, ends[tp], codec, until)
                partition.finish()
            partitions.append(partition)
    return ReplayReport(
        records=records, partitions=len(partitions), snapshots=sum(len(partition.published) for partition in partitions),
        starts=sum(max(0, len(partition.folds) - 1) for partition in partitions),
        compared=sum(partition.compared for partition in partitions),
        differences=tuple(item for partition in partitions for item in partition.differences),
        unproven=tuple(sentence for partition in partitions for sentence in _unproven(partition)),
        digest=_digest(partitions),
    )  # fmt: skip


async def _fold(consumer: AIOKafkaConsumer, partition: _Partition, end: int, codec: Codec, until: int | None) -> int:
    """Fold one partition up to `end` or `until`; returns how many records there were. Stops at an event not known."""
    count = 0
    async for record in read_to_end(consumer, [partition.tp]):
        if record.offset >= end or partition.stopped:
            continue
        if until is not None and record.timestamp * 1000 > until:
            break
        try:
            partition.apply(log_record(record, codec, partition.kind))
        except UnreadableRecord:
            partition.pass_over(record.offset, record.timestamp * 1000)
        except UnknownEvent as error:
            partition.stopped = f"{_name(partition.tp)}: offset {record.offset}: {error}"
        count += 1
    return count


def _digest(partitions: list[_Partition]) -> str:
    found = sha256()
    for partition in partitions:
        for line in partition.final():
            found.update(line + b"\n")
    return found.hexdigest()


def _unproven(partition: _Partition) -> list[str]:
    if partition.stopped:
        return [partition.stopped]
    if partition.pending and partition.whole:
        return [f"{_name(partition.tp)}: {partition.pending} snapshots lie beyond the end of its log"]
    return []


def _name(tp: TopicPartition) -> str:
    return f"{tp.topic}-{tp.partition}"
