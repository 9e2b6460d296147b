"""The safe consumer: Faust's, made to lose nothing.

As shipped Faust commits past unacknowledged offsets (its issue 606) and drops acknowledgements before it drains. Here a
commit stays below the oldest offset in flight, a drain is bounded, acknowledgements of an older generation do not count,
and the group's heartbeats feed a lease.
"""

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import aiokafka
import faust
import structlog
import uvloop
from aiokafka.errors import (
    IllegalGenerationError,
    NoError,
    RebalanceInProgressError,
    UnknownMemberIdError,
    for_code,
)
from aiokafka.protocol.group import HeartbeatRequest
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, Message

from schemas.errors import LeaseLost
from streams.clock import boottime
from streams.continuity import Continuity, Step
from streams.eager import Begun
from streams.fetching import pace
from streams.lease import Lease, Membership

log = structlog.get_logger()
MEMBERSHIP_ERRORS = (IllegalGenerationError, UnknownMemberIdError)
DRAIN_POLL_S = 0.02
CONFIRM_POLL_S = 0.1
FETCH_WAIT_MS = 500
RECORDS_AT_ONCE = 100


class Ownership(Protocol):
    """What an app does when partitions come and go."""

    lease: Lease
    drain_s: float

    async def assigned(self, positions: Mapping[TP, int]) -> Mapping[TP, int]:
        """Partitions are ours from `positions` on; returns where to read on instead. No record flows before it returns."""
        ...

    async def revoked(self, partitions: set[TP]) -> None:
        """The drain is over and the partitions leave."""
        ...


class LeaseConsumer(aiokafka.AIOKafkaConsumer):  # type: ignore[misc]
    """aiokafka's consumer whose heartbeats renew a lease."""

    lease: Lease
    gather_s: float

    async def start(self) -> None:
        await super().start()
        pace(self, gather_s=self.gather_s)
        coordinator, lease = self._coordinator, self.lease
        send = coordinator._send_req

        async def send_and_watch(request: Any) -> Any:
            if not isinstance(request, HeartbeatRequest):
                return await send(request)
            sent_at = boottime()
            membership = Membership(coordinator.member_id, coordinator.generation)
            response = await send(request)
            error = for_code(response.error_code)
            if error is NoError:
                lease.renewed(sent_at, membership)
            elif error is RebalanceInProgressError:
                lease.rebalancing(sent_at)
            elif error in MEMBERSHIP_ERRORS:
                lease.ended()
            return response

        coordinator._send_req = send_and_watch


