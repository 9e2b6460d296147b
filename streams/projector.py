"""The projector: owns partitions of the event topics, folds them, publishes state and what follows from it.

Order of writing: derived events acknowledged, then snapshots, then the cursor. A partition resumes from its cursor
snapshot, never from the group's commit.
"""

import asyncio
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any

import structlog
from aiokafka.structs import RecordMetadata, TopicPartition
from faust.types import TP, Message

from agents.ports import DeadLetter
from projections.fold import LogRecord
from projections.partition import FOLDS, PartitionProjection
from schemas.codec import Codec, event_of
from schemas.errors import LeaseLost, UnknownEvent, UnreadableRecord
from schemas.events import AssignmentStarted, ClockTicked, CostEvent, DerivedEvent, Event, PartitionPaused
from schemas.feedback import read_feedback
from schemas.ids import Source
from schemas.snapshots import Snapshot
from streams.access import Cluster
from streams.clock import BrokerClock
from streams.control import ControlLog
from streams.eventlog import acknowledged, letter_key, letter_value
from streams.judging import Judge
from streams.lease import UNKNOWN, Lease, Membership, continues
from streams.owned import Delivered, Owned
from streams.partitioner import partition_of
from streams.producer import Producer
from streams.reader import group_less
from streams.topics import Topics
from streams.view import StateReader, StateView

log = structlog.get_logger()
ROUNDS_A_FLUSH = {"attempts": 2, "feedback": 2, "decisions": 10}
"""Snapshots are written whole, and every process reads them: health twice a second told nobody more than once does."""


