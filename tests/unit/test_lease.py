"""The lease: how long a process may believe that its partitions are still its own."""

import asyncio

from streams.lease import Lease, Membership

FIRST = Membership("member", 1)
SESSION_S, DRAIN_S = 10.0, 30.0


class Clock:
    """CLOCK_BOOTTIME under the test's hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def lease_at(clock: Clock) -> Lease:
    lease = Lease(SESSION_S, DRAIN_S, clock)
    lease.renewed(clock.now, FIRST)
    return lease


def test_a_process_without_a_heartbeat_owns_nothing() -> None:
    assert not Lease(SESSION_S, DRAIN_S, Clock()).valid()


def test_it_runs_for_half_the_session_from_the_send_time() -> None:
    clock = Clock()
    lease = lease_at(clock)
    clock.now += SESSION_S / 2 - 0.01
    assert lease.valid()
    clock.now += 0.02
    assert not lease.valid()


def test_a_heartbeat_that_was_answered_late_counts_from_when_it_was_sent() -> None:
    clock = Clock()
    lease = lease_at(clock)
    sent = clock.now + 1
    clock.now += 20
    lease.renewed(sent, FIRST)
    assert not lease.valid()


def test_a_rebalance_extends_it_to_the_drain_bound_and_no_further() -> None:
    clock = Clock()
    lease = lease_at(clock)
    began = clock.now
    while clock.now < began + DRAIN_S:
        lease.rebalancing(clock.now)
        assert lease.valid()
        clock.now += 1
    lease.rebalancing(clock.now)
    assert not lease.valid()


def test_a_rebalance_heard_of_late_does_not_extend_it_past_its_own_end() -> None:
    clock = Clock()
    lease = Lease(SESSION_S, 4.0, clock, rebalance_timeout_s=8.0)
    lease.renewed(clock.now, FIRST)
    # Frozen for less than the session; the rebalance may have begun right after the last confirmation.
    clock.now += 7.0
    lease.rebalancing(clock.now)
    assert lease.valid()
    clock.now += 1.5
    lease.rebalancing(clock.now)
    assert not lease.valid()


def test_a_membership_error_ends_it() -> None:
    clock = Clock()
    lease = lease_at(clock)
    lease.ended()
    assert not lease.valid()
    lease.rebalancing(clock.now)
    assert not lease.valid()


async def test_held_results_go_out_when_the_same_membership_is_confirmed() -> None:
    clock = Clock()
    lease = lease_at(clock)
    clock.now += SESSION_S
    settled = asyncio.create_task(lease.settled(poll_s=0.001))
    await asyncio.sleep(0)
    assert not settled.done()
    lease.renewed(clock.now, FIRST)
    assert await settled


async def test_held_results_are_dropped_when_another_generation_is_confirmed() -> None:
    clock = Clock()
    lease = lease_at(clock)
    clock.now += SESSION_S
    settled = asyncio.create_task(lease.settled(poll_s=0.001))
    await asyncio.sleep(0)
    lease.renewed(clock.now, Membership("member", 2))
    assert not await settled


async def test_held_results_are_dropped_when_the_group_does_not_know_us() -> None:
    clock = Clock()
    lease = lease_at(clock)
    clock.now += SESSION_S
    settled = asyncio.create_task(lease.settled(poll_s=0.001))
    await asyncio.sleep(0)
    lease.ended()
    assert not await settled
