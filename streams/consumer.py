"""The safe consumer: Faust's, made to lose nothing.

As shipped Faust commits past unacknowledged offsets (its issue 606) and drops acknowledgements before it drains. Here a
commit stays below the oldest offset in flight, a drain is bounded, acknowledgements of an older generation do not count,
and the group's heartbeats feed a lease.
"""

import asyncio
import contextlib
import time
import weakref
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import structlog
import uvloop
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, Message

from schemas.errors import LeaseLost
from streams.continuity import Continuity, Step
from streams.eager import Begun
from streams.membership import SafeThread
from streams.reader import group_less

log = structlog.get_logger()
DRAIN_POLL_S = 0.02
CONFIRM_POLL_S = 0.1
RECORDS_AT_ONCE = 100
FETCHES_A_LOOK = 20
PROOF_MS = 5_000


class DirectRecord(NamedTuple):
    """A record without a stream. Records come in order, so the last one acknowledged stands for all before it."""

    message: Message
    acked: list[int]

    def ack(self) -> None:
        self.acked[:] = [self.message.offset]


class SafeConsumer(driver.Consumer):  # type: ignore[misc]
    """Commits only what is acknowledged without a gap."""

    frozen = False
    _settled_generation: int | None = None

    def on_init(self) -> None:
        super().on_init()
        self._settling = asyncio.Lock()
        self._continuity = Continuity()
        self._held: dict[tuple[TP, int], weakref.ref[Message]] = {}
        self._fetches = 0

    def _new_consumer_thread(self) -> SafeThread:
        return SafeThread(self, loop=self.loop, beacon=self.beacon, thread_loop=uvloop.new_event_loop())

    def ack(self, message: Message) -> bool:
        if message.generation_id != self.app.consumer_generation_id:
            message.acked = True
            return False  # outlived a rebalance: the record was read again under the new generation
        counted = bool(super().ack(message))
        self._unacked_messages.discard(message)
        self._continuity.served(message.tp, message.offset)
        self._held.pop((message.tp, message.offset), None)
        return counted

    def _new_offset(self, tp: TP) -> int | None:
        if self.frozen or self._settled_generation != self.app.consumer_generation_id:
            return None
        acked, self._acked[tp] = self._acked[tp], []
        self._acked_index[tp].clear()
        self._gap.pop(tp, None)
        if self.app.direct is not None:
            return max(acked) + 1 if acked else None
        # Faust's own memory of a record begins when its stream takes it and ends when nobody holds it.
        return self._continuity.floor(tp)

    async def wait_empty(self) -> None:
        """Drain within the bound: for a rebalance and for the end of the process."""
        deadline = time.monotonic() + self.app.ownership.drain_s
        while time.monotonic() < deadline and any(not m.acked for m in list(self._unacked_messages)):
            await asyncio.sleep(DRAIN_POLL_S)
        await self.commit_and_end_transactions()
        self.frozen = True

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        # Faust forgets the acknowledgements of a partition before it drains: keep them until the drain has committed.
        await self.app._on_partitions_revoked(revoked)
        await self.app.ownership.revoked(revoked)
        self._forget()
        if self._active_partitions is not None:
            self._active_partitions.difference_update(revoked)
        self._paused_partitions.difference_update(revoked)

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        self._forget()
        self.frozen = False
        self._settled_generation = None
        await super().on_partitions_assigned(assigned, generation_id)

    def _forget(self) -> None:
        for memory in (
            self._unacked_messages, self._acked, self._acked_index, self._gap, self._committed_offset, self._read_offset,
        ):  # fmt: skip
            memory.clear()

    async def _drain_messages(self, fetcher: Any) -> None:
        """Hand records on for ever.

        Faust makes two tasks for each record, so that a full stream cannot hold up a rebalance. Here that is for the
        record that has to wait; the others are delivered at once, or straight to `app.direct`, without a stream.
        """
        try:
            while not (self.should_stop or fetcher.should_stop):
                await asyncio.sleep(0)
                since_yield = 0
                async for tp, message in self._following(self.getmany(timeout=1.0)):
                    since_yield += 1
                    if since_yield % RECORDS_AT_ONCE == 0:
                        await asyncio.sleep(0)
                    if self.app.direct is None:
                        self._hand_on(tp, message)
                        if not await self._deliver(message):
                            self._continuity.back(tp, message.offset)
                            break
                    else:
                        await self.app.direct(DirectRecord(message, self._acked[tp]))
                        self._continuity.delivered(tp, message.offset)
                    self._read_offset[tp] = message.offset
        except (*self.consumer_stopped_errors, asyncio.CancelledError):
            if not self.app.should_stop:
                raise

    def _hand_on(self, tp: TP, message: Message) -> None:
        self._continuity.handed(tp, message.offset)
        self._held[tp, message.offset] = weakref.ref(message)

    async def _deliver(self, message: Message) -> bool:
        """Hand a record to its stream; False when a rebalance came first, and the record is read again after it."""
        begun = Begun(self.callback(message))
        if begun.done:
            return True
        result = await self.wait_first(rest := begun.rest(), self.suspend_flow.wait())
        return rest in result.done

    async def _following(self, fetch: AsyncIterator[tuple[TP, Message]]) -> AsyncIterator[tuple[TP, Message]]:
        """Of a fetch the records that follow what was handed on; whatever is missing before them is read again.

        An empty fetch is the moment to find a dropped one that nothing came after: what it held lies before the position.
        """
        self._fetches += 1
        if self._fetches % FETCHES_A_LOOK == 0:
            await self._recover()
        self._continuity.batch()
        came = False
        async for tp, message in fetch:
            came = True
            if await self._step(tp, message.offset) is Step.DELIVER:
                yield tp, message
        if not came and self._settled_generation == self.app.consumer_generation_id:
            for tp in self._continuity.behind(await self._thread.positions()):
                await self._read_again(tp, "a fetch was dropped")
            await self._recover()

    async def _step(self, tp: TP, offset: int) -> Step:
        step = self._continuity.step(tp, offset)
        if step is Step.PROVE:
            expected = self._continuity.expected(tp)
            first = await self._first_from(tp, expected)
            if self._continuity.expected(tp) != expected:
                return Step.PASS
            # A transaction's marker, or what retention removed, is a hole that every reader sees.
            step = Step.DELIVER if first is not None and first >= offset else Step.SEEK
        if step is Step.SEEK:
            await self._read_again(tp, f"{offset} came instead")
        return step

    async def _recover(self) -> None:
        """What was handed on and nobody holds any more was dropped by Faust: it is read again."""
        for tp, offset in self._continuity.open:
            held = self._held.get((tp, offset))
            if held is not None and held() is None:
                self._continuity.back(tp, offset)
                await self._read_again(tp, "nobody holds it")

    async def _read_again(self, tp: TP, reason: str) -> None:
        expected = self._continuity.expected(tp)
        log.warning("records read again", topic=tp.topic, partition=tp.partition, expected=expected, reason=reason)
        await self._thread.seek_wait({tp: expected})

    async def _first_from(self, tp: TP, offset: int | None) -> int | None:
        """The first offset at or after this one that a reader without a group finds; None where none came in time."""
        partition = TopicPartition(tp.topic, tp.partition)
        with contextlib.suppress(KafkaError):
            async with group_less(self.app.cluster) as consumer:
                consumer.assign([partition])
                consumer.seek(partition, offset)
                found = await consumer.getmany(partition, timeout_ms=PROOF_MS, max_records=1)
                return found[partition][0].offset if found.get(partition) else None
        return None

    async def perform_seek(self) -> None:
        """Called before records flow: take ownership first, then read from where the owner says.

        Faust calls it as well when a fetch that was under way comes back while nothing may flow: it drops those records,
        so they must be read again.
        """
        async with self._settling:
            if self._settled_generation != self.app.consumer_generation_id:
                await self._settle(self.app.consumer_generation_id)
                return
            await self._thread.seek_wait(self._continuity.positions)

    async def settle_again(self) -> None:
        """Take ownership anew of what the group still says is ours. Before the first assignment there is nothing to take."""
        async with self._settling:
            generation = self.app.consumer_generation_id
            if self._settled_generation == generation:
                await self._settle(generation)

    async def _settle(self, generation: int) -> None:
        while True:
            await self._confirmed()
            offsets = await self.seek_to_committed()
            committed = {TP(tp.topic, tp.partition): offset for tp, offset in offsets.items()}
            positions = {TP(*tp): committed.get(TP(*tp)) or 0 for tp in self.assignment()}
            try:
                wanted = await self.app.ownership.assigned(positions)
                break
            except LeaseLost:
                # The group moved on while we took over. Its next assignment cancels this call and begins anew.
                log.warning("assignment interrupted", app=self.app.conf.id)
                await asyncio.sleep(CONFIRM_POLL_S)
        if moved := {tp: offset for tp, offset in wanted.items() if positions.get(tp) != offset}:
            await self._thread.seek_wait(moved)
        for tp, offset in (positions | dict(wanted)).items():
            self._read_offset[tp] = offset or None
            if offset:
                self._committed_offset[tp] = offset
        self._held.clear()
        self._continuity.begin(positions | dict(wanted))
        self._settled_generation = generation

    async def _confirmed(self) -> None:
        """Heartbeat until the group confirms us: another member that joins at this moment delays that."""
        await self._thread.confirm_membership()
        while not self.app.ownership.lease.valid():
            await asyncio.sleep(CONFIRM_POLL_S)
            await self._thread.confirm_membership()
