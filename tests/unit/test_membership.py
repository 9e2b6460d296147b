"""What a lease believes of the answers to heartbeats."""

from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import IllegalGenerationError, RebalanceInProgressError, UnknownMemberIdError
from aiokafka.protocol.group import HeartbeatRequest

from streams.lease import Lease, Membership
from streams.membership import NOBODY, watched

OURS = "member-1"


class Coordinator:
    """Of a group of one member. While it is `loading` it answers as Kafka's does."""

    def __init__(self) -> None:
        self.group_id, self.member_id, self.generation = "g", OURS, 3
        self.members, self.loading, self.answer = {OURS}, False, 0
        self.asked: list[str] = []

    async def send(self, request: HeartbeatRequest) -> Any:
        self.asked.append(request._member_id)
        if self.loading:
            return SimpleNamespace(error_code=0)
        known = request._member_id in self.members
        return SimpleNamespace(error_code=self.answer if known else UnknownMemberIdError.errno)

    async def beat(self, lease: Lease) -> None:
        await watched(self.send, self, lease)(HeartbeatRequest(self.group_id, self.generation, OURS))


@pytest.fixture
def coordinator() -> Coordinator:
    return Coordinator()


@pytest.fixture
def lease() -> Lease:
    return Lease(10.0, 30.0)


async def test_the_first_word_counts_after_a_stranger_was_refused(coordinator: Coordinator, lease: Lease) -> None:
    await coordinator.beat(lease)
    assert lease.valid() and lease.membership == Membership(OURS, 3) and coordinator.asked == [NOBODY, OURS]


async def test_within_a_lease_nothing_more_is_asked(coordinator: Coordinator, lease: Lease) -> None:
    await coordinator.beat(lease)
    await coordinator.beat(lease)
    assert coordinator.asked == [NOBODY, OURS, OURS]


async def test_a_coordinator_that_loads_its_groups_confirms_nobody(coordinator: Coordinator, lease: Lease) -> None:
    coordinator.members.clear()
    coordinator.loading = True
    await coordinator.beat(lease)
    assert not lease.valid()
    coordinator.loading = False
    await coordinator.beat(lease)
    assert not lease.valid() and lease.membership is None


@pytest.mark.parametrize("error", [UnknownMemberIdError, IllegalGenerationError])
async def test_a_membership_error_ends_it(coordinator: Coordinator, lease: Lease, error: Any) -> None:
    await coordinator.beat(lease)
    coordinator.answer = error.errno
    await coordinator.beat(lease)
    assert not lease.valid()


async def test_a_rebalance_in_progress_keeps_it(coordinator: Coordinator, lease: Lease) -> None:
    await coordinator.beat(lease)
    coordinator.answer = RebalanceInProgressError.errno
    await coordinator.beat(lease)
    assert lease.valid() and lease.membership == Membership(OURS, 3)
