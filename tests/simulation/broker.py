"""A broker in virtual time: partitions with offsets and LogAppendTime, idempotent appends, consumer groups."""

import asyncio
import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from aiokafka import TopicPartition
from simulation.virtual import Handle, VirtualLoop

BASE_MS = 1_790_001_800_000
"""Start of the world in broker time: half past an hour, so that no budget period ends within a run."""


FETCHED = 100
"""Records of one partition in one fetch, at most."""


class MemberGone(Exception):
    """The coordinator does not know the member, or not in this generation."""


class Rebalancing(Exception):
    """A rebalance is under way."""


class AckLost(Exception):
    """The answer did not come in time; the record may have been appended."""


class Record(NamedTuple):
    """`number`: its place among all appends of the world. `writer`: process; `lease_end`: when that one's lease ended,
    as it stood when the bytes were sent; `sent_at`: virtual seconds."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]
    number: int
    writer: str
    lease_end: float
    sent_at: float


@dataclass
class Unsent:
    """A record before it has a place."""

    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]


@dataclass
class Network:
    """Delays in seconds. Faults raise them for a while."""

    rng: random.Random
    slow_acks: float = 0.0
    lost_acks: float = 0.0

    def delay(self) -> float:
        return self.rng.uniform(0.0005, 0.004) if self.rng.random() < 0.97 else self.rng.uniform(0.01, 0.25)


class Broker:
    """Owns every log, and the groups' coordinator."""

    def __init__(self, loop: VirtualLoop, rng: random.Random, partitions: int) -> None:
        self.loop, self.rng, self.partitions = loop, rng, partitions
        self.network = Network(rng)
        # By offset; None is where compaction left a hole.
        self.logs: dict[tuple[str, int], list[Record | None]] = {}
        self.groups: dict[str, Group] = {}
        self.appended = 0
        self.paused_until = 0.0
        self.skipped_ms = 0
        # Partition -> virtual seconds until which nothing of it is fetched.
        self.lagging: dict[tuple[str, int], float] = {}
        self._clock_offsets: dict[tuple[str, int], int] = {}
        self._seen: dict[tuple[str, str, int], dict[int, tuple[int, int]]] = {}
        self._waiting: dict[tuple[str, int], list[asyncio.Future[None]]] = {}

    def log(self, topic: str, partition: int) -> list[Record | None]:
        log = self.logs.get((topic, partition))
        if log is None:
            log = self.logs[topic, partition] = []
        return log

    def compact(self, topic: str, partition: int) -> None:
        """Of every key only the record written last stays, at its offset."""
        log, kept = self.log(topic, partition), set()
        for offset in range(len(log) - 1, -1, -1):
            record = log[offset]
            if record is not None and record.key in kept:
                log[offset] = None
            elif record is not None:
                kept.add(record.key)

    def lag(self, topic: str, partition: int, seconds: float) -> None:
        """Fetches of the partition come back empty for so long."""
        self.lagging[topic, partition] = max(self.lagging.get((topic, partition), 0.0), self.loop.now + seconds)
        self.loop.later(seconds, self._caught_up, topic, partition)

    def _caught_up(self, topic: str, partition: int) -> None:
        for waiter in self._waiting.pop((topic, partition), []):
            _resolve(waiter, None)

    def now_ms(self) -> int:
        return BASE_MS + self.skipped_ms + int(self.loop.time() * 1000)

    def skip(self, seconds: float) -> None:
        """Broker time passes at once, for every clock that follows it. Leases and timers do not notice."""
        self.skipped_ms += int(seconds * 1000)

    def step_clock(self, topic: str, partition: int, by_ms: int) -> None:
        """The partition's leader moved to a machine whose clock differs."""
        self._clock_offsets[topic, partition] = by_ms

    def _stamp(self, topic: str, partition: int) -> int:
        return self.now_ms() + self._clock_offsets.get((topic, partition), 0)

    def append(
        self, topic: str, partition: int, records: Iterable[Unsent], writer: str = "user", lease_end: float = 1e18,
        sent_at: float = 0.0,
    ) -> int:  # fmt: skip
        """Returns the offset of the first."""
        log = self.log(topic, partition)
        first = len(log)
        stamp = self._stamp(topic, partition)
        for record in records:
            self.appended += 1
            log.append(
                Record(topic, partition, len(log), stamp, record.key, record.value, record.headers, self.appended,
                       writer, lease_end, sent_at)
            )  # fmt: skip
        if waiting := self._waiting.pop((topic, partition), None):
            for waiter in waiting:
                self.loop.later(self.network.delay(), _resolve, waiter, None)
        return first

    def ask(self, done: asyncio.Future[Any], work: Any, *args: Any) -> None:
        """One round trip, whose result is `done`. `work` runs at the broker, whatever becomes of the caller meanwhile."""
        self.loop.later(self.network.delay(), self._arrive, done, work, args)

    def _arrive(self, done: asyncio.Future[Any], work: Any, args: tuple[Any, ...]) -> None:
        loop = self.loop
        if loop.now < self.paused_until:
            loop.later(self.paused_until - loop.now, self._arrive, done, work, args)
            return
        try:
            result = work(*args)
        except (MemberGone, Rebalancing) as error:
            loop.later(self.network.delay(), _refuse, done, error)
            return
        loop.later(self.network.delay(), _resolve, done, result)

    async def call(self, work: Any, *args: Any) -> Any:
        """A round trip of its own."""
        done: asyncio.Future[Any] = self.loop.create_future()
        self.ask(done, work, *args)
        return await done

    def produce(
        self, done: asyncio.Future[tuple[int, int]], producer: str, sequence: int, topic: str, partition: int,
        records: list[Unsent], writer: str, lease_end: float, timeout: float,
    ) -> None:  # fmt: skip
        """Append once however often it is tried. `done` is offset and stamp of the first, or AckLost."""
        loop = self.loop
        sent_at = loop.now

        def work() -> None:
            if loop.now < self.paused_until:
                loop.later(self.paused_until - loop.now, work)
                return
            known = self._seen.setdefault((producer, topic, partition), {})
            if sequence not in known:
                first = self.append(topic, partition, records, writer, lease_end, sent_at)
                known[sequence] = first, self._stamp(topic, partition)
            if self.rng.random() >= self.network.lost_acks:
                slow = self.network.slow_acks and self.rng.uniform(0, self.network.slow_acks)
                loop.later(self.network.delay() + slow, _answer, done, given_up, known[sequence])

        given_up = loop.later(timeout, _refuse, done, AckLost())
        loop.later(self.network.delay(), work)

    def moved(self, waiter: asyncio.Future[None], places: Iterable[tuple[str, int]]) -> None:
        """Resolve the waiter once a record is appended to one of the partitions."""
        for place in places:
            self._waiting.setdefault(place, []).append(waiter)

    def group(self, name: str, topics: tuple[str, ...], session_s: float, rebalance_s: float) -> "Group":
        if name not in self.groups:
            self.groups[name] = Group(self, name, topics, session_s, rebalance_s)
        return self.groups[name]


