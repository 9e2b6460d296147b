"""The lease: whether this process still owns its partitions, as far as it can know.

It runs from the send time of the last heartbeat that was answered without error, for half the session timeout. A
rebalance in progress extends it to the drain bound and no further, and never past the moment when the rebalance may end
without us; a membership error ends it. The producer's sender asks
before every socket write.
"""

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass

from streams.clock import boottime


@dataclass(frozen=True, slots=True)
class Membership:
    """Who we are in the consumer group."""

    member: str
    generation: int


UNKNOWN = Membership("", -1)


def continues(before: Membership | None, now: Membership | None) -> bool:
    """Whether nobody else can have owned our partitions between two assignments: no generation passed without us."""
    return (
        before is not None
        and now is not None
        and before.member == now.member
        and now.generation in (before.generation, before.generation + 1)
    )


class Lease:
    """Written by the consumer's thread, read by the main one: every write is one assignment."""

    def __init__(
        self, session_timeout_s: float, drain_s: float, clock: Callable[[], float] = boottime,
        *, rebalance_timeout_s: float = math.inf,
    ) -> None:  # fmt: skip
        self._length = session_timeout_s / 2
        self._drain = drain_s
        self._rebalance = rebalance_timeout_s
        self._confirmed_at = 0.0
        self._clock = clock
        self._expires = 0.0
        self._rebalance_ends: float | None = None
        self.membership: Membership | None = None
        # How often what was held had to be dropped.
        self.losses = 0

    def renewed(self, sent_at: float, membership: Membership) -> None:
        """A heartbeat sent at `sent_at` was answered without error."""
        self._rebalance_ends = None
        self.membership = membership
        self._confirmed_at = sent_at
        self._expires = sent_at + self._length

    def rebalancing(self, sent_at: float) -> None:
        """A heartbeat was answered `rebalance in progress`: we are still a member, until the drain bound."""
        if self.membership is None:
            return
        if self._rebalance_ends is None:
            # It began after our last confirmation, maybe long before we hear of it: we may have been frozen meanwhile.
            self._rebalance_ends = min(sent_at + self._drain, self._confirmed_at + self._rebalance)
        self._expires = min(sent_at + self._length, self._rebalance_ends)

    def ended(self) -> None:
        """The group does not know us any more, or we left it."""
        self.membership = None
        self._expires = 0.0

    def valid(self) -> bool:
        return self._clock() < self._expires

    async def settled(self, poll_s: float = 0.02) -> bool:
        """Wait while the lease is lapsed: True when a heartbeat confirms the same membership, False when it is another.

        Without any membership to begin with the answer is False at once.
        """
        held_by = self.membership
        while held_by is not None and self.membership == held_by:
            if self.valid():
                return True
            await asyncio.sleep(poll_s)
        self.losses += 1
        return False


class OpenEnded:
    """The lease of a process that owns nothing: commands and clients publish without a consumer group."""

    def valid(self) -> bool:
        return True

    async def settled(self) -> bool:
        return True
