"""A member of a consumer group in virtual time, around the real SafeConsumer's bookkeeping."""

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from types import SimpleNamespace
from typing import Any
from weakref import WeakSet

from aiokafka import TopicPartition
from faust.types import TP
from intervaltree import IntervalTree
from simulation.broker import Broker, Record
from simulation.coordinator import Group, MemberGone
from simulation.reader import Reader
from simulation.virtual import Process, VirtualLoop

from streams.consumer import SafeConsumer
from streams.continuity import Continuity
from streams.lease import Lease, Membership
from streams.membership import NOBODY

HEARTBEAT_S = 1.0
COMMIT_S = 1.2


class Message:
    """What Faust's consumer tracks."""

    def __init__(self, record: Record, generation: int) -> None:
        self.topic, self.partition, self.offset = record.topic, record.partition, record.offset
        self.key, self.value, self.headers = record.key, record.value, list(record.headers)
        self.timestamp = record.timestamp / 1000
        self.tp = TP(record.topic, record.partition)
        self.acked = False
        self.generation_id = generation


class Event:
    def __init__(self, message: Message, consumer: "SimConsumer") -> None:
        self.message = message
        self._consumer = consumer

    def ack(self) -> bool:
        return self._consumer.ack(self.message)


class SimConsumer(SafeConsumer):
    """The real acknowledgements, commits and settling; the network below them is the simulation's."""

    def __init__(self, membership: "Membership_") -> None:
        self._member = membership
        self.app = SimpleNamespace(
            consumer_generation_id=0, conf=SimpleNamespace(id=membership.process.name),
            topics=SimpleNamespace(acks_enabled_for=lambda topic: True), direct=None,
            ownership=membership.ownership, _on_partitions_revoked=membership.drain,
        )  # fmt: skip
        self._thread = SimpleNamespace(
            confirm_membership=membership.confirm, seek_wait=membership.seek, positions=membership.positions
        )
        self._gap = defaultdict(IntervalTree)
        self._acked = defaultdict(list)
        self._acked_index = defaultdict(set)
        self._read_offset = defaultdict(lambda: None)
        self._committed_offset = defaultdict(lambda: None)
        self._unacked_messages = WeakSet()
        self._waiting_for_ack = None
        self._n_acked = 0
        self._active_partitions = None
        self._paused_partitions = set()
        self._settling = asyncio.Lock()
        self._continuity = Continuity()
        self._held, self._fetches = {}, 0
        self.frozen = False
        self._moved, self.acks = asyncio.Event(), asyncio.Event()

    def assignment(self) -> set[TopicPartition]:
        return set(self._member.assigned)  # type: ignore[arg-type]

    async def seek_to_committed(self) -> dict[TP, int]:
        found: dict[TP, int] = await self._member.committed()
        return found

    async def _first_from(self, tp: TP, offset: int | None) -> int | None:
        records = self._member.broker.log(tp.topic, tp.partition)
        return next((each.offset for each in records if each is not None and each.offset >= (offset or 0)), None)

    async def believed(self) -> bool:
        """Whether the coordinator's next word on us counts, as LeaseConsumer finds out."""
        member = self._member
        return member.lease.valid() or await member.broker.call(member.group.heartbeat, NOBODY, 0) == "gone"

    async def wait_empty(self) -> None:
        # The same as in SafeConsumer, by the virtual clock and without polls.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.app.ownership.drain_s):
                while any(not message.acked for message in self._unacked_messages):
                    self._moved.clear()
                    await self._moved.wait()
        await self._member.commit()
        self.frozen = True

    def ack(self, message: Any) -> bool:
        counted = super().ack(message)
        self._moved.set()
        self.acks.set()
        return bool(counted)

    def assigned_anew(self, generation: int) -> None:
        """As SafeConsumer.on_partitions_assigned, without Faust's own bookkeeping."""
        self._forget()
        self.frozen = False
        self._settled_generation = None
        self.app.consumer_generation_id = generation