class Reader:
    """An aiokafka consumer without a group, as far as our code uses one."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.positions: dict[TopicPartition, int] = {}
        self._paused: set[TopicPartition] = set()
        self._client = self
        self._idle = False
        self._waiter: asyncio.Future[None] | None = None

    async def topics(self) -> set[str]:
        return {topic for topic, _ in self.broker.logs}

    async def _wait_on_metadata(self, topic: str) -> None:
        return None

    def partitions_for_topic(self, topic: str) -> set[int]:
        return {partition for name, partition in self.broker.logs if name == topic}

    def assign(self, partitions: Iterable[TopicPartition]) -> None:
        self.positions = dict.fromkeys(partitions, 0)
        self._paused, self._idle = set(), False

    def seek(self, partition: TopicPartition, offset: int) -> None:
        self.positions[partition] = offset

    async def seek_to_beginning(self, *partitions: TopicPartition) -> None:
        for partition in partitions:
            self.positions[partition] = 0

    def pause(self, partition: TopicPartition) -> None:
        self._paused.add(partition)

    async def position(self, partition: TopicPartition) -> int:
        return self.positions[partition]

    async def end_offsets(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        wanted = list(partitions)
        found: dict[TopicPartition, int] = await self.broker.call(
            lambda: {tp: len(self.broker.log(tp.topic, tp.partition)) for tp in wanted}
        )
        return found

    async def beginning_offsets(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(partitions, 0)

    async def offsets_for_times(self, since: dict[TopicPartition, int]) -> dict[TopicPartition, Record | None]:
        def work() -> dict[TopicPartition, Record | None]:
            return {
                tp: next(
                    (r for r in self.broker.log(tp.topic, tp.partition) if r is not None and r.timestamp >= at), None
                )
                for tp, at in since.items()
            }

        found: dict[TopicPartition, Record | None] = await self.broker.call(work)
        return found

    async def getone(self, partition: TopicPartition) -> Record:
        position = self.positions[partition]
        record: Record = await self.broker.call(lambda: self.broker.log(partition.topic, partition.partition)[position])
        self.positions[partition] = position + 1
        return record

    def wake(self) -> None:
        """Answer a fetch that waits, if one does."""
        if self._waiter is not None:
            _resolve(self._waiter, None)

    def _ready(self) -> dict[TopicPartition, list[Record]]:
        batch = {}
        lagging, now = self.broker.lagging, self.broker.loop.now
        for tp, position in self.positions.items():
            if tp in self._paused:
                continue
            log = self.broker.logs.get((tp.topic, tp.partition))
            if log is None or position >= len(log):
                continue
            if lagging and lagging.get((tp.topic, tp.partition), 0.0) > now:
                continue
            found = [record for record in log[position : position + FETCHED] if record is not None]
            if found or position + FETCHED < len(log):
                batch[tp] = found
            else:
                # Holes alone at the end: a fetch moves over them without an answer.
                self.positions[tp] = len(log)
        return batch

    async def getmany(self, timeout_ms: int) -> dict[TopicPartition, list[Record]]:
        """What is there, of some partitions before others: a fetch of several is answered by several brokers."""
        batch = self._ready()
        if not batch:
            waiter = self._waiter = self.broker.loop.create_future()
            self.broker.moved(waiter, [(tp.topic, tp.partition) for tp in self.positions])
            if not self._idle:
                # Only the first empty answer has to come in time; later ones would only wake the reader for nothing.
                self.broker.loop.later(timeout_ms / 1000, _resolve, waiter, None)
            await waiter
            batch = self._ready()
            self._idle = self._idle or not batch
        if len(batch) > 1:
            places = list(batch)
            self.broker.rng.shuffle(places)
            batch = {tp: batch[tp] for tp in places}
        for tp in batch:
            end = len(self.broker.log(tp.topic, tp.partition))
            self.positions[tp] = min(self.positions[tp] + FETCHED, end)
        return batch


@dataclass
class Member:
    seen_at: float
    joining: asyncio.Future[int] | None = None


@dataclass
class Group:
    """The coordinator's side of one consumer group, eager protocol."""

    broker: Broker
    name: str
    topics: tuple[str, ...]
    session_s: float
    rebalance_s: float
    members: dict[str, Member] = field(default_factory=dict)
    generation: int = 0
    committed: dict[tuple[str, int], int] = field(default_factory=dict)
    assignment: dict[str, list[tuple[str, int]]] = field(default_factory=dict)
    deadline: float | None = None

    def reset(self) -> None:
        """The group was empty for so long that the broker forgot it; only its offsets were kept by luck."""
        self.members.clear()
        self.assignment.clear()
        self.generation, self.deadline = 0, None

    def _expire(self, name: str, member: Member) -> None:
        """Drop a member that went silent. One timer a member: it is set anew from when it was last seen."""
        loop = self.broker.loop
        if self.members.get(name) is not member:
            return
        silent = loop.time() - member.seen_at
        if member.joining is not None or silent < self.session_s or loop.time() < self.broker.paused_until:
            loop.later(max(0.2, self.session_s - silent), self._expire, name, member)
            return
        del self.members[name]
        self.prepare()

    def prepare(self) -> None:
        """Begin a rebalance: it ends when every member joined again, or without the silent ones at its deadline."""
        loop = self.broker.loop
        if self.deadline is None:
            self.deadline = loop.time() + self.rebalance_s
            loop.later(self.rebalance_s, self._complete)
        loop.later(0.05, self._complete)

    def join(self, member: str, joined: asyncio.Future[int]) -> None:
        known = self.members.get(member)
        if known is None:
            known = self.members[member] = Member(self.broker.loop.time(), joined)
            self._expire(member, known)
        known.seen_at, known.joining = self.broker.loop.time(), joined
        self.prepare()

    def _complete(self) -> None:
        now = self.broker.loop.time()
        if self.deadline is None:
            return
        if now < self.broker.paused_until:
            self.broker.loop.later(self.broker.paused_until - now, self._complete)
            return
        waiting = [name for name, member in self.members.items() if member.joining is None]
        if waiting and now < self.deadline:
            return
        for name in waiting:
            del self.members[name]
        if not self.members:
            self.deadline = None
            return
        self.deadline = None
        self.generation += 1
        names = list(self.members)
        self.broker.rng.shuffle(names)
        places = [(topic, number) for topic in self.topics for number in range(self.broker.partitions)]
        self.assignment = {name: places[index :: len(names)] for index, name in enumerate(names)}
        for member in self.members.values():
            member.seen_at = now
            joined, member.joining = member.joining, None
            assert joined is not None
            self.broker.loop.later(self.broker.network.delay(), _resolve, joined, self.generation)

    def heartbeat(self, member: str, generation: int) -> str:
        known = self.members.get(member)
        if known is None or generation != self.generation:
            return "gone"
        known.seen_at = self.broker.loop.time()
        return "rebalancing" if self.deadline is not None else "ok"

    def commit(self, member: str, generation: int, offsets: dict[tuple[str, int], int]) -> None:
        if self.members.get(member) is None or generation != self.generation:
            raise MemberGone
        self.committed.update(offsets)

    def leave(self, member: str) -> None:
        if self.members.pop(member, None) is not None:
            self.prepare()


def _resolve(future: asyncio.Future[Any], value: Any) -> None:
    if not future.done():
        future.set_result(value)


def _refuse(future: asyncio.Future[Any], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)


def _answer(future: asyncio.Future[Any], given_up: Handle, value: Any) -> None:
    given_up.cancel()
    _resolve(future, value)
