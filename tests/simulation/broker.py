"""A broker in virtual time: partitions with offsets and LogAppendTime, idempotent appends, the groups it coordinates."""

import asyncio
import random
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

from simulation.coordinator import Group, MemberGone
from simulation.virtual import Handle, VirtualLoop, refuse, resolve

BASE_MS = 1_790_001_800_000
"""Start of the world in broker time: half past an hour, so that no budget period ends within a run."""


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
            resolve(waiter, None)

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
                self.loop.later(self.network.delay(), resolve, waiter, None)
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
        except MemberGone as error:
            loop.later(self.network.delay(), refuse, done, error)
            return
        loop.later(self.network.delay(), resolve, done, result)

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

        given_up = loop.later(timeout, refuse, done, AckLost())
        loop.later(self.network.delay(), work)

    def moved(self, waiter: asyncio.Future[None], places: Iterable[tuple[str, int]]) -> None:
        """Resolve the waiter once a record is appended to one of the partitions."""
        for place in places:
            self._waiting.setdefault(place, []).append(waiter)

    def group(self, name: str, topics: tuple[str, ...], session_s: float, rebalance_s: float) -> Group:
        if name not in self.groups:
            self.groups[name] = Group(self, name, topics, session_s, rebalance_s)
        return self.groups[name]


def _answer(future: asyncio.Future[Any], given_up: Handle, value: Any) -> None:
    given_up.cancel()
    resolve(future, value)