class Projector:
    """Ownership of event partitions for a SafeApp, and the folding itself."""

    def __init__(
        self, *, lease: Lease, drain_s: float, producer: Producer, topics: Topics, clock: BrokerClock,
        control: ControlLog, view: StateView, state_reader: StateReader, codec: Codec, cluster: Cluster, worker: str,
    ) -> None:  # fmt: skip
        self.lease = lease
        self.drain_s = drain_s
        self.owned: dict[TP, Owned] = {}
        self.events = 0
        self._held: Membership | None = None
        self._producer = producer
        self._topics = topics
        self._clock = clock
        self._control = control
        self._view = view
        self._state_reader = state_reader
        self._codec = codec
        self._cluster = cluster
        self._worker = worker
        self._judge = Judge(view, topics.partitions)
        self._kinds = {topics.name(kind): kind for kind in FOLDS}
        self._flushing = asyncio.Lock()
        self._round = 0
        self.urgent = asyncio.Event()
        self.lost = asyncio.Event()
        """Set when a partition went to another worker's marker: whoever finds us still its owner takes it again."""
        view.on_stale = self._rewrite

    async def assigned(self, positions: Mapping[TP, int]) -> Mapping[TP, int]:
        """Take ownership of new partitions: mark, restore, and say where to read on."""
        await self._producer.ready()
        async with self._flushing:
            membership = self.lease.membership
            kept = positions.keys() if continues(self._held, membership) else set()
            for tp in self.owned.keys() - kept:
                del self.owned[tp]
            # Only now: a call that is given up before must leave its successor the same doubt.
            self._held = membership
            fresh = [tp for tp in positions if tp not in self.owned]
            epochs = await asyncio.gather(*(self._mark(tp) for tp in fresh))
            await self._state_caught_up()
            for tp, epoch in zip(fresh, epochs, strict=True):
                self.owned[tp] = await self._restored(tp, epoch)
        log.info("event partitions assigned", partitions=len(positions), fresh=len(fresh))
        # One that was lost meanwhile is taken again right after this.
        return {tp: self.owned[tp].projection.covered + 1 for tp in positions if tp in self.owned}

    async def revoked(self, partitions: set[TP]) -> None:
        """Publish what is folded; a partition that does not come back is restored from it by its next owner."""
        try:
            await self.flush()
        except LeaseLost:
            log.warning("state not published", reason="lease lost")
            self.owned.clear()

    async def _mark(self, tp: TP) -> int:
        now, held = self._clock.now(), self.lease.membership or UNKNOWN
        marker = AssignmentStarted(
            event_id=f"{self._worker}/{tp.topic}-{tp.partition}/{now}", occurred_at=now, worker=self._worker,
            role="projector", topic=tp.topic, partition=tp.partition, member=held.member, generation=held.generation,
        )  # fmt: skip
        future = await self._producer.emit(tp.topic, marker, key="", partition=tp.partition)
        return int((await future).offset)

    async def _state_caught_up(self) -> None:
        """Everything that former owners published is in our view."""
        state = self._topics.name("state")
        async with group_less(self._cluster) as consumer:
            partitions = [TopicPartition(state, number) for number in range(self._topics.partitions)]
            ends = await consumer.end_offsets(partitions)
        await self._state_reader.caught_up(ends)

    async def _restored(self, tp: TP, epoch: int) -> Owned:
        kind = self._kinds[tp.topic]
        snapshots = self._view.of_source(tp.topic, tp.partition)
        projection = PartitionProjection(tp.topic, tp.partition, FOLDS[kind], self._control.upto)
        projection.restore(snapshots)
        await self._control.reached(projection.control_offset)
        projection.restore(snapshots)
        # A new version of a fold sees the log from its start: what the old one derived from it stands there already.
        told = max((snapshot.offset for snapshot in snapshots if snapshot.kind == "cursor"), default=-1)
        return Owned(tp, kind, epoch, projection, flushed=projection.covered, told=told)

    async def fold(self, event: Delivered) -> None:
        """Apply one record. Never skips an event: one that it does not know pauses its partition."""
        message = event.message
        owned = self.owned.get(TP(message.topic, message.partition))
        if owned is None or owned.paused:
            return
        logged_at = round(message.timestamp * 1000) * 1000
        if self._passed_over(owned, message, logged_at):
            event.ack()
            return
        try:
            if owned.kind == "feedback":
                position = f"{message.topic}-{message.partition}-{message.offset}"
                decoded: Any = read_feedback(message.value, self._codec, position, logged_at)
            else:
                decoded = event_of(message.value, self._codec)
        except UnreadableRecord as error:
            # Users write feedback, and anybody may write what is no event at all: it must not stop all that comes after.
            owned.letters.append((letter_key(message.key), letter_value(_dead_letter(message, str(error)))))
            owned.projection.pass_over(message.offset, logged_at)
            self.urgent.set()
            event.ack()
            return
        except UnknownEvent as error:
            owned.paused = str(error)
            log.error("partition paused", topic=message.topic, partition=message.partition, offset=message.offset,
                      reason=owned.paused)  # fmt: skip
            await self._announce_pause(owned, message.offset, round(message.timestamp * 1000) * 1000)
            return
        if isinstance(decoded, ClockTicked):
            await self._control.reached(decoded.control_offset)
        elif (
            isinstance(decoded, AssignmentStarted) and message.offset > owned.epoch and decoded.role == "projector"
            # A user could forge one there; the group and the epochs of snapshots hold without it.
            and owned.kind != "feedback"
        ):  # fmt: skip
            log.warning("partition lost", topic=message.topic, partition=message.partition, to=decoded.worker)
            del self.owned[owned.tp]
            # The marker may be one that its writer began under an earlier generation: the group says who owns it.
            self.lost.set()
            return
        record = LogRecord(message.topic, message.partition, message.offset, logged_at, decoded)
        derived = owned.projection.apply(record)
        if record.offset > owned.told:
            owned.derived.extend(derived)
        owned.judged.discard(decoded.event_id)
        if isinstance(decoded, ClockTicked) and owned.kind == "transitions" and not owned.judged and owned.caught_up:
            judgements = self._judge.judge(owned.projection, record)
            owned.judged = {judgement.event_id for judgement in judgements}
            owned.derived.extend(judgements)
        self.events += 1
        if owned.derived:
            self.urgent.set()
        event.ack()

    def _passed_over(self, owned: Owned, message: Message, logged_at: int) -> bool:
        """Whether the record concerns no fold: of a request's seven events three, and its largest, need no decoding."""
        kind = None if owned.kind == "feedback" else self._codec.peek(message.value)
        if kind is None or kind is AssignmentStarted or not issubclass(kind, Event) or owned.projection.concerns(kind):
            return False
        owned.projection.pass_over(message.offset, logged_at)
        self.events += 1
        return True

    async def _announce_pause(self, owned: Owned, offset: int, logged_at: int) -> None:
        """An event of its own: the partition's flushes may never come, for it stands still."""
        subject = f"{owned.tp.topic}-{owned.tp.partition}"
        event = PartitionPaused(
            event_id=f"{subject}-{offset}/PartitionPaused", occurred_at=logged_at, worker=self._worker, subject=subject,
            derived_from=f"{subject}-{offset}", logged_at=logged_at, offset=offset, reason=owned.paused,
        )  # fmt: skip
        try:
            await acknowledged([await self._publish(event)])
        except LeaseLost:
            log.warning("pause not announced", partition=subject, reason="lease lost")

    async def flush_due(self) -> None:
        """The next round of flushing: partitions with something to say at once, and those whose turn it is."""
        self._round += 1
        await self.flush([
            owned for owned in self.owned.values()
            if owned.pressing or self._round % ROUNDS_A_FLUSH.get(owned.kind, 1) == 0
        ])  # fmt: skip

    async def flush(self, chosen: Sequence[Owned] | None = None) -> None:
        """Publish derived events, then snapshots, then cursors, of these partitions (by default all). Raises LeaseLost."""
        async with self._flushing:
            flushes = (self._flush(owned) for owned in (list(self.owned.values()) if chosen is None else chosen))
            # To the end of every one: what went on beside the next flush could write older snapshots after newer ones.
            ended = await asyncio.gather(*flushes, return_exceptions=True)
        for problem in ended:
            if problem is not None:
                raise problem

    async def _flush(self, owned: Owned) -> None:
        moved = owned.projection.covered != owned.flushed or owned.derived or owned.letters
        if not owned.caught_up or not moved:
            return
        # One synchronous moment: what is derived and what is snapshotted belong to the same offset.
        derived, owned.derived = owned.derived, []
        letters, owned.letters = owned.letters, []
        *changed, cursor = owned.projection.flush(owned.epoch)
        covered = owned.projection.covered
        try:
            await acknowledged([await self._publish(event) for event in derived])
            dead = self._topics.name("dead-letters")
            await acknowledged([await self._producer.send(dead, value, key=key) for key, value in letters])
            await acknowledged([await self._put(owned, snapshot) for snapshot in changed])
            await acknowledged([await self._put(owned, cursor)])
        except LeaseLost:
            # The partition may stay ours: then all of it is written again.
            owned.derived[:0] = derived
            owned.letters[:0] = letters
            for snapshot in changed:
                owned.projection.touch(snapshot.kind, snapshot.subject)
            owned.flushed = -1
            raise
        owned.flushed = covered

    async def _publish(self, event: Event) -> asyncio.Future[RecordMetadata]:
        if isinstance(event, CostEvent):
            topic, key = self._topics.name("costs"), event.tenant
        else:
            assert isinstance(event, DerivedEvent), event
            topic, key = self._topics.name("transitions"), event.subject
        partition = partition_of(key.encode(), self._topics.partitions)
        return await self._producer.emit(topic, event, key=key, partition=partition)

    async def _put(self, owned: Owned, snapshot: Snapshot) -> asyncio.Future[RecordMetadata]:
        return await self._producer.emit(
            self._topics.name("state"), snapshot, key=snapshot.key, partition=owned.tp.partition
        )

    def _rewrite(self, stale: Snapshot) -> None:
        """A record of a lower epoch was written after ours: compaction would keep it, so ours is written again."""
        owned = self.owned.get(TP(stale.topic, stale.partition))
        if owned is not None and stale.epoch < owned.epoch:
            owned.projection.touch(stale.kind, stale.subject)
            owned.flushed = -1
            self.urgent.set()

    async def tick(self) -> None:
        """Write the passing of time into every partition of ours. Raises LeaseLost."""
        # Days of feedback end where they are read; and a tick there could as well be a user's.
        await self._tick([owned for owned in self.owned.values() if owned.kind != "feedback"])

    async def tick_for_news(self) -> None:
        """A tick where a budget has news or the newest commands are unknown: the next may be seconds away. Raises LeaseLost."""
        await self._tick([
            owned for owned in self.owned.values()
            if owned.kind != "feedback" and owned.caught_up and not owned.paused
            and (self._behind_control(owned) or self._budget_news(owned))
        ])  # fmt: skip

    def _behind_control(self, owned: Owned) -> bool:
        """Commands that grew while nobody owned the partition, or whose tick died with its owner."""
        return bool(owned.projection.control_offset < self._control.current.offset)

    def _budget_news(self, owned: Owned) -> bool:
        if owned.kind != "transitions" or owned.judged:
            return False
        return self._judge.budget_news(owned.projection, self._clock.now())

    async def _tick(self, chosen: Sequence[Owned]) -> None:
        offset = self._control.current.offset
        futures = []
        for owned in chosen:
            tp, now = owned.tp, self._clock.now()
            event = ClockTicked(
                event_id=f"{self._worker}/{tp.topic}-{tp.partition}/{now}", occurred_at=now, worker=self._worker,
                topic=tp.topic, partition=tp.partition, control_offset=offset,
            )  # fmt: skip
            futures.append(await self._producer.emit(tp.topic, event, key="", partition=tp.partition))
        await acknowledged(futures)


def _dead_letter(message: Message, reason: str) -> DeadLetter:
    value, source = message.value or b"", Source(message.topic, message.partition, message.offset)
    return DeadLetter(reason, source, len(value), sha256(value).hexdigest(), "")
