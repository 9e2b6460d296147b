"""The consumer group's side of Faust: a consumer whose heartbeats feed a lease, in a thread of its own."""

from collections.abc import Awaitable, Callable
from typing import Any

import aiokafka
from aiokafka.errors import (
    IllegalGenerationError,
    NoError,
    RebalanceInProgressError,
    UnknownMemberIdError,
    for_code,
)
from aiokafka.protocol.group import HeartbeatRequest
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from streams.access import client_options
from streams.clock import boottime
from streams.fetching import pace
from streams.lease import Lease, Membership

MEMBERSHIP_ERRORS = (IllegalGenerationError, UnknownMemberIdError)
NOBODY = "nobody"
"""A member that no group has."""
FETCH_WAIT_MS = 500


Send = Callable[[Any], Awaitable[Any]]


class LeaseConsumer(aiokafka.AIOKafkaConsumer):  # type: ignore[misc]
    """aiokafka's consumer whose heartbeats renew a lease."""

    lease: Lease
    gather_s: float

    async def start(self) -> None:
        await super().start()
        pace(self, gather_s=lambda: self.gather_s)
        self._coordinator._send_req = watched(self._coordinator._send_req, self._coordinator, self.lease)


def watched(send: Send, coordinator: Any, lease: Lease) -> Send:
    """`send`, which tells the lease what the coordinator says to heartbeats."""

    async def knows_members() -> bool:
        """Whether the coordinator has its groups: while it loads them it answers every heartbeat without error."""
        answer = await send(HeartbeatRequest(coordinator.group_id, coordinator.generation, NOBODY))
        return for_code(answer.error_code) in MEMBERSHIP_ERRORS

    async def send_and_watch(request: Any) -> Any:
        if not isinstance(request, HeartbeatRequest):
            return await send(request)
        # Within a lease no session ends. After it the group may have gone on without us, and the coordinator may have been
        # started again since: what it says then counts once it has refused somebody.
        believed = lease.valid() or await knows_members()
        sent_at = boottime()
        membership = Membership(coordinator.member_id, coordinator.generation)
        response = await send(request)
        error = for_code(response.error_code)
        if error is NoError:
            if believed:
                lease.renewed(sent_at, membership)
        elif error is RebalanceInProgressError:
            lease.rebalancing(sent_at)
        elif error in MEMBERSHIP_ERRORS:
            lease.ended()
        return response

    return send_and_watch


class SafeThread(driver.AIOKafkaConsumerThread):  # type: ignore[misc]
    """Runs the consumer in its own thread and loop, so that heartbeats go on while the main thread works."""

    def _create_worker_consumer(self, transport: Any) -> LeaseConsumer:
        conf = self.app.conf
        self._assignor = driver.RoundRobinPartitionAssignor
        consumer = LeaseConsumer(
            client_id=conf.broker_client_id,
            group_id=conf.id,
            **client_options(self.app.cluster),
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
        """One heartbeat now, so that the lease of a new assignment starts at once. None while the consumer joins anew: it would
        speak for a membership that is over, and its refusal, read after the join, would end the new one."""
        await self.call_thread(self._confirm)

    async def _confirm(self) -> None:
        coordinator = self._ensure_consumer()._coordinator
        if not coordinator._rejoin_needed_fut.done():
            await coordinator._do_heartbeat()

    async def positions(self) -> dict[TP, int]:
        """Where the next fetch of each partition reads on."""
        return dict(await self.call_thread(self._positions))

    async def _positions(self) -> dict[TP, int]:
        subscription = self._ensure_consumer()._subscription.subscription
        if subscription is None or subscription.assignment is None:
            return {}
        return {TP(*tp): at.offset for tp, at in subscription.assignment.all_consumed_offsets().items()}