class SafeThread(driver.AIOKafkaConsumerThread):  # type: ignore[misc]
    """Runs the consumer in its own thread and loop, so that heartbeats go on while the main thread works."""

    def _create_worker_consumer(self, transport: Any) -> LeaseConsumer:
        conf = self.app.conf
        self._assignor = driver.RoundRobinPartitionAssignor
        consumer = LeaseConsumer(
            client_id=conf.broker_client_id,
            group_id=conf.id,
            bootstrap_servers=driver.server_list(transport.url, transport.default_port),
            partition_assignment_strategy=[self._assignor],
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            max_poll_records=conf.broker_max_poll_records,
            # With its queue full past the interval a worker leaves the group for good (Faust issue 138).
            max_poll_interval_ms=86_400_000,
            max_partition_fetch_bytes=conf.consumer_max_fetch_size,
            fetch_max_wait_ms=FETCH_WAIT_MS,
            request_timeout_ms=int(conf.broker_request_timeout * 1000),
            session_timeout_ms=int(conf.broker_session_timeout * 1000),
            rebalance_timeout_ms=int(conf.broker_rebalance_timeout * 1000),
            heartbeat_interval_ms=int(conf.broker_heartbeat_interval * 1000),
        )
        consumer.lease = self.app.ownership.lease
        consumer.gather_s = self.app.gather_s
        return consumer

    def _start_thread(self) -> None:
        try:
            super()._start_thread()
        finally:
            self.thread_loop.close()

    async def confirm_membership(self) -> None:
        """One heartbeat now, so that the lease of a new assignment starts at once."""
        await self.call_thread(self._ensure_consumer()._coordinator._do_heartbeat)

    async def positions(self) -> dict[TP, int]:
        """Where the next fetch of each partition reads on."""
        return dict(await self.call_thread(self._positions))

    async def _positions(self) -> dict[TP, int]:
        subscription = self._ensure_consumer()._subscription.subscription
        if subscription is None or subscription.assignment is None:
            return {}
        return {TP(*tp): at.offset for tp, at in subscription.assignment.all_consumed_offsets().items()}


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

    def _new_consumer_thread(self) -> SafeThread:
        return SafeThread(self, loop=self.loop, beacon=self.beacon, thread_loop=uvloop.new_event_loop())

    def ack(self, message: Message) -> bool:
        if message.generation_id != self.app.consumer_generation_id:
            message.acked = True
            return False  # outlived a rebalance: the record was read again under the new generation
        counted = bool(super().ack(message))
        self._unacked_messages.discard(message)
        return counted

    def _new_offset(self, tp: TP) -> int | None:
        if self.frozen:
            return None
        floor = min((m.offset for m in list(self._unacked_messages) if m.tp == tp and not m.acked), default=None)
        acked = self._acked[tp]
        ready = acked if floor is None else [offset for offset in acked if offset < floor]
        if not ready:
            return None
        self._acked[tp] = [] if floor is None else [offset for offset in acked if offset >= floor]
        self._acked_index[tp].difference_update(ready)
        self._gap.pop(tp, None)
        return int(max(ready)) + 1

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
                        if not await self._deliver(message):
                            break
                    else:
                        await self.app.direct(DirectRecord(message, self._acked[tp]))
                    self._read_offset[tp] = message.offset
                    self._continuity.delivered(tp, message.offset)
        except (*self.consumer_stopped_errors, asyncio.CancelledError):
            if not self.app.should_stop:
                raise

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
        self._continuity.batch()
        came = False
        async for tp, message in fetch:
            came = True
            if await self._step(tp, message.offset) is Step.DELIVER:
                yield tp, message
        if not came and self._settled_generation == self.app.consumer_generation_id:
            for tp, position in (await self._thread.positions()).items():
                if await self._step(tp, position) is Step.DELIVER:
                    self._continuity.delivered(tp, position - 1)

    async def _step(self, tp: TP, offset: int) -> Step:
        step = self._continuity.step(tp, offset)
        if step is Step.SEEK:
            expected = self._continuity.expected(tp)
            log.warning("records read again", topic=tp.topic, partition=tp.partition, expected=expected, found=offset)
            await self._thread.seek_wait({tp: expected})
        return step

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
        self._continuity.begin(positions | dict(wanted))
        self._settled_generation = generation

    async def _confirmed(self) -> None:
        """Heartbeat until the group confirms us: another member that joins at this moment delays that."""
        await self._thread.confirm_membership()
        while not self.app.ownership.lease.valid():
            await asyncio.sleep(CONFIRM_POLL_S)
            await self._thread.confirm_membership()


class SafeApp(faust.App):  # type: ignore[misc]
    """A Faust app with the safe consumer. `ownership` and `on_failure` are set before it starts.

    `gather_s`: how long records may wait for company. `direct`: takes the records, one after the other, in place of
    Faust's streams, which serve many at a time for 0.3 ms each.
    """

    gather_s = 0.0
    direct: Callable[[DirectRecord], Awaitable[None]] | None = None
    ownership: Ownership
    on_failure: Callable[[BaseException], None]

    async def crash(self, reason: BaseException) -> None:
        """Whoever runs the app learns why it ended."""
        self.on_failure(reason)
        await super().crash(reason)

    def _new_transport(self) -> Any:
        transport = super()._new_transport()
        transport.Consumer = SafeConsumer
        return transport


def safe_app(name: str, bootstrap_servers: str, *, session_timeout_s: float, rebalance_timeout_s: float) -> SafeApp:
    """A Faust app with what its measured traps demand."""
    servers = ";".join(f"kafka://{server.strip()}" for server in bootstrap_servers.split(","))
    return SafeApp(
        name,
        broker=servers,
        store="memory://",
        web_enabled=False,
        # Faust makes a folder whether it has tables or not.
        datadir=str(Path(tempfile.gettempdir()) / "turnout-faust"),
        topic_disable_leader=True,
        topic_allow_declare=False,
        key_serializer="raw",
        value_serializer="raw",
        stream_buffer_maxsize=500,
        stream_wait_empty=True,
        stream_recovery_delay=0.0,
        broker_max_poll_records=500,
        broker_max_poll_interval=86_400.0,
        broker_session_timeout=session_timeout_s,
        broker_heartbeat_interval=max(0.3, session_timeout_s / 10),
        broker_rebalance_timeout=rebalance_timeout_s,
        broker_request_timeout=max(90.0, session_timeout_s + 1),
        broker_commit_interval=0.5,
    )