class Membership_:
    """Joins, heartbeats, reads, drains and joins again, for ever."""

    def __init__(
        self, *, loop: VirtualLoop, process: Process, broker: Broker, group: Group, ownership: Any, lease: Lease,
        handle: Callable[[Any], Awaitable[None]], fail: Callable[[BaseException], None],
        consumer: type[SimConsumer], trace: Callable[[str], None],
    ) -> None:  # fmt: skip
        self.loop, self.process, self.broker, self.group = loop, process, broker, group
        self.ownership, self.lease, self.handle, self.fail, self.trace = ownership, lease, handle, fail, trace
        self.name, self.generation, self.count = "", 0, 0
        self.assigned: list[TP] = []
        self.consumer = consumer(self)
        self.queue: asyncio.Queue[Event] = asyncio.Queue()
        self.rejoin = asyncio.Event()
        self.reader = Reader(broker)
        self.fetching: asyncio.Task[None] | None = None
        self.dropping = False
        self.settling: asyncio.Task[None] | None = None

    async def run(self) -> None:
        self._watched(self._agent())
        while True:
            await self._session()

    def _watched(self, work: Any) -> asyncio.Task[Any]:
        task = self.loop.create_task(work)

        def ended(done: asyncio.Task[Any]) -> None:
            if not done.cancelled() and (error := done.exception()) is not None:
                self.fail(error)

        task.add_done_callback(ended)
        return task

    async def _session(self) -> None:
        if not self.name:
            self.count += 1
            self.name = f"{self.process.name}/{self.count}"
        joined: asyncio.Future[int] = self.loop.create_future()
        name = self.name
        self.loop.later(self.broker.network.delay(), self.group.join, name, joined)
        self.generation = await joined
        # As aiokafka: the answer names the member, whatever a heartbeat of the older generation came to meanwhile.
        self.name = name
        self.assigned = [TP(topic, number) for topic, number in self.group.assignment.get(self.name, [])]
        self.trace(f"{self.name} generation {self.generation}: {sorted(self.assigned)}")
        self.rejoin.clear()
        if self.settling is not None:
            # As Faust: an assignment that was not settled is given up only when the next one comes.
            self.settling.cancel()
        self.consumer.assigned_anew(self.generation)
        beating = self._watched(self._heartbeats())
        flowing, committing = self._watched(self._flow()), self._watched(self._commits())
        await self.rejoin.wait()
        flowing.cancel()
        committing.cancel()
        await self.consumer.on_partitions_revoked(set(self.assigned))
        beating.cancel()

    async def _flow(self) -> None:
        """Records, from when ownership is taken."""
        self.settling = self._watched(self.consumer.perform_seek())
        await asyncio.shield(self.settling)
        self.fetching = self._watched(self._fetch())

    async def drain(self, revoked: set[TP]) -> None:
        """As Faust's app does: no more records, what is queued is forgotten, what runs is waited for."""
        if self.fetching is not None:
            self.fetching.cancel()
        while not self.queue.empty():
            self.consumer._unacked_messages.discard(self.queue.get_nowait().message)
        await self.consumer.wait_empty()

    async def _agent(self) -> None:
        while True:
            event = await self.queue.get()
            await self.handle(event)

    async def _fetch(self) -> None:
        rng = self.broker.rng
        await asyncio.sleep(rng.uniform(0.0, 0.2 if rng.random() < 0.6 else 3.0))
        while True:
            batch = await self.reader.getmany(timeout_ms=5_000)
            if self.dropping:
                self.dropping, batch = False, {}
            async for tp, message in self.consumer._following(self._messages(batch)):
                self.consumer._hand_on(tp, message)
                self.consumer._unacked_messages.add(message)
                self.queue.put_nowait(Event(message, self.consumer))

    async def _messages(self, batch: Mapping[TopicPartition, list[Record]]) -> AsyncIterator[tuple[TP, Any]]:
        for tp, records in batch.items():
            for record in records:
                yield TP(tp.topic, tp.partition), Message(record, self.generation)

    async def positions(self) -> dict[TP, int]:
        return {TP(tp.topic, tp.partition): position for tp, position in self.reader.positions.items()}

    def drop(self) -> None:
        """The next fetch is lost on its way to the consumer, as in a rebalance that Faust gives up half of."""
        self.dropping = True

    def read_again(self) -> None:
        """Positions go back to somewhere between where this assignment began and where they are."""
        if self.fetching is None or self.fetching.done():
            return
        for tp, position in list(self.reader.positions.items()):
            start = min(position, self.consumer._read_offset[TP(tp.topic, tp.partition)] or 0)
            self.reader.seek(tp, self.broker.rng.randint(start, position))
        self.reader.wake()

    async def seek(self, moved: dict[TP, int]) -> None:
        for tp, offset in moved.items():
            self.reader.seek(TopicPartition(tp.topic, tp.partition), offset)

    async def committed(self) -> dict[TP, int]:
        def work() -> dict[TP, int]:
            return {tp: self.group.committed.get((tp.topic, tp.partition), 0) for tp in self.assigned}

        found: dict[TP, int] = await self.broker.call(work)
        self.reader.assign([TopicPartition(tp.topic, tp.partition) for tp in self.assigned])
        await self.seek(found)
        return found

    async def confirm(self) -> None:
        """As SafeThread: nothing while it joins anew."""
        if not self.rejoin.is_set():
            await self.beat()

    async def beat(self) -> None:
        """One heartbeat, as LeaseConsumer watches it."""
        believed = await self.consumer.believed()
        sent_at, membership = self.loop.time(), Membership(self.name, self.generation)
        answer = await self.broker.call(self.group.heartbeat, membership.member, membership.generation)
        if membership != Membership(self.name, self.generation):
            # Answers of one connection come in order: this one was read before the join that came between.
            return
        if answer == "ok":
            if believed:
                self.lease.renewed(sent_at, membership)
            return
        if answer == "rebalancing":
            self.lease.rebalancing(sent_at)
        else:
            self.lease.ended()
            self.name = ""
        self.rejoin.set()

    async def _heartbeats(self) -> None:
        while self.name:
            await asyncio.sleep(HEARTBEAT_S)
            await self.beat()

    async def _commits(self) -> None:
        # Faust's timer knows nothing of assignments: it may fire at any moment of one.
        # Between two acknowledgements it finds nothing to do, so the simulation lets it sleep.
        while True:
            await self.consumer.acks.wait()
            await asyncio.sleep(self.broker.rng.uniform(0.0, COMMIT_S))
            self.consumer.acks.clear()
            await self.commit()

    async def commit(self) -> None:
        offsets = {}
        for tp in self.assigned:
            offset = self.consumer._new_offset(tp)
            known = self.consumer._committed_offset[tp]
            if offset is not None and (known is None or offset > known):
                offsets[tp] = offset
        if not offsets:
            return
        plain = {(tp.topic, tp.partition): offset for tp, offset in offsets.items()}
        try:
            await self.broker.call(self.group.commit, self.name, self.generation, plain)
        except MemberGone:
            return
        self.consumer._committed_offset.update(offsets)
